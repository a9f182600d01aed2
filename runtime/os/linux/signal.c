/* Signal handlers and alternate stacks. */
#include "os/os.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { ALTSTACK_SIZE = 64 << 10 };

int os_signal_install(int sig, os_handler *fn)
{
    int saved = errno;
    int err = 0;
    struct sigaction former, ours;
    if (sigaction(sig, NULL, &former) != 0) {
        err = -errno;
    } else if ((former.sa_flags & SA_SIGINFO) || former.sa_handler != SIG_DFL) {
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
    if (sigaction(sig, NULL, &current) == 0 && (current.sa_flags & SA_SIGINFO) &&
        current.sa_sigaction == fn) {
        /* not signal(): it would leave SA_RESTART and a mask behind */
        struct sigaction none = {.sa_handler = SIG_DFL};
        (void)sigaction(sig, &none, NULL);
    }
    errno = saved;
}

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
