/* Thread pools and the end of the runtime: pools stay, what goroutines left in them goes. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <loam.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static struct loam_pool *pool;

/* A call that goes on until its flag is set, and writes to its caller's stack in the end. */
struct hold {
    int *open;
    char on_stack[4096];
};
static int begun, ended;         /* atomic */
static int first, second, third; /* atomic: flags */

static void set(int *flag, int value)
{
    __atomic_store_n(flag, value, __ATOMIC_SEQ_CST);
}

static int get(int *flag)
{
    return __atomic_load_n(flag, __ATOMIC_SEQ_CST);
}

static void reset(void)
{
    int *all[] = {&begun, &ended, &first, &second, &third};
    for (int i = 0; i < 5; i++)
        set(all[i], 0);
}

static void hold(void *arg)
{
    struct hold *h = arg;
    __atomic_add_fetch(&begun, 1, __ATOMIC_SEQ_CST);
    while (!get(h->open))
        usleep(500);
    memset(h->on_stack, 7, sizeof h->on_stack);
    __atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
}

static struct loam_context *hold_ctx; /* of the calls that goroutines begin next */

static void call_hold(void *arg)
{
    struct hold h = {.open = arg};
    (void)loam_pool_call(pool, hold, &h, hold_ctx);
}

static void *thread_hold(void *arg)
{
    struct hold h = {.open = arg};
    CHECK(loam_pool_call(pool, hold, &h, NULL) == 0);
    return NULL;
}

static pthread_t start_thread(void *(*fn)(void *), void *arg)
{
    pthread_t t;
    CHECK(pthread_create(&t, NULL, fn, arg) == 0);
    return t;
}

static void *open_later(void *arg)
{
    usleep(300000); /* the stop has begun by then, unless the machine is very busy */
    set(arg, 1);
    return NULL;
}

static void *open_first_then_third(void *arg)
{
    (void)open_later(&first);
    return open_later(arg);
}

static void until(int running, int waiting)
{
    struct loam_pool_stats s;
    do {
        usleep(500);
        loam_pool_read_stats(pool, &s);
    } while (s.running != running || s.waiting != waiting);
}

static void free_pool(void *arg)
{
    loam_pool_free(arg);
    abort(); /* the runtime stops before the pool is free */
}

static void round_trip(void *arg)
{
    *(int *)arg = 1;
}

static void do_nothing(void *arg)
{
    (void)arg;
}

static void from_goroutine(void *arg)
{
    int n = 0;
    CHECK(loam_pool_call(arg, round_trip, &n, NULL) == 0 && n == 1);
}

/* Two calls run, a goroutine's and a thread's; a goroutine's, a thread's and a goroutine's wait.
 * Returns whether the stops kept goroutines' calls that waited from beginning: they do unless the ones
 * before them end while the world goes on between two looks. */
static bool one_round(void)
{
    struct loam_config config = {.maxprocs = 2};
    reset();
    CHECK(loam_start(&config) == 0);
    CHECK(loam_call(from_goroutine, pool) == 0);
    struct loam_context *timed = loam_context_with_timeout(NULL, 3600 * LOAM_SECOND);
    loam_go(call_hold, &first);
    until(1, 0);
    pthread_t t0 = start_thread(thread_hold, &second);
    until(2, 0);
    hold_ctx = timed;
    loam_go(call_hold, &third);
    until(2, 1);
    hold_ctx = NULL;
    pthread_t t1 = start_thread(thread_hold, &second);
    until(2, 2);
    loam_go(call_hold, &third);
    until(2, 3);

    /* A running call is waited for, in vain: everything goes on. Meanwhile the threads' calls have
     * ended, also the one behind a goroutine's, which was not begun. */
    pthread_t opener = start_thread(open_later, &second);
    CHECK(loam_stop(LOAM_SECOND) == -EBUSY);
    CHECK(strlen(loam_error_text()) > 0);
    pthread_join(opener, NULL);
    bool kept = get(&ended) == 2;
    CHECK(loam_call(do_nothing, NULL) == 0);
    set(&third, 1);
    pthread_join(t0, NULL);
    pthread_join(t1, NULL);
    until(1, 0);
    CHECK(get(&begun) == 5 && get(&ended) == 4);

    /* Now the last one ends while the runtime waits for it. */
    set(&third, 0);
    t0 = start_thread(thread_hold, &first);
    until(2, 0);
    for (int i = 0; i < 3; i++)
        loam_go(call_hold, &third);
    until(2, 3);
    CHECK(get(&begun) == 6);
    opener = start_thread(open_first_then_third, &third);
    CHECK(loam_stop(-1) == 0);
    pthread_join(opener, NULL);
    pthread_join(t0, NULL);
    until(0, 0);
    CHECK(get(&begun) == get(&ended));
    int n = 0;
    CHECK(loam_pool_call(pool, round_trip, &n, NULL) == 0 && n == 1);
    loam_context_free(timed);
    return kept && get(&begun) == 6;
}

static void make_pool(void *arg)
{
    (void)arg;
    set(&begun, 1);
    while (!get(&first))
        usleep(500);
    struct loam_pool *other;
    CHECK(loam_pool_new(&other, NULL) == 0);
    loam_pool_free(other);
    set(&ended, 1);
}

static void call_make_pool(void *arg)
{
    (void)loam_pool_call(pool, make_pool, arg, NULL);
}

/* What is waited for may itself make and free pools. */
static void pool_by_call(void)
{
    struct loam_config config = {.maxprocs = 2};
    reset();
    CHECK(loam_start(&config) == 0);
    loam_go(call_make_pool, NULL);
    while (!get(&begun))
        usleep(500);
    pthread_t opener = start_thread(open_later, &first);
    CHECK(loam_stop(INT64_MAX) == 0);
    CHECK(get(&ended) == 1);
    pthread_join(opener, NULL);
}

static loam_chan(int) late;

static void send_late(void *arg)
{
    (void)arg;
    loam_sleep(30 * LOAM_MILLISECOND);
    loam_send(late, 1);
}

static void receive_late(void *arg)
{
    (void)arg;
    CHECK(loam_recv(late) == 1);
}

/* On a thread of the pool: waits for a goroutine, and stops the world. */
static void wait_for_goroutine(void *arg)
{
    set(&begun, 1);
    CHECK(loam_call(receive_late, arg) == 0);
    (void)loam_gomaxprocs(1);
    set(&ended, 1);
}

static void call_wait_for_goroutine(void *arg)
{
    (void)loam_pool_call(pool, wait_for_goroutine, arg, NULL);
}

/* What is waited for may itself wait for goroutines: they go on between two looks. */
static void waits_for_goroutine(void)
{
    struct loam_config config = {.maxprocs = 2};
    reset();
    late = loam_chan_make(int, 0);
    CHECK(loam_start(&config) == 0);
    loam_go(call_wait_for_goroutine, NULL);
    while (!get(&begun))
        usleep(500);
    loam_go(send_late, NULL);
    CHECK(loam_stop(-1) == 0);
    CHECK(get(&ended) == 1);
    loam_chan_free(late);
}

/* A goroutine that frees the pool is abandoned: then somebody else may. */
static void abandoned_free(void)
{
    struct loam_config config = {.maxprocs = 2};
    reset();
    CHECK(loam_start(&config) == 0);
    pthread_t t = start_thread(thread_hold, &second);
    until(1, 0);
    for (int i = 0; i < 2; i++) {
        loam_go(call_hold, &first);
        until(2, i);
    }
    loam_go(free_pool, pool);
    until(2, 0);
    pthread_t opener = start_thread(open_later, &first);
    CHECK(loam_stop(-1) == 0);
    pthread_join(opener, NULL);
    CHECK(get(&begun) == get(&ended) + 1);
    set(&second, 1); /* its caller leaves, and nobody is there to be told */
    pthread_join(t, NULL);
    int n = 0;
    CHECK(loam_pool_call(pool, round_trip, &n, NULL) == -ESHUTDOWN);
    loam_pool_free(pool);
}

static void *cancel_later(void *arg)
{
    usleep(20000);
    loam_context_cancel(arg, 0);
    return NULL;
}

static void nobody(void *arg)
{
    (void)arg;
    abort();
}

/* Both threads are busy while fn runs. */
static void while_busy(void (*fn)(void))
{
    pthread_t t[2];
    reset();
    for (int i = 0; i < 2; i++) {
        t[i] = start_thread(thread_hold, &first);
        until(i + 1, 0);
    }
    fn();
    set(&first, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
}

static void without_runtime(void)
{
    struct loam_context *plain = loam_context_with_cancel(NULL);
    pthread_t t = start_thread(cancel_later, plain);
    CHECK(loam_pool_call(pool, nobody, NULL, plain) == -ECANCELED);
    pthread_join(t, NULL);
    CHECK(loam_pool_try_call(pool, nobody, NULL, plain) == -ECANCELED);
    loam_context_free(plain);
}

/* A thread's deadline is its own affair when the runtime, with its timers, has gone. */
static void deadline_outlives(void)
{
    struct loam_config config = {.maxprocs = 2};
    CHECK(loam_start(&config) == 0);
    struct loam_context *timed = loam_context_with_timeout(NULL, 50 * LOAM_MILLISECOND);
    CHECK(loam_stop(LOAM_SECOND) == 0);
    CHECK(loam_pool_call(pool, nobody, NULL, timed) == -ETIMEDOUT);
    CHECK(loam_context_err(timed) == -ETIMEDOUT);
    loam_context_free(timed);
}

int main(void)
{
    struct loam_pool_config c = {.threads = 2, .name = "held"};
    CHECK(loam_pool_new(&pool, &c) == 0);
    while_busy(without_runtime);
    int kept = one_round();
    for (int i = 1; i < 2 || (kept == 0 && i < 20); i++)
        kept += one_round(); /* the same pool under the next runtime */
    CHECK(kept > 0);
    while_busy(deadline_outlives);
    pool_by_call();
    waits_for_goroutine();
    abandoned_free();
    return 0;
}
