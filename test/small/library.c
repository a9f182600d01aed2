/* The library of library.h. */
#define _GNU_SOURCE
#include "library.h"

#include <alloca.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* Declared by no header any more. */
void (*bsd_signal(int, void (*)(int)))(int);

static long use(size_t bytes)
{
    volatile char *p = alloca(bytes);
    for (size_t i = 0; i < bytes; i += 64)
        p[i] = 1;
    return p[0];
}

/* ---- Signals --------------------------------------------------------------------------------------- */

static volatile sig_atomic_t ran;

static void handler(int sig)
{
    stack_t s;
    char here;
    if (sigaltstack(NULL, &s) == 0 && (s.ss_flags & SS_ONSTACK) != 0 &&
        (uintptr_t)&here - (uintptr_t)s.ss_sp < s.ss_size && use(8000) == 1)
        ran = sig;
}

static void handler3(int sig, siginfo_t *info, void *uc)
{
    if (info->si_signo == sig && uc != NULL)
        handler(sig);
}

static int came(int sig)
{
    int came = ran == sig;
    ran = 0;
    return came;
}

static int by_sigaction(void)
{
    struct sigaction act = {.sa_sigaction = handler3, .sa_flags = SA_SIGINFO}, old;
    if (sigaction(SIGUSR1, &act, NULL) != 0 || raise(SIGUSR1) != 0 || !came(SIGUSR1) ||
        sigaction(SIGUSR1, NULL, &old) != 0 || old.sa_sigaction != handler3)
        return 0;
    act = (struct sigaction){.sa_handler = SIG_DFL};
    return sigaction(SIGUSR1, &act, &old) == 0 && old.sa_sigaction == handler3 &&
           (old.sa_flags & SA_SIGINFO) != 0 && sigaction(SIGKILL, &act, NULL) == -1 &&
           errno == EINVAL;
}

static int stays(void (*(*install)(int, void (*)(int)))(int))
{
    if (install(SIGUSR2, handler) != SIG_DFL)
        return 0;
    for (int i = 0; i < 2; i++)
        if (raise(SIGUSR2) != 0 || !came(SIGUSR2))
            return 0;
    return install(SIGUSR2, SIG_DFL) == handler;
}

static int once(void (*(*install)(int, void (*)(int)))(int))
{
    struct sigaction now;
    return install(SIGUSR2, handler) == SIG_DFL && raise(SIGUSR2) == 0 && came(SIGUSR2) &&
           sigaction(SIGUSR2, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static int by_sigset(void)
{
    return sigset(SIGUSR2, handler) == SIG_DFL && raise(SIGUSR2) == 0 && came(SIGUSR2) &&
           sigset(SIGUSR2, SIG_HOLD) == handler && raise(SIGUSR2) == 0 && !came(SIGUSR2) &&
           sigset(SIGUSR2, handler) == SIG_HOLD && came(SIGUSR2) &&
           sigset(SIGUSR2, SIG_DFL) == handler;
}

static int by_siginterrupt(void)
{
    struct sigaction now;
    return siginterrupt(SIGUSR1, 1) == 0 && signal(SIGUSR1, handler) == SIG_DFL &&
           sigaction(SIGUSR1, NULL, &now) == 0 && (now.sa_flags & SA_RESTART) == 0 &&
           siginterrupt(SIGUSR1, 0) == 0 && sigaction(SIGUSR1, NULL, &now) == 0 &&
           (now.sa_flags & SA_RESTART) != 0 && raise(SIGUSR1) == 0 && came(SIGUSR1) &&
           signal(SIGUSR1, SIG_DFL) == handler;
}

static int signals(int way)
{
    switch (way) {
    case 0:
        return by_sigaction();
    case 1:
        return stays(signal);
    case 2:
        return stays(bsd_signal);
    case 3:
        return stays(ssignal);
    case 4:
        return once(sysv_signal);
    case 5:
        return once(__sysv_signal);
    case 6:
        return by_sigset();
    default:
        return by_siginterrupt();
    }
}

static int without_altstack(void)
{
    stack_t none = {.ss_flags = SS_DISABLE}, old;
    return sigaltstack(&none, &old) == 0 && old.ss_sp != NULL && stays(signal);
}

static unsigned long flags_of(int sig)
{
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } now = {0};
    if (syscall(SYS_rt_sigaction, sig, NULL, &now, sizeof now.mask) != 0 ||
        now.handler == SIG_DFL || now.handler == SIG_IGN)
        return SA_ONSTACK;
    return now.flags;
}

/* ---- Jumps ----------------------------------------------------------------------------------------- */

static __thread jmp_buf *error;

static __attribute__((noinline)) int attempt(void (*fn)(void *), void (*again)(void *), void *arg)
{
    jmp_buf env;
    volatile uintptr_t before = library_guard();
    error = &env;
    if (setjmp(env) == 0)
        fn(arg);
    int same = library_guard() == before;
    again(arg);
    return same && library_guard() == before;
}

static void fail(void)
{
    longjmp(*error, 1);
}

static __thread void *builtin_env[5];

static __attribute__((noinline)) void try_builtin(void (*fn)(void *), void *arg)
{
    if (__builtin_setjmp(builtin_env) == 0)
        fn(arg);
}

static __attribute__((noinline)) int attempt_builtin(void (*fn)(void *), void (*again)(void *),
                                                     void *arg)
{
    volatile uintptr_t before = library_guard();
    try_builtin(fn, arg);
    again(arg);
    return library_guard() == before;
}

static __attribute__((noinline)) void fail_builtin(void)
{
    __builtin_longjmp(builtin_env, 1);
}

/* As pthread_cleanup_push does, whose buffer has this size. */
int short_setjmp(void *buffer, int mask) __asm__("__sigsetjmp") __attribute__((returns_twice));

static int cleanup_buffer(void)
{
    struct {
        char buffer[104];
        char behind[8];
    } b;
    memset(&b, 0x5a, sizeof b);
    if (short_setjmp(b.buffer, 0) != 0)
        return 0;
    for (size_t i = 72; i < 96; i++)
        if (b.buffer[i] != 0x5a)
            return 0;
    for (size_t i = 0; i < sizeof b.behind; i++)
        if (b.behind[i] != 0x5a)
            return 0;
    return 1;
}

static void elsewhere(void (*fn)(void))
{
    static char stack[1 << 18];
    static ucontext_t there, back;
    if (getcontext(&there) != 0)
        return;
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = sizeof stack;
    there.uc_link = &back;
    makecontext(&there, fn, 0);
    (void)swapcontext(&back, &there);
}

static int restores(int sig)
{
    struct sigaction act = {.sa_handler = handler}, old;
    return sigaction(sig, &act, &old) == 0 && sigaction(sig, &old, NULL) == 0;
}

const struct library library = {
    .ways = 8,
    .signals = signals,
    .without_altstack = without_altstack,
    .flags_of = flags_of,
    .attempt = attempt,
    .fail = fail,
    .attempt_builtin = attempt_builtin,
    .fail_builtin = fail_builtin,
    .cleanup_buffer = cleanup_buffer,
    .elsewhere = elsewhere,
    .restores = restores,
    .use = use,
};
