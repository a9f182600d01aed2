/* One goroutine makes work without pause, so that all of it lies on the queues of one processor, and
 * the others steal it: new goroutines, goroutines that it wakes, pairs that hand over to each other
 * through runnext meanwhile, and wired ones, that a thief has to pass on to their thread.
 *
 * Checked: every piece of work is done exactly once, every hand-over arrives in its turn, a wired
 * goroutine is always on its thread, no more goroutines run at once than there are processors, and
 * thieves do steal. */
#include "stress.h"

enum { UNITS = 3000, SLEEPERS = 60, ROUNDS = 60, PAIRS = 3, WIRED = 2 };

static int running; /* atomic: goroutines between two calls of the runtime */

/* What no call of the runtime interrupts: one processor, one goroutine. */
static void on_processor(uint64_t *r)
{
    CHECK(add(&running, 1) <= loam_gomaxprocs(0));
    compute(draw(r) % 100);
    add(&running, -1);
}

/* ---- New goroutines ------------------------------------------------------------------------------- */

struct unit {
    struct units *all;
    uint64_t random;
    uint32_t done; /* atomic */
};

struct units {
    struct loam_waitgroup wg;
    struct unit *unit;
};

static void do_unit(void *arg)
{
    struct unit *u = arg;
    uint64_t r = u->random;
    on_processor(&r);
    if (draw(&r) % 8 == 0)
        loam_yield();
    CHECK_EQ(add(&u->done, 1), 1);
    loam_waitgroup_done(&u->all->wg);
}

/* ---- Goroutines that sleep until the producer wakes them ---------------------------------------- */

struct sleeper {
    loam_chan(int) bell;
    struct loam_waitgroup *wg, *ended;
    int last;
    bool wired;
};

static void sleep_and_work(void *arg)
{
    struct sleeper *s = arg;
    uint64_t r = (uintptr_t)s;
    pthread_t self = 0;
    if (s->wired) {
        loam_lock_os_thread();
        self = pthread_self();
    }
    for (int got; loam_recv_ok(s->bell, &got);) {
        on_processor(&r);
        CHECK_EQ(got, s->last + 1);
        s->last = got;
        if (s->wired) {
            CHECK(pthread_equal(pthread_self(), self));
            loam_yield();
            CHECK(pthread_equal(pthread_self(), self));
        }
        loam_waitgroup_done(s->wg);
    }
    if (s->wired)
        loam_unlock_os_thread();
    loam_waitgroup_done(s->ended);
}

/* ---- Pairs: each wakes the other, then parks -------------------------------------------------------- */

struct pair {
    loam_chan(int64_t) there, back;
    struct loam_waitgroup *ended;
    bool wired;
};

static void echo(void *arg)
{
    struct pair *p = arg;
    pthread_t self = 0;
    if (p->wired) {
        loam_lock_os_thread();
        self = pthread_self();
    }
    for (int64_t v; loam_recv_ok(p->there, &v);) {
        if (p->wired)
            CHECK(pthread_equal(pthread_self(), self));
        loam_send(p->back, v + 1);
    }
    loam_waitgroup_done(p->ended);
}

static int pairs_stop; /* atomic */

static void serve(void *arg)
{
    struct pair *p = arg;
    uint64_t r = (uintptr_t)p;
    for (int64_t v = 0; !load(&pairs_stop); v++) {
        loam_send(p->there, v);
        CHECK_EQ(loam_recv(p->back), v + 1);
        if (draw(&r) % 64 == 0) /* else little time is left for what waits in the global queue */
            loam_sleep(50 * LOAM_MICROSECOND);
    }
    loam_close(p->there);
    loam_waitgroup_done(p->ended);
}

/* ---- All of them ---------------------------------------------------------------------------------------- */

/* The producer: never parks while it makes work. */
static void one_round(struct units *us, struct sleeper *sleepers, struct loam_waitgroup *woken,
                      int round, int64_t n)
{
    memset(us->unit, 0, (size_t)n * sizeof *us->unit);
    loam_waitgroup_add(&us->wg, (int)n);
    loam_waitgroup_add(woken, SLEEPERS);
    for (int64_t i = 0; i < n; i++) {
        us->unit[i] = (struct unit){.all = us, .random = (uint64_t)(round * n + i)};
        go(do_unit, &us->unit[i]);
        if (i < SLEEPERS)
            CHECK_EQ(loam_try_send(sleepers[i].bell, round), 1);
    }
    loam_waitgroup_wait(&us->wg);
    loam_waitgroup_wait(woken);
    for (int64_t i = 0; i < n; i++)
        CHECK_EQ(us->unit[i].done, 1);
    for (int i = 0; i < SLEEPERS; i++)
        CHECK_EQ(sleepers[i].last, round);
}

static uint64_t steals(void)
{
    struct loam_sched_stats stats;
    loam_read_sched_stats(&stats);
    return stats.steals;
}

static void body(void)
{
    struct units us = {0};
    struct loam_waitgroup woken = {0}, ended = {0};
    struct sleeper sleepers[SLEEPERS];
    struct pair pairs[PAIRS];
    int64_t n = SLEEPERS + at_most(UNITS);
    us.unit = calloc((size_t)n, sizeof *us.unit);
    CHECK(us.unit != NULL);
    pairs_stop = 0;
    loam_waitgroup_add(&ended, SLEEPERS + 2 * PAIRS);
    for (int i = 0; i < SLEEPERS; i++) {
        sleepers[i] = (struct sleeper){.bell = loam_chan_make(int, 1),
                                       .wg = &woken,
                                       .ended = &ended,
                                       .last = -1,
                                       .wired = i < WIRED};
        go(sleep_and_work, &sleepers[i]);
    }
    for (int i = 0; i < PAIRS; i++) {
        pairs[i] = (struct pair){.there = loam_chan_make(int64_t, 0),
                                 .back = loam_chan_make(int64_t, 0),
                                 .ended = &ended,
                                 .wired = i == 0};
        go(echo, &pairs[i]);
        go(serve, &pairs[i]);
    }
    /* A machine may be so busy that nobody else comes to run for long: until somebody has stolen. */
    bool thieves = loam_gomaxprocs(0) > 1 && !seeded();
    uint64_t before = steals();
    int64_t rounds = seeded() ? 2 : TEST_ASAN || TEST_TSAN || LOAM_TORTURE ? 5 : ROUNDS;
    for (int round = 0; round < rounds || (thieves && steals() == before); round++)
        one_round(&us, sleepers, &woken, round, n);
    store(&pairs_stop, 1);
    for (int i = 0; i < SLEEPERS; i++)
        loam_close(sleepers[i].bell);
    loam_waitgroup_wait(&ended);
    all_have_ended(1, -1);
    for (int i = 0; i < SLEEPERS; i++)
        loam_chan_free(sleepers[i].bell);
    for (int i = 0; i < PAIRS; i++) {
        loam_chan_free(pairs[i].there);
        loam_chan_free(pairs[i].back);
    }
    free(us.unit);
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return for_each_procs(body);
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
