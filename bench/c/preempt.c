/* Loops that never call the runtime: what it costs to interrupt one, what others beside it get, and how
 * they share a processor. */
#include "bench_loam.h"

enum { LINE = 64 };

static uint32_t stop; /* atomic */

static uint32_t stopped(void)
{
    return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

/* ---- preempt_round_trip_held -------------------------------------------------------------------------- */

enum { INTERRUPTIONS = 400 };

static struct {
    struct loam_waitgroup wg;
    int64_t gap[INTERRUPTIONS];
    uint64_t turns; /* atomic: of the other goroutine */
} trip;

static int64_t greater(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Looks at the clock, which is libc's, until somebody else has run in between: before the last look at the
 * clock, or behind it. */
static void watch_clock(void *arg)
{
    (void)arg;
    uint64_t seen = __atomic_load_n(&trip.turns, __ATOMIC_RELAXED);
    int64_t last = bench_now();
    for (int n = 0; n < INTERRUPTIONS;) {
        int64_t now = bench_now();
        uint64_t turns = __atomic_load_n(&trip.turns, __ATOMIC_RELAXED);
        if (turns != seen)
            trip.gap[n++] = greater(now - last, bench_now() - now);
        seen = turns;
        last = now;
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    loam_waitgroup_done(&trip.wg);
}

/* Gives the processor back at once. */
static void give_back(void *arg)
{
    (void)arg;
    while (!stopped()) {
        __atomic_add_fetch(&trip.turns, 1, __ATOMIC_RELAXED);
        loam_yield();
    }
    loam_waitgroup_done(&trip.wg);
}

/* A counter of the CPU's that rises evenly, without a call. */
static inline uint64_t bench_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#endif
}

static struct outcome preempt_round_trip_held(void)
{
    struct loam_sched_stats s;
    loam_waitgroup_add(&trip.wg, 2);
    start(watch_clock, NULL);
    start(give_back, NULL);
    loam_waitgroup_wait(&trip.wg);
    loam_read_sched_stats(&s);
    if (s.preemptions < INTERRUPTIONS)
        bench_fail("%d interruptions, but %llu by a signal", INTERRUPTIONS,
                   (unsigned long long)s.preemptions);
    return (struct outcome){bench_percentile(trip.gap, INTERRUPTIONS, 50) * 1e6,
                            bench_not_early(trip.gap, INTERRUPTIONS)};
}

/* ---- preempt_round_trip_copied ------------------------------------------------------------------------ */

LOAM_MODULE(LOAM_MODULE_MIGRATABLE)

/* The same in code that may go on on any thread. It calls nothing, not even the clock: it looks at the CPU's
 * counter. */
LOAM_MODULE_TEXT static void watch_ticks(void *arg)
{
    (void)arg;
    uint64_t seen = __atomic_load_n(&trip.turns, __ATOMIC_RELAXED);
    uint64_t last = bench_ticks();
    for (int n = 0; n < INTERRUPTIONS;) {
        uint64_t now = bench_ticks(), turns = __atomic_load_n(&trip.turns, __ATOMIC_RELAXED);
        if (turns != seen) {
            uint64_t before = now - last, behind = bench_ticks() - now;
            trip.gap[n++] = (int64_t)(before > behind ? before : behind);
        }
        seen = turns;
        last = now;
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    loam_waitgroup_done(&trip.wg);
}

static struct outcome preempt_round_trip_copied(void)
{
    struct loam_sched_stats s;
    int64_t begin = bench_now();
    uint64_t ticks = bench_ticks();
    loam_waitgroup_add(&trip.wg, 2);
    start(watch_ticks, NULL);
    start(give_back, NULL);
    loam_waitgroup_wait(&trip.wg);
    double ns_per_tick = (double)(bench_now() - begin) / (double)(bench_ticks() - ticks);
    loam_read_sched_stats(&s);
    if (s.preemptions_copied < INTERRUPTIONS)
        bench_fail("%d interruptions, but %llu by a copy", INTERRUPTIONS,
                   (unsigned long long)s.preemptions_copied);
    return (struct outcome){bench_percentile(trip.gap, INTERRUPTIONS, 50) * 1e6 * ns_per_tick,
                            bench_not_early(trip.gap, INTERRUPTIONS)};
}

/* ---- tick_beside_loop ---------------------------------------------------------------------------------- */

static void loop(void *wg)
{
    while (!stopped())
        ;
    loam_waitgroup_done(wg);
}

static struct outcome tick_beside_loop(void)
{
    const int64_t ticks = 20000, period = 100 * LOAM_MICROSECOND;
    struct loam_waitgroup wg = {0};
    int64_t *late = bench_alloc(ticks, sizeof *late);
    loam_waitgroup_add(&wg, 1);
    start(loop, &wg);
    struct loam_ticker *t = loam_ticker_new(period);
    int64_t begin = bench_now();
    /* ticks that come while nobody receives are dropped: the next one that is received stands for all
     * that were due */
    for (int64_t k = 0; k < ticks;) {
        (void)loam_recv(loam_ticker_chan(t));
        for (int64_t now = bench_now(); k < ticks && begin + (k + 1) * period <= now; k++)
            late[k] = now - begin - (k + 1) * period;
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    loam_waitgroup_wait(&wg);
    loam_ticker_free(t);
    return (struct outcome){bench_percentile(late, ticks, 99.9), bench_not_early(late, ticks)};
}

/* ---- loops_share10 --------------------------------------------------------------------------------------- */

enum { LOOPS = 10 };

static struct {
    struct loam_waitgroup wg;
    struct {
        uint64_t n; /* atomic: its loop writes */
    } __attribute__((aligned(LINE))) loop[LOOPS];
} shares;

static void count(void *n)
{
    for (uint64_t i = 1; !stopped(); i++)
        __atomic_store_n((uint64_t *)n, i, __ATOMIC_RELAXED);
    loam_waitgroup_done(&shares.wg);
}

static uint64_t counted(int i)
{
    return __atomic_load_n(&shares.loop[i].n, __ATOMIC_RELAXED);
}

static struct outcome loops_share10(void)
{
    uint64_t before[LOOPS], sum = 0, loops = 0;
    double most = 0;
    loam_waitgroup_add(&shares.wg, LOOPS);
    for (int i = 0; i < LOOPS; i++)
        start(count, &shares.loop[i].n);
    for (int i = 0; i < LOOPS; i++)
        while (counted(i) == 0)
            loam_sleep(LOAM_MILLISECOND);
    for (int i = 0; i < LOOPS; i++)
        before[i] = counted(i);
    loam_sleep(2 * LOAM_SECOND);
    for (int i = 0; i < LOOPS; i++) {
        before[i] = counted(i) - before[i];
        sum += before[i];
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    loam_waitgroup_wait(&shares.wg);
    for (int i = 0; i < LOOPS; i++) {
        double share = (double)before[i] * LOOPS / (double)sum;
        double off = share < 1 ? 1 - share : share - 1;
        most = off > most ? off : most;
        loops += before[i] > 0;
    }
    return (struct outcome){most * 100, loops};
}

const struct bench preempt_benches[] = {
    {"preempt_round_trip_held", "ns", preempt_round_trip_held},
    {"preempt_round_trip_copied", "ns", preempt_round_trip_copied},
    {"tick_beside_loop", "ms", tick_beside_loop},
    {"loops_share10", "%", loops_share10},
    {NULL, NULL, NULL},
};
