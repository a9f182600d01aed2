/* Start and stop, a hundred times in one process: what the runtime took it gives back. */
#include "process.h"

#include <fcntl.h>
#include <pthread.h>

static int parked, done;

static void park_for_ever(void *arg)
{
    (void)arg;
    add(&parked, 1);
    loam_select_n(NULL, 0, 0);
    FAIL("a select without cases returned");
}

static void sleep_long(void *arg)
{
    (void)arg;
    add(&parked, 1);
    loam_sleep(3600 * LOAM_SECOND);
    FAIL("an abandoned goroutine went on");
}

static void nap(void *arg)
{
    (void)arg;
    (void)usleep(1000);
}

static void block_shortly(void *arg)
{
    (void)arg;
    loam_blocking(nap, NULL);
    add(&done, 1);
}

static void wired_to_death(void *arg)
{
    (void)arg;
    loam_lock_os_thread();
    loam_yield();
    add(&done, 1);
}

static void wired_for_ever(void *arg)
{
    (void)arg;
    loam_lock_os_thread();
    add(&parked, 1);
    loam_select_n(NULL, 0, 0);
}

static void labelled(void *arg)
{
    loam_local_key *key = arg;
    CHECK_EQ(loam_set_label("who", "a label that is copied"), 0);
    CHECK_EQ(loam_local_set(*key, key), 0);
    add(&parked, 1);
    loam_select_n(NULL, 0, 0);
}

static void use(int round)
{
    parked = done = 0;
    loam_local_key key;
    CHECK_EQ(loam_local_key_new(&key, NULL), 0);
    for (int i = 0; i < 20; i++)
        go(park_for_ever, NULL);
    for (int i = 0; i < 5; i++) {
        go(seeded() ? park_for_ever : sleep_long, NULL); /* virtual time flies */
        go(block_shortly, NULL);
        go(wired_to_death, NULL);
        go(wired_for_ever, NULL);
        go(labelled, &key);
    }
    /* stacks of another class, and the end of a goroutine that has one */
    struct loam_go_options big = {.name = "big", .stack_size = 1 << 20};
    CHECK_EQ(loam_go_with(&big, park_for_ever, NULL), 0);
    CHECK_EQ(loam_go_with(&big, block_shortly, NULL), 0);
    if (round % 2 == 0)
        CHECK_EQ(loam_gomaxprocs(1 + round % 5) > 0, true);
    AWAIT_THREAD(load(&parked) == 36 && load(&done) == 11);
    CHECK_EQ(loam_local_key_free(key), 0);
}

/* Nothing of the runtime is there before it is started. */
static void before(void)
{
    CHECK_EQ(count_threads(), 1 + TEST_TSAN); /* TSan has a thread of its own */
    struct sigaction quit;
    CHECK_EQ(sigaction(SIGQUIT, NULL, &quit), 0);
    CHECK(quit.sa_handler == SIG_DFL);
}

int main(int argc, char **argv)
{
    static struct process first, was;
    before();
    process_look(&first);
    int rounds = argc > 1 ? atoi(argv[1]) : (int)times(100);
    struct loam_config config = {.maxprocs = 3};
    for (int i = 0; i < rounds; i++) {
        if (i == 2) /* the first rounds make what libc keeps */
            process_look(&was);
        int err = loam_start(&config);
        if (err != 0)
            FAIL("loam_start, round %d: %d, %s", i, err, loam_error_text());
        use(i);
        err = loam_stop(seeded() ? -1 : 10 * LOAM_SECOND);
        if (err != 0)
            FAIL("loam_stop, round %d: %d, %s", i, err, loam_error_text());
        process_same(&first, false);
        /* The table sets libc's cache of thread stacks to nothing; what sanitizers map is theirs. */
        if (i >= 2)
            process_same(&was, getenv("GLIBC_TUNABLES") != NULL && !TEST_ASAN && !TEST_TSAN);
    }
    return 0;
}
