/* Stacks of goroutines: slots.
 *
 * A slot is a power of two of addresses, 256 KB by default, with a guard of 64 KB at its low end
 * that faults, and a page at its high end that is ours: 188 KB are a goroutine's own; memory is committed page by page as the stack is used. Slots come in slabs of one
 * size; a slab's slots are handed out in order and guarded when first handed out, freed ones are
 * reused last in, first out. They are never unmapped before stack_fini: a stale pointer into a slot
 * is never a fault.
 *
 * Never on huge pages: one touch would commit 2 MB. */
#ifndef STACK_STACK_H
#define STACK_STACK_H

#include "base/base.h"

struct stack {
    uintptr_t lo; /* lowest usable byte, above the guard */
    uintptr_t hi; /* first byte behind */
    uint32_t size_class;
    uint32_t color; /* which of the slots of its slab: callers spread their tops by it */
};

/* Gives a stack with at least size bytes for a goroutine's own frames. -ENOMEM with a noted text; -EINVAL above 1 GB. */
int stackalloc(size_t size, struct stack *out);
void stackfree(const struct stack *s);
/* The class that a size falls into; -1 above 1 GB. */
int stack_class(size_t size);

void stack_stats(uint64_t *mapped, uint64_t *free_slots);
/* Unmaps every slab. Nobody runs on one any more. */
void stack_fini(void);

#endif
