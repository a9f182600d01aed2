/* Which code is whose: the ranges that modules register by their notes (include/loam/module.h), and where
 * their tables for unwinding are.
 *
 * Ranges are only ever added: a shared object with a note is pinned (RTLD_NODELETE) before its ranges are
 * shown, so that an address never changes its meaning while the runtime is started, and a signal handler may
 * ask without a lock. */
#ifndef STACK_MODULES_H
#define STACK_MODULES_H

#include "base/base.h"

enum text_kind {
    TEXT_UNKNOWN,    /* of no note: libc's, or a program's without one */
    TEXT_HELD,       /* registered, but bound to its thread */
    TEXT_MIGRATABLE, /* may go on on any thread, at any instruction */
    TEXT_NOPREEMPT   /* not to be cut at all */
};

/* The table .eh_frame_hdr of a module; lo and hi: the segment that it lies in, which is read no further. */
struct unwind_table {
    const uint8_t *header;
    uintptr_t lo, hi;
};

/* Takes the notes of all modules, and the unwind table of the one that holds the address `own`. -ENOMEM. */
int modules_init(uintptr_t own);
/* Forgets everything. No handler looks any more. */
void modules_fini(void);

/* Looks whether modules have come, by dlopen. Takes the loader's lock, and waits for another one that looks:
 * never in a handler, nor where a goroutine that owns that lock waits for the caller. */
void modules_refresh(void);

/* Whether any migratable text is known. From anywhere, as the next two. */
bool modules_migratable(void);
enum text_kind modules_kind(uintptr_t pc);
/* Of the module that pc lies in, if that has a note or is the runtime's own; NULL: unknown. */
const struct unwind_table *modules_unwind(uintptr_t pc);

#endif
