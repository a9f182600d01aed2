/* The number of processors changes all the time, between 1 and 8, while everything works that could
 * be in the way: channels, timers, blocking calls, wired goroutines, yields, and the program's own
 * threads, which start goroutines, call and change the number too.
 *
 * Checked: after a change each kind of work goes on (one that does not is the runner's timeout);
 * what was sent is received, what was started has run, each timer has fired once, a wired goroutine
 * is on its thread; no more goroutines run at once than the most processors that there were; at the
 * end none is left. */
#include "stress.h"

enum { MOST_PROCS = 8, CHANGES = 120, RING = 6, EACH = 3, THREADS = 2 };

static int stop;    /* atomic */
static int running; /* atomic: goroutines between two calls of the runtime */
static struct loam_waitgroup ended;
static int64_t made; /* atomic: goroutines that were started */

/* What each kind of work has done so far; atomic. */
enum kind { RINGS, SLEEPS, FUNCS, TICKS, CALLS, WIRED, YIELDS, STARTED, FOREIGN, KINDS };
static int64_t done[KINDS];

static void work_done(enum kind kind)
{
    int now = add(&running, 1);
    if (now > MOST_PROCS)
        FAIL("%d goroutines run on %d processors", now, MOST_PROCS);
    compute(50);
    add(&running, -1);
    add(&done[kind], 1);
}

static void start(void (*fn)(void *), void *arg)
{
    loam_waitgroup_add(&ended, 1);
    add(&made, 1);
    go(fn, arg);
}

/* ---- Channels: tokens around a ring -------------------------------------------------------------- */

static loam_chan(int64_t) ring[RING];
static int64_t tokens; /* that have come to rest */

static void pass_on(void *arg)
{
    loam_chan(int64_t) *here = arg, *next = here == &ring[RING - 1] ? &ring[0] : here + 1;
    for (int64_t v; loam_recv_ok(*here, &v);) {
        work_done(RINGS);
        if (!load(&stop))
            loam_send(*next, v + 1);
        else
            add(&tokens, 1);
    }
    loam_waitgroup_done(&ended);
}

/* ---- Timers ------------------------------------------------------------------------------------------ */

static void sleep_on(void *arg)
{
    uint64_t r = (uintptr_t)arg;
    while (!load(&stop)) {
        loam_sleep(draw(&r) % 300 * LOAM_MICROSECOND);
        work_done(SLEEPS);
    }
    loam_waitgroup_done(&ended);
}

struct fired {
    int times; /* atomic */
    loam_chan(int) told;
};

static void fire(void *arg)
{
    struct fired *f = arg;
    CHECK_EQ(add(&f->times, 1), 1);
    add(&made, 1);
    loam_send(f->told, 1);
}

/* A function's timer, mostly reset to another time while it is set; its heap moves meanwhile. */
static void set_timers(void *arg)
{
    uint64_t r = (uintptr_t)arg;
    struct fired f = {.told = loam_chan_make(int, 0)};
    while (!load(&stop)) {
        f.times = 0;
        struct loam_timer *t = loam_after_func(draw(&r) % 500 * LOAM_MICROSECOND, fire, &f);
        CHECK(t != NULL);
        if (draw(&r) % 2 == 0) {
            linger(&r);
            if (loam_timer_stop(t))
                loam_timer_reset(t, draw(&r) % 200 * LOAM_MICROSECOND);
        }
        CHECK_EQ(loam_recv(f.told), 1);
        CHECK(!loam_timer_stop(t));
        CHECK_EQ(load(&f.times), 1);
        loam_timer_free(t);
        work_done(FUNCS);
    }
    loam_chan_free(f.told);
    loam_waitgroup_done(&ended);
}

static void tick(void *arg)
{
    (void)arg;
    struct loam_ticker *t = loam_ticker_new(100 * LOAM_MICROSECOND);
    CHECK(t != NULL);
    for (int64_t last = 0; !load(&stop);) {
        int64_t now = loam_recv(loam_ticker_chan(t));
        CHECK(now > last);
        last = now;
        work_done(TICKS);
    }
    loam_ticker_free(t);
    loam_waitgroup_done(&ended);
}

/* ---- Blocking calls, wired goroutines, yields, new goroutines ---------------------------------------- */

static void block(void *arg)
{
    uint64_t *r = arg;
    uint32_t us = draw(r) % 200;
    if (!seeded() && us % 2 == 0)
        usleep(us);
}

static void call_on(void *arg)
{
    uint64_t r = (uintptr_t)arg;
    while (!load(&stop)) {
        loam_blocking(block, &r);
        work_done(CALLS);
    }
    loam_waitgroup_done(&ended);
}

static void wired(void *arg)
{
    loam_chan(int) c = loam_chan_make(int, 1);
    uint64_t r = (uintptr_t)arg;
    loam_lock_os_thread();
    pthread_t self = pthread_self();
    while (!load(&stop)) {
        switch (draw(&r) % 4) {
        case 0:
            loam_blocking(block, &r);
            break;
        case 1:
            loam_sleep(draw(&r) % 50 * LOAM_MICROSECOND);
            break;
        case 2:
            loam_send(c, 3);
            CHECK_EQ(loam_recv(c), 3);
            break;
        default:
            loam_yield();
            break;
        }
        CHECK(pthread_equal(pthread_self(), self));
        work_done(WIRED);
    }
    loam_chan_free(c);
    loam_waitgroup_done(&ended); /* ends wired, and its thread with it */
}

static void yield_on(void *arg)
{
    (void)arg;
    while (!load(&stop)) {
        loam_yield();
        work_done(YIELDS);
    }
    loam_waitgroup_done(&ended);
}

static void started(void *arg)
{
    work_done(STARTED);
    loam_waitgroup_done(arg);
}

static void start_on(void *arg)
{
    uint64_t r = (uintptr_t)arg;
    while (!load(&stop)) {
        struct loam_waitgroup wg = {0};
        int n = 1 + (int)(draw(&r) % 40);
        loam_waitgroup_add(&wg, n);
        for (int i = 0; i < n; i++)
            go(started, &wg);
        add(&made, n);
        loam_waitgroup_wait(&wg);
    }
    loam_waitgroup_done(&ended);
}

/* ---- The program's own threads ------------------------------------------------------------------------- */

static void called(void *arg)
{
    uint64_t *r = arg;
    if (draw(r) % 2 == 0)
        loam_sleep(draw(r) % 100 * LOAM_MICROSECOND);
    work_done(FOREIGN);
}

static int64_t sent_away, came; /* atomic */

static void arrive(void *arg)
{
    (void)arg;
    add(&came, 1);
}

static void *foreign(void *arg)
{
    uint64_t r = (uintptr_t)arg;
    while (!load(&stop)) {
        CHECK_EQ(loam_call(called, &r), 0);
        go(arrive, NULL);
        add(&sent_away, 1);
        add(&made, 2);
        if (draw(&r) % 32 == 0)
            loam_gomaxprocs(1 + (int)(draw(&r) % MOST_PROCS));
    }
    return NULL;
}

/* ---- All of it --------------------------------------------------------------------------------------------- */

static void work_begins(void)
{
    for (int i = 0; i < RING; i++)
        ring[i] = loam_chan_make(int64_t, RING);
    for (int i = 0; i < RING; i++) {
        start(pass_on, &ring[i]);
        if (i < RING / 2)
            loam_send(ring[i], 0);
    }
    static void (*const kinds[])(void *) = {sleep_on, set_timers, tick,    call_on,
                                            wired,    yield_on,   start_on};
    static char args[EACH];
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (int i = 0; i < EACH; i++)
            start(kinds[k], &args[i]);
}

static void all_go_on(bool threads)
{
    for (int k = 0; k < KINDS; k++) {
        if (k == FOREIGN && !threads)
            continue;
        int64_t before = load(&done[k]);
        AWAIT(load(&done[k]) > before);
    }
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    uint64_t r = 12345;
    bool threads = !seeded(); /* no seed decides what they do */
    pthread_t thread[THREADS];
    char arg[THREADS];
    made = 1;
    work_begins();
    for (int i = 0; threads && i < THREADS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, foreign, &arg[i]), 0);
    for (int64_t i = 0; i < times(CHANGES); i++) {
        int n = 1 + (int)(draw(&r) % MOST_PROCS);
        switch (i % 4) {
        case 0: /* from within a call: the caller has no processor */
            loam_blocking_enter();
            loam_gomaxprocs(n);
            loam_blocking_leave();
            break;
        case 1: /* two at once: nothing has begun after the first one */
            loam_gomaxprocs(n);
            loam_gomaxprocs(1 + n % MOST_PROCS);
            break;
        default:
            loam_gomaxprocs(n);
            break;
        }
        CHECK(loam_gomaxprocs(0) >= 1 && loam_gomaxprocs(0) <= MOST_PROCS);
        if (i % 3 == 0)
            all_go_on(threads);
        else
            linger(&r);
    }
    store(&stop, 1);
    for (int i = 0; threads && i < THREADS; i++) {
        loam_blocking_enter();
        pthread_join(thread[i], NULL);
        loam_blocking_leave();
    }
    AWAIT(load(&tokens) == RING / 2);
    for (int i = 0; i < RING; i++)
        loam_close(ring[i]);
    loam_waitgroup_wait(&ended);
    AWAIT(load(&came) == load(&sent_away));
    all_have_ended(1, load(&made));
    for (int i = 0; i < RING; i++)
        loam_chan_free(ring[i]);
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
