/* Which CPUs a thread may run on; part of the contract of os/os.h. */
#ifndef OS_AFFINITY_H
#define OS_AFFINITY_H

#include "base/base.h"

/* Lets a thread of os_thread_start run on these CPUs only. -EINVAL: a number is negative or absurd,
 * or the system allows this process none of them. */
int os_thread_set_cpus(uintptr_t handle, const int *cpus, int ncpus);

#endif
