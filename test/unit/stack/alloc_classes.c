/* stackalloc: sizes, what a cache holds, when it is filled and emptied, to the stack; large stacks.
 * On a thread of the program, whose own stack is as good as g0. */
#include "stacktest.h"

static struct stackcache cache;

/* ---- Sizes ---------------------------------------------------------------------------------------- */

/* As many as make several spans, or chunks; all apart, each usable at both ends. */
static void sizes(struct stackcache *c)
{
    enum { MOST = 600 };
    static struct stack s[MOST];
    for (int class = 0; class < STACKALLOC_CLASSES; class ++) {
        int n = class < STACKALLOC_SMALL ? MOST : class < 10 ? 40 : 2;
        for (int i = 0; i < n; i++) {
            s[i] = get(c, class, -1);
            mark(s[i], (uint64_t) class << 32 | (uint64_t)i);
        }
        for (int i = 0; i < n; i++)
            check_mark(s[i], (uint64_t) class << 32 | (uint64_t)i);
        CHECK_EQ(stats_of(c, class).out - stats_of(c, class).cached, n);
        for (int i = 0; i < n; i++)
            stackfree(c, s[i]);
        CHECK_EQ(stats_of(c, class).out, stats_of(c, class).cached);
    }
    check_nothing_out(c);
}

/* ---- The cache -------------------------------------------------------------------------------------- */

static void check_cache(int class, uint32_t n, uint64_t refills, uint64_t releases)
{
    struct stackalloc_stats s = stats_of(&cache, class);
    CHECK_EQ(cache.n[class], n);
    CHECK_EQ(s.cached, n);
    CHECK_EQ(s.refills, refills);
    CHECK_EQ(s.releases, releases);
}

static void cache_counts(int class)
{
    memset(&cache, 0, sizeof cache);
    uint32_t max = cache_holds(class), half = max / 2;
    static struct stack s[300];
    uint32_t n = 0;
    for (uint32_t round = 1; round <= 3; round++) {
        /* one goes past the cache, and brings half a cache with it */
        s[n++] = get(&cache, class, round == 1 ? STACK_FROM_SYSTEM : -1);
        check_cache(class, half - 1, round, 0);
        for (uint32_t i = 1; i < half; i++)
            s[n++] = get(&cache, class, STACK_FROM_CACHE);
        check_cache(class, 0, round, 0);
    }
    CHECK_EQ(stats_of(&cache, class).out, 3 * half);
    /* half more than it holds: nothing goes to the pool until there is one too many */
    uint32_t back = 0;
    while (back < max && back < n)
        stackfree(&cache, s[back++]);
    check_cache(class, max, 3, 0);
    stackfree(&cache, s[back++]);
    check_cache(class, half + 1, 3, 1);
    CHECK_EQ(stats_of(&cache, class).out, 2 * half);
    /* the last one that came is the first that goes */
    struct stack last = s[back - 1];
    CHECK_EQ(get(&cache, class, STACK_FROM_CACHE).lo, last.lo);
    check_cache(class, half, 3, 1);
    stackfree(&cache, last);
    while (back < n)
        stackfree(&cache, s[back++]);
    stackcache_clear(&cache);
    check_cache(class, 0, 3, 1);
    check_nothing_out(&cache);
}

/* Over the boundary of a cache, back and forth: the pool is gone to once in half a cache. */
static void back_and_forth(void)
{
    memset(&cache, 0, sizeof cache);
    struct stack s[2];
    for (int i = 0; i < 1000; i++) {
        s[0] = get(&cache, 0, -1);
        s[1] = get(&cache, 0, -1);
        stackfree(&cache, s[0]);
        stackfree(&cache, s[1]);
    }
    /* in a torture build a cache holds two, and takes one at a time */
    check_cache(0, LOAM_TORTURE ? 2 : 32, LOAM_TORTURE ? 2 : 1, 0);
    check_nothing_out(&cache);
}

/* Without a P: one at a time. What one cache gave may go to another, or to none. */
static void without_cache(void)
{
    static struct stackcache other;
    memset(&cache, 0, sizeof cache);
    for (int class = 0; class < STACKALLOC_SMALL; class ++) {
        struct stack a = get(NULL, class, STACK_FROM_SYSTEM);
        CHECK_EQ(stats_of(NULL, class).out, 1);
        struct stack b = get(&cache, class, -1);
        stackfree(&other, b);
        stackfree(&other, a);
        CHECK_EQ(other.n[class], 2);
        CHECK_EQ(get(&other, class, STACK_FROM_CACHE).lo, a.lo);
        CHECK_EQ(get(&other, class, STACK_FROM_CACHE).lo, b.lo);
        stackfree(NULL, a);
        stackfree(&cache, b);
    }
    stackcache_clear(&other);
    check_nothing_out(&cache);
}

/* ---- Large ------------------------------------------------------------------------------------------ */

static void large_reuse(void)
{
    for (int class = STACKALLOC_SMALL; class < STACKALLOC_CLASSES; class ++) {
        bool kept = size_of(class) <= 64 << 20; /* the most that is kept in all */
        struct stack a = get(&cache, class, STACK_FROM_SYSTEM);
        struct stack b = get(&cache, class, STACK_FROM_SYSTEM);
        mark(a, 1);
        mark(b, 2);
        uint64_t before = stackalloc_mapped();
        stackfree(&cache, a);
        CHECK_EQ(stats_of(NULL, class).pooled, kept);
        CHECK_EQ(stackalloc_mapped(), kept ? before : before - size_of(class));
        check_mark(b, 2);
        struct stack c = get(NULL, class, kept ? STACK_FROM_POOL : STACK_FROM_SYSTEM);
        if (kept) {
            CHECK_EQ(c.lo, a.lo);
            check_mark(c, 1);
        }
        stackfree(NULL, c);
        stackfree(NULL, b);
        check_nothing_out(NULL);
    }
}

static void large_limits(void)
{
    /* as many of a size as are kept, no more */
    static struct stack s[40];
    for (int i = 0; i < 40; i++)
        s[i] = get(NULL, STACKALLOC_SMALL, STACK_FROM_SYSTEM);
    for (int i = 0; i < 40; i++)
        stackfree(NULL, s[i]);
    CHECK_EQ(stats_of(NULL, STACKALLOC_SMALL).pooled, LOAM_TORTURE ? 1 : 16);
    CHECK_EQ(stackalloc_mapped(), (LOAM_TORTURE ? 1 : 16) * (64 << 10));
    check_nothing_out(NULL);
}

/* ---- How fast ----------------------------------------------------------------------------------------- */

/* Nanoseconds of an alloc and a free: of the best of some rounds, for others have the CPU too. */
static double round_trip(struct stackcache *c)
{
    const int rounds = 20, n = (int)times(20000);
    int64_t best = INT64_MAX;
    for (int r = 0; r < rounds; r++) {
        int64_t begin = clock_ns();
        for (int i = 0; i < n; i++) {
            struct stack s;
            (void)stackalloc(c, 2048, &s);
            stackfree(c, s);
        }
        int64_t ns = clock_ns() - begin;
        best = ns < best ? ns : best;
    }
    return (double)best / n;
}

static void speed(void)
{
    memset(&cache, 0, sizeof cache);
    printf("alloc and free: %.1f ns in the cache, %.1f ns in the pool\n", round_trip(&cache),
           round_trip(NULL));
    check_nothing_out(&cache);
}

int main(void)
{
    check_nothing_out(NULL);
    sizes(&cache);
    sizes(NULL);
    for (int class = 0; class < STACKALLOC_SMALL; class ++)
        cache_counts(class);
    back_and_forth();
    without_cache();
    large_reuse();
    large_limits();
    speed();
    return 0;
}
