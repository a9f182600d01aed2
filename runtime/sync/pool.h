/* What the end of the runtime needs of sync/. */
#ifndef SYNC_POOL_H
#define SYNC_POOL_H

#include "base/base.h"

/* The world is stopped, and goroutines are about to be abandoned, their stacks still there. Waits
 * for those calls of theirs that run on a pool's thread (the arguments mostly lie on the stacks),
 * and makes pools and contexts forget those that wait. Pools and the calls of foreign threads go
 * on. -EBUSY after timeout_ns (< 0: no limit): nothing has changed, and the world may be started
 * again. */
int goroutines_abandon(int64_t timeout_ns);

#endif
