/* What the floors below the scheduler know of the current thread: struct m begins with this. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include "base/base.h"

struct segment;

struct thread {
    uint32_t rand[2];          /* owner thread: state of its random numbers */
    int32_t nlocks;            /* owner thread: runtime mutexes held (counted in debug builds) */
    int32_t dying;             /* owner thread: depth of throws, so that a throw in a throw ends */
    void *g0;                  /* const: struct gobuf of the thread's own stack; morestack.S */
    struct segment *bigs;      /* owner thread: big segments at hand, by link; morestack.S */
    uint32_t nbigs;            /* owner thread: how many */
    uint32_t in_libc;          /* owner thread: depth of libc_enter, see arch/arch.h */
    const char *in_stackalloc; /* owner thread: what of the allocator of stacks it is in, or NULL */
    struct {                   /* owner thread: the mutexes held, innermost last (debug builds) */
        uint32_t rank;
        const void *lock;
    } held[8];
};

#endif
