/* The one source of public objects' memory; see mem.h.
 *
 * calloc and free may take libc's locks on the calling thread, so nothing that switches goroutine
 * is called here. A preempted goroutine that held malloc's lock would block its thread's others:
 * preemption is cooperative in C, so that does not happen. */
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
