/* Once: one call, and nobody returns before it has ended. */
#include "synctest.h"

static struct loam_once once;
static int calls, ended, returned;

static void first(void *arg)
{
    add(&calls, 1);
    for (int i = 0; i < 20; i++)
        loam_sleep(100 * LOAM_MICROSECOND);
    CHECK(arg == &once);
    store(&ended, 1);
}

static void caller(void *arg)
{
    (void)arg;
    loam_once_do(&once, first, &once);
    CHECK_EQ(load(&ended), 1);
    add(&returned, 1);
}

static void test_once(void)
{
    memset(&once, 0, sizeof once);
    calls = ended = returned = 0;
    for (int i = 0; i < 50; i++)
        go(caller, NULL);
    WAIT_UNTIL(load(&returned) == 50);
    CHECK_EQ(load(&calls), 1);
    caller(NULL);
    CHECK_EQ(load(&calls), 1);
    loam_once_do(&once, NULL, NULL); /* the function is not looked at any more */
    CHECK_EQ(once.mutex.state, 0);
}

static struct loam_once inner;

static void nested(void *arg)
{
    (void)arg;
    loam_once_do(&inner, first, &once);
}

static void test_nested(void)
{
    struct loam_once outer = {0};
    memset(&inner, 0, sizeof inner);
    calls = ended = 0;
    loam_once_do(&outer, nested, NULL);
    CHECK_EQ(calls, 1);
    CHECK_EQ(outer.done, 1);
    CHECK_EQ(inner.done, 1);
}

static const struct test tests[] = {
    {"once", test_once},
    {"one in another", test_nested},
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
