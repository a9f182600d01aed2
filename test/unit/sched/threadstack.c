/* loam_on_thread_stack: what needs more stack than a goroutine has; what must not be done in it, and what
 * is shown of it. */
#include "../../child.h"

#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <regex.h>

#define noinline __attribute__((noinline))

static struct outcome o;
static int ran, stop_others, ready;
static loam_chan(int) c;

/* ---- What needs stack ------------------------------------------------------------------------------- */

/* Down to so many bytes below `top`; the sum tells that nobody wrote into the frames meanwhile. */
static noinline uint64_t descend(uintptr_t top, size_t bytes, uint64_t n)
{
    volatile uint64_t mine[32];
    for (int i = 0; i < 32; i++)
        mine[i] = n;
    uint64_t below =
        top - (uintptr_t)__builtin_frame_address(0) < bytes ? descend(top, bytes, n + 1) : 0;
    for (int i = 0; i < 32; i++)
        CHECK_EQ(mine[i], n);
    return below + 1;
}

static void four_megabytes(void *arg)
{
    (void)arg;
    CHECK(descend((uintptr_t)__builtin_frame_address(0), 4 << 20, 1) > 1000);
    add(&ran, 1);
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void sort(void *arg)
{
    enum { N = 10000 };
    (void)arg;
    int *v = malloc(N * sizeof *v);
    CHECK(v != NULL);
    for (int i = 0; i < N; i++)
        v[i] = (int)((uint32_t)i * 2654435761u >> 8);
    qsort(v, N, sizeof *v, by_number);
    for (int i = 1; i < N; i++)
        CHECK(v[i - 1] <= v[i]);
    free(v);
    add(&ran, 1);
}

/* Nested so deeply that glibc's parser needs a megabyte. */
static void compile_hostile(void *arg)
{
    enum { DEPTH = 3000 };
    static char pattern[2 * DEPTH + 2];
    (void)arg;
    memset(pattern, '(', DEPTH);
    pattern[DEPTH] = 'x';
    memset(pattern + DEPTH + 1, ')', DEPTH);
    regex_t r;
    CHECK_EQ(regcomp(&r, pattern, REG_EXTENDED | REG_NOSUB), 0);
    CHECK_EQ(regexec(&r, "x", 0, NULL, 0), 0);
    regfree(&r);
    add(&ran, 1);
}

static void expand(void *arg)
{
    glob_t g;
    (void)arg;
    CHECK_EQ(glob("/*/", GLOB_MARK, NULL, &g), 0);
    CHECK(g.gl_pathc > 0);
    globfree(&g);
    add(&ran, 1);
}

/* What does not wait is allowed, and is the calling goroutine's doing. */
static void nothing(void *arg)
{
    add(&ran, 1);
    (void)arg;
}

static loam_local_key key;

static void uses_loam(void *arg)
{
    CHECK_EQ(loam_goid(), *(uint64_t *)arg);
    CHECK(loam_local_get(key) == arg);
    CHECK_EQ(loam_local_set(key, &ran), 0);
    go(nothing, NULL);
    loam_chan(int) box = loam_chan_make(int, 1);
    loam_send(box, 7);
    CHECK_EQ(loam_recv(box), 7);
    loam_chan_free(box);
    static struct loam_mutex m;
    loam_mutex_lock(&m);
    loam_mutex_unlock(&m);
    loam_on_thread_stack(nothing, NULL); /* in itself: a plain call */
    errno = 4711;
}

static void allowed(void *arg)
{
    (void)arg;
    uint64_t id = loam_goid();
    CHECK_EQ(loam_local_set(key, &id), 0);
    int before = load(&ran);
    loam_on_thread_stack(uses_loam, &id);
    CHECK_EQ(errno, 4711);
    CHECK(loam_local_get(key) == &ran);
    AWAIT(load(&ran) == before + 2);
    loam_yield();
    errno = 0;
    loam_on_thread_stack(nothing, NULL);
    CHECK_EQ(errno, 0);
}

static void (*const needy[])(void *) = {four_megabytes, sort, compile_hostile, expand};
enum { NEEDY = sizeof needy / sizeof *needy };

static void blocking_then(void *arg)
{
    for (int i = 0; i < NEEDY; i++)
        loam_on_thread_stack(needy[i], arg);
}

static void on_a_goroutine(void *arg)
{
    bool wired = arg != NULL;
    if (wired)
        loam_lock_os_thread();
    store(&ran, 0);
    for (int i = 0; i < NEEDY; i++) {
        loam_on_thread_stack(needy[i], NULL);
        loam_yield();
    }
    loam_blocking(blocking_then, NULL);
    CHECK_EQ(load(&ran), 2 * NEEDY);
    allowed(NULL);
    if (wired)
        loam_unlock_os_thread();
}

/* Beside others, on all processors, with switches and stops of the world between. */
static void yields_a_lot(void *arg)
{
    (void)arg;
    while (!load(&stop_others))
        loam_yield();
}

static struct loam_waitgroup wg;

static void calls_a_lot(void *arg)
{
    for (int64_t i = 0; i < times(30); i++) {
        loam_on_thread_stack(needy[(uintptr_t)arg % 2], NULL);
        loam_yield();
        if (i % 10 == 0)
            loam_sleep(1000);
    }
}

static void beside_others(void *arg)
{
    (void)arg;
    store(&stop_others, 0);
    for (int i = 0; i < 4; i++)
        loam_waitgroup_go(&wg, yields_a_lot, NULL);
    struct loam_waitgroup callers = {0};
    for (uintptr_t i = 0; i < 8; i++)
        loam_waitgroup_go(&callers, calls_a_lot, (void *)i);
    for (int n = 1; n <= 4; n++)
        (void)loam_gomaxprocs(n);
    loam_waitgroup_wait(&callers);
    store(&stop_others, 1);
    loam_waitgroup_wait(&wg);
}

static void *on_foreign_thread(void *arg)
{
    loam_on_thread_stack(four_megabytes, arg);
    return NULL;
}

static void works(void)
{
    for (int procs = 1; procs <= 4; procs++) {
        CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = procs}), 0);
        CHECK_EQ(loam_local_key_new(&key, NULL), 0);
        CHECK_EQ(loam_call(on_a_goroutine, NULL), 0);
        CHECK_EQ(loam_call(on_a_goroutine, &ran), 0);
        CHECK_EQ(loam_call(beside_others, NULL), 0);
        store(&ran, 0);
        pthread_t t;
        CHECK_EQ(pthread_create(&t, NULL, on_foreign_thread, NULL), 0);
        pthread_join(t, NULL);
        CHECK_EQ(load(&ran), 1);
        CHECK_EQ(loam_local_key_free(key), 0);
        CHECK_EQ(loam_stop(-1), 0);
    }
    loam_on_thread_stack(four_megabytes, NULL); /* before a start and after a stop as well */
    CHECK_EQ(load(&ran), 2);
}

/* The goroutine that loam_run starts is on the process's main thread. */
static int main_goroutine(int argc, char **argv)
{
    (void)argv;
    CHECK_EQ(loam_local_key_new(&key, NULL), 0);
    on_a_goroutine(argc > 1 ? &ran : NULL);
    return 7;
}

static void run_main(void *arg)
{
    exit(loam_run(main_goroutine, *(int *)arg, NULL));
}

/* ---- Misuse ------------------------------------------------------------------------------------------ */

static void receives(void *arg)
{
    (void)arg;
    (void)loam_recv(c);
}

static void selects(void *arg)
{
    (void)arg;
    int v;
    (void)loam_select(loam_on_recv(c, &v));
}

static void sleeps(void *arg)
{
    (void)arg;
    loam_sleep(LOAM_MILLISECOND);
}

static void yields(void *arg)
{
    (void)arg;
    loam_yield();
}

static void blocks(void *arg)
{
    loam_blocking(nothing, arg);
}

static void enters(void *arg)
{
    (void)arg;
    loam_blocking_enter();
}

static void leaves(void *arg)
{
    (void)arg;
    loam_blocking_leave();
}

static void ends(void *arg)
{
    (void)arg;
    loam_goexit();
}

static void resizes(void *arg)
{
    (void)arg;
    (void)loam_gomaxprocs(3);
}

static void panics(void *arg)
{
    (void)arg;
    loam_panic("from the thread's stack");
}

static void nested(void *arg)
{
    loam_on_thread_stack(receives, arg);
    add(&ran, 1); /* no tail call */
}

static const struct {
    void (*fn)(void *);
    const char *text;
    const char *function; /* in the traceback; NULL: none of its own */
    bool blocking;
} misuses[] = {
    {receives, "a function that waits was called inside loam_on_thread_stack", "receives", false},
    {receives, "a function that waits was called inside loam_on_thread_stack", "receives", true},
    {nested, "a function that waits was called inside loam_on_thread_stack", "nested", false},
    {selects, "a function that waits was called inside loam_on_thread_stack", "selects", false},
    {sleeps, "a function that waits was called inside loam_on_thread_stack", NULL, false},
    {yields, "a function that yields was called inside loam_on_thread_stack", NULL, false},
    {blocks, "loam_blocking_enter was called inside loam_on_thread_stack", NULL, false},
    {enters, "loam_blocking_enter was called inside loam_on_thread_stack", NULL, false},
    {leaves, "loam_blocking_leave was called inside loam_on_thread_stack", NULL, false},
    {leaves, "loam_blocking_leave was called inside loam_on_thread_stack", NULL, true},
    {ends, "loam_goexit was called inside loam_on_thread_stack", NULL, false},
    {resizes, "a function that stops the world was called inside loam_on_thread_stack", NULL,
     false},
    {panics, "from the thread's stack", "panics", false},
};

static noinline void calls_on_thread(void *arg)
{
    loam_on_thread_stack(misuses[*(int *)arg].fn, NULL);
    add(&ran, 1); /* no tail call */
}

static void misuse(void *arg)
{
    c = loam_chan_make(int, 0);
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 2}), 0);
    (void)loam_call(calls_on_thread, arg);
}

static noinline void calls_blocking_on_thread(void *arg)
{
    loam_blocking(calls_on_thread, arg);
    add(&ran, 1); /* no tail call */
}

static void misuse_blocking(void *arg)
{
    c = loam_chan_make(int, 0);
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 2}), 0);
    (void)loam_call(calls_blocking_on_thread, arg);
}

static void misused(void)
{
    for (int i = 0; i < (int)(sizeof misuses / sizeof *misuses); i++) {
        in_child(&o, misuses[i].blocking ? misuse_blocking : misuse, &i);
        CHECK_OUTCOME(&o, 2, misuses[i].text);
        /* both parts of the stack */
        if (misuses[i].function != NULL)
            CHECK_HAS(o.err, misuses[i].function);
        CHECK_HAS(o.err, "\nloam_on_thread_stack");
        CHECK_HAS(o.err, "\ncalls_on_thread");
        CHECK_HAS(o.err, misuses[i].blocking ? "[syscall]:\n" : "[running]:\n");
    }
}

/* ---- Dumps -------------------------------------------------------------------------------------------- */

static noinline void runs_for_ever(void *arg)
{
    (void)arg;
    add(&ready, 1);
    for (volatile int i = 0;; i++) {
    }
}

static noinline void runs_on_thread(void *arg)
{
    loam_on_thread_stack(runs_for_ever, arg);
    add(&ran, 1); /* no tail call */
}

static int run_and_wait(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    go(runs_on_thread, NULL);
    AWAIT(load(&ready) == 1);
    fprintf(stderr, "ready\n");
    for (;;)
        loam_sleep(LOAM_MILLISECOND);
    return 0;
}

static void run_dumped(void *arg)
{
    (void)arg;
    setenv("GOMAXPROCS", "3", 1);
    exit(loam_run(run_and_wait, 0, NULL));
}

static void quit(pid_t pid)
{
    kill(pid, SIGQUIT);
}

static noinline void dumps_itself(void *arg)
{
    (void)arg;
    loam_traceback(2);
    loam_dump_goroutines(2);
    add(&ran, 1);
}

static noinline void dumps_on_thread(void *arg)
{
    loam_on_thread_stack(dumps_itself, arg);
    add(&ran, 1); /* no tail call */
}

static void run_dumper(void *arg)
{
    CHECK_EQ(loam_start(NULL), 0);
    CHECK_EQ(loam_call(dumps_on_thread, arg), 0);
    CHECK_EQ(loam_stop(-1), 0);
}

/* The parts come in this order, n times. */
static void check_order(const char *const *parts, int n)
{
    const char *at = o.err;
    for (; n > 0; n--)
        for (int i = 0; parts[i] != NULL; i++) {
            at = strstr(at, parts[i]);
            if (at == NULL)
                FAIL("no %s where it should be in:\n%s", parts[i], o.err);
            at++;
        }
}

static void dumps(void)
{
    static const char *const running[] = {"[running]:\n", "\nruns_for_ever",
                                          "\nloam_on_thread_stack", "\nruns_on_thread", NULL};
    in_child_with(&o, run_dumped, NULL, 60, quit);
    CHECK_OUTCOME(&o, 2, "SIGQUIT: quit\nPC=0x");
    check_order(running, 1);
    static const char *const itself[] = {"[running]:\n", "\ndumps_itself", "\nloam_on_thread_stack",
                                         "\ndumps_on_thread", NULL};
    in_child(&o, run_dumper, NULL);
    CHECK_OUTCOME(&o, 0, "goroutine ");
    check_order(itself, 2);
}

/* ---- A loop of calls ------------------------------------------------------------------------------- */

static void two_milliseconds(void *arg)
{
    (void)arg;
    for (int64_t from = clock_ns(); clock_ns() - from < 2 * LOAM_MILLISECOND;)
        ;
}

static void call_on(void *arg)
{
    while (!load(&stop_others)) {
        errno = 77;
        loam_on_thread_stack(two_milliseconds, arg);
        CHECK_EQ(errno, 77);
        add(&ran, 1);
    }
}

static void end_calls(void *arg)
{
    (void)arg;
    store(&stop_others, 1);
}

/* No signal finds it where it may be held: only the call itself gives way. */
static void shared(void)
{
    store(&stop_others, 0);
    store(&ran, 0);
    struct loam_config config = {.maxprocs = 1, .debug = "asyncpreemptoff=1"};
    CHECK_EQ(loam_start(&config), 0);
    go(call_on, NULL);
    AWAIT_THREAD(load(&ran) > 0);
    go(end_calls, NULL);
    AWAIT_THREAD(load(&stop_others));
    CHECK_EQ(loam_stop(-1), 0);
}

int main(void)
{
    works();
    shared();
    for (int argc = 1; argc <= 2; argc++) {
        in_child(&o, run_main, &argc);
        CHECK_OUTCOME(&o, 7, NULL);
    }
    misused();
    if (!TEST_TSAN) /* frames of its own are between */
        dumps();
    return 0;
}
