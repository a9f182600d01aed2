/* Blocking calls of every length, from nothing to milliseconds, while others compute and the monitor
 * thread takes processors from those whose call lasts; calls that end in the moment in which the
 * world is stopped.
 *
 * Checked: outside of calls no more goroutines run at once than there are processors; errno is what
 * the call has left, on whatever thread the goroutine goes on; a wired goroutine comes back to its
 * thread; everything arrives, and processors have indeed been taken. */
#include "stress.h"

enum { CALLERS = 16, CALLS = 150, COMPUTERS = 3, STOPS = 300 };

static int running; /* atomic: goroutines that own a processor, between two calls of the runtime */
static int limit;   /* most processors that there may be */

static void on_processor(uint32_t steps)
{
    int now = add(&running, 1);
    if (now > limit)
        FAIL("%d goroutines run on %d processors", now, limit);
    compute(steps);
    add(&running, -1);
}

struct caller {
    struct loam_waitgroup *wg;
    uint64_t random;
    int errno_left;
    int64_t calls, inner; /* done, and goroutines started within calls */
    bool wired;
};

static int64_t inner_ran; /* atomic */

static void inner(void *arg)
{
    (void)arg;
    on_processor(10);
    add(&inner_ran, 1);
}

/* In a seeded run there is but this thread: to wait is in vain. */
static void wait_us(uint32_t us)
{
    if (!seeded())
        usleep(us);
}

static void take_a_while(struct caller *c)
{
    switch (draw(&c->random) % 8) {
    case 0:
        wait_us(draw(&c->random) % 3000);
        break;
    case 1:
    case 2:
        wait_us(draw(&c->random) % 50);
        break;
    case 3:
        compute(draw(&c->random) % 20000);
        break;
    case 4: /* what does not wait is allowed */
        go(inner, NULL);
        c->inner++;
        break;
    default:
        break;
    }
    c->errno_left = 1 + (int)(draw(&c->random) % 100);
    errno = c->errno_left;
}

static void call(void *arg)
{
    take_a_while(arg);
}

static void many_calls(void *arg)
{
    struct caller *c = arg;
    pthread_t self = 0;
    if (c->wired) {
        loam_lock_os_thread();
        self = pthread_self();
    }
    for (int64_t i = 0; i < times(CALLS); i++) {
        if (draw(&c->random) % 2 == 0) {
            loam_blocking(call, c);
        } else {
            loam_blocking_enter();
            take_a_while(c);
            loam_blocking_leave();
        }
        CHECK_EQ(errno, c->errno_left);
        c->calls++;
        if (c->wired)
            CHECK(pthread_equal(pthread_self(), self));
        on_processor(draw(&c->random) % 300);
        if (draw(&c->random) % 8 == 0)
            loam_yield();
    }
    /* some end wired, and their thread with them */
    loam_waitgroup_done(c->wg);
}

/* The shortest ones, one after the other: mostly nobody comes between. */
static void short_calls(void *arg)
{
    struct caller *c = arg;
    for (int64_t i = 0; i < 50 * times(CALLS); i++) {
        errno = (int)(i % 100);
        loam_blocking_enter();
        loam_blocking_leave();
        CHECK_EQ(errno, i % 100);
        on_processor(1);
        c->calls++;
    }
    loam_waitgroup_done(c->wg);
}

static int computing; /* atomic */

static void compute_always(void *arg)
{
    uint64_t r = (uintptr_t)arg;
    while (load(&computing)) {
        on_processor(draw(&r) % 5000);
        loam_yield();
    }
    loam_waitgroup_done(arg);
}

static void start_callers(struct caller *callers, struct loam_waitgroup *wg, void (*fn)(void *))
{
    loam_waitgroup_add(wg, CALLERS);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.wg = wg, .random = (uint64_t)i * 77, .wired = i % 8 == 1};
        go(fn, &callers[i]);
    }
}

static uint64_t handoffs(void)
{
    struct loam_sched_stats stats;
    loam_read_sched_stats(&stats);
    return stats.handoffs;
}

static void against_retake(void)
{
    struct caller callers[CALLERS];
    struct loam_waitgroup wg = {0}, computers = {0};
    limit = loam_gomaxprocs(0);
    store(&inner_ran, 0);
    computing = 1;
    loam_waitgroup_add(&computers, COMPUTERS);
    for (int i = 0; i < COMPUTERS; i++)
        go(compute_always, &computers);
    uint64_t before = handoffs();
    int64_t calls = 0, inners = 0;
    do { /* until the monitor thread has come between, on however busy a machine */
        start_callers(callers, &wg, many_calls);
        loam_waitgroup_wait(&wg);
        for (int i = 0; i < CALLERS; i++) {
            calls += callers[i].calls;
            inners += callers[i].inner;
        }
    } while (!seeded() && handoffs() == before);
    CHECK_EQ(calls % (CALLERS * times(CALLS)), 0);
    start_callers(callers, &wg, short_calls);
    loam_waitgroup_wait(&wg);
    store(&computing, 0);
    loam_waitgroup_wait(&computers);
    all_have_ended(1, -1);
    CHECK_EQ(load(&inner_ran), inners);
}

/* ---- Against stops of the world ---------------------------------------------------------------------- */

static int stops; /* atomic: that have begun, or are about to */

/* Blocks until the next stop begins, or a little longer or shorter. */
static void until_stop(void *arg)
{
    struct caller *c = arg;
    int now = load(&stops);
    uint32_t more = draw(&c->random) % 300;
    for (int i = 0; load(&stops) == now && i < 200 && !seeded(); i++)
        usleep(20);
    compute(more);
    errno = c->errno_left = (int)more;
}

static void calls_until_stop(void *arg)
{
    struct caller *c = arg;
    while (load(&stops) < (int)times(STOPS)) {
        loam_blocking(until_stop, c);
        CHECK_EQ(errno, c->errno_left);
        on_processor(100);
        c->calls++;
    }
    loam_waitgroup_done(c->wg);
}

/* Each change of the number of processors is a stop. From a goroutine, and from within a call. */
static void change(void *arg)
{
    loam_gomaxprocs(*(int *)arg);
}

static void against_stops(void)
{
    struct caller callers[CALLERS];
    struct loam_waitgroup wg = {0};
    int before = loam_gomaxprocs(0), n = before;
    limit = before + 1;
    stops = 0;
    start_callers(callers, &wg, calls_until_stop);
    for (int64_t i = 0; i < times(STOPS); i++) {
        n = n == before ? before + 1 : before;
        if (i % 4 == 3) {
            loam_blocking_enter();
            wait_us((uint32_t)(i * 13 % 100));
            add(&stops, 1);
            change(&n);
            loam_blocking_leave();
        } else {
            loam_sleep(i * 17 % 100 * LOAM_MICROSECOND);
            add(&stops, 1);
            change(&n);
        }
    }
    loam_waitgroup_wait(&wg);
    loam_gomaxprocs(before);
    all_have_ended(1, -1);
}

static void body(void)
{
    against_retake();
    against_stops();
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
