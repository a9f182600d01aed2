/* Where the memory of public objects comes from: one function, so that the collector can become
 * the source. Until then it is malloc. */
#ifndef MEM_MEM_H
#define MEM_MEM_H

#include "base/base.h"

enum objkind {
    OBJ_CHAN,
    OBJ_TIMER,
    OBJ_CONTEXT,
    OBJ_GROUP,
    OBJ_POOL,
    OBJ_OBJPOOL,
    OBJ_GOLOCAL, /* labels and local values of a goroutine */
    OBJ_KINDS
};

/* Zeroed memory aligned to 16; NULL: none to be had. From any thread; does not switch. */
void *objalloc(size_t size, enum objkind kind);
/* NULL is allowed. */
void objfree(void *p, enum objkind kind);

#endif
