/* Stopping the world: from goroutines and from threads of the program, by several at once, with and
 * without a limit. While it is stopped no goroutine runs, whatever it does otherwise, and a blocking
 * call that ends does not come back; nothing that was made runnable meanwhile is forgotten. */
#include "sched/sched_int.h"

#include "schedtest.h"

static struct loam_waitgroup wg;
static int quit, others; /* others: threads of the program at work */
static int64_t ran;      /* grows whenever a busy goroutine runs */

/* ---- Goroutines that are busy in every way -------------------------------------------------------- */

static void busy_yield(void *arg)
{
    (void)arg;
    while (!load(&quit)) {
        add(&ran, 1);
        loam_yield();
    }
}

static void busy_sleep(void *arg)
{
    (void)arg;
    while (!load(&quit)) {
        add(&ran, 1);
        loam_sleep(2000);
    }
}

static void note_run(void *arg)
{
    (void)arg;
    add(&ran, 1);
}

static void busy_go(void *arg)
{
    (void)arg;
    while (!load(&quit)) {
        loam_waitgroup_go(&wg, note_run, NULL);
        loam_yield();
    }
}

static void short_call(void *arg)
{
    (void)arg;
    thread_id();
}

static void busy_calls(void *arg)
{
    (void)arg;
    while (!load(&quit)) {
        loam_blocking(short_call, NULL);
        add(&ran, 1); /* outside of the call */
    }
}

static int64_t stops; /* how often the world was stopped */

static void until_next_stop(void *arg)
{
    int64_t before = load(&stops);
    (void)arg;
    AWAIT_THREAD(load(&stops) != before || load(&quit));
}

/* A stop that begins before one of these calls must not wait for its end. */
static void busy_long_calls(void *arg)
{
    uint64_t seed = 2;
    (void)arg;
    while (!load(&quit)) {
        for (volatile uint32_t k = draw(&seed, 20000); k > 0; k--)
            ;
        add(&ran, 1);
        if (seeded()) /* one thread: nobody would stop it */
            loam_yield();
        else
            loam_blocking(until_next_stop, NULL);
    }
}

static void busy_wired(void *arg)
{
    loam_lock_os_thread();
    busy_yield(arg);
}

static void busy_pong(void *arg)
{
    loam_chan(int) c = arg;
    for (int v; loam_recv_ok(c, &v);)
        add(&ran, 1);
}

static void busy_ping(void *arg)
{
    struct loam_waitgroup pong = {0};
    loam_chan(int) c = loam_chan_make(int, 0);
    (void)arg;
    loam_waitgroup_go(&pong, busy_pong, c);
    while (!load(&quit)) {
        add(&ran, 1);
        loam_send(c, 1);
    }
    loam_close(c);
    loam_waitgroup_wait(&pong);
    loam_chan_free(c);
}

static void start_busy(void)
{
    static void (*const all[])(void *) = {busy_yield, busy_sleep, busy_go,        busy_calls,
                                          busy_wired, busy_ping,  busy_long_calls};
    store(&quit, 0);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        loam_waitgroup_go(&wg, all[i], NULL);
}

static void wait_for(void *group)
{
    loam_waitgroup_wait(group);
}

/* ---- Stops ----------------------------------------------------------------------------------------- */

static int inside; /* who has stopped the world */

static void pass_time(uint32_t us)
{
    for (int64_t end = clock_ns() + us * 1000; clock_ns() < end;)
        sched_yield();
}

/* Stops, looks, starts. */
static void one_stop(uint64_t *seed)
{
    enum stw_result r = STW_STOPPED;
    if (draw(seed, 4) > 0)
        stopTheWorld(STW_GC);
    else
        r = stopTheWorldFor(STW_DUMP, draw(seed, 2) == 0 ? 0 : 1000000);
    if (r == STW_LATE)
        startTheWorld();
    if (r != STW_STOPPED)
        return;
    CHECK_EQ(add(&inside, 1), 1);
    int64_t before = load(&ran);
    struct m *mp = getm();
    for (int i = 0; i < gomaxprocs; i++)
        CHECK_EQ(allp[i]->status, P_gcstop);
    if (draw(seed, 8) == 0)
        pass_time(draw(seed, 300));
    CHECK(getm() == mp);
    CHECK_EQ(load(&ran), before);
    CHECK_EQ(add(&inside, -1), 0);
    startTheWorld();
    add(&stops, 1);
}

static void stop_often(int64_t n, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        one_stop(&seed);
        if (i % 16 == 0) { /* it went on: somebody runs */
            int64_t before = load(&ran);
            if (getg() != NULL)
                AWAIT(load(&ran) != before);
            else
                AWAIT_THREAD(load(&ran) != before);
        }
    }
}

static void stopper(void *arg)
{
    stop_often(times(40), (uint64_t)(uintptr_t)arg);
}

static void *stopper_thread(void *arg)
{
    stopper(arg);
    add(&others, -1);
    return NULL;
}

/* Of each kind so many, all at once. */
static void stoppers(int goroutines, int threads)
{
    CHECK_EQ(loam_start(NULL), 0);
    for (int procs = 1; procs <= 4; procs *= 2) {
        loam_gomaxprocs(procs);
        start_busy();
        struct loam_waitgroup mine = {0};
        pthread_t t[3];
        store(&others, threads);
        for (int i = 0; i < goroutines; i++)
            loam_waitgroup_go(&mine, stopper, (void *)(uintptr_t)(procs * 10 + i));
        for (int i = 0; i < threads; i++)
            t[i] = thread_start(stopper_thread, (void *)(uintptr_t)(procs * 10 + 5 + i));
        AWAIT_THREAD(load(&others) == 0);
        for (int i = 0; i < threads; i++)
            pthread_join(t[i], NULL);
        CHECK_EQ(loam_call(wait_for, &mine), 0);
        store(&quit, 1);
        CHECK_EQ(loam_call(wait_for, &wg), 0);
    }
    CHECK_EQ(loam_stop(-1), 0);
}

/* ---- Blocking calls that end meanwhile -------------------------------------------------------------- */

enum { CALLS = 3 };
static struct g *calling[CALLS];
static int in_call, end_call, back;

static void call_and_come_back(void *arg)
{
    calling[(intptr_t)arg] = getg();
    loam_blocking_enter();
    add(&in_call, 1);
    AWAIT_THREAD(load(&end_call));
    loam_blocking_leave();
    add(&back, 1);
}

static bool all_runnable(void)
{
    for (int i = 0; i < CALLS; i++)
        if (load_acquire(&calling[i]->status) != G_runnable)
            return false;
    return true;
}

/* By whoever stops; the calls were begun. */
static void calls_end_during_stop(void *arg)
{
    (void)arg;
    stopTheWorld(STW_GC);
    CHECK_EQ(load(&in_call), CALLS);
    store(&end_call, 1);
    AWAIT_THREAD(all_runnable()); /* they gave up: queued, no longer in the call */
    CHECK_EQ(load(&back), 0);
    for (int i = 0; i < gomaxprocs; i++)
        CHECK_EQ(allp[i]->status, P_gcstop);
    startTheWorld();
}

static void calls(void)
{
    CHECK_EQ(loam_start(NULL), 0);
    for (int i = 0; i < times(40); i++) {
        loam_gomaxprocs(1 + i % 4);
        store(&in_call, 0);
        store(&end_call, 0);
        store(&back, 0);
        for (intptr_t k = 0; k < CALLS; k++)
            go(call_and_come_back, (void *)k);
        AWAIT_THREAD(load(&in_call) == CALLS);
        if (i / 4 % 2 == 0)
            calls_end_during_stop(NULL);
        else
            CHECK_EQ(loam_call(calls_end_during_stop, NULL), 0);
        AWAIT_THREAD(load(&back) == CALLS);
    }
    CHECK_EQ(loam_stop(-1), 0);
}

#define HOUR (3600 * LOAM_SECOND)
#define MS LOAM_MILLISECOND

/* ---- The limit -------------------------------------------------------------------------------------- */

static int spinning, release_spin, holding, release_stop;

static void spin(void *arg)
{
    (void)arg;
    store(&spinning, 1);
    while (!load(&release_spin)) /* calls nothing of the runtime */
        ;
    store(&spinning, 0);
}

static void *hold_stop(void *arg)
{
    (void)arg;
    stopTheWorld(STW_GC);
    store(&holding, 1);
    AWAIT_THREAD(load(&release_stop));
    startTheWorld();
    return NULL;
}

static void late_on_goroutine(void *arg)
{
    (void)arg;
    CHECK_EQ(stopTheWorldFor(STW_GC, 2 * MS), STW_LATE);
    startTheWorld();
}

static void limits(void)
{
    /* without signals, which would halt them */
    struct loam_config config = {.maxprocs = 3, .debug = "asyncpreemptoff=1"};
    CHECK_EQ(loam_start(&config), 0);
    CHECK_EQ(stopTheWorldFor(STW_GC, HOUR), STW_STOPPED); /* all idle */
    startTheWorld();

    /* One never calls the runtime: late, as often as it is tried. The world goes on, and nobody who was
     * halted meanwhile is forgotten. */
    store(&release_spin, 0);
    go(spin, NULL);
    AWAIT_THREAD(load(&spinning));
    start_busy();
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(stopTheWorldFor(STW_GC, i * MS), STW_LATE);
        startTheWorld();
        int64_t before = load(&ran);
        AWAIT_THREAD(load(&ran) > before + 100);
        CHECK_EQ(loam_call(late_on_goroutine, NULL), 0);
    }
    store(&release_spin, 1);
    AWAIT_THREAD(!load(&spinning));
    CHECK_EQ(stopTheWorldFor(STW_GC, HOUR), STW_STOPPED);
    int64_t before = load(&ran);
    pass_time(300);
    CHECK_EQ(load(&ran), before);
    startTheWorld();

    /* Another stop goes on: a thread of the program gets no turn, and has nothing to give back. */
    for (int i = 0; i < 5; i++) {
        store(&holding, 0);
        store(&release_stop, 0);
        pthread_t t = thread_start(hold_stop, NULL);
        AWAIT_THREAD(load(&holding));
        before = load(&ran);
        CHECK_EQ(stopTheWorldFor(STW_GC, i * MS), STW_NO_TURN);
        CHECK_EQ(load(&ran), before);
        CHECK_EQ(load(&sched.gcwaiting), 1);
        store(&release_stop, 1);
        pthread_join(t, NULL);
        CHECK_EQ(stopTheWorldFor(STW_GC, HOUR), STW_STOPPED);
        startTheWorld();
    }
    store(&quit, 1);
    CHECK_EQ(loam_call(wait_for, &wg), 0);
    CHECK_EQ(loam_stop(-1), 0);
}

/* ---- What becomes runnable during a stop ------------------------------------------------------------ */

static int round_begun;

static void *stop_each_round(void *arg)
{
    uint64_t seed = 3;
    for (int i = 1; i <= *(int *)arg; i++) {
        while (load(&round_begun) < i)
            sched_yield();
        for (volatile uint32_t k = draw(&seed, 1000); k > 0; k--)
            ;
        stopTheWorld(STW_GC);
        startTheWorld();
        store(&holding, i);
    }
    return NULL;
}

/* All else is idle: if whoever wants to wake a thread for a new goroutine meets the stop, the start
 * that follows must see to it. Nothing else would, until the next stop, and that waits for it. */
static void wake_ups(void)
{
    uint64_t seed = 4;
    int rounds = (int)times(2000);
    store(&holding, 0);
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 2}), 0);
    pthread_t t = thread_start(stop_each_round, &rounds);
    for (int i = 1; i <= rounds; i++) {
        store(&ran, 0);
        store(&round_begun, i);
        for (volatile uint32_t k = draw(&seed, 1000); k > 0; k--)
            ;
        go(note_run, NULL);
        while (load(&ran) == 0 || load(&holding) < i)
            sched_yield();
    }
    pthread_join(t, NULL);
    CHECK_EQ(loam_stop(-1), 0);
}

int main(void)
{
    stoppers(1, 0);
    stoppers(0, 1);
    stoppers(2, 2);
    if (!seeded()) { /* one thread: it would wait for a call, or a loop, that waits for this one */
        calls();
        limits();
    }
    wake_ups();
    return 0;
}
