/* Waiting in the kernel, and its barrier. */
#include "os/os.h"

#include "arch/arch.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void os_futex_wait(uint32_t *addr, uint32_t val, int64_t ns)
{
    struct thread *t = libc_enter();
    int saved = errno;
    struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    /* private: the word is never shared between processes */
    syscall(SYS_futex, addr, FUTEX_WAIT_PRIVATE, val, ns < 0 ? NULL : &ts, NULL, 0);
    errno = saved;
    libc_leave(t);
}

void os_futex_wake(uint32_t *addr, int n)
{
    struct thread *t = libc_enter();
    int saved = errno;
    syscall(SYS_futex, addr, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
    errno = saved;
    libc_leave(t);
}

static int membarrier(int command)
{
    struct thread *t = libc_enter();
    int saved = errno;
    int err = syscall(SYS_membarrier, command, 0, 0) == 0 ? 0 : -errno;
    errno = saved;
    libc_leave(t);
    return err;
}

int os_barrier_register(void)
{
    return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

int os_barrier_all(void)
{
    return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

void os_usleep(unsigned us)
{
    int saved = errno;
    struct timespec ts = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};
    nanosleep(&ts, NULL);
    errno = saved;
}

void os_yield(void)
{
    struct thread *t = libc_enter();
    int saved = errno;
    sched_yield();
    errno = saved;
    libc_leave(t);
}
