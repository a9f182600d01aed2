/* Segments: the pieces of a stack that grows, as __morestack and the runtime share them.
 *
 * A goroutine of code compiled with -fsplit-stack begins on a segment of 2 KB. Every such function
 * compares its stack pointer with the guard of the thread (on x86-64 the word at %fs:0x70) and calls
 * __morestack when it would go below: that runs the function on the next segment. Code that knows
 * nothing of this is run on a big segment, a slot with guard pages (__morestack_big).
 *
 *     lo   struct segment
 *          slack: what may be used below the guard without a look: by functions of small frames,
 *          by the runtime's shallow functions and the hooks of a switch
 *     guard
 *          frames
 *     hi
 *
 * The guard alone tells the segment: it lies ARCH_SEGMENT_GUARD bytes above the struct. 0 is no
 * guard: a slot, a thread's own stack, the stack of a signal handler.
 *
 * Segments form a chain: `prev` is where the stack came from, `next` the piece behind, which stays
 * when the stack shrinks and is used again. So neither a longjmp nor the end of a goroutine loses
 * one. A big segment is in the chain by `prev` only: its caller's `next` is kept for the caller.
 *
 * Owner of all fields: the goroutine, or whoever took it off its thread. */
#ifndef ARCH_SEGMENT_H
#define ARCH_SEGMENT_H

#include "base/base.h"
#include "base/config.h"

enum segment_kind { SEGMENT_SMALL, SEGMENT_BIG };

/* Memory that alloca got when the segment had no room; freed when the frame is gone. */
struct segment_block;

struct segment {
    uintptr_t guard;
    struct segment *next; /* NULL: none */
    struct segment *prev; /* NULL: a goroutine's first; of a big one: its caller's */
    uintptr_t hi;         /* first byte behind, aligned to 16 */
    uint32_t kind;        /* enum segment_kind */
    uint32_t size_class;  /* the allocator's */
    size_t used;          /* bytes of all segments up to this one */
    struct segment_block *blocks;
    struct segment *link; /* of a big one on a list */
};

enum {
    ARCH_SEGMENT_HEADER = 64,
    ARCH_SEGMENT_GUARD = ARCH_SEGMENT_HEADER + SEGMENT_SLACK,
    SEGMENT_FRAME = 256, /* how far gcc lets a function's frame go below the guard unasked */
    SEGMENT_MARKS = 64,  /* and, below that, marks of alloca (sched/morestack.c) */
};

_Static_assert(sizeof(struct segment) == ARCH_SEGMENT_HEADER, "one cache line");
_Static_assert(STACK_BIG == STACK_DEFAULT, "what slot_alloc gives for a big one");

static inline struct segment *segment_of(uintptr_t guard)
{
    return (struct segment *)(guard - ARCH_SEGMENT_GUARD);
}

#endif
