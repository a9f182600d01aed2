/* Timers that fire once: what stop and reset return and leave behind in every state, what arrives and
 * when, functions, limits, foreign threads. */
#include "timetest.h"

#include <errno.h>
#include <malloc.h>
#include <sys/resource.h>

enum { SHORT = 200000 /* ns until a timer that shall fire */ };
#define LONG (INT64_C(3600) * LOAM_SECOND)

/* ---- Stop and reset, from each state ----------------------------------------------------------- */

enum state { PENDING, SENT, RECEIVED, STOPPED, STATES };
static const char *const state_names[] = {"pending", "sent", "received", "stopped"};

static struct loam_timer *timer_in(enum state state)
{
    struct loam_timer *t = loam_timer_new(state == PENDING || state == STOPPED ? LONG : SHORT);
    CHECK(t != NULL);
    if (state == SENT)
        while (loam_len(loam_timer_chan(t)) == 0)
            loam_sleep(SHORT);
    if (state == RECEIVED)
        (void)loam_recv(loam_timer_chan(t));
    if (state == STOPPED)
        CHECK(loam_timer_stop(t));
    return t;
}

static void stop_in_each_state(void)
{
    for (enum state s = 0; s < STATES; s++) {
        snprintf(where, sizeof where, "stop of a timer %s", state_names[s]);
        struct loam_timer *t = timer_in(s);
        CHECK_EQ(loam_timer_stop(t), s == PENDING || s == SENT);
        CHECK_EQ(loam_timer_stop(t), false);
        CHECK(!loam_try_recv(loam_timer_chan(t), NULL));
        loam_timer_free(t);
    }
}

static void reset_in_each_state(void)
{
    for (enum state s = 0; s < STATES; s++) {
        snprintf(where, sizeof where, "reset of a timer %s", state_names[s]);
        struct loam_timer *t = timer_in(s);
        int64_t begin = loam_now();
        CHECK_EQ(loam_timer_reset(t, 5 * SHORT), s == PENDING || s == SENT);
        int64_t sent = loam_recv(loam_timer_chan(t)); /* not that of before */
        CHECK(sent >= begin + 5 * SHORT);
        CHECK(sent <= loam_now());
        CHECK_EQ(loam_timer_stop(t), false);
        loam_timer_free(t);
    }
}

static void reset_again_and_again(void)
{
    struct loam_timer *t = loam_timer_new(LONG);
    for (int i = 0; i < 1000; i++) /* back and forth */
        CHECK(loam_timer_reset(t, LONG + (i * 7919 % 1000) * LOAM_SECOND));
    CHECK(loam_timer_reset(t, SHORT));
    (void)loam_recv(loam_timer_chan(t));
    CHECK(!loam_try_recv(loam_timer_chan(t), NULL));
    loam_timer_free(t);
}

/* Free of a timer in each state, and of none. */
static void free_in_each_state(void)
{
    loam_timer_free(NULL);
    loam_ticker_free(NULL);
    for (enum state s = 0; s < STATES; s++)
        loam_timer_free(timer_in(s));
}

/* A timer made after one was freed begins anew, though it may have the other's memory. */
static void made_of_a_freed_one(void)
{
    for (enum state s = 0; s < STATES; s++) {
        snprintf(where, sizeof where, "made after one %s was freed", state_names[s]);
        loam_timer_free(timer_in(s));
        struct loam_timer *t = loam_timer_new(LONG);
        CHECK(!loam_try_recv(loam_timer_chan(t), NULL));
        CHECK(loam_timer_stop(t));
        loam_timer_free(t);
        t = loam_timer_new(SHORT);
        (void)loam_recv(loam_timer_chan(t));
        loam_timer_free(t);
    }
}

/* Fired ones too are given back, by whoever is the last to know them. */
static void no_leak(void)
{
    size_t before = 0;
    for (int i = 0; i < 1100; i++) {
        if (i == 100)
            before = mallinfo2().uordblks;
        loam_timer_free(timer_in(i % 2 ? SENT : RECEIVED));
    }
    CHECK(mallinfo2().uordblks <= before + 32768); /* one word each, and a bit */
}

/* ---- When ---------------------------------------------------------------------------------------- */

static void sleeps_long_enough(void)
{
    static const int64_t ns[] = {1, 1000, 50 * LOAM_MICROSECOND, LOAM_MILLISECOND};
    for (size_t i = 0; i < sizeof ns / sizeof ns[0]; i++) {
        int64_t begin = loam_now();
        loam_sleep(ns[i]);
        CHECK(loam_now() - begin >= ns[i]);
    }
    loam_sleep(0);
    loam_sleep(-1);
    loam_sleep(INT64_MIN);
}

/* At once, also when the time is long past. */
static void no_time(void)
{
    static const int64_t ns[] = {0, -1, INT64_MIN, INT64_MIN + 1};
    for (size_t i = 0; i < sizeof ns / sizeof ns[0]; i++) {
        struct loam_timer *t = loam_timer_new(ns[i]);
        (void)loam_recv(loam_timer_chan(t));
        CHECK(!loam_timer_reset(t, ns[i]));
        (void)loam_recv(loam_timer_chan(t));
        loam_timer_free(t);
    }
}

static void dies(void *arg)
{
    (void)arg;
    CHECK(!"a timer set to never fired");
}

static void sleeps_for_ever(void *arg)
{
    (void)arg;
    loam_sleep(INT64_MAX);
    CHECK(!"slept for INT64_MAX ns");
}

static void never(void)
{
    struct loam_timer *t = loam_timer_new(INT64_MAX);
    struct loam_timer *u = loam_timer_new(INT64_MAX - loam_now());
    struct loam_timer *f = loam_after_func(INT64_MAX, dies, NULL);
    start(sleeps_for_ever, NULL);
    loam_sleep(2 * LOAM_MILLISECOND);
    CHECK_EQ(loam_len(loam_timer_chan(t)), 0);
    CHECK(loam_timer_reset(t, INT64_MAX - 1));
    CHECK(loam_timer_stop(t));
    CHECK(loam_timer_stop(u));
    CHECK(loam_timer_stop(f));
    CHECK(!loam_timer_stop(f));
    CHECK(!loam_timer_reset(t, SHORT)); /* and back to something */
    (void)loam_recv(loam_timer_chan(t));
    loam_timer_free(t);
    loam_timer_free(u);
    loam_timer_free(f);
}

enum { SLEEPERS = 50 };
static int order[SLEEPERS], woken, ended;

static void sleeper(void *arg)
{
    int i = (int)(intptr_t)arg;
    loam_sleep((i * 37 % SLEEPERS + 1) * LOAM_MILLISECOND / 4);
    order[i * 37 % SLEEPERS] = add(&woken, 1);
    add(&ended, 1);
}

/* Each at its time. In real time on a busy machine only about. */
static void in_their_order(void)
{
    woken = ended = 0;
    for (int i = 0; i < SLEEPERS; i++)
        start(sleeper, (void *)(intptr_t)i);
    while (get(&ended) < SLEEPERS)
        loam_sleep(LOAM_MILLISECOND);
    if (seeded())
        for (int i = 0; i < SLEEPERS; i++)
            CHECK_EQ(order[i], i + 1);
}

static void selected(void)
{
    struct loam_timer *a = loam_timer_new(SHORT), *b = loam_timer_new(LONG);
    int64_t v = 0, begin = loam_now();
    CHECK_EQ(
        loam_select(loam_on_recv(loam_timer_chan(b), NULL), loam_on_recv(loam_timer_chan(a), &v)),
        1);
    CHECK(v + SHORT >= begin && v <= loam_now());
    CHECK(loam_timer_stop(b));
    loam_timer_free(a);
    loam_timer_free(b);
}

/* ---- Functions ------------------------------------------------------------------------------------- */

static int runs;
static uint64_t runner;
static struct loam_timer *self;

static void count_run(void *arg)
{
    put(&runner, loam_goid());
    loam_sleep(1); /* it is a goroutine of its own */
    add((int *)arg, 1);
}

static void wait_runs(int n)
{
    while (get(&runs) < n)
        loam_sleep(SHORT);
}

static void functions(void)
{
    runs = 0;
    struct loam_timer *t = loam_after_func(SHORT, count_run, &runs);
    CHECK(loam_timer_chan(t) == NULL);
    wait_runs(1);
    CHECK(get(&runner) != loam_goid() && get(&runner) != 0);
    CHECK(!loam_timer_stop(t));
    CHECK(!loam_timer_reset(t, SHORT));
    wait_runs(2);
    CHECK(!loam_timer_reset(t, LONG));
    CHECK(loam_timer_stop(t));
    CHECK(!loam_timer_stop(t));
    loam_sleep(5 * SHORT);
    CHECK_EQ(get(&runs), 2);
    loam_timer_free(t);
}

static void frees_itself(void *arg)
{
    loam_timer_free(self);
    add((int *)arg, 1);
}

static void resets_itself(void *arg)
{
    if (add((int *)arg, 1) < 5)
        CHECK(!loam_timer_reset(self, 1000));
}

static void functions_on_their_own_timer(void)
{
    struct loam_mutex made = {0};
    runs = 0;
    loam_mutex_lock(&made);
    self = loam_after_func(LONG, frees_itself, &runs);
    loam_timer_reset(self, 0);
    wait_runs(1);
    runs = 0;
    self = loam_after_func(LONG, resets_itself, &runs);
    loam_timer_reset(self, 0);
    wait_runs(5);
    loam_timer_free(self);
}

static loam_chan(int) gate;

static void hold_a_stack(void *arg)
{
    (void)arg;
    (void)loam_recv(gate);
    int64_t begin = loam_now();
    loam_sleep(3 * LOAM_MILLISECOND);
    CHECK(loam_now() >= begin + 3 * LOAM_MILLISECOND);
    add(&ended, 1);
}

static void limit_memory(struct rlimit *former)
{
    CHECK_EQ(getrlimit(RLIMIT_AS, former), 0);
    struct rlimit tight = *former;
    tight.rlim_cur = 1 << 20; /* what is there stays, nothing comes to it */
    CHECK_EQ(setrlimit(RLIMIT_AS, &tight), 0);
}

/* While no goroutine is to be had the function waits; it can still be stopped. And more goroutines
 * sleep than the heap has room for. */
static void no_memory(void)
{
    /* sanitizers need address space; in virtual time retries are endless; with more Ps the scheduler
     * may want a thread */
    if (SANITIZED || seeded() || loam_gomaxprocs(0) > 1)
        return;
    runs = ended = 0;
    gate = loam_chan_make(int, 0);
    struct loam_timer *t = loam_after_func(LONG, count_run, &runs);
    struct loam_timer *u = loam_after_func(LONG, count_run, &runs);
    struct rlimit former;
    limit_memory(&former);
    int holders = 0, err;
    while ((err = loam_go(hold_a_stack, NULL)) == 0)
        holders++;
    CHECK_EQ(err, -ENOMEM);
    loam_timer_reset(t, SHORT);
    loam_timer_reset(u, SHORT);
    loam_sleep(5 * LOAM_MILLISECOND);
    CHECK_EQ(get(&runs), 0);
    CHECK(loam_timer_stop(u));
    CHECK_EQ(setrlimit(RLIMIT_AS, &former), 0);
    wait_runs(1);
    CHECK(!loam_timer_stop(t));
    limit_memory(&former);
    loam_close(gate);
    while (get(&ended) < holders)
        loam_sleep(SHORT);
    CHECK_EQ(setrlimit(RLIMIT_AS, &former), 0);
    CHECK_EQ(get(&runs), 1);
    loam_timer_free(t);
    loam_timer_free(u);
    loam_chan_free(gate);
}

/* ---- Threads that run no goroutine ------------------------------------------------------------------- */

static void *on_thread(void *arg)
{
    int64_t begin = loam_now();
    loam_sleep(LOAM_MILLISECOND);
    CHECK(loam_now() - begin >= LOAM_MILLISECOND);
    struct loam_timer *t = loam_timer_new(LONG);
    CHECK(loam_timer_stop(t));
    CHECK(!loam_timer_reset(t, LONG));
    CHECK(loam_timer_reset(t, 0));
    int64_t v;
    while (!loam_try_recv(loam_timer_chan(t), &v))
        loam_sleep(SHORT);
    loam_timer_free(t);
    loam_timer_free(loam_after_func(0, count_run, arg));
    loam_ticker_free(loam_ticker_new(LOAM_SECOND));
    /* whose P is not ours */
    CHECK(loam_timer_stop(self));
    CHECK(!loam_timer_reset(self, 0));
    put((int *)arg, 100);
    return NULL;
}

static void foreign_thread(void)
{
    if (seeded())
        return; /* virtual time jumps to the next timer while the thread has its turn */
    runs = 0;
    self = loam_timer_new(LONG);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, on_thread, &runs), 0);
    (void)loam_recv(loam_timer_chan(self)); /* no deadlock: the thread may still come */
    while (get(&runs) < 100)
        loam_sleep(SHORT);
    pthread_join(thread, NULL);
    loam_timer_free(self);
}

static void in_a_call(void *arg)
{
    int64_t begin = loam_now();
    loam_sleep(LOAM_MILLISECOND);
    CHECK(loam_now() - begin >= (seeded() ? 0 : LOAM_MILLISECOND));
    loam_timer_reset(arg, 0);
    loam_timer_free(loam_timer_new(LONG));
}

static void blocking_call(void)
{
    struct loam_timer *t = loam_timer_new(LONG);
    loam_blocking(in_a_call, t);
    (void)loam_recv(loam_timer_chan(t));
    loam_timer_free(t);
}

/* clang-format off */
static const struct test tests[] = {
    {"stop", stop_in_each_state},
    {"reset", reset_in_each_state},
    {"reset again and again", reset_again_and_again},
    {"free", free_in_each_state},
    {"made of a freed one", made_of_a_freed_one},
    {"no leak", no_leak},
    {"sleep", sleeps_long_enough},
    {"no time", no_time},
    {"never", never},
    {"order", in_their_order},
    {"select", selected},
    {"functions", functions},
    {"functions on their own timer", functions_on_their_own_timer},
    {"no memory", no_memory},
    {"foreign thread", foreign_thread},
    {"blocking call", blocking_call},
    {NULL, NULL},
};
/* clang-format on */

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return run_tests(tests);
}

int main(int argc, char **argv)
{
    /* before the runtime is started there is no heap to be in */
    CHECK(loam_timer_new(1) == NULL);
    CHECK(loam_after_func(1, dies, NULL) == NULL);
    CHECK(loam_ticker_new(1) == NULL);
    loam_sleep(1);
    return loam_run(run, argc, argv);
}
