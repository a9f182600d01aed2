/* SIGQUIT, panics and fatal errors: what they print, and that they end the process with status 2. */
#include "../../child.h"

#include <pthread.h>
#include <sched.h>

#define noinline __attribute__((noinline))

static struct outcome o;
static loam_chan(int) c;
static struct loam_mutex m;
static struct loam_waitgroup wg;
static int ready;

/* ---- Goroutines in every state ---------------------------------------------------------------------- */

static noinline void parked_in_receive(void *arg)
{
    (void)arg;
    add(&ready, 1);
    (void)loam_recv(c);
    add(&ready, 1);
}

static noinline void deeper(int n)
{
    if (n > 0)
        deeper(n - 1);
    else
        loam_mutex_lock(&m);
    add(&ready, 1); /* no tail call */
}

static noinline void parked_deep(void *arg)
{
    (void)arg;
    add(&ready, 1);
    deeper(5);
    add(&ready, 1);
}

static noinline void parked_in_sleep(void *arg)
{
    (void)arg;
    add(&ready, 1);
    loam_sleep(3600 * LOAM_SECOND);
    add(&ready, 1);
}

static noinline void parked_in_group(void *arg)
{
    (void)arg;
    add(&ready, 1);
    loam_waitgroup_wait(&wg);
    add(&ready, 1);
}

static noinline void wired_and_parked(void *arg)
{
    (void)arg;
    loam_lock_os_thread();
    add(&ready, 1);
    loam_select_n(NULL, 0, 0);
    add(&ready, 1);
}

static noinline void labelled_and_parked(void *arg)
{
    (void)arg;
    loam_set_name("the named one");
    CHECK_EQ(loam_set_label("request", "4711"), 0);
    add(&ready, 1);
    loam_select_n(NULL, 0, 0);
    add(&ready, 1);
}

static noinline void runs_for_ever(void *arg)
{
    (void)arg;
    add(&ready, 1);
    for (volatile int i = 0;; i++) {
    }
}

static noinline void sleeps_in_kernel(void *arg)
{
    (void)arg;
    add(&ready, 1);
    for (;;)
        pause();
}

static noinline void blocks(void *arg)
{
    (void)arg;
    add(&ready, 1);
    for (;;)
        pause();
}

static noinline void calls_blocking(void *arg)
{
    loam_blocking(blocks, arg);
    add(&ready, 1);
}

static noinline void never_ran(void *arg)
{
    (void)arg;
    add(&ready, 1);
}

static noinline void starts_and_runs(void *arg)
{
    for (int i = 0; i < 3; i++)
        go(never_ran, NULL);
    runs_for_ever(arg);
}

static int everything(int argc, char **argv)
{
    (void)argv;
    c = loam_chan_make(int, 0);
    loam_mutex_lock(&m);
    loam_waitgroup_add(&wg, 1);
    void (*const first[])(void *) = {parked_in_receive, parked_deep,      parked_in_sleep,
                                     parked_in_group,   wired_and_parked, labelled_and_parked};
    int n = sizeof first / sizeof first[0];
    for (int i = 0; i < n; i++)
        go(first[i], NULL);
    AWAIT(load(&ready) == n);
    /* The threads that they keep are the other four Ps', one is left. */
    if (argc > 0) {
        go(runs_for_ever, NULL);
        go(sleeps_in_kernel, NULL);
        go(calls_blocking, NULL);
        go(starts_and_runs, NULL);
        AWAIT(load(&ready) >= n + 4);
    }
    fprintf(stderr, "ready\n");
    for (;;)
        loam_sleep(LOAM_MILLISECOND);
    return 0;
}

static void run_everything(void *arg)
{
    setenv("GOMAXPROCS", "6", 1);
    exit(loam_run(everything, *(int *)arg, NULL));
}

static void quit(pid_t pid)
{
    kill(pid, SIGQUIT);
}

static void states(void)
{
    in_child_with(&o, run_everything, &(int){1}, 60, quit);
    CHECK_OUTCOME(&o, 2, "SIGQUIT: quit\nPC=0x");
    static const char *const wanted[] = {
        "[chan receive]:\n",    "parked_in_receive",
        "[sync.Mutex.Lock]:\n", "deeper",
        "parked_deep",          "[sleep]:\n",
        "parked_in_sleep",      "[sync.WaitGroup.Wait]:\n",
        "parked_in_group",      "[select (no cases), locked to thread]:\n",
        "wired_and_parked",     "\"the named one\" [select (no cases)]",
        "labelled_and_parked",  "[running]:\n",
        "runs_for_ever",        "[syscall]:\n",
        "calls_blocking",       "starts_and_runs",
        "goroutine 1 [",        "created by everything in goroutine 1\n",
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        CHECK_HAS(o.err, wanted[i]);
    CHECK(strstr(o.err, "stack unavailable") == NULL);
    /* six frames of the recursion */
    int n = 0;
    for (const char *at = o.err; (at = strstr(at, "deeper")) != NULL; at++)
        n++;
    CHECK(n >= 6);
}

/* Ten thousand, each listed once. */
static int many(int argc, char **argv)
{
    (void)argv;
    c = loam_chan_make(int, 0);
    for (int i = 0; i < argc; i++)
        go(parked_in_receive, NULL);
    AWAIT(load(&ready) == argc);
    fprintf(stderr, "ready\n");
    for (;;)
        loam_sleep(LOAM_MILLISECOND);
    return 0;
}

static void run_many(void *arg)
{
    exit(loam_run(many, *(int *)arg, NULL));
}

static void ten_thousand(void)
{
    int n = (int)at_most(10000);
    in_child_with(&o, run_many, &n, 60, quit);
    CHECK_OUTCOME(&o, 2, "goroutine 1 [");
    /* The last ones may not have come to park yet. */
    int got = 0, parked = 0;
    for (const char *at = o.err; (at = strstr(at, "]:\n")) != NULL; at++)
        got++;
    for (const char *at = o.err; (at = strstr(at, "[chan receive]:\n")) != NULL; at++)
        parked++;
    CHECK_EQ(got, n + 1);
    CHECK(parked >= n - 64);
}

/* ---- A program's own handler ------------------------------------------------------------------------- */

static void own_handler(int sig)
{
    static const char text[] = "own handler\n";
    (void)sig;
    (void)!write(2, text, sizeof text - 1);
    _exit(11);
}

static void keeps_handler(void *arg)
{
    int flags = *(int *)arg;
    if (!(flags & LOAM_NO_SIGNALS))
        signal(SIGQUIT, own_handler);
    CHECK_EQ(loam_start(&(struct loam_config){.flags = (unsigned)flags}), 0);
    go(parked_in_sleep, NULL);
    fprintf(stderr, "ready\n");
    for (;;)
        pause();
}

static void replaces_handler(void *arg)
{
    (void)arg;
    CHECK_EQ(loam_start(NULL), 0);
    signal(SIGQUIT, own_handler);
    CHECK_EQ(loam_stop(-1), 0); /* leaves alone what is not its own */
    struct sigaction now;
    sigaction(SIGQUIT, NULL, &now);
    CHECK(now.sa_handler == own_handler);
    fprintf(stderr, "ready\n");
    for (;;)
        pause();
}

static void ignores_it(void *arg)
{
    (void)arg;
    signal(SIGQUIT, SIG_IGN); /* as nohup does */
    CHECK_EQ(loam_start(NULL), 0);
    raise(SIGQUIT);
    CHECK_EQ(loam_call(never_ran, NULL), 0);
    CHECK_EQ(loam_stop(-1), 0);
}

static void own_handlers(void)
{
    in_child_with(&o, keeps_handler, &(int){0}, 30, quit);
    CHECK_OUTCOME(&o, 11, "own handler\n");
    in_child_with(&o, keeps_handler, &(int){LOAM_NO_SIGNALS}, 30, quit);
    CHECK_EQ(o.signal, SIGQUIT); /* the default */
    in_child_with(&o, replaces_handler, NULL, 30, quit);
    CHECK_OUTCOME(&o, 11, "own handler\n");
    in_child(&o, ignores_it, NULL);
    CHECK_OUTCOME(&o, 0, NULL);
}

/* ---- Panics and fatal errors -------------------------------------------------------------------------- */

static noinline void panics(void *arg)
{
    (void)arg;
    loam_panic("request %d of %s: %.1f%%", 7, "nine", 12.5);
}

static noinline void panics_long(void *arg)
{
    (void)arg;
    static char text[5000];
    memset(text, 'x', sizeof text - 1);
    loam_panic("%s", text);
}

static noinline void goes_nil(void *arg)
{
    (void)arg;
    (void)loam_go(NULL, NULL);
    add(&ready, 1); /* no tail call */
}

static noinline void calls_nil(void *arg)
{
    (void)arg;
    (void)loam_call(NULL, NULL);
    add(&ready, 1); /* no tail call */
}

static noinline void unlocks_unlocked(void *arg)
{
    (void)arg;
    static struct loam_mutex free_one;
    loam_mutex_unlock(&free_one);
    add(&ready, 1); /* no tail call */
}

static void nothing(void *arg)
{
    (void)arg;
}

static noinline void leaves_without_enter(void *arg)
{
    (void)arg;
    loam_blocking_leave();
    add(&ready, 1); /* no tail call */
}

static void enters(void *arg)
{
    (void)arg;
    loam_blocking(nothing, NULL);
}

static noinline void enters_twice(void *arg)
{
    loam_blocking(enters, arg);
    add(&ready, 1); /* no tail call */
}

static void receives(void *arg)
{
    (void)arg;
    (void)loam_recv(c);
}

static noinline void parks_in_call(void *arg)
{
    (void)arg;
    c = loam_chan_make(int, 0);
    loam_blocking(receives, NULL);
    add(&ready, 1); /* no tail call */
}

static void ends(void *arg)
{
    (void)arg;
    loam_goexit();
}

static noinline void ends_in_call(void *arg)
{
    (void)arg;
    loam_blocking(ends, NULL);
    add(&ready, 1); /* no tail call */
}

static const struct {
    void (*fn)(void *);
    const char *text, *function;
} faults[] = {
    {panics, "panic: request 7 of nine: 12.5%\n\ngoroutine ", "panics"},
    {panics_long, "panic: xxxxxxxxxxxxxxxx", "panics_long"},
    {goes_nil, "fatal error: go of nil func value\n\ngoroutine ", "goes_nil"},
    {calls_nil, "fatal error: go of nil func value\n\ngoroutine ", "calls_nil"},
    {unlocks_unlocked, "fatal error: sync: unlock of unlocked mutex\n\ngoroutine ",
     "unlocks_unlocked"},
    {leaves_without_enter, "fatal error: loam_blocking_leave: not in a blocking call\n",
     "leaves_without_enter"},
    {enters_twice, "fatal error: loam_blocking_enter: already in a blocking call\n",
     "enters_twice"},
    {parks_in_call, "fatal error: a function that waits was called inside loam_blocking\n",
     "parks_in_call"},
    {ends_in_call, "fatal error: loam_goexit was called inside loam_blocking\n", "ends_in_call"},
};

static void embedded_fault(void *arg)
{
    CHECK_EQ(loam_start(NULL), 0);
    (void)loam_call(faults[*(int *)arg].fn, NULL);
}

static int main_fault(int argc, char **argv)
{
    (void)argv;
    faults[argc].fn(NULL);
    return 0;
}

static void run_fault(void *arg)
{
    exit(loam_run(main_fault, *(int *)arg, NULL));
}

static void all_faults(void)
{
    for (int i = 0; i < (int)(sizeof faults / sizeof faults[0]); i++) {
        void (*const how[])(void *) = {embedded_fault, run_fault};
        for (int k = 0; k < 2; k++) {
            in_child(&o, how[k], &i);
            CHECK_OUTCOME(&o, 2, faults[i].text);
            CHECK_HAS(o.err, faults[i].function);
            CHECK(strstr(o.err, "[running]:\n") != NULL || strstr(o.err, "[syscall]:\n") != NULL);
        }
    }
}

/* Several at once: one prints, whole; the process ends once. */
static void panic_with_number(void *arg)
{
    add(&ready, 1);
    AWAIT(load(&ready) == 8);
    loam_panic("number %d", (int)(intptr_t)arg);
}

static void many_panics(void *arg)
{
    (void)arg;
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 4}), 0);
    for (intptr_t i = 0; i < 8; i++)
        go(panic_with_number, (void *)i);
    pause();
}

static void panics_at_once(void)
{
    for (int64_t i = 0; i < times(20); i++) {
        in_child(&o, many_panics, NULL);
        CHECK_OUTCOME(&o, 2, "panic: number ");
        CHECK(strstr(strstr(o.err, "panic: ") + 1, "panic: ") == NULL);
    }
}

int main(void)
{
    if (!seeded()) { /* one thread: nothing runs beside the loops */
        states();
        ten_thousand();
        own_handlers();
        panics_at_once();
    }
    all_faults();
    return 0;
}
