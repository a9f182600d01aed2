/* A goroutine that overflows its stack is reported and ends the process with status 2, on kernels with
 * guard markers and on those without; every other fault goes where it went before the runtime was
 * started. */
#include "../../child.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>

#define noinline __attribute__((noinline))

static struct outcome o;
static const char *guards; /* settings: which kind of guards */
static int ready, release;

static void start_procs(int procs)
{
    struct loam_config config = {.maxprocs = procs, .debug = guards};
    if (loam_start(&config) != 0)
        FAIL("loam_start: %s", loam_error_text());
}

/* ---- Ways to overflow --------------------------------------------------------------------------- */

static volatile unsigned sink;
static volatile unsigned end = 1u << 31; /* never reached */

static noinline unsigned recurse(unsigned n)
{
    volatile unsigned char frame[100];
    frame[n % 100] = (unsigned char)n;
    unsigned below = n < end ? recurse(n + 1) : 0;
    return below + frame[n % 100]; /* no tail call */
}

static noinline void recurses(void *arg)
{
    (void)arg;
    sink = recurse(0);
}

static noinline void recurses_wired(void *arg)
{
    loam_lock_os_thread();
    recurses(arg);
}

static noinline void recurses_named(void *arg)
{
    loam_set_name("the deep one");
    recurses(arg);
}

static noinline void recurses_blocking(void *arg)
{
    loam_blocking(recurses, arg);
    sink++;
}

static noinline void recurses_on_thread(void *arg)
{
    loam_on_thread_stack(recurses, arg);
    sink++;
}

/* In the runtime or in a function of libc, without whose frame pointer the traceback may have nothing
 * but that one. */
static noinline unsigned recurse_and_call(unsigned n)
{
    char text[64];
    loam_yield();
    snprintf(text, sizeof text, "%u", n);
    unsigned below = n < end ? recurse_and_call(n + 1) : 0;
    return below + (unsigned char)text[0];
}

static noinline void recurses_and_calls(void *arg)
{
    (void)arg;
    sink = recurse_and_call(0);
}

/* This file is compiled with -fstack-clash-protection. */
static noinline void large_frame(size_t n)
{
    volatile char frame[n];
    frame[0] = 1; /* the lowest byte, far below the guard */
    sink += (unsigned)frame[0];
}

static noinline void has_large_frame(void *arg)
{
    (void)arg;
    large_frame((size_t)sink + (20 << 20));
}

/* ---- The report --------------------------------------------------------------------------------- */

struct overflow {
    void (*fn)(void *);
    size_t stack_size;
    const char *who, *where; /* parts of the text */
    int deep;                /* -1: not looked at */
};

static noinline void parked(void *arg)
{
    (void)arg;
    add(&ready, 1);
    AWAIT(load(&release));
}

static void overflow_embedded(void *arg)
{
    const struct overflow *w = arg;
    start_procs(2);
    go(parked, NULL);
    struct loam_go_options with = {.stack_size = w->stack_size};
    CHECK_EQ(loam_go_with(&with, w->fn, NULL), 0);
    for (;;)
        pause();
}

static int overflow_main(int argc, char **argv)
{
    (void)argc;
    ((const struct overflow *)(void *)argv)->fn(NULL);
    return 0;
}

static void overflow_run(void *arg)
{
    if (guards != NULL)
        setenv("LOAMDEBUG", guards, 1);
    exit(loam_run(overflow_main, 1, arg));
}

static int count_of(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        n++;
    return n;
}

static void check_report(const struct overflow *w, bool main)
{
    bool thread = w->fn == recurses_on_thread;
    CHECK_OUTCOME(&o, 2,
                  thread ? "runtime: thread stack exceeds " : "runtime: goroutine stack exceeds ");
    CHECK_HAS(o.err, "-byte limit\nruntime: sp=0x");
    CHECK_HAS(o.err, w->who);
    CHECK_HAS(o.err, w->where);
    CHECK_HAS(o.err, thread ? "ulimit -s" : "loam_go_with");
    CHECK_HAS(o.err, "\nfatal error: stack overflow\n\ngoroutine ");
    CHECK_EQ(count_of(o.err, "fatal error: "), 1);
    size_t limit = strtoull(strstr(o.err, "exceeds ") + 8, NULL, 10);
    size_t least = main ? (size_t)8 << 20 : w->stack_size > 1 ? w->stack_size : 188 << 10;
    if (!thread)
        CHECK(limit >= least && limit <= 3 * least);
    /* The traceback: both ends of it, with what is between counted. */
    const char *elided = strstr(o.err, " frames elided...\n");
    if (w->deep < 0)
        return;
    if (w->deep != 0) {
        CHECK(elided != NULL);
        while (elided[-1] != '.')
            elided--;
        CHECK(atoi(elided) > 100);
        if (w->fn == recurses)
            CHECK_EQ(count_of(o.err, "recurse(...)\n"), main ? 98 : 99);
    } else {
        CHECK(elided == NULL);
    }
}

static void reports(void)
{
    static const struct overflow ways[] = {
        {recurses, 0, "\nruntime: goroutine ", " in recurse (", true},
        {recurses, 1, "\nruntime: goroutine ", " in recurse (", true},
        {recurses, 300 << 10, "\nruntime: goroutine ", " in recurse (", true},
        {recurses, 3 << 20, "\nruntime: goroutine ", " in recurse (", true},
        {recurses_named, 0, " \"the deep one\" in recurse (", " \"the deep one\" [running]:\n",
         true},
        {recurses_wired, 0, " in recurse (", "[running, locked to thread]:\n", true},
        {recurses_blocking, 0, " in recurse (", "[syscall]:\n", true},
        {recurses_on_thread, 0, " in recurse (", "loam_on_thread_stack", true},
        {recurses_and_calls, 0, "\nruntime: goroutine ", "\ngoroutine ", -1},
        {has_large_frame, 0, " in large_frame (", "large_frame(...)\n", false},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct overflow w = ways[i];
        in_child(&o, overflow_embedded, &w);
        check_report(&w, false);
        if (w.stack_size != 0)
            continue;
        in_child(&o, overflow_run, &w);
        check_report(&w, true);
        CHECK_HAS(o.err, "\ngoroutine 1 ");
    }
}

/* ---- Several at once ------------------------------------------------------------------------------- */

static void overflow_together(void *arg)
{
    add(&ready, 1);
    AWAIT(load(&ready) == 8);
    recurses(arg);
}

static void many_overflows(void *arg)
{
    (void)arg;
    start_procs(4);
    for (int i = 0; i < 8; i++)
        go(overflow_together, NULL);
    for (;;)
        pause();
}

static void overflows_at_once(void)
{
    for (int64_t i = 0; i < times(20); i++) {
        in_child(&o, many_overflows, NULL);
        CHECK_OUTCOME(&o, 2, "\nfatal error: stack overflow\n");
        CHECK_EQ(count_of(o.err, "runtime: goroutine stack exceeds "), 1);
    }
}

/* ---- Forty thousand ------------------------------------------------------------------------------- */

static int count_maps(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    CHECK(f != NULL);
    int n = 0;
    for (int c; (c = getc(f)) != EOF;)
        n += c == '\n';
    fclose(f);
    return n;
}

static long max_map_count(void)
{
    long n = 0;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
    if (f == NULL || fscanf(f, "%ld", &n) != 1)
        FAIL("vm.max_map_count cannot be read");
    fclose(f);
    return n;
}

static loam_chan(int) gate;

static void parks(void *arg)
{
    (void)arg;
    add(&ready, 1);
    if (loam_recv(gate) != 0)
        recurses(NULL);
    add(&release, 1);
}

static void park_and_overflow_one(void *arg)
{
    int n = *(int *)arg;
    start_procs(2);
    gate = loam_chan_make(int, 0);
    for (int i = 0; i < n; i++)
        go(parks, NULL);
    AWAIT_THREAD(load(&ready) == n);
    int maps = count_maps();
    if (n >= 1000 && !TEST_ASAN && !TEST_TSAN)
        CHECK(guards == NULL ? maps < 5000 : maps >= n && maps < n + n / 50 + 500);
    fprintf(stderr, "parked, with %d maps\n", maps);
}

static void send(void *arg)
{
    loam_send(gate, *(int *)arg);
}

static void overflow_one(void *arg)
{
    park_and_overflow_one(arg);
    for (int i = 0; i < 10; i++) /* the others are whole */
        CHECK_EQ(loam_call(send, &(int){0}), 0);
    AWAIT_THREAD(load(&release) == 10);
    (void)loam_call(send, &(int){1});
    for (;;)
        pause();
}

static void stop_them(void *arg)
{
    park_and_overflow_one(arg);
    int maps = count_maps();
    CHECK_EQ(loam_stop(-1), 0);
    CHECK(count_maps() < maps - *(int *)arg || guards == NULL || TEST_ASAN);
}

static void forty_thousand(void)
{
    int n = (int)at_most(40000);
    void (*const what[])(void *) = {overflow_one, stop_them};
    for (int i = 0; i < 2; i++) {
        in_child_with(&o, what[i], &n, 100, NULL);
        CHECK_OUTCOME(&o, i == 0 ? 2 : 0, "parked, with ");
        if (i == 0)
            CHECK_HAS(o.err, "\nfatal error: stack overflow\n");
    }
}

/* As many as there can be: the next one is an error of the call, which says how many there are. */
static void until_error(void *arg)
{
    (void)arg;
    start_procs(2);
    gate = loam_chan_make(int, 0);
    int n = 0, err;
    while ((err = loam_go(parks, NULL)) == 0)
        CHECK(++n < 1000000);
    CHECK_EQ(err, -ENOMEM);
    char part[64];
    snprintf(part, sizeof part, "another stack of 256 KB: %d are in use", n);
    CHECK_HAS(loam_error_text(), part);
    CHECK_HAS(loam_error_text(), "vm.max_map_count");
    CHECK_HAS(loam_error_text(), "each is a map of its own");
    CHECK(n > max_map_count() - 2000);
    AWAIT_THREAD(load(&ready) == n);
    CHECK_EQ(loam_go(parks, NULL), -ENOMEM);
    loam_close(gate); /* each works; and their stacks serve others */
    AWAIT_THREAD(load(&release) == n);
    AWAIT_THREAD(loam_num_goroutine() == 0);
    for (int i = 0; i < n / 2; i++)
        go(parks, NULL);
    fprintf(stderr, "%d\n", n);
}

static void out_of_maps(void)
{
    if (max_map_count() > 100000)
        return; /* it would take too long */
    in_child_with(&o, until_error, NULL, 100, NULL);
    CHECK_OUTCOME(&o, 0, "\n");
}

/* No descriptor for the file from which slots are mapped: then two maps for each. */
static void without_descriptors(void *arg)
{
    int last = dup(0);
    (void)arg;
    start_procs(2);
    while (dup(0) >= 0) /* to the limit, which the program may have set low */
        CHECK(++last < 2000000);
    gate = loam_chan_make(int, 0);
    for (int i = 0; i < 600; i++)
        go(parks, NULL);
    AWAIT_THREAD(load(&ready) == 600);
    (void)loam_call(send, &(int){1});
    for (;;)
        pause();
}

static void no_descriptors(void)
{
    in_child(&o, without_descriptors, NULL);
    CHECK_OUTCOME(&o, 2, "\nfatal error: stack overflow\n");
}

/* ---- Other faults: where they went before --------------------------------------------------------- */

static int *volatile nowhere;
static char *forbidden; /* a page that a handler can make accessible */
static sigjmp_buf env;
static volatile int handled; /* by a handler */

static noinline void faults(void *arg)
{
    (void)arg;
    *nowhere = 1;
}

static void touches_forbidden(void *arg)
{
    (void)arg;
    *(volatile char *)forbidden = 1;
}

static void sends_itself(void *arg)
{
    raise(*(int *)arg);
}

/* Beyond the end of a file. */
static void bus_error(void *arg)
{
    (void)arg;
    FILE *f = tmpfile();
    volatile char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
    p[0] = 1;
}

static void permits(int sig, siginfo_t *info, void *uc)
{
    (void)uc;
    CHECK_EQ(sig, SIGSEGV);
    CHECK(info->si_addr == forbidden);
    sigset_t mask;
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    CHECK(sigismember(&mask, SIGUSR2) && !sigismember(&mask, SIGTERM));
    CHECK_EQ(mprotect(forbidden, 4096, PROT_READ | PROT_WRITE), 0);
    handled++;
}

static void plain(int sig)
{
    CHECK_EQ(sig, SIGSEGV);
    CHECK_EQ(mprotect(forbidden, 4096, PROT_READ | PROT_WRITE), 0);
    handled++;
}

static void jumps(int sig)
{
    handled += sig == SIGSEGV;
    siglongjmp(env, 1);
}

static void exits(int sig)
{
    static const char text[] = "own handler\n";
    (void)sig;
    (void)!write(2, text, sizeof text - 1);
    _exit(11);
}

static void install(int sig, void (*plain_fn)(int), int flags)
{
    struct sigaction a = {.sa_handler = plain_fn, .sa_flags = flags};
    CHECK_EQ(sigaction(sig, &a, NULL), 0);
}

static void *call_it(void *fn)
{
    ((void (*)(void *))(uintptr_t)fn)(NULL);
    return NULL;
}

/* On a goroutine, or on a thread of the program. */
static bool on_foreign;

static void do_it(void (*fn)(void *), void *arg)
{
    if (!on_foreign)
        CHECK_EQ(loam_call(fn, arg), 0);
    else if (arg != NULL)
        fn(arg);
    else {
        pthread_t t;
        CHECK_EQ(pthread_create(&t, NULL, call_it, (void *)(uintptr_t)fn), 0);
        pthread_join(t, NULL);
    }
}

static void by_default(void *fn)
{
    start_procs(2);
    do_it((void (*)(void *))(uintptr_t)fn, NULL);
}

static void sent_by_default(void *arg)
{
    start_procs(2);
    do_it(sends_itself, arg);
    for (;;) /* it comes to some thread */
        pause();
}

static void ignored(void *arg)
{
    (void)arg;
    install(SIGSEGV, SIG_IGN, 0);
    install(SIGBUS, SIG_IGN, 0);
    start_procs(2);
    for (int i = 0; i < 10; i++) {
        do_it(sends_itself, &(int){SIGSEGV});
        do_it(sends_itself, &(int){SIGBUS});
    }
    fprintf(stderr, "still here\n");
    do_it(faults, NULL); /* which the kernel does not let anyone ignore */
}

static void forbid(void)
{
    forbidden = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(forbidden != MAP_FAILED);
}

static void handler_returns(void *arg)
{
    struct sigaction a = {.sa_sigaction = permits, .sa_flags = SA_SIGINFO};
    (void)arg;
    forbid();
    sigaddset(&a.sa_mask, SIGUSR2);
    CHECK_EQ(sigaction(SIGSEGV, &a, NULL), 0);
    start_procs(2);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(mprotect(forbidden, 4096, PROT_NONE), 0);
        do_it(touches_forbidden, NULL);
        CHECK_EQ(handled, i + 1);
    }
    CHECK_EQ(loam_stop(-1), 0);
    CHECK_EQ(mprotect(forbidden, 4096, PROT_NONE), 0);
    touches_forbidden(NULL);
    CHECK_EQ(handled, 6);
}

static void handler_once(void *arg)
{
    (void)arg;
    forbid();
    install(SIGSEGV, plain, (int)SA_RESETHAND);
    start_procs(2);
    do_it(touches_forbidden, NULL);
    CHECK_EQ(handled, 1);
    fprintf(stderr, "still here\n");
    CHECK_EQ(mprotect(forbidden, 4096, PROT_NONE), 0);
    do_it(touches_forbidden, NULL);
}

static void faults_and_jumps(void *arg)
{
    if (sigsetjmp(env, 1) == 0)
        faults(arg);
}

static void handler_jumps(void *arg)
{
    (void)arg;
    install(SIGSEGV, jumps, 0);
    start_procs(2);
    for (int i = 0; i < 5; i++) {
        do_it(faults_and_jumps, NULL);
        CHECK_EQ(handled, i + 1);
    }
    CHECK_EQ(loam_stop(-1), 0);
}

static void handler_before(void *arg)
{
    (void)arg;
    install(SIGBUS, exits, 0);
    start_procs(2);
    do_it(bus_error, NULL);
}

static void handler_later(void *fn)
{
    start_procs(2);
    install(SIGSEGV, exits, SA_ONSTACK);
    install(SIGBUS, exits, SA_ONSTACK);
    do_it((void (*)(void *))(uintptr_t)fn, NULL);
}

static void without_handlers(void *fn)
{
    CHECK_EQ(loam_start(&(struct loam_config){.flags = LOAM_NO_SIGNALS}), 0);
    do_it((void (*)(void *))(uintptr_t)fn, NULL);
}

/* A handler that was installed above the runtime's calls that one, also when the runtime was stopped
 * and started again. */
static struct sigaction below;
static int above;

static void calls_former(int sig, siginfo_t *info, void *uc)
{
    CHECK(++above < 10);
    below.sa_sigaction(sig, info, uc);
}

static void handler_above(void *fn)
{
    start_procs(1);
    struct sigaction a = {.sa_sigaction = calls_former, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    CHECK_EQ(sigaction(SIGSEGV, &a, &below), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(loam_stop(-1), 0);
        struct sigaction now;
        CHECK_EQ(sigaction(SIGSEGV, NULL, &now), 0);
        CHECK(now.sa_sigaction == calls_former);
        start_procs(1);
    }
    do_it((void (*)(void *))(uintptr_t)fn, NULL);
}

static void check_signal(void (*fn)(void *), void *arg, int sig, const char *text)
{
    in_child(&o, fn, arg);
    if (TEST_ASAN || TEST_TSAN) { /* their handlers are the former ones: they report, and exit */
        CHECK(o.signal == sig || o.exit > 0);
        CHECK(strstr(o.err, "runtime: goroutine stack exceeds") == NULL);
        return;
    }
    if (o.signal != sig || strcmp(o.err, text) != 0)
        FAIL("exit status %d, signal %d; wanted %d and \"%s\"; it wrote:\n%s", o.exit, o.signal,
             sig, text, o.err);
}

static void *fn_arg(void (*fn)(void *))
{
    return (void *)(uintptr_t)fn;
}

static void other_faults(void)
{
    for (int i = 0; i < 2; i++) {
        on_foreign = i == 1;
        check_signal(by_default, fn_arg(faults), SIGSEGV, "");
        check_signal(by_default, fn_arg(bus_error), SIGBUS, "");
        check_signal(sent_by_default, &(int){SIGSEGV}, SIGSEGV, "");
        check_signal(sent_by_default, &(int){SIGBUS}, SIGBUS, "");
        check_signal(ignored, NULL, SIGSEGV, "still here\n");
        check_signal(handler_once, NULL, SIGSEGV, "still here\n");
        check_signal(without_handlers, fn_arg(faults), SIGSEGV, "");
        in_child(&o, handler_returns, NULL);
        CHECK_OUTCOME(&o, 0, NULL);
        in_child(&o, handler_jumps, NULL);
        CHECK_OUTCOME(&o, 0, NULL);
        in_child(&o, handler_before, NULL);
        CHECK_OUTCOME(&o, 11, "own handler\n");
        in_child(&o, handler_later, fn_arg(faults));
        CHECK_OUTCOME(&o, 11, "own handler\n");
        check_signal(handler_above, fn_arg(faults), SIGSEGV, "");
    }
    on_foreign = false;
    check_signal(without_handlers, fn_arg(recurses), SIGSEGV, "");
    in_child(&o, handler_later, fn_arg(recurses));
    CHECK_OUTCOME(&o, 11, "own handler\n");
    in_child(&o, handler_above, fn_arg(recurses));
    CHECK_OUTCOME(&o, 2, "\nfatal error: stack overflow\n");
}

int main(void)
{
    static const char *const kinds[] = {NULL, "stackguard=1"};
    for (int i = 0; i < 2; i++) {
        guards = kinds[i];
        reports();
        overflows_at_once();
        forty_thousand();
    }
    no_descriptors();
    out_of_maps();
    guards = NULL;
    other_faults();
    return 0;
}
