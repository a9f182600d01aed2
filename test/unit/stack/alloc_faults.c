/* stackalloc: what it refuses, in child processes: to be entered again by what it waits for, to run on a
 * goroutine's stack, sizes that there are not, stacks that are free already. What LOAMDEBUG=stacktrace=1
 * prints. What ASan knows of free stacks. */
#include "sched/sched_int.h"

#include "../../child.h"
#include "../sched/schedtest.h"
#include "stacktest.h"

#include <sys/mman.h>

static struct outcome o;

/* ---- On g0 -------------------------------------------------------------------------------------------- */

static void job_hook(struct m *mp, struct g *gp)
{
    void (*fn)(struct stackcache *) = (void (*)(struct stackcache *))gp->param;
    gp->param = NULL;
    fn(&mp->p->stackcache);
    casgstatus(gp, G_running, G_runnable);
    runqput(mp->p, gp, false);
}

/* On a goroutine: runs fn on the system stack of its thread. */
static void on_g0(void (*fn)(struct stackcache *))
{
    struct g *gp = getg();
    gp->param = (void *)fn;
    gswitch_to_g0(getm(), gp, job_hook);
}

static void call_on_g0(void *fn)
{
    on_g0((void (*)(struct stackcache *))fn);
}

static void runtime_child(void *fn)
{
    on_goroutine(1, call_on_g0, fn);
}

/* ---- Entered again -------------------------------------------------------------------------------------- */

static struct stackcache *handlers_cache;

/* Stands for what would grow a stack while the allocator runs: it asks for another. */
static void grow(int sig)
{
    (void)sig;
    struct stack s;
    (void)stackalloc(handlers_cache, 8192, &s);
    _exit(3); /* it was given one */
}

/* The page with the figures of a chunk is made to fault: a refill goes there with its locks held. */
static void fault_in(struct stackcache *c, bool by_free)
{
    struct stack s = get(NULL, 2, -1);
    struct sigaction sa = {.sa_handler = grow, .sa_flags = SA_ONSTACK};
    CHECK_EQ(sigaction(SIGSEGV, &sa, NULL), 0);
    CHECK_EQ(mprotect((void *)align_down(s.lo, 2 << 20), 4096, PROT_NONE), 0);
    handlers_cache = c;
    if (by_free)
        stackfree(NULL, s);
    else
        (void)stackalloc(c, 8192, &s);
}

static void recursive_refill(struct stackcache *c)
{
    fault_in(c, false);
}

static void recursive_without_cache(struct stackcache *c)
{
    (void)c;
    fault_in(NULL, false);
}

static void recursive_free(struct stackcache *c)
{
    fault_in(c, true);
}

/* ---- Misuse ---------------------------------------------------------------------------------------------- */

static void on_goroutines_stack(void *arg)
{
    (void)arg;
    struct stack s;
    (void)stackalloc(&getm()->p->stackcache, 2048, &s);
}

static void goroutine_child(void *arg)
{
    on_goroutine(1, on_goroutines_stack, arg);
}

static void wrong_size(void *size)
{
    struct stack s;
    (void)stackalloc(NULL, (size_t)(uintptr_t)size, &s);
}

static void twice_to_pool(void *class)
{
    struct stack s = get(NULL, (int)(intptr_t) class, -1),
                 other = get(NULL, (int)(intptr_t) class, -1);
    stackfree(NULL, s);
    stackfree(NULL, s);
    stackfree(NULL, other);
}

static void twice_to_cache(void *arg)
{
    (void)arg;
    static struct stackcache c;
    struct stack s = get(&c, 0, -1);
    stackfree(&c, s);
    stackfree(&c, s);
    stackcache_clear(&c); /* where no build looks before */
}

static void other_size(void *arg)
{
    (void)arg;
    struct stack s = get(NULL, 1, -1);
    s.size_class = 2;
    stackfree(NULL, s);
}

static void no_stack(void *arg)
{
    (void)arg;
    stackfree(NULL, (struct stack){0});
}

static void recursive(void)
{
    in_child(&o, runtime_child, (void *)recursive_refill);
    CHECK_OUTCOME(&o, 2,
                  "fatal error: stackcacherefill: unexpected recursive stackalloc: 8192 bytes");
    in_child(&o, runtime_child, (void *)recursive_without_cache);
    CHECK_OUTCOME(&o, 2, "fatal error: stackalloc: unexpected recursive stackalloc: 8192 bytes");
    in_child(&o, runtime_child, (void *)recursive_free);
    CHECK_OUTCOME(&o, 2, "fatal error: stackfree: unexpected recursive stackalloc: 8192 bytes");
}

static void refused(void)
{
    if (!TEST_TSAN) /* it calls handlers in its own time */
        recursive();
    in_child(&o, goroutine_child, NULL);
    CHECK_OUTCOME(&o, 2,
                  "fatal error: stackalloc: 2048 bytes are asked for on a goroutine's stack");
    static const size_t sizes[] = {0, 1, 1024, 2047, 2049, 3072, 65537, 98304, 1ul << 31, SIZE_MAX};
    for (size_t i = 0; i < nelem(sizes); i++) {
        in_child(&o, wrong_size, (void *)(uintptr_t)sizes[i]);
        CHECK_OUTCOME(&o, 2, "bytes are no power of two from 2 KB to 1 GB");
    }
    for (int class = 0; class <= STACKALLOC_SMALL; class ++) {
        in_child(&o, twice_to_pool, (void *)(intptr_t) class);
        CHECK_OUTCOME(&o, 2, "is free already");
    }
    in_child(&o, twice_to_cache, NULL);
    CHECK_OUTCOME(&o, 2, "is free already");
    in_child(&o, other_size, NULL);
    CHECK_OUTCOME(&o, 2, "is none of that size");
    in_child(&o, no_stack, NULL);
    CHECK_OUTCOME(&o, 2, "is no stack");
}

/* ---- stacktrace=1 ------------------------------------------------------------------------------------------ */

static void traced(struct stackcache *c)
{
    debug.stacktrace = 1;
    struct stack s[4], large = get(c, 9, -1);
    s[0] = get(c, 4, -1);
    for (int i = 1; i < 4; i++)
        s[i] = get(c, 4, -1);
    for (int i = 0; i < 4; i++)
        stackfree(c, s[i]);
    stackfree(c, get(NULL, 0, -1));
    stackfree(c, large);
    large = get(c, 9, -1);
    stackfree(NULL, large);
    debug.stacktrace = 0;
    stackfree(NULL, get(NULL, 3, -1));
}

static void trace_lines(void)
{
    static const char *const release =
        "STACK alloc size=1048576 path=stackalloc,large,system batch=1\n"
        "STACK alloc size=32768 path=stackalloc,stackcacherefill,pool,"
        "system batch=2\n"
        "STACK alloc size=32768 path=stackalloc,stackcacherefill,pool,"
        "system batch=2\n"
        "STACK alloc size=2048 path=stackalloc,pool,system batch=1\n"
        "STACK free size=1048576 path=stackfree,large batch=1\n"
        "STACK alloc size=1048576 path=stackalloc,large batch=1\n"
        "STACK free size=1048576 path=stackfree,large batch=1\n";
    in_child(&o, runtime_child, (void *)traced);
    if (LOAM_TORTURE) /* a cache of two, which takes and gives one at a time */
        CHECK_OUTCOME(&o, 0,
                      "STACK free size=32768 path=stackfree,stackcacherelease,pool batch=1\n");
    else
        CHECK_OUTCOME(&o, 0, release);
    if (!LOAM_TORTURE)
        CHECK_STR(o.err, release);
}

/* ---- Figures ------------------------------------------------------------------------------------------------- */

static struct stack held;

static void take_one(struct stackcache *c)
{
    held = get(c, 1, -1);
}

static void give_one(struct stackcache *c)
{
    stackfree(c, held);
}

static void public_figures(void *arg)
{
    (void)arg;
    struct loam_stack_class k[32] = {0};
    on_g0(take_one);
    CHECK_EQ(loam_read_stack_stats(k, 32), STACKALLOC_CLASSES);
    for (int i = 0; i < STACKALLOC_CLASSES; i++) {
        CHECK_EQ(k[i].size, size_of(i));
        CHECK_EQ(k[i].in_use, i == 1);
        CHECK_EQ(k[i].refills, i == 1);
        CHECK_EQ(k[i].releases, 0);
        CHECK_EQ(k[i].returned_bytes, 0);
    }
    CHECK_EQ(k[1].cached, cache_holds(1) / 2 - 1);
    CHECK_EQ(k[1].spans, LOAM_TORTURE ? 1 : 2);
    CHECK_EQ(k[1].system_bytes, k[1].spans * 32768);
    CHECK_EQ((k[1].in_use + k[1].cached + k[1].pooled) * 4096, k[1].system_bytes);
    on_g0(give_one);
    CHECK_EQ(loam_read_stack_stats(k, 2), STACKALLOC_CLASSES);
    CHECK_EQ(k[1].in_use, 0);
    CHECK_EQ(k[1].cached, cache_holds(1) / 2);
}

static void figures_stopped(void)
{
    struct loam_stack_class k[STACKALLOC_CLASSES];
    memset(k, 1, sizeof k);
    CHECK_EQ(loam_read_stack_stats(k, STACKALLOC_CLASSES), STACKALLOC_CLASSES);
    CHECK_EQ(k[3].size, 16384);
    CHECK_EQ(k[3].spans, 0);
    CHECK_EQ(stackalloc_mapped(), 0); /* the stop gave all back */
}

/* ---- ASan ---------------------------------------------------------------------------------------------------- */

static void poisoned(void)
{
#if LOAM_ASAN
    static struct stackcache c;
    for (int class = 0; class < 8; class ++) {
        struct stack s = get(&c, class, -1), t = get(&c, class, -1);
        CHECK(__asan_region_is_poisoned((void *)s.lo, s.hi - s.lo) == NULL);
        stackfree(&c, s);
        CHECK(__asan_address_is_poisoned((void *)s.lo));
        CHECK(__asan_address_is_poisoned((void *)(s.hi - 1)));
        CHECK(__asan_region_is_poisoned((void *)t.lo, t.hi - t.lo) == NULL);
        stackfree(&c, t);
        t = get(&c, class, -1);
        CHECK(__asan_region_is_poisoned((void *)t.lo, t.hi - t.lo) == NULL);
        stackfree(&c, t);
        check_nothing_out(&c);
        /* what comes to lie there next is not the allocator's */
        void *p =
            mmap((void *)s.lo, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(p != MAP_FAILED);
        CHECK(__asan_region_is_poisoned(p, 4096) == NULL);
        munmap(p, 4096);
    }
#endif
}

int main(void)
{
    refused();
    trace_lines();
    on_goroutine(1, public_figures, NULL);
    figures_stopped();
    poisoned();
    return 0;
}
