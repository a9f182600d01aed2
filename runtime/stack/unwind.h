/* One step from a frame to its caller's by the tables of the compiler (.eh_frame), at any instruction: what
 * frame pointers do not give in the first and last instructions of a function, and in code without them.
 *
 * Usable in a signal handler: no lock, no memory, no recursion. Whatever stands in a table, a step reads
 * within the table's segment and where the caller allows it on the stack, and ends. In doubt it says so. */
#ifndef STACK_UNWIND_H
#define STACK_UNWIND_H

#include "arch/arch.h"
#include "base/base.h"
#include "stack/modules.h"

struct unwind_regs {
    uintptr_t pc;
    uintptr_t reg[ARCH_DWARF_REGS]; /* by their numbers in DWARF */
    uint32_t known;                 /* bits: those with a value */
    bool exact; /* pc is where it will go on; else a return address, behind its call */
};

enum unwind_result { UNWIND_FRAME, UNWIND_END, UNWIND_UNSURE };

/* The word at `at` of the stack; false: not to be read. */
typedef bool unwind_read(void *arg, uintptr_t at, uintptr_t *word);

/* Replaces the registers by the caller's. END: there is none; UNSURE: it is not known. last: NULL, or what a
 * former step left there, of any table that is still there: a hint where to look first; NULL at first. */
enum unwind_result unwind_step(const struct unwind_table *table, struct unwind_regs *regs,
                               unwind_read *read, void *arg, const uint8_t **last);

/* The bounds of the function that pc lies in; false: not known. */
bool unwind_function(const struct unwind_table *table, uintptr_t pc, uintptr_t *lo, uintptr_t *hi);

#endif
