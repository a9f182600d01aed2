/* loam_run: the result, arguments, twice in one process; its end while others park, run, block. */
#include "../../child.h"
#include "process.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

static struct outcome o;
static int started, atexit_ran;

static int sum(int argc, char **argv)
{
    int n = 0;
    CHECK(loam_goid() != 0);
    for (int i = 0; i < argc; i++)
        n += atoi(argv[i]);
    return n;
}

static int runs_again(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    CHECK_EQ(loam_run(sum, 0, NULL), 125); /* already started, it says */
    return 3;
}

static void twice(void *arg)
{
    static struct process was;
    char *args[] = {"20", "22"};
    process_look(&was);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(loam_run(sum, 2, args), 42);
        process_same(&was, false);
    }
    CHECK_EQ(loam_run(sum, 0, NULL), 0);
    CHECK_EQ(loam_run(runs_again, 0, NULL), 3);
    process_same(&was, false);
    CHECK_EQ(loam_start(NULL), 0);
    CHECK_EQ(loam_stop(-1), 0);
    (void)arg;
}

static void park(void *arg)
{
    (void)arg;
    add(&started, 1);
    loam_select_n(NULL, 0, 0);
}

static void sleep_long(void *arg)
{
    (void)arg;
    add(&started, 1);
    loam_sleep(3600 * LOAM_SECOND);
}

static void runnable(void *arg)
{
    (void)arg;
    add(&started, 1);
    for (;;)
        loam_yield();
}

static void endless(void *arg)
{
    (void)arg;
    add(&started, 1);
    for (volatile int i = 0;; i++) {
    }
}

static void block(void *arg)
{
    (void)arg;
    add(&started, 1);
    for (;;)
        pause();
}

static void in_call(void *arg)
{
    loam_blocking(block, arg);
}

static void unannounced(void *arg)
{
    (void)arg;
    add(&started, 1);
    for (;;)
        pause();
}

static void wired(void *arg)
{
    (void)arg;
    loam_lock_os_thread();
    add(&started, 1);
    loam_select_n(NULL, 0, 0);
}

static void wired_and_awake(void *arg)
{
    (void)arg;
    loam_lock_os_thread();
    add(&started, 1);
    for (;;)
        loam_sleep(50 * LOAM_MICROSECOND);
}

static const struct other {
    const char *name;
    void (*fn)(void *);
    bool gentle; /* a stop halts it, so that loam_run returns */
    bool takes_p;
} others[] = {
    {"parked", park, true, false},
    {"asleep", sleep_long, true, false},
    {"runnable", runnable, true, false},
    {"endless loop", endless, false, true},
    {"in a blocking call", in_call, false, false},
    {"in the kernel", unannounced, false, true},
    {"wired", wired, true, false},
    {"wired and awake", wired_and_awake, true, false},
};

static const struct other *other;

static int with_other(int argc, char **argv)
{
    (void)argv;
    for (int i = 0; i < argc; i++)
        go(other->fn, NULL);
    AWAIT(load(&started) == argc);
    return 7;
}

static void note_exit(void)
{
    atexit_ran = 1;
    fprintf(stderr, "atexit ran\n");
}

static void end_with_other(void *arg)
{
    int n = *(int *)arg;
    CHECK_EQ(setenv("GOMAXPROCS", other->takes_p ? "5" : "2", 1), 0);
    atexit(note_exit);
    int result = loam_run(with_other, n, NULL);
    CHECK_EQ(result, 7);
    fprintf(stderr, "returned\n");
    exit(result);
}

/* Main moves between threads before it returns, and its first thread is stuck with another. */
static void stick(void *arg)
{
    (void)arg;
    if (syscall(SYS_gettid) != getpid())
        return; /* only the first thread */
    store(&started, 1);
    for (volatile int i = 0;; i++) {
    }
}

static int first_thread_sticks(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    while (!load(&started)) {
        go(stick, NULL);
        loam_sleep(10000);
    }
    CHECK(syscall(SYS_gettid) != getpid());
    return 9;
}

static void stuck_first_thread(void *arg)
{
    (void)arg;
    setenv("GOMAXPROCS", "2", 1);
    atexit(note_exit);
    exit(loam_run(first_thread_sticks, 0, NULL));
}

static int wired_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    loam_lock_os_thread();
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(syscall(SYS_gettid), getpid());
        if (i % 3 == 0)
            loam_yield();
        else if (i % 3 == 1)
            loam_sleep(1000);
        else
            loam_blocking((void (*)(void *))(uintptr_t)sched_yield, NULL);
    }
    return 5;
}

static void main_on_its_thread(void *arg)
{
    (void)arg;
    exit(loam_run(wired_main, 0, NULL));
}

static void *stop_it(void *arg)
{
    (void)arg;
    CHECK_EQ(loam_stop(-1), -EINVAL);
    CHECK_HAS(loam_error_text(), "loam_run");
    return NULL;
}

static int stopped_by_another(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, stop_it, NULL), 0);
    pthread_join(t, NULL);
    return 6;
}

static void stop_from_outside(void *arg)
{
    (void)arg;
    exit(loam_run(stopped_by_another, 0, NULL));
}

static int main_goexits(int argc, char **argv)
{
    (void)argv;
    if (argc > 0)
        go(sleep_long, NULL);
    loam_goexit();
}

static void goexit_of_main(void *arg)
{
    exit(loam_run(main_goexits, *(int *)arg, NULL));
}

int main(void)
{
    in_child(&o, twice, NULL);
    CHECK_OUTCOME(&o, 0, "already started");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        other = &others[i];
        if (seeded() && (other->takes_p || !other->gentle))
            continue; /* the one thread would never come back */
        for (int n = 1; n <= 4; n += 3) {
            in_child(&o, end_with_other, &n);
            if (o.exit != 7)
                fprintf(stderr, "%d goroutines %s\n", n, other->name);
            CHECK_OUTCOME(&o, 7, "atexit ran");
            if ((strstr(o.err, "returned") != NULL) != other->gentle)
                FAIL("%s: loam_run %s", other->name, other->gentle ? "did not return" : "returned");
            if (o.ns > 5 * LOAM_SECOND)
                FAIL("%s: the end took %.3f s", other->name, (double)o.ns / 1e9);
        }
    }
    in_child(&o, main_on_its_thread, NULL);
    CHECK_OUTCOME(&o, 5, NULL);
    in_child(&o, stop_from_outside, NULL);
    CHECK_OUTCOME(&o, 6, NULL);
    if (!seeded()) {
        in_child(&o, stuck_first_thread, NULL);
        CHECK_OUTCOME(&o, 9, "atexit ran");
    }
    in_child(&o, goexit_of_main, &(int){0});
    CHECK_OUTCOME(&o, 2, "fatal error: no goroutines (main called runtime.Goexit) - deadlock!");
    return 0;
}
