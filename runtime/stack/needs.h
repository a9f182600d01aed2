/* What stack/ needs from the floors above; the linker binds it. */
#ifndef STACK_NEEDS_H
#define STACK_NEEDS_H

#include "base/base.h"

/* sched/: whether sp lies in the stack of the goroutine that this thread runs. */
bool on_goroutine_stack(uintptr_t sp);

#endif
