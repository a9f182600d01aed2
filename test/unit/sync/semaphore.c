/* The weighted semaphore: order, weights, cancellation. */
#include "synctest.h"

#include <pthread.h>

static struct loam_semaphore sem;

struct wish {
    int64_t n;
    struct loam_context *ctx;
    int result; /* atomic: WAITING until acquire has returned */
};

enum { WAITING = 1 };

static void acquire(void *arg)
{
    struct wish *w = arg;
    store(&w->result, loam_semaphore_acquire(&sem, w->n, w->ctx));
}

static struct wish wish(int64_t n, struct loam_context *ctx)
{
    return (struct wish){n, ctx, WAITING};
}

static bool queued(void)
{
    return __atomic_load_n(&sem.head, __ATOMIC_RELAXED) != NULL;
}

static void test_units(void)
{
    CHECK_EQ(loam_semaphore_init(&sem, -1), -EINVAL);
    CHECK_EQ(loam_semaphore_init(&sem, 10), 0);
    CHECK_EQ(loam_semaphore_acquire(&sem, -1, NULL), -EINVAL);
    CHECK_EQ(loam_semaphore_acquire(&sem, 4, NULL), 0);
    CHECK(!loam_semaphore_try_acquire(&sem, 7));
    CHECK(loam_semaphore_try_acquire(&sem, 6));
    CHECK(!loam_semaphore_try_acquire(&sem, 1));
    CHECK(loam_semaphore_try_acquire(&sem, 0));
    loam_semaphore_release(&sem, 10);
    CHECK_EQ(sem.used, 0);
}

/* A small wish does not overtake a large one, and is not held up when that is served. */
static void test_large_wish(void)
{
    loam_semaphore_init(&sem, 10);
    CHECK(loam_semaphore_try_acquire(&sem, 10));
    struct wish large = wish(8, NULL), small = wish(1, NULL), second = wish(2, NULL);
    go(acquire, &large);
    WAIT_UNTIL(queued());
    go(acquire, &small);
    go(acquire, &second);
    loam_sleep(2 * LOAM_MILLISECOND);
    loam_semaphore_release(&sem, 7);
    loam_sleep(2 * LOAM_MILLISECOND);
    CHECK_EQ(load(&large.result), WAITING);
    CHECK_EQ(load(&small.result), WAITING);
    CHECK(!loam_semaphore_try_acquire(&sem, 1)); /* there is room, but others wait */
    loam_semaphore_release(&sem, 3);
    /* two are left: enough for one of the others, whichever came first */
    WAIT_UNTIL(load(&large.result) == 0 && (load(&small.result) == 0 || load(&second.result) == 0));
    loam_semaphore_release(&sem, 8);
    WAIT_UNTIL(load(&small.result) == 0 && load(&second.result) == 0);
    CHECK_EQ(sem.used, 3);
    CHECK(sem.head == NULL && sem.tail == NULL);
}

static void test_cancel(void)
{
    loam_semaphore_init(&sem, 10);
    CHECK(loam_semaphore_try_acquire(&sem, 5));
    struct loam_context *ctx = loam_context_with_cancel(NULL);
    struct wish large = wish(8, ctx), small = wish(2, NULL);
    go(acquire, &large);
    WAIT_UNTIL(queued());
    go(acquire, &small);
    loam_sleep(2 * LOAM_MILLISECOND);
    CHECK_EQ(load(&small.result), WAITING);
    loam_context_cancel(ctx, 0);
    WAIT_UNTIL(load(&large.result) != WAITING);
    CHECK_EQ(load(&large.result), -ECANCELED);
    WAIT_UNTIL(load(&small.result) != WAITING); /* it was held up by the large one */
    CHECK_EQ(load(&small.result), 0);
    CHECK_EQ(sem.used, 7);
    /* done already: even what is free is not given */
    CHECK_EQ(loam_semaphore_acquire(&sem, 1, ctx), -ECANCELED);
    CHECK_EQ(sem.used, 7);
    loam_context_free(ctx);
}

static void test_timeout(void)
{
    loam_semaphore_init(&sem, 1);
    CHECK(loam_semaphore_try_acquire(&sem, 1));
    struct loam_context *ctx = loam_context_with_timeout(NULL, 3 * LOAM_MILLISECOND);
    int64_t begin = loam_now();
    CHECK_EQ(loam_semaphore_acquire(&sem, 1, ctx), -ETIMEDOUT);
    CHECK(loam_now() - begin < 10 * LOAM_SECOND);
    loam_semaphore_release(&sem, 1);
    CHECK_EQ(sem.used, 0);
    loam_context_free(ctx);
}

/* More than there ever is: waits for the context, in nobody's way. */
static void test_above_the_size(void)
{
    loam_semaphore_init(&sem, 3);
    struct loam_context *ctx = loam_context_with_cancel(NULL);
    struct wish w = wish(4, ctx);
    go(acquire, &w);
    loam_sleep(2 * LOAM_MILLISECOND);
    CHECK(loam_semaphore_try_acquire(&sem, 3));
    loam_semaphore_release(&sem, 3);
    CHECK_EQ(load(&w.result), WAITING);
    loam_context_cancel(ctx, 0);
    WAIT_UNTIL(load(&w.result) != WAITING);
    CHECK_EQ(load(&w.result), -ECANCELED);
    loam_context_free(ctx);
}

static void *foreign(void *arg)
{
    (void)arg;
    loam_semaphore_release(&sem, 1);
    return NULL;
}

static void join_thread(void *arg)
{
    pthread_join(*(pthread_t *)arg, NULL);
}

static void test_foreign_thread(void)
{
    loam_semaphore_init(&sem, 1);
    CHECK(loam_semaphore_try_acquire(&sem, 1));
    struct wish w = wish(1, NULL);
    go(acquire, &w);
    WAIT_UNTIL(queued());
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, foreign, NULL), 0);
    loam_blocking(join_thread, &thread);
    WAIT_UNTIL(load(&w.result) == 0);
}

static const struct test tests[] = {
    {"units", test_units},
    {"a large wish", test_large_wish},
    {"cancel", test_cancel},
    {"timeout", test_timeout},
    {"above the size", test_above_the_size},
    {"foreign thread", test_foreign_thread},
    {NULL, NULL},
};

static int test_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return run_tests(tests);
}

int main(int argc, char **argv)
{
    return loam_run(test_main, argc, argv);
}
