/* Signal handlers and alternate stacks. */
#include "os/os.h"

#include "base/asan.h"
#include "base/atomic.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ALTSTACK_SIZE = 64 << 10 };

/* Programs with small stacks have a sigaction and a sigaltstack of their own (sched/splitsignal.c), which every
 * module calls by those names. Sanitizers' replacements are wanted here; small stacks are refused there. */
#if !LOAM_ASAN && !LOAM_TSAN
int libc_sigaction(int sig, const struct sigaction *act,
                   struct sigaction *old) __asm__("__sigaction");
#else
#define libc_sigaction sigaction
#endif

int os_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
    return libc_sigaction(sig, act, old);
}

int os_sigaltstack(const stack_t *set, stack_t *old)
{
    return (int)syscall(SYS_sigaltstack, set, old);
}

static bool same_function(const struct sigaction *a, os_handler *fn)
{
    return (a->sa_flags & SA_SIGINFO) && a->sa_sigaction == fn;
}

static bool is_function(const struct sigaction *a)
{
    return (a->sa_flags & SA_SIGINFO) || (a->sa_handler != SIG_DFL && a->sa_handler != SIG_IGN);
}

int os_signal_install(int sig, os_handler *fn)
{
    int saved = errno;
    int err = 0;
    struct sigaction former, ours;
    if (os_sigaction(sig, NULL, &former) != 0) {
        err = -errno;
    } else if (is_function(&former) || former.sa_handler == SIG_IGN) {
        err = -EEXIST;
    } else {
        memset(&ours, 0, sizeof ours);
        ours.sa_sigaction = fn;
        sigfillset(&ours.sa_mask);
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
        if (os_sigaction(sig, &ours, NULL) != 0)
            err = -errno;
    }
    errno = saved;
    return err;
}

void os_signal_remove(int sig, os_handler *fn)
{
    int saved = errno;
    struct sigaction current;
    if (os_sigaction(sig, NULL, &current) == 0 && same_function(&current, fn)) {
        /* not signal(): it would leave SA_RESTART and a mask behind */
        struct sigaction none = {.sa_handler = SIG_DFL};
        (void)os_sigaction(sig, &none, NULL);
    }
    errno = saved;
}

/* ---- Faults: before the program's own handler ---------------------------------------------------- */

int os_signal_chain(int sig, os_handler *fn, struct sigaction *former)
{
    int saved = errno;
    int err = 0;
    if (os_sigaction(sig, NULL, former) != 0) {
        err = -errno;
    } else {
        /* All flags of theirs, so that they find themselves called as they asked to be; the kernel then
         * also does SA_RESETHAND for them. */
        struct sigaction ours = *former;
        if (!is_function(former)) {
            sigfillset(&ours.sa_mask);
            ours.sa_flags = SA_RESTART;
        }
        ours.sa_sigaction = fn;
        ours.sa_flags |= SA_SIGINFO | SA_ONSTACK;
        if (os_sigaction(sig, &ours, NULL) != 0)
            err = -errno;
    }
    errno = saved;
    return err;
}

bool os_signal_unchain(int sig, os_handler *fn, const struct sigaction *former)
{
    int saved = errno;
    struct sigaction current;
    bool is_ours = os_sigaction(sig, NULL, &current) == 0 && same_function(&current, fn);
    if (is_ours)
        (void)os_sigaction(sig, former, NULL);
    errno = saved;
    return is_ours;
}

bool os_signal_is_fault(const siginfo_t *info)
{
    /* of a memory error that was found in the background the address is nobody's access */
    return info->si_code > 0 && !(info->si_signo == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

void os_signal_forward(int sig, siginfo_t *info, void *ucontext, const struct sigaction *former)
{
    int saved = errno;
    bool sent = !os_signal_is_fault(info);
    if (former->sa_flags & SA_SIGINFO) {
        former->sa_sigaction(sig, info, ucontext);
    } else if (is_function(former)) {
        former->sa_handler(sig);
    } else if (former->sa_handler == SIG_DFL || !sent) {
        /* A fault happens again when we return, and then ends the process as if we had never been
         * here; the kernel does not let it be ignored. What was sent must be sent again: it waits
         * until we return. */
        struct sigaction none = {.sa_handler = SIG_DFL};
        (void)os_sigaction(sig, &none, NULL);
        if (sent)
            (void)os_tgkill(os_gettid(), sig);
    }
    errno = saved;
}

/* ---- A signal shared with the program ---------------------------------------------------------- */

static struct sigaction theirs; /* keeping */
static uint32_t keeping;        /* atomic: somebody changes the disposition */
/* Of `theirs` what the handler needs, at most one not NULL. A handler that runs while the program changes
 * its own calls the one before or the one after. */
static os_handler *their_action;   /* atomic */
static void (*their_handler)(int); /* atomic */

static void remember(const struct sigaction *former)
{
    theirs = *former;
    bool full = former->sa_flags & SA_SIGINFO;
    bool plain = !full && is_function(former);
    store_release(&their_action, full ? former->sa_sigaction : NULL);
    store_release(&their_handler, plain ? former->sa_handler : NULL);
}

int os_signal_share(int sig, os_handler *fn)
{
    int saved = errno;
    struct sigaction former, ours;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = fn;
    sigfillset(&ours.sa_mask);
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    int err = os_sigaction(sig, NULL, &former) != 0 ? -errno : 0;
    if (err == 0 && !same_function(&former, fn)) {
        remember(&former); /* first: ours may be called at once */
        err = os_sigaction(sig, &ours, &former) != 0 ? -errno : 0;
        if (err == 0 && !same_function(&former, fn))
            remember(&former);
    }
    errno = saved;
    return err;
}

void os_signal_keep(int sig, os_handler *fn)
{
    int saved = errno;
    struct sigaction now;
    if (os_sigaction(sig, NULL, &now) == 0 && !same_function(&now, fn) &&
        xchg_acquire(&keeping, 1) == 0) { /* acquire, release: one after the other */
        (void)os_signal_share(sig, fn);
        store_release(&keeping, 0);
    }
    errno = saved;
}

void os_signal_unshare(int sig, os_handler *fn)
{
    int saved = errno;
    struct sigaction now;
    if (os_sigaction(sig, NULL, &now) == 0 && same_function(&now, fn))
        (void)os_sigaction(sig, &theirs, NULL);
    errno = saved;
}

void os_signal_pass_on(int sig, siginfo_t *info, void *ucontext)
{
    /* A handler that the program installed later may call the one that it found, which is ours: the
     * same signal would go round for ever. The kernel uses uc_link for nothing, it is NULL at first. */
    static ucontext_t passed_on;
    ucontext_t *uc = ucontext;
    if (uc->uc_link == &passed_on)
        return;
    uc->uc_link = &passed_on;
    os_handler *action = load_acquire(&their_action);
    void (*handler)(int) = load_acquire(&their_handler);
    if (action != NULL)
        action(sig, info, ucontext);
    else if (handler != NULL)
        handler(sig);
    uc->uc_link = NULL;
}

/* The kernel's, of which libc keeps some to itself. */
struct kernel_sigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

uintptr_t os_signal_return(int sig)
{
    struct kernel_sigaction now = {0};
    int saved = errno;
    bool known = syscall(SYS_rt_sigaction, sig, NULL, &now, sizeof now.mask) == 0;
    errno = saved;
    return known ? (uintptr_t)now.restorer : 0;
}

void os_signal_on_altstack(int first, int last)
{
    int saved = errno;
    for (int sig = first; sig <= last; sig++) {
        struct kernel_sigaction now = {0};
        if (syscall(SYS_rt_sigaction, sig, NULL, &now, sizeof now.mask) == 0 &&
            now.handler != SIG_DFL && now.handler != SIG_IGN && (now.flags & SA_ONSTACK) == 0) {
            now.flags |= SA_ONSTACK;
            (void)syscall(SYS_rt_sigaction, sig, &now, NULL, sizeof now.mask);
        }
    }
    errno = saved;
}

/* ---- Alternate stacks ------------------------------------------------------------------------------ */

void *os_altstack_set(size_t *size)
{
    int saved = errno;
    void *p = NULL;
    stack_t current;
    if (os_sigaltstack(NULL, &current) == 0 && (current.ss_flags & SS_DISABLE)) {
        /* a page below that faults: a handler that overflows is not silent */
        p = mmap(NULL, ALTSTACK_SIZE + 4096, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            p = NULL;
        } else {
            (void)mprotect(p, 4096, PROT_NONE);
            stack_t ours = {.ss_sp = (char *)p + 4096, .ss_size = ALTSTACK_SIZE};
            (void)os_sigaltstack(&ours, NULL);
            *size = ALTSTACK_SIZE + 4096;
        }
    }
    errno = saved;
    return p;
}

bool os_altstack_is_set(void)
{
    int saved = errno;
    stack_t current;
    bool set = os_sigaltstack(NULL, &current) == 0 && (current.ss_flags & SS_DISABLE) == 0;
    errno = saved;
    return set;
}

int os_altstack_restore(const void *stack, stack_t *old)
{
    stack_t ours = {.ss_sp = (char *)stack + 4096, .ss_size = ALTSTACK_SIZE};
    return os_sigaltstack(&ours, old);
}

void os_altstack_clear(void *stack, size_t size)
{
    if (stack == NULL)
        return;
    int saved = errno;
    stack_t current;
    if (os_sigaltstack(NULL, &current) == 0 && current.ss_sp == (char *)stack + 4096) {
        stack_t none = {.ss_flags = SS_DISABLE};
        (void)os_sigaltstack(&none, NULL);
    }
    munmap(stack, size);
    errno = saved;
}
