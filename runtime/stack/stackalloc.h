/* stackalloc: memory for stacks that start small and grow by segments.
 *
 * Sizes are powers of two, 2 KB to 1 GB. From the fastest place to the slowest:
 *
 *   cache    of a P, per class of 2 to 32 KB: no lock, no atomic instruction
 *   pool     of a class, under its lock: stackcacherefill takes half a cache at once from spans of 32 KB,
 *            stackcacherelease gives half a cache back (stackpool.c)
 *   system   spans are carved from chunks of 2 MB, on huge pages where the system has them; 64 KB and
 *            more are mapped one by one and kept for a moment by size (stacklarge.c)
 *
 * The allocator runs on the system stack only, a thread's own or g0: on a stack that grows it could be
 * asked for memory while it looks for some. That recursion ends at depth one, by a throw.
 *
 * Memory comes zeroed from the system but not from elsewhere: a stack's content is whatever was there.
 * Freed memory is not touched, and poisoned for ASan. */
#ifndef STACK_STACKALLOC_H
#define STACK_STACKALLOC_H

#include "base/base.h"
#include "base/config.h"
#include "stack/stack.h"

enum {
    STACKALLOC_MIN_SHIFT = 11,
    STACKALLOC_MIN = 1 << STACKALLOC_MIN_SHIFT,
    STACKALLOC_SMALL = 5,    /* classes that are cached and pooled: 2, 4, 8, 16, 32 KB */
    STACKALLOC_CLASSES = 20, /* class c has stacks of STACKALLOC_MIN << c; the last 1 GB */
    STACKCACHE_2K = 64,      /* stacks of 2 KB that a cache holds; 32 of 4 KB and so on */
};

/* The cache of one P. Zero memory is an empty one. */
struct stackcache {
    uint32_t n[STACKALLOC_SMALL];      /* owner of the P writes, all read */
    uintptr_t lo[2 * STACKCACHE_2K];   /* owner of the P: class after class, the last used on top */
    uint64_t refills[STACKALLOC_SMALL];  /* owner of the P writes, all read */
    uint64_t releases[STACKALLOC_SMALL]; /* owner of the P writes, all read */
};

/* Where a stack came from. */
enum stack_source { STACK_FROM_CACHE, STACK_FROM_POOL, STACK_FROM_SYSTEM };

/* Gives a stack of `size` bytes, a power of two of 2 KB to 1 GB, aligned to the lesser of its size and
 * 2 MB; any other size is a throw. `cache` is that of the caller's P, NULL without one. Returns an enum
 * stack_source, or -ENOMEM with a noted text: then nothing has changed. On the system stack only. Only
 * lo, hi and size_class of *out are set. */
int stackalloc(struct stackcache *cache, size_t size, struct stack *out);

/* Takes back a stack as stackalloc gave it: lo and hi as they were. Whoever owns a P gives its cache, also
 * for a stack that another P's gave. Never fails, never asks for memory: also in a hook of a switch. */
void stackfree(struct stackcache *cache, struct stack s);

/* Empties a cache into the pools: by the owner of the P, or whoever holds sched.lock for an idle one. */
void stackcache_clear(struct stackcache *cache);

/* Gives memory that lay unused since the last call back to the system: free spans, wholly free chunks,
 * large stacks. Once in a while, from one thread at a time. */
void stackalloc_scavenge(void);
/* The same for all that is free at this moment. */
void stackalloc_reclaim(void);

/* The figures of one class, but for what lies in caches and what those count (stackcache_stats adds it). */
struct stack_class_stats {
    uint64_t out;     /* stacks that were taken from the pool, or the system, and are not back */
    uint64_t cached;  /* of these, in the caches that were added */
    uint64_t pooled;  /* free stacks in spans, or large ones kept */
    uint64_t spans;   /* spans of the class; of large ones 0 */
    uint64_t system_bytes;   /* taken from the system since start */
    uint64_t returned_bytes; /* given back to it; of small classes in all by the chunk: see class 0 */
    uint64_t refills, releases; /* of the caches that were added */
};
void stackalloc_stats(struct stack_class_stats stats[STACKALLOC_CLASSES]);
void stackcache_stats(const struct stackcache *cache,
                      struct stack_class_stats stats[STACKALLOC_CLASSES]);
/* Bytes of address space. */
uint64_t stackalloc_mapped(void);

/* Unmaps everything; nobody runs on any of it, and no cache is used any more. */
void stackalloc_fini(void);

#endif
