/* Signal handlers and alternate stacks. */
#include "os/os.h"

#include "arch/arch.h"
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

/* ---- Before the program's own handler ------------------------------------------------------------ */

static void remember(struct os_front *f, const struct sigaction *theirs)
{
    f->theirs = *theirs;
    bool full = theirs->sa_flags & SA_SIGINFO;
    /* release: a handler that calls it finds what it was installed with */
    store_release(&f->action, full ? theirs->sa_sigaction : NULL);
    store_release(&f->handler, full ? SIG_IGN : theirs->sa_handler);
}

static struct sigaction in_front(const struct os_front *f, const struct sigaction *theirs)
{
    struct sigaction ours;
    memset(&ours, 0, sizeof ours);
    if (f->as_theirs && is_function(theirs)) {
        /* All flags of theirs, so that they find themselves called as they asked to be; the kernel then
         * also does SA_RESETHAND for them. */
        ours = *theirs;
    } else {
        /* not sigfillset, which leaves those of libc's out: see os_handler_sleeps */
        memset(&ours.sa_mask, 0xff, sizeof ours.sa_mask);
        ours.sa_flags = SA_RESTART;
    }
    ours.sa_sigaction = f->fn;
    ours.sa_flags |= SA_SIGINFO | SA_ONSTACK;
    return ours;
}

static int stand_before(struct os_front *f)
{
    struct sigaction found, ours;
    int err = os_sigaction(f->sig, NULL, &found) != 0 ? -errno : 0;
    if (err == 0 && !same_function(&found, f->fn)) {
        remember(f, &found); /* first: ours may be called at once */
        ours = in_front(f, &found);
        err = os_sigaction(f->sig, &ours, &found) != 0 ? -errno : 0;
        if (err == 0 && !same_function(&found, f->fn))
            remember(f, &found);
    }
    return err;
}

int os_front_install(struct os_front *f)
{
    int saved = errno;
    int err = stand_before(f);
    errno = saved;
    return err;
}

void os_front_keep(struct os_front *f)
{
    int saved = errno;
    struct sigaction now;
    if (os_sigaction(f->sig, NULL, &now) == 0 && !same_function(&now, f->fn) &&
        xchg_acquire(&f->busy, 1) == 0) { /* acquire, release: one after the other */
        (void)stand_before(f);
        store_release(&f->busy, 0);
    }
    errno = saved;
}

bool os_front_remove(struct os_front *f)
{
    int saved = errno;
    struct sigaction now;
    bool is_ours = os_sigaction(f->sig, NULL, &now) == 0 && same_function(&now, f->fn);
    if (is_ours)
        (void)os_sigaction(f->sig, &f->theirs, NULL);
    errno = saved;
    return is_ours;
}

bool os_signal_is_fault(const siginfo_t *info)
{
    /* of a memory error that was found in the background the address is nobody's access */
    return info->si_code > 0 && !(info->si_signo == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

static void by_default(int sig, bool sent)
{
    if (sig == SIGURG) /* which nobody hears of */
        return;
    /* A fault happens again when we return, and then ends the process as if we had never been
     * here; the kernel does not let it be ignored. What was sent must be sent again: it waits
     * until we return. */
    struct sigaction none = {.sa_handler = SIG_DFL};
    (void)os_sigaction(sig, &none, NULL);
    if (sent)
        (void)os_tgkill(os_gettid(), sig);
}

void os_front_pass_on(struct os_front *f, siginfo_t *info, void *ucontext)
{
    /* A handler that the program installed later may call the one that it found, which is ours: the
     * same signal would go round for ever. The kernel uses uc_link for nothing, it is NULL at first. */
    static ucontext_t passed_on;
    ucontext_t *uc = ucontext;
    bool again = uc->uc_link == &passed_on;
    int saved = errno;
    bool sent = !os_signal_is_fault(info);
    /* acquire: what they are to find */
    os_handler *action = again ? NULL : load_acquire(&f->action);
    void (*handler)(int) = again ? SIG_DFL : load_acquire(&f->handler);
    uc->uc_link = &passed_on;
    if (action != NULL)
        action(f->sig, info, ucontext);
    else if (handler != SIG_DFL && handler != SIG_IGN)
        handler(f->sig);
    else if (handler == SIG_DFL || !sent)
        by_default(f->sig, sent);
    if (!again)
        uc->uc_link = NULL;
    errno = saved;
}

void os_handler_sleeps(void)
{
    enum { SIG_CANCEL = 32, SIG_SETXID = 33 };
    struct thread *t = libc_enter();
    int saved = errno;
    stack_t none = {.ss_flags = SS_DISABLE};
    (void)os_sigaltstack(&none, NULL);
    /* not by pthread_sigmask, which does not know these two */
    uint64_t of_libc = UINT64_C(1) << (SIG_CANCEL - 1) | UINT64_C(1) << (SIG_SETXID - 1);
    uint64_t others = ~of_libc;
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &others, NULL, sizeof others);
    errno = saved;
    libc_leave(t);
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
