/* stackalloc: spans, chunks and large stacks go back to the system once nobody has used them for a round;
 * what is in use stays as it is; out of memory is an error, and nothing is lost by it. */
#include "../../child.h"
#include "stack/stackalloc_int.h"
#include "stacktest.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { CHUNK = 2 << 20, SPAN = 32 << 10, PER_CHUNK = CHUNK / SPAN - 1 };

static struct outcome o;
static struct stackcache cache;

/* Pages of [s.lo, s.hi) that are in memory. */
static int resident(struct stack s)
{
    static unsigned char pages[(1 << 30) / 4096];
    uintptr_t lo = align_down(s.lo, 4096), hi = align_up(s.hi, 4096);
    if (mincore((void *)lo, hi - lo, pages) != 0) {
        CHECK_EQ(errno, ENOMEM); /* not mapped */
        return -1;
    }
    int n = 0;
    for (size_t i = 0; i < (hi - lo) / 4096; i++)
        n += pages[i] & 1;
    return n;
}

static void fill(struct stack s, int byte)
{
    memset((void *)s.lo, byte, s.hi - s.lo);
}

static void check_filled(struct stack s, unsigned char byte)
{
    for (const unsigned char *p = (unsigned char *)s.lo; p < (unsigned char *)s.hi; p += 61)
        CHECK_EQ(*p, byte);
}

/* Wholly free chunks are unmapped by the second round that finds them so, not before. */
static void whole_chunks(int class)
{
    int each = SPAN / (int)size_of(class), n = 3 * PER_CHUNK * each;
    struct stack *s = calloc((size_t)n, sizeof *s);
    CHECK(s != NULL);
    for (int i = 0; i < n; i++)
        fill(s[i] = get(NULL, class, -1), i);
    CHECK_EQ(stackalloc_mapped(), 3 * CHUNK);
    CHECK_EQ(stats_of(NULL, class).spans, 3 * PER_CHUNK);
    CHECK_EQ(held_bytes(), 3 * PER_CHUNK * SPAN);
    stackalloc_reclaim();
    stackalloc_scavenge();
    for (int i = 0; i < n; i++) {
        check_filled(s[i], (unsigned char)i);
        stackfree(NULL, s[i]);
    }
    CHECK_EQ(stats_of(NULL, class).spans, 0);
    stackalloc_scavenge();
    CHECK_EQ(stackalloc_mapped(), 3 * CHUNK);
    struct stack used = get(NULL, class, STACK_FROM_POOL); /* one of the three is of use again */
    stackfree(NULL, used);
    stackalloc_scavenge();
    CHECK_EQ(stackalloc_mapped(), CHUNK);
    stackalloc_scavenge();
    CHECK_EQ(stackalloc_mapped(), 0);
    check_nothing_out(NULL);
    free(s);
}

/* In a chunk with one stack in use the others' pages go back; it keeps its own, and what is in it. */
static void parts_of_a_chunk(void)
{
    enum { CLASS = STACKALLOC_SMALL - 1 };
    static struct stack s[PER_CHUNK];
    for (int i = 0; i < PER_CHUNK; i++)
        fill(s[i] = get(NULL, CLASS, STACK_FROM_SYSTEM), i + 1);
    struct stack kept = s[30], hot = {0};
    for (int i = 0; i < PER_CHUNK; i++)
        if (s[i].lo != kept.lo)
            stackfree(NULL, s[i]);
    stackalloc_scavenge();
    for (int i = 0; i < PER_CHUNK; i++)
        CHECK_EQ(resident(s[i]), SPAN / 4096);
    hot = get(NULL, CLASS, STACK_FROM_POOL); /* of use again: it has to wait for one more round */
    stackfree(NULL, hot);
    stackalloc_scavenge();
    for (int i = 0; i < PER_CHUNK; i++) {
        bool stays = s[i].lo == kept.lo || s[i].lo == hot.lo;
        CHECK_EQ(resident(s[i]), stays ? SPAN / 4096 : 0);
    }
    check_filled(kept, 31);
    CHECK_EQ(stackalloc_mapped(), CHUNK);
    CHECK_EQ(held_bytes(), 2 * SPAN);
    /* the warm one first; those without pages are the system's again */
    CHECK_EQ(get(NULL, CLASS, STACK_FROM_POOL).lo, hot.lo);
    struct stack fresh = get(NULL, CLASS, STACK_FROM_SYSTEM);
    check_filled(fresh, 0);
    stackfree(NULL, fresh);
    stackfree(NULL, hot);
    stackfree(NULL, kept);
    check_nothing_out(NULL);
}

static void large(void)
{
    for (int class = STACKALLOC_SMALL; size_of(class) <= 16 << 20; class ++) {
        struct stack a = get(NULL, class, STACK_FROM_SYSTEM);
        fill(a, 1);
        CHECK_EQ(resident(a), size_of(class) / 4096);
        stackfree(NULL, a);
        stackalloc_scavenge(); /* of use since the last round */
        CHECK_EQ(stackalloc_mapped(), size_of(class));
        CHECK_EQ(get(NULL, class, STACK_FROM_POOL).lo, a.lo);
        stackfree(NULL, a);
        stackalloc_scavenge();
        CHECK_EQ(stackalloc_mapped(), size_of(class));
        stackalloc_scavenge();
        CHECK_EQ(stackalloc_mapped(), 0);
        CHECK_EQ(resident(a), -1);
    }
    check_nothing_out(NULL);
}

/* What the runtime does when it stops: goroutines that were abandoned have stacks of all sizes. */
static void end(void)
{
    struct stack s[STACKALLOC_CLASSES];
    for (int class = 0; class < STACKALLOC_CLASSES; class ++)
        mark(s[class] = get(&cache, class, -1), 7);
    stackalloc_fini();
    memset(&cache, 0, sizeof cache);
    for (int class = 0; class < STACKALLOC_CLASSES; class ++)
        CHECK_EQ(resident(s[class]), -1);
    check_nothing_out(NULL);
    struct stack again = get(&cache, 0, STACK_FROM_SYSTEM);
    stackfree(&cache, again);
    check_nothing_out(&cache);
}

/* ---- Out of memory ------------------------------------------------------------------------------------ */

static int all_of(int class, struct stack *s, int most)
{
    for (int n = 0; n < most; n++) {
        int got = stackalloc(&cache, size_of(class), &s[n]);
        if (got < 0) {
            CHECK_EQ(got, -ENOMEM);
            CHECK_HAS(loam_error_text(), "no memory for another stack of ");
            return n;
        }
        mark(s[n], (uint64_t)n);
    }
    FAIL("no end of stacks of %zu", size_of(class));
}

static void exhaustion(void *arg)
{
    (void)arg;
    enum { LIMIT = 64 << 20, MOST = LIMIT / 2048 };
    struct stack *s = calloc(MOST, sizeof *s);
    CHECK(s != NULL);
    FILE *f = fopen("/proc/self/statm", "r");
    long pages = 0;
    CHECK(f != NULL && fscanf(f, "%ld", &pages) == 1);
    fclose(f);
    rlim_t limit = (rlim_t)pages * 4096 + LIMIT;
    CHECK_EQ(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}), 0);
    for (int round = 0; round < 2; round++)
        for (int class = 0; size_of(class) <= 16 << 20; class ++) {
            int n = all_of(class, s, MOST);
            /* all but what one more needs while it is mapped, and what a chunk needs itself */
            CHECK((int64_t)n * (int64_t)size_of(class) >= LIMIT / 64 * 63 - (18 << 20) - 2 * CHUNK);
            struct stack more;
            for (int other = 0; other < STACKALLOC_CLASSES; other++)
                if (size_of(other) >= LIMIT)
                    CHECK_EQ(stackalloc(&cache, size_of(other), &more), -ENOMEM);
            CHECK_EQ(stackalloc(&cache, size_of(class), &more), -ENOMEM);
            CHECK_EQ(stackalloc(NULL, size_of(class), &more), -ENOMEM);
            CHECK_EQ(stats_of(&cache, class).out, n);
            for (int i = 0; i < n; i++) {
                check_mark(s[i], (uint64_t)i);
                stackfree(&cache, s[i]);
            }
            /* what lies free in this size is memory for the next one */
        }
    check_nothing_out(&cache);
}

/* Where huge pages are dear, stacks lie on small ones: what nobody uses has no memory. */
static void dear_huge_pages(void)
{
    enum { CLASS = STACKALLOC_SMALL - 1, LARGE = 11 };
    static struct stack s[PER_CHUNK];
    int64_t limit = stackmap_dear_ns;
    stackmap_dear_ns = -1;
    for (int i = 0; i < PER_CHUNK; i++)
        fill(s[i] = get(NULL, CLASS, STACK_FROM_SYSTEM), i + 1);
    struct stack one = get(NULL, CLASS, STACK_FROM_SYSTEM), large = get(NULL, LARGE, -1);
    CHECK_EQ(stackalloc_mapped(), 2 * CHUNK + size_of(LARGE));
    struct stack chunk = {.lo = align_down(one.lo, CHUNK)};
    chunk.hi = chunk.lo + CHUNK;
    CHECK(resident(chunk) <= (SPAN + SPAN) / 4096);
    CHECK(resident(large) <= 2);
    fill(one, 3);
    fill(large, 4);
    check_filled(one, 3);
    check_filled(large, 4);
    stackfree(NULL, one);
    stackfree(NULL, large);
    for (int i = 0; i < PER_CHUNK; i++) {
        check_filled(s[i], (unsigned char)(i + 1));
        stackfree(NULL, s[i]);
    }
    stackalloc_reclaim();
    CHECK_EQ(stackalloc_mapped(), 0);
    stackmap_dear_ns = limit;
}

int main(void)
{
    if (!TEST_ASAN && !TEST_TSAN) { /* their shadow memory is beyond any limit */
        in_child(&o, exhaustion, NULL);
        CHECK_OUTCOME(&o, 0, NULL);
    }
    for (int class = 0; class < STACKALLOC_SMALL; class ++)
        whole_chunks(class);
    parts_of_a_chunk();
    large();
    dear_huge_pages();
    end();
    return 0;
}
