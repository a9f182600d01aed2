/* Stacks of goroutines: slots.
 *
 * A slot is a power of two of addresses, 256 KB by default, with a guard of 64 KB at its low end that
 * faults, and a page at its high end that is ours: 188 KB are a goroutine's own. Memory is committed
 * page by page as the stack is used. Slots come in slabs of one size; a slab's slots are handed out in
 * order and guarded then. A dead goroutine keeps its own for the next one; what nobody needs for a while
 * comes back by slot_free, and its memory goes to the system by slots_give_back, with most of what is known
 * of it. Addresses are unmapped
 * by slots_fini alone: a stale pointer into a slot is never a fault before, it reads what was there or 0.
 *
 * Never on huge pages: one touch would commit 2 MB. */
#ifndef STACK_STACK_H
#define STACK_STACK_H

#include "base/base.h"

enum { STACK_CLASSES = 14 }; /* STACK_SLOT << 0 .. 13: a stack of 1 GB needs 2 GB */

struct stack {
    uintptr_t lo; /* lowest usable byte, above the guard */
    uintptr_t hi; /* first byte behind */
    uint16_t size_class;
    uint16_t color; /* which of the slots of its slab: callers spread their tops by it */
    uint32_t slab;  /* number of the slab of a slot; 0: it is none */
};

/* Gives a stack with at least size bytes for a goroutine's own frames. -ENOMEM with a noted text;
 * -EINVAL above 1 GB. */
int slot_alloc(size_t size, struct stack *out);
/* Takes a slot back; lo, size_class and slab as slot_alloc set them. */
void slot_free(struct stack s);
/* Gives the memory of slots that came back to the system, of one slab at a time: true if there is more. */
bool slots_give_back(void);
/* The class that a size falls into; -1 above 1 GB. */
int slot_class(size_t size);

/* Bytes of address space. */
uint64_t slots_mapped(void);
/* Bytes of memory that keep account of them. */
uint64_t slots_bookkeeping(void);
/* Unmaps every slab. Nobody runs on one any more. */
void slots_fini(void);

#endif
