/* Signal handlers of programs whose stacks grow: registered code that calls sigaction or signal calls
 * these instead. A handler on 2 KB of stack would overwrite what lies below; so it runs on the thread's
 * alternate stack, which every thread of the runtime has, and without a guard, which is another stack's.
 *
 * A handler may leave by siglongjmp; the guard is then set by morestack.S. */
#include "base/atomic.h"
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
    uint32_t info; /* atomic: it takes three arguments */
} handlers[SIGNALS];

static void run_handler(int sig, siginfo_t *info, void *uc)
{
    uintptr_t guard = arch_guard();
    arch_set_guard(0);
    /* relaxed: sigaction's own system call is between the store and the first signal */
    void *fn = load_relaxed(&handlers[sig].fn);
    if (load_relaxed(&handlers[sig].info) != 0)
        ((void (*)(int, siginfo_t *, void *))fn)(sig, info, uc);
    else
        ((void (*)(int))fn)(sig);
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
    if (act != NULL && is_function(act)) {
        ours = *act;
        ours.sa_sigaction = run_handler;
        ours.sa_flags |= SA_SIGINFO | SA_ONSTACK;
        set = &ours;
        store_relaxed(&handlers[sig].fn, (void *)act->sa_sigaction);
        store_relaxed(&handlers[sig].info, (act->sa_flags & SA_SIGINFO) != 0);
    }
    if (sigaction(sig, set, &was) != 0) {
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

FOR_PROGRAMS void (*__morestack_signal(int sig, void (*fn)(int)))(int)
{
    struct sigaction act = {.sa_handler = fn, .sa_flags = SA_RESTART}, old;
    sigemptyset(&act.sa_mask);
    if (fn == SIG_ERR) {
        *loam_errno_location() = EINVAL;
        return SIG_ERR;
    }
    return __morestack_sigaction(sig, &act, &old) == 0 ? old.sa_handler : SIG_ERR;
}
