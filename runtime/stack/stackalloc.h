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
 * The allocator runs on the system stack only, a thread's own (g0): on a stack that grows it would be
 * asked for memory while it looks for some. That recursion ends at depth one, by a throw.
 *
 * What a stack holds when it is handed out is whatever was there. Freed memory is not touched, and
 * poisoned for ASan. */
#ifndef STACK_STACKALLOC_H
#define STACK_STACKALLOC_H

#include "base/base.h"
#include "base/config.h"
#include "stack/stack.h"

enum {
    STACKALLOC_MIN_SHIFT = 11,
    STACKALLOC_MIN = 1 << STACKALLOC_MIN_SHIFT,
    STACKALLOC_SMALL = 5,      /* classes that are cached and pooled: 2, 4, 8, 16, 32 KB */
    STACKALLOC_CLASSES = 20,   /* class c has stacks of STACKALLOC_MIN << c; the last: 1 GB */
    STACKCACHE_2K = 64,        /* stacks of 2 KB that a cache holds; 32 of 4 KB and so on */
    STACKALLOC_LARGE_TOP = 64, /* of a large stack, its last bytes, are the allocator's */
};

/* The cache of one P. Zero memory is an empty one. */
struct stackcache {
    uint32_t n[STACKALLOC_SMALL];        /* owner of the P writes, all read */
    uintptr_t lo[2 * STACKCACHE_2K];     /* owner of the P: class after class, the warmest on top */
    uint64_t refills[STACKALLOC_SMALL];  /* owner of the P writes, all read */
    uint64_t releases[STACKALLOC_SMALL]; /* owner of the P writes, all read */
};

/* Where a stack came from. */
enum stack_source { STACK_FROM_CACHE, STACK_FROM_POOL, STACK_FROM_SYSTEM };

/* Gives a stack of `size` bytes, a power of two of 2 KB to 1 GB; any other size is a throw. `cache` is
 * that of the caller's P, NULL without one. Returns an enum stack_source, or -ENOMEM with a noted text:
 * then nothing has changed. On the system stack only. Sets all of *out: [lo, hi) has `size` bytes, of large
 * ones (above 32 KB) STACKALLOC_LARGE_TOP less; lo is aligned to the size, of large ones to a page. */
int stackalloc(struct stackcache *cache, size_t size, struct stack *out);

void stackfree_at(struct stackcache *cache, uintptr_t lo, uint32_t size_class);
/* Takes back a stack: lo and size_class are looked at, and as stackalloc set them. `cache` as above: whoever's P gave it,
 * it goes to the caller's. Never fails and asks for no memory, so that a hook of a switch may call it. */
static always_inline void stackfree(struct stackcache *cache, struct stack s)
{
    stackfree_at(cache, s.lo, s.size_class); /* in registers: as a whole it would go by memory */
}

/* Empties a cache into the pools: by the owner of the P, or whoever keeps others from owning it. */
void stackcache_clear(struct stackcache *cache);

/* Gives memory that lay unused since the last call back to the system: free spans, wholly free chunks,
 * large stacks. From any thread; takes as long as the system does. */
void stackalloc_scavenge(void);
/* The same for all that is free at this moment. */
void stackalloc_reclaim(void);

/* The figures of one class since start. */
struct stackalloc_stats {
    uint64_t out;               /* stacks that the pool, or the system, gave and has not back */
    uint64_t cached;            /* of these, in caches: of those that were added */
    uint64_t pooled;            /* free ones in spans; large ones that are kept */
    uint64_t spans;             /* spans that are the class's at the moment */
    uint64_t system_bytes;      /* memory that came from the system for this class */
    uint64_t returned_bytes;    /* that went back, and was last this class's */
    uint64_t refills, releases; /* of the caches that were added */
};
/* Those of the pools and of large stacks. From any thread. */
void stackalloc_read_stats(struct stackalloc_stats stats[STACKALLOC_CLASSES]);
/* Adds what one cache knows. Its owner may go on meanwhile. */
void stackcache_add_stats(const struct stackcache *cache,
                          struct stackalloc_stats stats[STACKALLOC_CLASSES]);
/* Bytes of address space. */
uint64_t stackalloc_mapped(void);

/* Unmaps everything. Nobody runs on any of it, and caches are to be forgotten. */
void stackalloc_fini(void);

#endif
