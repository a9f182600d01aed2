/* Loops that never call the runtime share a processor, do not keep timers, stops of the world and other
 * goroutines waiting, and are dumped with their frames; a stop of the runtime does not abandon them;
 * kernel calls and locks of libc that were not announced lose their processor too; asyncpreemptoff; the
 * program's own handlers of SIGURG. */
#include "../../child.h"
#include "schedtest.h"

#include <errno.h>
#include <fcntl.h>

static int quit;
static volatile uint64_t counts[256];

static void spin(void *arg)
{
    volatile uint64_t *n = arg;
    while (!load(&quit))
        ++*n;
}

static void start(int procs, const char *debug)
{
    store(&quit, 0);
    memset((void *)counts, 0, sizeof counts);
    struct loam_config config = {.maxprocs = procs, .debug = debug};
    CHECK_EQ(loam_start(&config), 0);
}

static void finish(void)
{
    store(&quit, 1);
    CHECK_EQ(loam_stop(-1), 0);
}

static void spin_on(int n)
{
    for (int i = 0; i < n; i++)
        go(spin, (void *)&counts[i]);
}

static struct loam_sched_stats stats(void)
{
    struct loam_sched_stats s;
    loam_read_sched_stats(&s);
    return s;
}

/* ---- Ten share one processor -------------------------------------------------------------------- */

/* How fair they do it is measured by bench. */
static void shared(void)
{
    enum { LOOPS = 10 };
    start(1, NULL);
    spin_on(LOOPS);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < LOOPS; i++) {
            uint64_t n = counts[i];
            AWAIT_THREAD(counts[i] != n);
        }
    CHECK(stats().preemptions >= 2 * LOOPS);
    CHECK_EQ(stats().goroutines, LOOPS);
    finish();
}

/* ---- Others beside a loop ----------------------------------------------------------------------- */

static int naps;

static void nap(void *arg)
{
    for (int64_t i = times(20); i > 0; i--) {
        loam_sleep(LOAM_MILLISECOND);
        add(&naps, 1);
    }
    store((int *)arg, 1);
}

static void sleeper(void)
{
    int done = 0;
    start(1, NULL);
    spin_on(1);
    AWAIT_THREAD(counts[0] != 0);
    go(nap, &done);
    AWAIT_THREAD(load(&done)); /* without a signal: never */
    finish();
}

static char text[1 << 20];

static void read_dump(void)
{
    char path[] = "/tmp/loam_preempt_XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    unlink(path);
    loam_dump_goroutines(fd);
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    CHECK(n > 0);
    text[n] = '\0';
    close(fd);
}

static void set_procs(void *arg)
{
    for (int i = 0; i < 10; i++)
        loam_gomaxprocs(1 + i % 3);
    store((int *)arg, 1);
}

/* Without a signal each of these would wait for ever. */
static void stops(void)
{
    int done = 0;
    start(2, NULL);
    spin_on(5);
    for (int i = 0; i < 10; i++)
        loam_gomaxprocs(1 + i % 4); /* from a foreign thread */
    go(set_procs, &done);
    AWAIT_THREAD(load(&done));
    CHECK(stats().stw >= 15);
    for (int i = 0; i < 3; i++) { /* it has a limit of its own */
        read_dump();
        int runnable = 0;
        for (const char *at = text; (at = strstr(at, "[runnable]:\nspin(...)")) != NULL; at++)
            runnable++;
        if (runnable == 5)
            break;
        if (i == 2)
            FAIL("%d of 5 loops are in %s", runnable, text);
    }
    CHECK(strstr(text, "locked to thread") == NULL);
    uint64_t before[5];
    for (int i = 0; i < 5; i++)
        before[i] = counts[i];
    for (int i = 0; i < 5; i++)
        AWAIT_THREAD(counts[i] != before[i]); /* all go on */
    finish();
    CHECK_EQ(stats().held, 0);
}

/* ---- In libc ------------------------------------------------------------------------------------ */

static char *huge;
enum { HUGE = 8 << 20 };

static void measure(void *arg)
{
    volatile uint64_t *n = arg;
    while (!load(&quit)) {
        CHECK_EQ(strlen(huge), HUGE - 1);
        ++*n;
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void sort(void *arg)
{
    enum { N = 50000 };
    volatile uint64_t *n = arg;
    uint64_t seed = 1;
    while (!load(&quit)) {
        uint32_t *v = malloc(N * sizeof *v), sum = 0; /* half-way through malloc, too */
        CHECK(v != NULL);
        for (int i = 0; i < N; i++)
            sum += v[i] = draw(&seed, 1 << 30);
        qsort(v, N, sizeof *v, by_value);
        for (int i = 0; i < N; i++) {
            CHECK(i == 0 || v[i - 1] <= v[i]);
            sum -= v[i];
        }
        CHECK_EQ(sum, 0);
        free(v);
        ++*n;
    }
}

static void allocate(void *arg)
{
    volatile uint64_t *n = arg;
    while (!load(&quit)) {
        void *p[100];
        for (int i = 0; i < 100; i++)
            CHECK((p[i] = malloc(2000 + (size_t)i * 100)) != NULL); /* past its cache: the lock */
        for (int i = 0; i < 100; i++)
            free(p[i]);
        ++*n;
    }
}

static void in_libc(void)
{
    huge = malloc(HUGE);
    CHECK(huge != NULL);
    memset(huge, 'x', HUGE - 1);
    huge[HUGE - 1] = '\0';
    for (int procs = 1; procs <= 2; procs++) {
        start(procs, NULL);
        for (int i = 0; i < 12; i++)
            go(i % 3 == 0 ? measure : i % 3 == 1 ? sort : allocate, (void *)&counts[i]);
        for (int i = 0; i < 12; i++)
            AWAIT_THREAD(counts[i] != 0);
        finish();
    }
    free(huge);
}

/* ---- Asleep in the kernel, unannounced ------------------------------------------------------------- */

static int fds[2];
static int got;

static void read_unannounced(void *arg)
{
    (void)arg;
    char c = 0;
    ssize_t n = read(fds[0], &c, 1); /* is begun again after the signal */
    CHECK(n == 1 && c == 'x');
    store(&got, 1);
}

static void write_one(void *arg)
{
    (void)arg;
    CHECK_EQ(write(fds[1], "x", 1), 1);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int locked, passed;

static void keep_locked(void *arg)
{
    (void)arg;
    CHECK_EQ(pthread_mutex_lock(&mutex), 0);
    store(&locked, 1);
    while (!load(&quit))
        ;
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
}

static void pass_mutex(void *arg)
{
    (void)arg;
    CHECK_EQ(pthread_mutex_lock(&mutex), 0);
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
    add(&passed, 1);
}

static void in_kernel(void)
{
    CHECK_EQ(pipe(fds), 0);
    start(1, NULL);
    go(read_unannounced, NULL);
    loam_call(write_one, NULL); /* behind it */
    AWAIT_THREAD(load(&got));
    /* Those that wait for the mutex must not keep the one processor from the one that has it. */
    go(keep_locked, NULL);
    AWAIT_THREAD(load(&locked));
    for (int i = 0; i < 5; i++)
        go(pass_mutex, NULL);
    spin_on(1);
    AWAIT_THREAD(counts[0] != 0);
    store(&quit, 1);
    AWAIT_THREAD(load(&passed) == 5);
    finish();
    close(fds[0]);
    close(fds[1]);
}

/* ---- More loops than many -------------------------------------------------------------------- */

static int ended;

/* Work of about 5 ms. */
static void some_work(void *arg)
{
    volatile uint64_t *n = arg;
    for (int i = 0; i < 5000000; i++)
        ++*n;
    add(&ended, 1);
}

static void many(void)
{
    enum { LOOPS = 100 };
    store(&ended, 0);
    start(1, NULL);
    for (int i = 0; i < LOOPS; i++)
        go(some_work, (void *)&counts[i]);
    AWAIT_THREAD(load(&ended) == LOOPS);
    CHECK(stats().preemptions > 0);
    for (int i = 0; i < LOOPS; i++)
        CHECK_EQ(counts[i], 5000000);
    finish();
}

/* Everybody gets a turn, again and again: loops that are held, those that have not begun, timers. */
static void endless(void)
{
    enum { LOOPS = 100 };
    int slept = 0;
    start(2, NULL);
    spin_on(LOOPS);
    go(nap, &slept);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < LOOPS; i++) {
            uint64_t n = counts[i];
            AWAIT_THREAD(counts[i] != n);
        }
    CHECK(stats().held > 64);
    AWAIT_THREAD(load(&slept));
    finish();
    CHECK_EQ(stats().held, 0);
}

/* Loops that are more than many: hardly any of those that have not begun begins. */
static void capped(void)
{
    enum { LOOPS = 200, MANY = 66, SLICES = 160 };
    start(1, NULL);
    spin_on(LOOPS);
    AWAIT_THREAD(stats().held >= MANY);
    uint64_t from = stats().preemptions;
    int64_t held = stats().held;
    AWAIT_THREAD(stats().preemptions >= from + SLICES);
    int64_t more = stats().held - held;
    int64_t slices = (int64_t)(stats().preemptions - from); /* those above lie within these */
    if (more > slices / 8 + 4)
        FAIL("in %" PRId64 " slices %" PRId64 " loops have begun", slices, more);
    finish();
}

/* ---- Wired ---------------------------------------------------------------------------------------- */

static void spin_wired(void *arg)
{
    loam_lock_os_thread();
    pid_t tid = thread_id();
    spin(arg);
    CHECK_EQ(thread_id(), tid);
    loam_yield();
    CHECK_EQ(thread_id(), tid);
    loam_unlock_os_thread();
    add(&ended, 1);
}

static void wired(void)
{
    store(&ended, 0);
    start(1, NULL);
    for (int i = 0; i < 4; i++)
        go(i % 2 == 0 ? spin_wired : spin, (void *)&counts[i]);
    for (int round = 0; round < 5; round++)
        for (int i = 0; i < 4; i++) {
            uint64_t n = counts[i];
            AWAIT_THREAD(counts[i] != n);
        }
    CHECK(stats().preemptions >= 5);
    store(&quit, 1);
    AWAIT_THREAD(load(&ended) == 2);
    finish();
}

/* ---- Ends ----------------------------------------------------------------------------------------- */

static void nothing(void *arg)
{
    (void)arg;
}

static void stop_is_refused(void)
{
    for (int procs = 1; procs <= 3; procs++) {
        start(procs, NULL);
        spin_on(3);
        for (int i = 0; i < 3; i++)
            AWAIT_THREAD(counts[i] != 0); /* one that has not begun is abandoned */
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(loam_stop(LOAM_SECOND / 20), -EBUSY);
            CHECK_EQ(loam_call(nothing, NULL), 0); /* it goes on as before */
        }
        finish();
    }
}

static void print_on(void *arg)
{
    for (;;)
        fprintf(arg, "something\n");
}

static int main_beside_loops(int argc, char **argv)
{
    (void)argv;
    FILE *f = fopen("/dev/null", "w");
    CHECK(f != NULL);
    for (int i = 0; i < 4; i++)
        go(i == 0 ? spin : print_on, i == 0 ? (void *)&counts[0] : f);
    while (stats().preemptions < 4)
        loam_sleep(LOAM_MILLISECOND);
    return argc;
}

/* On the main thread a loop, so that main ends on another. */
static int main_moves(int argc, char **argv)
{
    int r = main_beside_loops(argc, argv);
    for (int i = 0; i < 10 && thread_id() == getpid(); i++)
        loam_sleep(LOAM_MILLISECOND);
    return r;
}

static void run_beside_loops(void *arg)
{
    setenv("GOMAXPROCS", arg, 1);
    store(&quit, 0);
    _exit(loam_run(*(char *)arg == '1' ? main_moves : main_beside_loops, 42, NULL));
}

static struct outcome outcome;

static void main_ends(void)
{
    for (int i = 0; i < 2; i++) {
        in_child_with(&outcome, run_beside_loops, i % 2 == 0 ? "1" : "2", 60, NULL);
        if (outcome.exit != 42)
            FAIL("exit %d, signal %d: %s", outcome.exit, outcome.signal, outcome.err);
    }
}

/* ---- Switched off ------------------------------------------------------------------------------------ */

static void note(void *arg)
{
    store((int *)arg, 1);
}

static void off(void)
{
    int ran = 0;
    start(1, "asyncpreemptoff=1");
    spin_on(1);
    AWAIT_THREAD(counts[0] != 0);
    go(note, &ran);
    usleep(100000);
    CHECK(!load(&ran));
    CHECK_EQ(stats().preemptions, 0);
    store(&quit, 1);
    AWAIT_THREAD(load(&ran));
    finish();
}

/* ---- The program's own handler of SIGURG -------------------------------------------------------------- */

static int plain_calls, action_calls;
static struct sigaction found;

static void on_plain(int sig)
{
    CHECK_EQ(sig, SIGURG);
    add(&plain_calls, 1);
}

/* Calls the one that it found, which may be the runtime's. */
static void on_action(int sig, siginfo_t *info, void *uc)
{
    CHECK_EQ(sig, SIGURG);
    add(&action_calls, 1);
    if (found.sa_flags & SA_SIGINFO)
        found.sa_sigaction(sig, info, uc);
}

static void send_urgent(int *calls, int n)
{
    int before = load(calls);
    for (int i = 1; i <= n; i++) {
        CHECK_EQ(i % 2 == 0 ? kill(getpid(), SIGURG) : pthread_kill(pthread_self(), SIGURG), 0);
        AWAIT_THREAD(load(calls) >= before + i);
    }
    CHECK_EQ(load(calls), before + n);
}

static void await_preemptions(uint64_t n)
{
    n += stats().preemptions;
    AWAIT_THREAD(stats().preemptions >= n);
}

static void handlers(void)
{
    struct sigaction plain = {.sa_handler = on_plain}, now;
    struct sigaction action = {.sa_sigaction = on_action, .sa_flags = SA_SIGINFO};
    CHECK_EQ(sigaction(SIGURG, &plain, NULL), 0);
    start(1, NULL);
    spin_on(3);
    await_preemptions(5);
    send_urgent(&plain_calls, 20);
    CHECK_EQ(sigaction(SIGURG, &action, &found), 0);
    await_preemptions(5); /* from here on the runtime's is in front again */
    int stray = load(&action_calls);
    CHECK(stray <= 2); /* one of each that sends may have looked before */
    send_urgent(&action_calls, 20);
    await_preemptions(5);
    CHECK_EQ(load(&action_calls), stray + 20);
    CHECK_EQ(load(&plain_calls), 20);
    finish();
    CHECK_EQ(sigaction(SIGURG, NULL, &now), 0);
    CHECK((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_action);
    signal(SIGURG, SIG_DFL);
    start(1, NULL);
    finish();
    CHECK_EQ(sigaction(SIGURG, NULL, &now), 0);
    CHECK(!(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL);
}

int main(void)
{
    main_ends(); /* first: while there is one thread */
    sleeper();
    stops();
    in_libc();
    in_kernel();
    many();
    endless();
    capped();
    wired();
    stop_is_refused();
    off();
    handlers();
    shared();
    return 0;
}
