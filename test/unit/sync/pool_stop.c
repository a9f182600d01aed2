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
static int begun, opened, ended;

static void reset(void)
{
    begun = ended = 0;
    __atomic_store_n(&opened, 0, __ATOMIC_SEQ_CST);
}

static void *on_stack(void *arg, size_t size)
{
    return memset(arg, 7, size);
}

/* Writes to its caller's stack when it is told to end. */
static void hold(void *arg)
{
    __atomic_add_fetch(&begun, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&opened, __ATOMIC_SEQ_CST))
        usleep(500);
    if (arg != NULL)
        on_stack(arg, 4096);
    __atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
}

static void call_hold(void *arg)
{
    char buf[4096];
    (void)loam_pool_call(pool, hold, buf, arg);
}

static void *thread_hold(void *arg)
{
    CHECK(loam_pool_call(pool, hold, NULL, arg) == 0);
    return NULL;
}

static void *open_later(void *arg)
{
    usleep(30000);
    __atomic_store_n(&opened, 1, __ATOMIC_SEQ_CST);
    return arg;
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

/* Two calls run, a goroutine's and a thread's; a goroutine's, a thread's and a goroutine's wait. */
static void one_round(void)
{
    struct loam_config config = {.maxprocs = 2};
    reset();
    CHECK(loam_start(&config) == 0);
    CHECK(loam_call(from_goroutine, pool) == 0);
    struct loam_context *timed = loam_context_with_timeout(NULL, 3600 * LOAM_SECOND);
    struct loam_context *plain = loam_context_with_cancel(NULL);
    pthread_t t[2], opener;
    loam_go(call_hold, NULL);
    until(1, 0);
    CHECK(pthread_create(&t[0], NULL, thread_hold, plain) == 0);
    until(2, 0);
    loam_go(call_hold, timed);
    until(2, 1);
    CHECK(pthread_create(&t[1], NULL, thread_hold, NULL) == 0);
    until(2, 2);
    loam_go(call_hold, NULL);
    until(2, 3);
    /* a running call is waited for, in vain: everything goes on */
    CHECK(loam_stop(20 * LOAM_MILLISECOND) == -EBUSY);
    CHECK(strlen(loam_error_text()) > 0);
    until(2, 3);
    CHECK(loam_call(do_nothing, NULL) == 0);
    /* now it ends while the runtime waits */
    CHECK(pthread_create(&opener, NULL, open_later, NULL) == 0);
    CHECK(loam_stop(10 * LOAM_SECOND) == 0);
    pthread_join(opener, NULL);
    pthread_join(t[1], NULL); /* it waited, and had its turn without the runtime */
    pthread_join(t[0], NULL);
    until(0, 0);
    CHECK(begun == ended && begun >= 3);
    int n = 0;
    CHECK(loam_pool_call(pool, round_trip, &n, plain) == 0 && n == 1);
    loam_context_free(timed);
    loam_context_free(plain);
}

/* A goroutine that frees the pool is abandoned: then somebody else may. */
static void abandoned_free(void)
{
    struct loam_config config = {.maxprocs = 2};
    reset();
    CHECK(loam_start(&config) == 0);
    for (int i = 0; i < 3; i++)
        loam_go(call_hold, NULL);
    until(2, 1);
    loam_go(free_pool, pool);
    until(2, 0);
    pthread_t opener;
    CHECK(pthread_create(&opener, NULL, open_later, NULL) == 0);
    CHECK(loam_stop(10 * LOAM_SECOND) == 0);
    pthread_join(opener, NULL);
    CHECK(begun == 2 && ended == 2);
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

static void without_runtime(void)
{
    pthread_t t[2], canceller;
    reset();
    struct loam_context *plain = loam_context_with_cancel(NULL);
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&t[i], NULL, thread_hold, NULL) == 0);
        until(i + 1, 0);
    }
    CHECK(pthread_create(&canceller, NULL, cancel_later, plain) == 0);
    CHECK(loam_pool_call(pool, hold, NULL, plain) == -ECANCELED);
    pthread_join(canceller, NULL);
    CHECK(loam_pool_try_call(pool, hold, NULL, plain) == -ECANCELED);
    __atomic_store_n(&opened, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    loam_context_free(plain);
}

/* A thread's deadline is its own affair when the runtime, with its timers, has gone. */
static void deadline_outlives(void)
{
    struct loam_config config = {.maxprocs = 2};
    reset();
    pthread_t t[2];
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&t[i], NULL, thread_hold, NULL) == 0);
        until(i + 1, 0);
    }
    CHECK(loam_start(&config) == 0);
    struct loam_context *timed = loam_context_with_timeout(NULL, 50 * LOAM_MILLISECOND);
    CHECK(loam_stop(LOAM_SECOND) == 0);
    CHECK(loam_pool_call(pool, hold, NULL, timed) == -ETIMEDOUT);
    __atomic_store_n(&opened, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    loam_context_free(timed);
}

int main(void)
{
    struct loam_pool_config c = {.threads = 2, .name = "held"};
    CHECK(loam_pool_new(&pool, &c) == 0);
    without_runtime();
    one_round();
    one_round(); /* the same pool under the next runtime */
    deadline_outlives();
    abandoned_free();
    return 0;
}
