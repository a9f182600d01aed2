/* The condition variable: order, nothing lost, nothing spurious. */
#include "synctest.h"

#include <pthread.h>

static struct loam_mutex mu;
static struct loam_cond cond;
static int order[64], norder, waiting, done; /* mu */

static void waiter(void *arg)
{
    loam_mutex_lock(&mu);
    waiting++;
    loam_cond_wait(&cond, &mu);
    order[norder++] = (int)(intptr_t)arg;
    loam_mutex_unlock(&mu);
    add(&done, 1);
}

static void start_waiters(int n)
{
    loam_mutex_lock(&mu);
    norder = waiting = 0;
    loam_mutex_unlock(&mu);
    store(&done, 0);
    for (int i = 0; i < n; i++) {
        go(waiter, (void *)(intptr_t)i);
        for (bool there = false; !there; loam_yield()) {
            loam_mutex_lock(&mu);
            there = waiting == i + 1;
            loam_mutex_unlock(&mu);
        }
    }
}

static void test_first_in_first_out(void)
{
    enum { N = 10 };
    start_waiters(N);
    for (int i = 0; i < N; i++) {
        loam_cond_signal(&cond);
        WAIT_UNTIL(load(&done) == i + 1);
        CHECK_EQ(order[i], i);
    }
    CHECK_EQ(cond.wait, cond.notify);
}

static void test_broadcast(void)
{
    enum { N = 10 };
    start_waiters(N);
    loam_cond_signal(&cond);
    WAIT_UNTIL(load(&done) == 1);
    CHECK_EQ(order[0], 0);
    loam_sleep(LOAM_MILLISECOND);
    CHECK_EQ(load(&done), 1); /* one signal, one waiter */
    loam_cond_broadcast(&cond);
    WAIT_UNTIL(load(&done) == N);
    CHECK_EQ(cond.wait, cond.notify);
    CHECK(cond.sema.head == NULL && cond.sema.tail == NULL);
}

/* What nobody waits for is not kept. */
static void test_signal_is_not_kept(void)
{
    loam_cond_signal(&cond);
    loam_cond_broadcast(&cond);
    start_waiters(1);
    loam_sleep(LOAM_MILLISECOND);
    CHECK_EQ(load(&done), 0);
    loam_cond_signal(&cond);
    WAIT_UNTIL(load(&done) == 1);
}

static void test_tickets_wrap(void)
{
    cond.wait = cond.notify = UINT32_MAX - 2;
    test_first_in_first_out();
    CHECK(cond.wait < 100);
    cond.wait = cond.notify = INT32_MAX - 2;
    test_broadcast();
}

static void *foreign(void *arg)
{
    (void)arg;
    loam_cond_signal(&cond);
    loam_cond_broadcast(&cond);
    return NULL;
}

static void join_thread(void *arg)
{
    pthread_join(*(pthread_t *)arg, NULL);
}

static void test_foreign_thread(void)
{
    start_waiters(3);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, foreign, NULL), 0);
    loam_blocking(join_thread, &thread);
    WAIT_UNTIL(load(&done) == 3);
}

static const struct test tests[] = {
    {"first in, first out", test_first_in_first_out},  {"broadcast", test_broadcast},
    {"a signal is not kept", test_signal_is_not_kept}, {"tickets wrap", test_tickets_wrap},
    {"foreign thread", test_foreign_thread},           {NULL, NULL},
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
