/* The waitgroup: several waiters, reuse, an object that ends with its wait. */
#include "synctest.h"

#include <pthread.h>

static int done, woken;

static void finish(void *arg)
{
    add(&done, 1);
    loam_waitgroup_done(arg);
}

static void test_wait(void)
{
    struct loam_waitgroup wg = {0};
    loam_waitgroup_wait(&wg);
    store(&done, 0);
    loam_waitgroup_add(&wg, 10);
    for (int i = 0; i < 10; i++)
        go(finish, &wg);
    loam_waitgroup_wait(&wg);
    CHECK_EQ(load(&done), 10);
    loam_waitgroup_wait(&wg);
    CHECK_EQ(wg.state, 0);
}

static void waiter(void *arg)
{
    loam_waitgroup_wait(arg);
    CHECK_EQ(load(&done), 2);
    add(&woken, 1);
}

static void test_several_waiters(void)
{
    struct loam_waitgroup wg = {0};
    done = woken = 0;
    loam_waitgroup_add(&wg, 2);
    for (int i = 0; i < 5; i++)
        go(waiter, &wg);
    WAIT_UNTIL((uint32_t)__atomic_load_n(&wg.state, __ATOMIC_ACQUIRE) == 5);
    finish(&wg);
    loam_sleep(LOAM_MILLISECOND);
    CHECK_EQ(load(&woken), 0);
    /* an addition while some wait, the counter being above zero, is legal */
    loam_waitgroup_add(&wg, 1);
    loam_waitgroup_add(&wg, -1);
    finish(&wg);
    WAIT_UNTIL(load(&woken) == 5);
    CHECK_EQ(wg.state, 0);
}

/* Used again and again, each time on another piece of stack. */
static void test_reuse(void)
{
    struct loam_waitgroup again = {0};
    store(&done, 0);
    for (int i = 0; i < 200; i++) {
        struct loam_waitgroup wg = {0};
        loam_waitgroup_add(&wg, 1);
        loam_waitgroup_add(&again, 2);
        go(finish, &wg);
        go(finish, &again);
        go(finish, &again);
        loam_waitgroup_wait(&wg);
        memset(&wg, 0xa5, sizeof wg);
        loam_waitgroup_wait(&again);
    }
    CHECK_EQ(load(&done), 600);
}

static void count(void *arg)
{
    loam_yield();
    add((int *)arg, 1);
}

static void test_go(void)
{
    struct loam_waitgroup wg = {0};
    int n = 0;
    for (int i = 0; i < 50; i++)
        CHECK_EQ(loam_waitgroup_go(&wg, count, &n), 0);
    loam_waitgroup_wait(&wg);
    CHECK_EQ(load(&n), 50);
}

static void leave(void *arg)
{
    add((int *)arg, 1);
    loam_goexit();
}

/* A function that ends by Goexit has ended. */
static void test_goexit(void)
{
    struct loam_waitgroup wg = {0};
    int n = 0;
    for (int i = 0; i < 20; i++)
        CHECK_EQ(loam_waitgroup_go(&wg, i % 2 ? leave : count, &n), 0);
    loam_waitgroup_wait(&wg);
    CHECK_EQ(load(&n), 20);
}

static void *foreign(void *arg)
{
    loam_waitgroup_done(arg);
    return NULL;
}

static void join_thread(void *arg)
{
    pthread_join(*(pthread_t *)arg, NULL);
}

static void test_foreign_thread(void)
{
    struct loam_waitgroup wg = {0};
    pthread_t thread;
    loam_waitgroup_add(&wg, 1);
    CHECK_EQ(pthread_create(&thread, NULL, foreign, &wg), 0);
    loam_waitgroup_wait(&wg);
    loam_blocking(join_thread, &thread);
}

static const struct test tests[] = {
    {"wait", test_wait},
    {"several waiters", test_several_waiters},
    {"reuse", test_reuse},
    {"go", test_go},
    {"goexit", test_goexit},
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
