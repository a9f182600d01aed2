/* Faults that are not the overflow of a goroutine's stack go where they went before the runtime was
 * started. */
#include "overflow.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>

static int *volatile nowhere = (int *)16; /* UBSan would see NULL */
static char *forbidden;                   /* a page that a handler can make accessible */
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
    if (!TEST_TSAN) /* which blocks all */
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
    choose_kernel("now");
    other_faults();
    return 0;
}
