/* Which CPUs a thread may run on. */
#include "os/affinity.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

enum { CPU_MAX = 8192 /* what the kernel can be built for */ };

int os_thread_set_cpus(uintptr_t handle, const int *cpus, int ncpus)
{
    int saved = errno;
    cpu_set_t *set = CPU_ALLOC(CPU_MAX);
    size_t size = CPU_ALLOC_SIZE(CPU_MAX);
    int err = set == NULL ? -ENOMEM : 0;
    if (set != NULL)
        CPU_ZERO_S(size, set);
    for (int i = 0; i < ncpus && err == 0; i++) {
        if (cpus[i] < 0 || cpus[i] >= CPU_MAX)
            err = -EINVAL;
        else
            CPU_SET_S(cpus[i], size, set);
    }
    if (err == 0)
        err = -pthread_setaffinity_np((pthread_t)handle, size, set);
    CPU_FREE(set);
    errno = saved;
    return err;
}
