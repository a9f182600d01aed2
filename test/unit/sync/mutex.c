/* The mutex: exclusion, order of waiters, starvation mode, use from other threads. */
#include "synctest.h"

#include <pthread.h>

static struct loam_mutex mu;
static int order[64], norder;

static void test_free(void)
{
    loam_mutex_lock(&mu);
    CHECK(!loam_mutex_try_lock(&mu));
    loam_mutex_unlock(&mu);
    CHECK(loam_mutex_try_lock(&mu));
    CHECK(!loam_mutex_try_lock(&mu));
    loam_mutex_unlock(&mu);
    CHECK_EQ(mu.state, 0);
}

static void wait_in_line(void *arg)
{
    loam_mutex_lock(&mu);
    order[norder++] = (int)(intptr_t)arg; /* mu */
    loam_mutex_unlock(&mu);
}

/* Nobody comes fresh, so the queue's order is the order of locking. */
static void test_first_in_first_out(void)
{
    enum { N = 20 };
    norder = 0;
    loam_mutex_lock(&mu);
    for (int i = 0; i < N; i++) {
        go(wait_in_line, (void *)(intptr_t)i);
        WAIT_UNTIL(mutex_waiters(&mu) == (uint32_t)i + 1);
    }
    CHECK(!loam_mutex_try_lock(&mu));
    loam_mutex_unlock(&mu);
    WAIT_UNTIL(mutex_waiters(&mu) ==
               0); /* a fresh lock beside a woken waiter lets the next one pass */
    for (bool all = false; !all;) {
        loam_mutex_lock(&mu);
        all = norder == N;
        loam_mutex_unlock(&mu);
        loam_yield();
    }
    for (int i = 0; i < N; i++)
        CHECK_EQ(order[i], i);
    CHECK_EQ(mu.state, 0);
}

static int step;

static void unlock_for_another(void *arg)
{
    (void)arg;
    store(&step, 1);
    loam_mutex_unlock(&mu);
}

static void test_not_owned(void)
{
    store(&step, 0);
    loam_mutex_lock(&mu);
    go(unlock_for_another, NULL);
    loam_mutex_lock(&mu);
    CHECK_EQ(load(&step), 1);
    loam_mutex_unlock(&mu);
}

static void *foreign(void *arg)
{
    (void)arg;
    CHECK(!loam_mutex_try_lock(&mu));
    loam_mutex_unlock(&mu); /* wakes the goroutine */
    return NULL;
}

static void lock_once(void *arg)
{
    loam_mutex_lock(&mu);
    loam_mutex_unlock(&mu);
    store((int *)arg, 1);
}

static void join_thread(void *arg)
{
    pthread_join(*(pthread_t *)arg, NULL);
}

static void test_unlock_from_foreign_thread(void)
{
    int done = 0;
    loam_mutex_lock(&mu);
    go(lock_once, &done);
    WAIT_UNTIL(mutex_waiters(&mu) == 1);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, foreign, NULL), 0);
    loam_blocking(join_thread, &thread);
    WAIT_UNTIL(load(&done));
    CHECK_EQ(mu.state, 0);
}

/* ---- Starvation ------------------------------------------------------------------------------- */

static int stop;
static int64_t longest;

/* Has the mutex nearly always: takes it again right after giving it up. */
static void hog(void *arg)
{
    while (!load(&stop)) {
        loam_mutex_lock(&mu);
        loam_sleep(100 * LOAM_MICROSECOND);
        loam_mutex_unlock(&mu);
    }
    loam_waitgroup_done(arg);
}

/* A waiter is served at most 1 ms, and a few turns of the hog, after it came. In a seeded run, whose
 * clock does not depend on the machine. */
static void test_starvation_is_bounded(void)
{
    if (!seeded())
        return;
    struct loam_waitgroup wg = {0};
    store(&stop, 0);
    longest = 0;
    loam_waitgroup_add(&wg, 1);
    go(hog, &wg);
    for (int i = 0; i < 20; i++) {
        loam_sleep(250 * LOAM_MICROSECOND);
        int64_t begin = loam_now();
        loam_mutex_lock(&mu);
        int64_t waited = loam_now() - begin;
        loam_mutex_unlock(&mu);
        if (waited > longest)
            longest = waited;
    }
    store(&stop, 1);
    loam_waitgroup_wait(&wg);
    CHECK(longest < 1500 * LOAM_MICROSECOND);
    CHECK_EQ(mu.state, 0);
}

static int turns[4];

static void greedy(void *arg)
{
    int me = (int)(intptr_t)arg;
    while (!load(&stop)) {
        loam_mutex_lock(&mu);
        turns[me]++;
        loam_sleep(1500 * LOAM_MICROSECOND); /* everybody else starves meanwhile */
        loam_mutex_unlock(&mu);
    }
    store(&order[me], 1);
}

/* All hold it for longer than 1 ms, so it is handed over in turn. */
static void test_starving_share_alike(void)
{
    memset(turns, 0, sizeof turns);
    memset(order, 0, sizeof order);
    store(&stop, 0);
    for (int i = 0; i < 4; i++)
        go(greedy, (void *)(intptr_t)i);
    loam_sleep(120 * LOAM_MILLISECOND);
    store(&stop, 1);
    for (int i = 0; i < 4; i++)
        WAIT_UNTIL(load(&order[i]));
    int sum = turns[0] + turns[1] + turns[2] + turns[3];
    for (int i = 0; i < 4; i++)
        CHECK(turns[i] >= sum / 8);
    CHECK_EQ(mu.state, 0);
}

static const struct test tests[] = {
    {"free", test_free},
    {"first in, first out", test_first_in_first_out},
    {"not owned", test_not_owned},
    {"unlock from a foreign thread", test_unlock_from_foreign_thread},
    {"starvation is bounded", test_starvation_is_bounded},
    {"starving share alike", test_starving_share_alike},
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
