/* GOMAXPROCS at run time: what it returns; growing and shrinking while goroutines are queued, asleep,
 * blocked or not yet begun on the Ps that go away. None is lost, timers fire, counts go on. */
#include "sched/sched_int.h"

#include "os/os.h"
#include "schedtest.h"

#include <errno.h>
#include <sched.h>
#include <sys/resource.h>

static struct loam_waitgroup wg;
static int ran, ready, go_on;

static void count(void *arg)
{
    (void)arg;
    add(&ran, 1);
}

/* ---- What it returns -------------------------------------------------------------------------------- */

static void returns(void *arg)
{
    (void)arg;
    CHECK_EQ(loam_gomaxprocs(0), 3);
    CHECK_EQ(loam_gomaxprocs(-5), 3);
    CHECK_EQ(loam_gomaxprocs(3), 3);
    int former = 3;
    for (int n = 1; n <= 40; n += 3) {
        CHECK_EQ(loam_gomaxprocs(n), former);
        CHECK_EQ(loam_gomaxprocs(0), n);
        CHECK(getm()->p->id < n && getm()->p->status == P_running);
        former = n;
    }
    CHECK_EQ(loam_gomaxprocs(1), 40);
    CHECK_EQ(loam_gomaxprocs(MAX_PROCS + 1000), 1);
    CHECK_EQ(loam_gomaxprocs(0), MAX_PROCS);
    store(&ran, 0);
    for (int i = 0; i < 100; i++)
        go(count, NULL);
    AWAIT(load(&ran) == 100);
    CHECK_EQ(loam_gomaxprocs(2), MAX_PROCS);
    for (int i = 2; i < MAX_PROCS; i++)
        CHECK_EQ(allp[i]->status, P_dead);
}

static void foreign_returns(void)
{
    CHECK_EQ(loam_gomaxprocs(4), 0); /* not started */
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 2}), 0);
    CHECK_EQ(loam_gomaxprocs(4), 2);
    CHECK_EQ(loam_gomaxprocs(0), 4);
    CHECK_EQ(loam_gomaxprocs(1), 4);
    CHECK_EQ(loam_call(count, NULL), 0);
    CHECK_EQ(loam_stop(-1), 0);
    CHECK_EQ(loam_gomaxprocs(0), 0);
}

/* ---- What the system allows ------------------------------------------------------------------------- */

static void keep_to(const cpu_set_t *set)
{
    AWAIT_THREAD(load(&sched.sysmon_tid) != 0);
    CHECK_EQ(sched_setaffinity(sched.sysmon_tid, sizeof *set, set), 0); /* it looks at its own */
}

/* It is followed, but not while it cannot be found out. */
static void follows(void)
{
    struct rlimit all;
    cpu_set_t most, one;
    CHECK_EQ(sched_getaffinity(0, sizeof most, &most), 0);
    int n = os_cpu_count(), first = 0;
    if (n == 1)
        return;
    while (!CPU_ISSET(first, &most))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &all), 0);
    struct rlimit none = {0, all.rlim_max};
    CHECK_EQ(loam_start(&(struct loam_config){.flags = LOAM_NO_ENV}), 0);
    CHECK_EQ(loam_gomaxprocs(0), n);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_EQ(os_cpu_count(), -EMFILE);
    CHECK_EQ(loam_num_cpu(), 1);
    keep_to(&one);
    usleep(2500000);
    CHECK_EQ(loam_gomaxprocs(0), n);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &all), 0);
    AWAIT_THREAD(loam_gomaxprocs(0) == 1);
    keep_to(&most);
    AWAIT_THREAD(loam_gomaxprocs(0) == n);
    CHECK_EQ(loam_stop(-1), 0);
}

/* ---- Goroutines queued on Ps that go ---------------------------------------------------------------- */

enum { MOST = 6, EACH = 150 };

static void start_then_hold(void *arg)
{
    (void)arg;
    for (int i = 0; i < EACH; i++) {
        if (i % 3 == 0)
            CHECK_EQ(loam_go_copy(count, &i, sizeof i), 0);
        else
            go(count, NULL); /* embryos too, once there are dead ones */
    }
    add(&ready, 1);
    while (!load(&go_on) && !load(&sched.gcwaiting))
        ; /* keeps its P, with what is queued there, until it is taken away */
    loam_yield();
    add(&ran, 1);
}

/* Of the Ps that are gone nothing is left behind; the world is not stopped: they stay as they are. */
static void check_retired(int n)
{
    for (int i = n; i < MOST; i++) {
        struct p *pp = allp[i];
        if (pp == NULL)
            continue;
        CHECK_EQ(pp->status, P_dead);
        CHECK(runqempty(pp) && pp->gfree == NULL && pp->embryos == NULL);
        CHECK_EQ(pp->gfree_n + pp->embryos_n + pp->embryos_pending, 0);
        CHECK_EQ(load(&pp->timers_len), 0);
        CHECK_EQ(load(&pp->timers_when), 0);
    }
}

static void *resize_in_thread(void *n)
{
    CHECK(loam_gomaxprocs((int)(intptr_t)n) > 0);
    return NULL;
}

static void queued(void)
{
    static const int to[] = {1, 2, 5, 3, 1, 4};
    /* no signal: it would empty a P's queue before that P goes */
    struct loam_config config = {.maxprocs = MOST, .debug = "asyncpreemptoff=1"};
    CHECK_EQ(loam_start(&config), 0);
    uint64_t mapped = 0;
    for (int i = 0; i < 6 + times(12); i++) {
        int n = to[i % 6];
        CHECK_EQ(loam_gomaxprocs(MOST) >= 1, true);
        store(&ran, 0);
        store(&ready, 0);
        store(&go_on, 0);
        for (int k = 0; k < MOST; k++)
            go(start_then_hold, NULL);
        AWAIT_THREAD(load(&ready) == MOST); /* each on a P of its own */
        pthread_t t = thread_start(resize_in_thread, (void *)(intptr_t)n);
        pthread_join(t, NULL);
        store(&go_on, 1);
        check_retired(n);
        AWAIT_THREAD(load(&ran) == MOST * (EACH + 1));
        AWAIT_THREAD(loam_num_goroutine() == 0);
        struct loam_sched_stats s;
        loam_read_sched_stats(&s);
        CHECK_EQ(s.goroutines, 0);
        CHECK_EQ(s.gomaxprocs, n);
        CHECK_EQ(s.goroutines_created, (uint64_t)(i + 1) * MOST * (EACH + 1));
        CHECK(s.schedules >= s.goroutines_created);
        mapped = s.stacks_mapped;
    }
    /* Stacks of dead goroutines on a P that goes are used by others; each P may keep so many. */
    CHECK(mapped <= (uint64_t)(MOST * (EACH + 1 + GFREE_LOCAL_MAX) + 512) * (256 << 10));
    CHECK_EQ(loam_stop(-1), 0);
}

/* ---- Timers of Ps that go ----------------------------------------------------------------------------- */

static void sleeper(void *arg)
{
    loam_sleep((int64_t)(intptr_t)arg);
    add(&ran, 1);
}

static void fired(void *arg)
{
    (void)arg;
    add(&ran, 1);
}

enum { TIMERS = 20 };
static struct loam_timer *timers[MOST][TIMERS];

static void start_timers(void *arg)
{
    struct loam_timer **mine = arg;
    for (int i = 0; i < TIMERS; i++) {
        mine[i] = loam_after_func((1 + i % 8) * LOAM_MILLISECOND, fired, NULL);
        CHECK(mine[i] != NULL);
        loam_waitgroup_go(&wg, sleeper, (void *)(intptr_t)((i % 8) * LOAM_MILLISECOND));
    }
    loam_yield(); /* some of them are asleep */
    add(&ready, 1);
    while (!load(&go_on) && !load(&sched.gcwaiting))
        ;
    loam_yield();
}

static void timers_fire(void)
{
    struct loam_config config = {.maxprocs = MOST, .debug = "asyncpreemptoff=1"};
    CHECK_EQ(loam_start(&config), 0);
    for (int i = 0; i < times(10); i++) {
        int n = 1 + i % 3;
        loam_gomaxprocs(MOST);
        store(&ran, 0);
        store(&ready, 0);
        store(&go_on, 0);
        for (int k = 0; k < MOST; k++)
            loam_waitgroup_go(&wg, start_timers, timers[k]);
        AWAIT_THREAD(load(&ready) == MOST);
        CHECK_EQ(loam_gomaxprocs(n), MOST);
        store(&go_on, 1);
        check_retired(n);
        AWAIT_THREAD(load(&ran) == 2 * MOST * TIMERS);
        for (int k = 0; k < MOST; k++)
            for (int j = 0; j < TIMERS; j++)
                loam_timer_free(timers[k][j]);
    }
    AWAIT_THREAD(loam_num_goroutine() == 0); /* abandoned, one would be missed in wg for ever */
    CHECK_EQ(loam_stop(-1), 0);
}

/* All asleep while the number changes: the thread that waits for the first timer may have none to wait
 * for any more, and nobody runs who would notice. */
static void asleep(void)
{
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 4}), 0);
    uint64_t seed = 6;
    for (int i = 0; i < times(60); i++) {
        store(&ran, 0);
        for (int k = 0; k < 8; k++)
            go(sleeper, (void *)(intptr_t)(draw(&seed, 3000) * LOAM_MICROSECOND));
        for (uint32_t k = draw(&seed, 4); k > 0; k--) {
            loam_gomaxprocs(1 + (int)draw(&seed, 4));
            if (draw(&seed, 2) == 0)
                usleep(draw(&seed, 500));
        }
        AWAIT_THREAD(load(&ran) == 8);
    }
    CHECK_EQ(loam_stop(-1), 0);
}

/* ---- Everything at once ------------------------------------------------------------------------------ */

static int quit, threads;
static int64_t received;

static void short_call(void *arg)
{
    usleep(draw(arg, 60));
}

static void producer(void *arg)
{
    loam_chan(int) c = arg;
    uint64_t seed = loam_goid();
    for (int i = 0; i < times(400); i++) {
        loam_send(c, 1);
        if (i % 50 == 0)
            loam_sleep(draw(&seed, 100000));
        if (i % 70 == 0)
            loam_blocking(short_call, &seed);
        if (i % 90 == 0)
            loam_waitgroup_go(&wg, count, NULL);
    }
}

static void consumer(void *arg)
{
    loam_chan(int) c = arg;
    if (loam_goid() % 3 == 0)
        loam_lock_os_thread();
    for (int v; loam_recv_ok(c, &v);)
        add(&received, v);
}

static void resize_in_call(void *arg)
{
    loam_gomaxprocs(1 + (int)draw(arg, MOST));
}

static void resizer(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    while (!load(&quit)) {
        if (draw(&seed, 3) == 0)
            loam_blocking(resize_in_call, &seed);
        else
            resize_in_call(&seed);
        loam_sleep(draw(&seed, 300000));
    }
}

static void *resizer_thread(void *arg)
{
    uint64_t seed = 77;
    (void)arg;
    while (!load(&quit)) {
        resize_in_call(&seed);
        usleep(draw(&seed, 300));
    }
    add(&threads, -1);
    return NULL;
}

static void everything(void *arg)
{
    enum { PRODUCERS = 8, CONSUMERS = 6 };
    struct loam_waitgroup consumers = {0}, resizers = {0};
    loam_chan(int) c = loam_chan_make(int, 3);
    (void)arg;
    store(&quit, 0);
    store(&received, 0);
    store(&threads, 1);
    pthread_t t = thread_start(resizer_thread, NULL);
    for (uintptr_t i = 1; i <= 2; i++)
        loam_waitgroup_go(&resizers, resizer, (void *)i);
    for (int i = 0; i < CONSUMERS; i++)
        loam_waitgroup_go(&consumers, consumer, c);
    for (int i = 0; i < PRODUCERS; i++)
        loam_waitgroup_go(&wg, producer, c);
    loam_waitgroup_wait(&wg);
    loam_close(c);
    loam_waitgroup_wait(&consumers);
    store(&quit, 1);
    loam_waitgroup_wait(&resizers);
    AWAIT(loam_num_goroutine() == 1 && load(&threads) == 0); /* its stop needs our P */
    CHECK_EQ(received, PRODUCERS * times(400));
    pthread_join(t, NULL);
    loam_chan_free(c);
}

int main(void)
{
    if (seeded())
        SKIP("a seeded run has one P");
    on_goroutine(3, returns, NULL);
    foreign_returns();
    follows();
    queued();
    timers_fire();
    asleep();
    on_goroutine(2, everything, NULL);
    return 0;
}
