/* The read-write mutex: who may be in together, who comes first. */
#include "synctest.h"

static struct loam_rwmutex rw;
static int in, done, leave;

static void check_idle(void)
{
    CHECK_EQ(rw.reader_count, 0);
    CHECK_EQ(rw.reader_wait, 0);
    CHECK_EQ(rw.w.state, 0);
    CHECK_EQ(rw.reader.count, 0);
    CHECK_EQ(rw.writer.count, 0);
}

static bool writer_announced(void)
{
    return __atomic_load_n(&rw.reader_count, __ATOMIC_ACQUIRE) < 0;
}

static void reader(void *arg)
{
    (void)arg;
    loam_rwmutex_rlock(&rw);
    add(&in, 1);
    WAIT_UNTIL(load(&leave));
    add(&in, -1);
    loam_rwmutex_runlock(&rw);
    add(&done, 1);
}

static void writer(void *arg)
{
    (void)arg;
    loam_rwmutex_lock(&rw);
    CHECK_EQ(load(&in), 0);
    loam_rwmutex_unlock(&rw);
    add(&done, 100);
}

static void test_readers_share(void)
{
    in = done = leave = 0;
    for (int i = 0; i < 5; i++)
        go(reader, NULL);
    WAIT_UNTIL(load(&in) == 5);
    CHECK(loam_rwmutex_try_rlock(&rw));
    loam_rwmutex_runlock(&rw);
    CHECK(!loam_rwmutex_try_lock(&rw));
    store(&leave, 1);
    WAIT_UNTIL(load(&done) == 5);
    check_idle();
}

/* A writer that waits keeps new readers out; when it is done they come in, all of them. */
static void test_writer_holds_readers_off(void)
{
    in = done = leave = 0;
    for (int i = 0; i < 3; i++)
        go(reader, NULL);
    WAIT_UNTIL(load(&in) == 3);
    go(writer, NULL);
    WAIT_UNTIL(writer_announced());
    CHECK(!loam_rwmutex_try_rlock(&rw));
    for (int i = 0; i < 4; i++)
        go(reader, NULL);
    loam_sleep(LOAM_MILLISECOND);
    CHECK_EQ(load(&in), 3);
    store(&leave, 1);
    WAIT_UNTIL(load(&done) == 107);
    check_idle();
}

static void test_writer_alone(void)
{
    in = done = 0;
    store(&leave, 1);
    loam_rwmutex_lock(&rw);
    CHECK(!loam_rwmutex_try_rlock(&rw));
    CHECK(!loam_rwmutex_try_lock(&rw));
    for (int i = 0; i < 3; i++)
        go(reader, NULL);
    go(writer, NULL);
    WAIT_UNTIL(mutex_waiters(&rw.w) == 1);
    CHECK_EQ(load(&done), 0);
    loam_rwmutex_unlock(&rw);
    WAIT_UNTIL(load(&done) == 103);
    CHECK(loam_rwmutex_try_lock(&rw));
    loam_rwmutex_unlock(&rw);
    check_idle();
}

static const struct test tests[] = {
    {"readers share", test_readers_share},
    {"a writer holds readers off", test_writer_holds_readers_off},
    {"a writer alone", test_writer_alone},
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
