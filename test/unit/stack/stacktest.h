/* What the tests of stackalloc share. */
#ifndef STACKTEST_H
#define STACKTEST_H

#include "base/asan.h"
#include "stack/stackalloc.h"

#include "../../check.h"

/* How many stacks of a class a cache holds; the runtime's own figure is not looked at. */
static inline uint32_t cache_holds(int class)
{
    return LOAM_TORTURE ? 2 : 64u >> class;
}

static inline size_t size_of(int class)
{
    return (size_t)2048 << class;
}

/* Bytes of one that may be used. */
static inline size_t usable(int class)
{
    return size_of(class) - (class < STACKALLOC_SMALL ? 0 : STACKALLOC_LARGE_TOP);
}

static inline struct stack get(struct stackcache *c, int class, int source)
{
    struct stack s = {0};
    int got = stackalloc(c, size_of(class), &s);
    if (got < 0)
        FAIL("stackalloc of %zu: %d, %s", size_of(class), got, loam_error_text());
    if (source >= 0)
        CHECK_EQ(got, source);
    CHECK_EQ(s.hi - s.lo, usable(class));
    CHECK_EQ(s.lo % (class < STACKALLOC_SMALL ? size_of(class) : 4096), 0);
    return s;
}

/* Puts a mark at both ends, and finds it there. */
static inline void mark(struct stack s, uint64_t mark)
{
    *(volatile uint64_t *)s.lo = mark;
    *(volatile uint64_t *)(s.hi - 8) = ~mark;
}

static inline void check_mark(struct stack s, uint64_t mark)
{
    CHECK_EQ(*(volatile uint64_t *)s.lo, mark);
    CHECK_EQ(*(volatile uint64_t *)(s.hi - 8), ~mark);
}

static inline struct stackalloc_stats stats_of(const struct stackcache *c, int class)
{
    struct stackalloc_stats all[STACKALLOC_CLASSES];
    stackalloc_read_stats(all);
    if (c != NULL)
        stackcache_add_stats(c, all);
    return all[class];
}

/* Memory of the system's that the allocator has. A span may change its class meanwhile: only the sum over
 * all of them is a balance. */
static inline uint64_t held_bytes(void)
{
    struct stackalloc_stats all[STACKALLOC_CLASSES];
    stackalloc_read_stats(all);
    uint64_t bytes = 0;
    for (int i = 0; i < STACKALLOC_CLASSES; i++)
        bytes += all[i].system_bytes - all[i].returned_bytes;
    return bytes;
}

/* Nothing is handed out, and nothing is left once all that is free has gone back. */
static inline void check_nothing_out(struct stackcache *c)
{
    if (c != NULL)
        stackcache_clear(c);
    stackalloc_reclaim();
    struct stackalloc_stats all[STACKALLOC_CLASSES];
    stackalloc_read_stats(all);
    for (int i = 0; i < STACKALLOC_CLASSES; i++) {
        CHECK_EQ(all[i].out, 0);
        CHECK_EQ(all[i].pooled, 0);
        CHECK_EQ(all[i].spans, 0);
    }
    CHECK_EQ(held_bytes(), 0);
    CHECK_EQ(stackalloc_mapped(), 0);
}

#endif
