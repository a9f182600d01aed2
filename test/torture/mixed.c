/* One program that uses everything at once, with a result that does not depend on who comes first.
 *
 * Numbers 1..n are made by several sources, travel in messages from an object pool over channels to
 * workers, which select between them, and change value on their way in every manner that the library
 * has: in a blocking call, on a thread of a pool, on a wired goroutine, in a goroutine of a group, by
 * a timer's function. A keeper sums up what comes out. Meanwhile contexts end, goroutines are
 * started and end, and the number of processors changes.
 *
 * Checked: every number arrives exactly once, changed exactly as it should be; the sum is what is
 * computed without goroutines; nothing is lost in the pools; no goroutine is left. In a torture build
 * queues hold four goroutines, choices are random and every operation may yield: there this runs
 * with many seeds, and on real threads many times. */
#include "../stress/sched/stress.h"

enum { SOURCES = 3, WORKERS = 5, NUMBERS = 4000, WIDTH = 4, KEYS = 16, PROCS = 4 };

struct message {
    int64_t number;
    uint64_t value;
    int hops;
    uint64_t guard; /* of the number: that nobody else has taken the same object */
};

enum { GUARD = 0x5eed };

/* What each number becomes. */
static uint64_t change(uint64_t v, int hop)
{
    v ^= (uint64_t)hop + 1;
    v *= 0xff51afd7ed558ccdu;
    return v ^ v >> 29;
}

enum { HOPS = 8 };

static uint64_t expected(int64_t number)
{
    uint64_t v = (uint64_t)number;
    for (int hop = 0; hop < HOPS; hop++)
        v = change(v, hop);
    return v;
}

static struct {
    int64_t n;
    loam_chan(struct message *) in[WIDTH];
    loam_chan(struct message *) out;
    loam_chan(struct message *) wired, unwired;
    struct loam_objpool *messages;
    int64_t messages_made, messages_dropped; /* atomic */
    struct loam_pool *threads;
    struct loam_semaphore permits;
    int64_t permitted; /* atomic: how many hold one */
    struct loam_rwmutex table_lock;
    uint64_t table[KEYS]; /* table_lock; all slots are always equal */
    struct loam_once once;
    int once_ran;
    struct loam_context *ctx;
    struct loam_waitgroup sources, workers, carrier, others;
    int stop;          /* atomic: for those that disturb */
    uint8_t *arrived;  /* the keeper */
    uint64_t sum;      /* the keeper */
    int64_t n_arrived; /* the keeper */
} all;

/* ---- Hops ------------------------------------------------------------------------------------------- */

static void hop(struct message *m, int number)
{
    CHECK_EQ(m->guard, (uint64_t)m->number ^ GUARD);
    CHECK_EQ(m->hops, number);
    m->value = change(m->value, number);
    m->hops++;
}

static void hop_in_call(void *arg)
{
    struct message *m = arg;
    hop(m, 0);
    if (m->number % 32 == 0 && !seeded())
        usleep(100);
    errno = (int)(m->number % 100);
}

static void hop_in_pool(void *arg)
{
    struct message *m = arg;
    hop(m, 1);
    errno = (int)(m->number % 99);
}

static int hop_in_group(struct loam_context *ctx, void *arg)
{
    CHECK_EQ(loam_context_err(ctx), 0);
    CHECK(loam_context_value(ctx, &all) == &all.sum);
    loam_yield();
    hop(arg, 2);
    return 0;
}

struct timed {
    struct message *m;
    loam_chan(char) told;
};

static void hop_by_timer(void *arg)
{
    struct timed *t = arg;
    hop(t->m, 3);
    loam_close(t->told);
}

static void make_table(void *arg)
{
    (void)arg;
    loam_yield();
    all.once_ran++;
}

static void hop_under_lock(struct message *m)
{
    loam_once_do(&all.once, make_table, NULL);
    CHECK_EQ(all.once_ran, 1);
    if (m->number % 4 == 0) {
        loam_rwmutex_lock(&all.table_lock);
        for (int i = 0; i < KEYS; i++) {
            all.table[i]++;
            if (i == KEYS / 2)
                loam_yield();
        }
        loam_rwmutex_unlock(&all.table_lock);
    } else {
        loam_rwmutex_rlock(&all.table_lock);
        uint64_t first = all.table[0];
        loam_yield();
        for (int i = 1; i < KEYS; i++)
            CHECK_EQ(all.table[i], first);
        loam_rwmutex_runlock(&all.table_lock);
    }
    hop(m, 4);
}

static void hop_with_permit(struct message *m)
{
    int64_t units = 1 + m->number % 2;
    CHECK_EQ(loam_semaphore_acquire(&all.permits, units, all.ctx), 0);
    CHECK(add(&all.permitted, units) <= 2);
    loam_yield();
    add(&all.permitted, -units);
    hop(m, 5);
    loam_semaphore_release(&all.permits, units);
}

/* A context that ends while something waits for it, now by its time and now by cancelling. */
static void hop_with_context(struct message *m)
{
    struct loam_context *ctx = loam_context_with_timeout(all.ctx, m->number % 64 * 1000);
    CHECK(ctx != NULL);
    if (m->number % 3 == 0)
        loam_context_cancel(ctx, -EPIPE);
    char dropped;
    CHECK(!loam_recv_ok(loam_context_done(ctx), &dropped));
    int cause = loam_context_cause(ctx);
    CHECK(cause == -ETIMEDOUT || (m->number % 3 == 0 && cause == -EPIPE));
    CHECK_EQ(loam_context_sleep(ctx, LOAM_SECOND), loam_context_err(ctx));
    loam_context_free(ctx);
    CHECK_EQ(loam_context_err(all.ctx), 0);
    hop(m, 6);
}

static void hop_wired(void *arg)
{
    (void)arg;
    loam_lock_os_thread();
    pthread_t self = pthread_self();
    for (struct message *m; loam_recv_ok(all.wired, &m);) {
        CHECK(pthread_equal(pthread_self(), self));
        hop(m, 7);
        loam_send(all.unwired, m);
    }
    loam_waitgroup_done(&all.carrier); /* its thread ends with it */
}

/* ---- The way of a number ------------------------------------------------------------------------------ */

static void *message_make(void *arg)
{
    (void)arg;
    struct message *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    add(&all.messages_made, 1);
    return m;
}

static void message_drop(void *obj, void *arg)
{
    (void)arg;
    free(obj);
    add(&all.messages_dropped, 1);
}

static void source(void *arg)
{
    int64_t first = 1 + (int64_t)(uintptr_t)arg;
    for (int64_t i = first; i <= all.n; i += SOURCES) {
        struct message *m = loam_objpool_get(all.messages);
        *m = (struct message){i, (uint64_t)i, 0, (uint64_t)i ^ GUARD};
        struct message *to_one = m;
        int which = loam_select(loam_on_send(all.in[0], &to_one), loam_on_send(all.in[1], &to_one),
                                loam_on_send(all.in[2], &to_one), loam_on_send(all.in[3], &to_one));
        CHECK(which >= 0 && which < WIDTH);
    }
    loam_waitgroup_done(&all.sources);
}

static void process(struct message *m)
{
    loam_blocking(hop_in_call, m);
    CHECK_EQ(errno, m->number % 100);
    CHECK_EQ(loam_pool_call(all.threads, hop_in_pool, m, m->number % 2 == 0 ? all.ctx : NULL), 0);
    CHECK_EQ(errno, m->number % 99);

    struct loam_group *group = loam_group_new(all.ctx);
    CHECK(group != NULL);
    CHECK_EQ(loam_group_go(group, hop_in_group, m), 0);
    CHECK_EQ(loam_group_wait(group), 0);
    loam_group_free(group);

    struct timed timed = {m, loam_chan_make(char, 0)};
    struct loam_timer *t = loam_after_func(m->number % 128 * 500, hop_by_timer, &timed);
    CHECK(t != NULL);
    CHECK(!loam_recv_ok(timed.told, NULL));
    CHECK(!loam_timer_stop(t));
    loam_timer_free(t);
    loam_chan_free(timed.told);

    hop_under_lock(m);
    hop_with_permit(m);
    hop_with_context(m);
    loam_send(all.wired, m);
}

/* The channels close one after the other; a closed one is no case any more. */
static void worker(void *arg)
{
    (void)arg;
    struct message *m;
    bool ok;
    struct loam_case cases[WIDTH];
    for (int i = 0; i < WIDTH; i++)
        cases[i] = loam_on_recv_ok(all.in[i], &m, &ok);
    for (int open = WIDTH; open > 0;) {
        int which = loam_select_n(cases, WIDTH, 0);
        CHECK(which >= 0 && which < WIDTH);
        if (ok) {
            process(m);
        } else {
            cases[which].chan = NULL;
            open--;
        }
    }
    loam_waitgroup_done(&all.workers);
}

/* From the wired goroutine to the keeper, by a select with a time-out. */
static void bring(void *arg)
{
    (void)arg;
    struct loam_timer *patience = loam_timer_new(LOAM_SECOND);
    CHECK(patience != NULL);
    for (bool ok = true; ok;) {
        struct message *m;
        loam_timer_reset(patience, 30 * LOAM_MICROSECOND);
        switch (loam_select(loam_on_recv_ok(all.unwired, &m, &ok),
                            loam_on_recv(loam_timer_chan(patience), NULL))) {
        case 0:
            if (ok)
                loam_send(all.out, m);
            break;
        default:
            break;
        }
    }
    loam_timer_free(patience);
    loam_close(all.out);
    loam_waitgroup_done(&all.others);
}

static void keep(void *arg)
{
    (void)arg;
    for (struct message *m; loam_recv_ok(all.out, &m);) {
        CHECK(m->number >= 1 && m->number <= all.n);
        CHECK_EQ(m->hops, HOPS);
        CHECK_EQ(m->guard, (uint64_t)m->number ^ GUARD);
        CHECK_EQ(m->value, expected(m->number));
        CHECK_EQ(all.arrived[m->number]++, 0);
        all.sum += m->value;
        all.n_arrived++;
        m->guard = 0;
        loam_objpool_put(all.messages, m);
    }
    loam_waitgroup_done(&all.others);
}

/* ---- Disturbances ----------------------------------------------------------------------------------------- */

static void resize(void *arg)
{
    (void)arg;
    uint64_t r = 7;
    while (!load(&all.stop)) {
        loam_gomaxprocs(1 + (int)(draw(&r) % PROCS));
        loam_sleep(draw(&r) % 400 * LOAM_MICROSECOND);
    }
    loam_waitgroup_done(&all.others);
}

static void end_at_once(void *arg)
{
    if (arg != NULL)
        loam_goexit();
}

static void crowd(void *arg)
{
    (void)arg;
    struct loam_ticker *t = loam_ticker_new(150 * LOAM_MICROSECOND);
    CHECK(t != NULL);
    while (!load(&all.stop)) {
        (void)loam_recv(loam_ticker_chan(t));
        for (int i = 0; i < 10; i++)
            go(end_at_once, i % 2 == 0 ? NULL : &all);
    }
    loam_ticker_free(t);
    loam_waitgroup_done(&all.others);
}

/* ---- All of it ---------------------------------------------------------------------------------------------- */

static void begin(int64_t n)
{
    memset(&all, 0, sizeof all);
    all.n = n;
    for (int i = 0; i < WIDTH; i++)
        all.in[i] = loam_chan_make(struct message *, i);
    all.out = loam_chan_make(struct message *, 3);
    all.wired = loam_chan_make(struct message *, 0);
    all.unwired = loam_chan_make(struct message *, 1);
    all.messages = loam_objpool_new(message_make, message_drop, NULL);
    all.arrived = calloc((size_t)n + 1, 1);
    CHECK(all.messages != NULL && all.arrived != NULL);
    CHECK_EQ(loam_semaphore_init(&all.permits, 2), 0);
    struct loam_pool_config config = {.name = "mixed", .threads = 2, .queue = 2};
    CHECK_EQ(loam_pool_new(&all.threads, &config), 0);
    all.ctx = loam_context_with_value(NULL, &all, &all.sum);
    CHECK(all.ctx != NULL);
}

static void end(void)
{
    loam_context_free(all.ctx);
    loam_pool_free(all.threads);
    loam_objpool_free(all.messages);
    CHECK_EQ(all.messages_made, all.messages_dropped);
    for (int i = 0; i < WIDTH; i++)
        loam_chan_free(all.in[i]);
    loam_chan_free(all.out);
    loam_chan_free(all.wired);
    loam_chan_free(all.unwired);
    free(all.arrived);
}

static int run(int argc, char **argv)
{
    begin(argc > 1 ? atoi(argv[1]) : times(NUMBERS));
    loam_waitgroup_add(&all.sources, SOURCES);
    loam_waitgroup_add(&all.workers, WORKERS);
    loam_waitgroup_add(&all.others, 4);
    loam_waitgroup_add(&all.carrier, 1);
    go(resize, NULL);
    go(crowd, NULL);
    go(keep, NULL);
    go(bring, NULL);
    go(hop_wired, NULL);
    for (int i = 0; i < WORKERS; i++)
        go(worker, NULL);
    for (int i = 0; i < SOURCES; i++)
        go(source, (void *)(uintptr_t)i);
    loam_waitgroup_wait(&all.sources);
    for (int i = 0; i < WIDTH; i++) {
        loam_close(all.in[i]);
        loam_yield();
    }
    loam_waitgroup_wait(&all.workers);
    store(&all.stop, 1);
    loam_close(all.wired);
    loam_waitgroup_wait(&all.carrier);
    loam_close(all.unwired);
    loam_waitgroup_wait(&all.others);
    CHECK_EQ(all.n_arrived, all.n);
    uint64_t want = 0;
    for (int64_t i = 1; i <= all.n; i++)
        want += expected(i);
    CHECK_EQ(all.sum, want);
    CHECK_EQ(all.table[0], all.n / 4);
    end();
    all_have_ended(1, -1);
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
