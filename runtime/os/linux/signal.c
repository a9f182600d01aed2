/* Signal handlers and alternate stacks. */
#include "os/os.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { ALTSTACK_SIZE = 64 << 10 };

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
    if (sigaction(sig, NULL, &former) != 0) {
        err = -errno;
    } else if (is_function(&former) || former.sa_handler == SIG_IGN) {
        err = -EEXIST;
    } else {
        memset(&ours, 0, sizeof ours);
        ours.sa_sigaction = fn;
        sigfillset(&ours.sa_mask);
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
        if (sigaction(sig, &ours, NULL) != 0)
            err = -errno;
    }
    errno = saved;
    return err;
}

void os_signal_remove(int sig, os_handler *fn)
{
    int saved = errno;
    struct sigaction current;
    if (sigaction(sig, NULL, &current) == 0 && same_function(&current, fn)) {
        /* not signal(): it would leave SA_RESTART and a mask behind */
        struct sigaction none = {.sa_handler = SIG_DFL};
        (void)sigaction(sig, &none, NULL);
    }
    errno = saved;
}

/* ---- Faults: before the program's own handler ---------------------------------------------------- */

int os_signal_chain(int sig, os_handler *fn, struct sigaction *former)
{
    int saved = errno;
    int err = 0;
    if (sigaction(sig, NULL, former) != 0) {
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
        if (sigaction(sig, &ours, NULL) != 0)
            err = -errno;
    }
    errno = saved;
    return err;
}

bool os_signal_unchain(int sig, os_handler *fn, const struct sigaction *former)
{
    int saved = errno;
    struct sigaction current;
    bool is_ours = sigaction(sig, NULL, &current) == 0 && same_function(&current, fn);
    if (is_ours)
        (void)sigaction(sig, former, NULL);
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
        (void)sigaction(sig, &none, NULL);
        if (sent)
            (void)os_tgkill(os_gettid(), sig);
    }
    errno = saved;
}

/* ---- Alternate stacks ------------------------------------------------------------------------------ */

void *os_altstack_set(size_t *size)
{
    int saved = errno;
    void *p = NULL;
    stack_t current;
    if (sigaltstack(NULL, &current) == 0 && (current.ss_flags & SS_DISABLE)) {
        /* a page below that faults: a handler that overflows is not silent */
        p = mmap(NULL, ALTSTACK_SIZE + 4096, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            p = NULL;
        } else {
            (void)mprotect(p, 4096, PROT_NONE);
            stack_t ours = {.ss_sp = (char *)p + 4096, .ss_size = ALTSTACK_SIZE};
            (void)sigaltstack(&ours, NULL);
            *size = ALTSTACK_SIZE + 4096;
        }
    }
    errno = saved;
    return p;
}

void os_altstack_clear(void *stack, size_t size)
{
    if (stack == NULL)
        return;
    int saved = errno;
    stack_t current;
    if (sigaltstack(NULL, &current) == 0 && current.ss_sp == (char *)stack + 4096) {
        stack_t none = {.ss_flags = SS_DISABLE};
        (void)sigaltstack(&none, NULL);
    }
    munmap(stack, size);
    errno = saved;
}
