/* The one source of public objects' memory; see mem.h.
 *
 * calloc and free may take libc's locks on the calling thread, so nothing that switches goroutine
 * is called here. A goroutine may be held by a signal inside of them, with its thread (sched/preempt.c),
 * and then has another P afterwards: callers hold no lock and keep no P across these calls. */
#include "mem/mem.h"

#include <stdlib.h>

void *objalloc(size_t size, enum objkind kind)
{
    (void)kind;
    return calloc(1, size);
}

void objfree(void *p, enum objkind kind)
{
    (void)kind;
    free(p);
}
