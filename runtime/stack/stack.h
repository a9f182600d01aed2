/* Stacks of goroutines: slots.
 *
 * A slot is a power of two of addresses, 256 KB by default, with a guard of 64 KB at its low end that
 * faults, and a page at its high end that is ours: 188 KB are a goroutine's own. Memory is committed
 * page by page as the stack is used. Slots come in slabs of one size; a slab's slots are handed out in
 * order and guarded then. None comes back: a dead goroutine keeps its own for the next. They are
 * unmapped by slots_fini: a stale pointer into a slot is never a fault before.
 *
 * Never on huge pages: one touch would commit 2 MB. */
#ifndef STACK_STACK_H
#define STACK_STACK_H

#include "base/base.h"

enum { STACK_CLASSES = 14 }; /* STACK_SLOT << 0 .. 13: a stack of 1 GB needs 2 GB */

struct stack {
    uintptr_t lo; /* lowest usable byte, above the guard */
    uintptr_t hi; /* first byte behind */
    uint32_t size_class;
    uint32_t color; /* which of the slots of its slab: callers spread their tops by it */
};

/* Gives a stack with at least size bytes for a goroutine's own frames. -ENOMEM with a noted text;
 * -EINVAL above 1 GB. */
int slot_alloc(size_t size, struct stack *out);
/* The class that a size falls into; -1 above 1 GB. */
int slot_class(size_t size);

/* Bytes of address space. */
uint64_t slots_mapped(void);
/* Unmaps every slab. Nobody runs on one any more. */
void slots_fini(void);

#endif
