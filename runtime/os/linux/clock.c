/* The clock. */
#include "os/os.h"

#include "arch/arch.h"

#include <time.h>

int64_t os_nanotime_open(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts); /* by the vDSO: no system call */
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t os_nanotime(void)
{
    struct thread *t = libc_enter();
    int64_t now = os_nanotime_open();
    libc_leave(t);
    return now;
}

int64_t os_deadline(int64_t ns)
{
    int64_t when;
    return ns < 0 || __builtin_add_overflow(os_nanotime(), ns, &when) ? INT64_MAX : when;
}
