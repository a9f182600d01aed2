/* The one thread-local of the runtime: the current thread's struct thread. See arch_cpu.h. */
#include "arch/arch.h"

#if LOAM_SHARED
static __thread struct thread *self;

opaque struct thread *thread_self(void)
{
    return self;
}

opaque void thread_set(struct thread *t)
{
    self = t;
}
#else
__thread struct thread *loam_thread_self_tls;
#endif
