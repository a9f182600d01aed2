/* Signals in programs whose stacks grow. A handler on 2 KB of stack would overwrite what lies below; so
 * all run on the thread's alternate stack, which every thread of the runtime has, and without a guard, which
 * is another stack's.
 *
 * `loam build` makes these functions the program's sigaction, signal and so on, so that libraries call them
 * too: the dynamic linker takes the program's definition for everyone's, and the linker takes it for what
 * archives ask for. What was installed in another way before the runtime starts gets SA_ONSTACK then; libc's own
 * handlers have it. A handler may leave by siglongjmp; the guard is then set by morestack.S.
 *
 * Not seen: after that a system call of a library's own, __sigaction, and libc's sigaction taken by dlsym from
 * libc's handle.
 *
 * The runtime itself calls os_sigaction. No lock: two threads that install handlers for one signal at once
 * may get the one's function with the other's flags, as for any pair of calls that race. */
#include "base/atomic.h"
#include "os/os.h"
#include "sched/morestack.h"

#include <errno.h>
#include <signal.h>

#include <loam.h>

#if LOAM_SHARED
#define FOR_PROGRAMS
#else
#define FOR_PROGRAMS __attribute__((visibility("default")))
#endif

enum { SIGNALS = 65 };

static struct handler {
    void *fn;      /* atomic */
    uint32_t info; /* atomic: it was installed with SA_SIGINFO */
} handlers[SIGNALS];

static void run_handler(int sig, siginfo_t *info, void *uc)
{
    uintptr_t guard = arch_guard();
    arch_set_guard(0);
    /* relaxed: sigaction's own system call is between the store and the first signal */
    void *fn = load_relaxed(&handlers[sig].fn);
    /* One that takes a single argument does not see the others; so nothing depends on `info`, which may not
     * belong to fn yet. */
    ((void (*)(int, siginfo_t *, void *))fn)(sig, info, uc);
    arch_set_guard(guard);
}

static bool is_function(const struct sigaction *act)
{
    return (act->sa_flags & SA_SIGINFO) != 0 ||
           (act->sa_handler != SIG_DFL && act->sa_handler != SIG_IGN);
}

FOR_PROGRAMS int __morestack_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
    if (sig < 1 || sig >= SIGNALS) {
        *loam_errno_location() = EINVAL;
        return -1;
    }
    struct handler former = handlers[sig];
    struct sigaction ours, was;
    const struct sigaction *set = act;
    /* One of the runtime's own, which somebody found and puts back, goes in as it was. */
    if (act != NULL && is_function(act) && !in_runtime((uintptr_t)act->sa_sigaction)) {
        ours = *act;
        ours.sa_sigaction = run_handler;
        ours.sa_flags |= SA_SIGINFO | SA_ONSTACK;
        set = &ours;
        store_relaxed(&handlers[sig].fn, (void *)act->sa_sigaction);
        store_relaxed(&handlers[sig].info, (act->sa_flags & SA_SIGINFO) != 0);
    }
    if (os_sigaction(sig, set, &was) != 0) {
        handlers[sig] = former;
        return -1;
    }
    if (old != NULL) {
        *old = was;
        if ((was.sa_flags & SA_SIGINFO) != 0 && was.sa_sigaction == run_handler) {
            old->sa_sigaction = (void (*)(int, siginfo_t *, void *))former.fn;
            if (!former.info)
                old->sa_flags &= ~SA_SIGINFO;
        }
    }
    return 0;
}

static void (*install(int sig, void (*fn)(int), int flags))(int)
{
    struct sigaction act = {.sa_handler = fn, .sa_flags = flags}, old;
    sigemptyset(&act.sa_mask);
    if (fn == SIG_ERR) {
        *loam_errno_location() = EINVAL;
        return SIG_ERR;
    }
    return __morestack_sigaction(sig, &act, &old) == 0 ? old.sa_handler : SIG_ERR;
}

/* Bit sig - 1: system calls that it interrupts shall fail; what siginterrupt says to later calls of
 * signal. */
static uint64_t interrupting;

FOR_PROGRAMS void (*__morestack_signal(int sig, void (*fn)(int)))(int)
{
    bool interrupts =
        sig >= 1 && sig < SIGNALS && (load_relaxed(&interrupting) >> (sig - 1) & 1) != 0;
    return install(sig, fn, interrupts ? 0 : SA_RESTART);
}

FOR_PROGRAMS void (*__morestack_sysv_signal(int sig, void (*fn)(int)))(int)
{
    return install(sig, fn, (int)(SA_RESETHAND | SA_NODEFER));
}

FOR_PROGRAMS int __morestack_siginterrupt(int sig, int on)
{
    struct sigaction act;
    if (__morestack_sigaction(sig, NULL, &act) != 0)
        return -1;
    uint64_t bit = UINT64_C(1) << (sig - 1), was = load_relaxed(&interrupting);
    store_relaxed(&interrupting, on ? was | bit : was & ~bit);
    act.sa_flags = on ? act.sa_flags & ~SA_RESTART : act.sa_flags | SA_RESTART;
    return __morestack_sigaction(sig, &act, NULL);
}

/* System V's: SIG_HOLD (2) blocks the signal, anything else lets it through. */
FOR_PROGRAMS void (*__morestack_sigset(int sig, void (*fn)(int)))(int)
{
    void (*const hold)(int) = (void (*)(int))2;
    struct sigaction now;
    sigset_t set, former;
    if (sig < 1 || sig >= SIGNALS || fn == SIG_ERR) {
        *loam_errno_location() = EINVAL;
        return SIG_ERR;
    }
    sigemptyset(&set);
    sigaddset(&set, sig);
    if (__morestack_sigaction(sig, NULL, &now) != 0 ||
        (fn != hold && install(sig, fn, 0) == SIG_ERR) ||
        sigprocmask(fn == hold ? SIG_BLOCK : SIG_UNBLOCK, &set, &former) != 0)
        return SIG_ERR;
    return sigismember(&former, sig) ? hold : now.sa_handler;
}

/* Nobody takes the alternate stack away from a thread that may run a goroutine on 2 KB. */
FOR_PROGRAMS int __morestack_sigaltstack(const stack_t *set, stack_t *old)
{
    struct m *mp = getm();
    if (set != NULL && (set->ss_flags & SS_DISABLE) != 0 && mp != NULL && mp->altstack != NULL)
        return os_altstack_restore(mp->altstack, old);
    return os_sigaltstack(set, old);
}

/* At start, of a program with small stacks: what is installed already, by whatever way. */
void splitsignal_start(void)
{
    os_signal_on_altstack(1, SIGNALS - 1);
}
