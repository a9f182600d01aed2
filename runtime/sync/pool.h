/* Thread pools at shutdown. */
#ifndef SYNC_POOL_H
#define SYNC_POOL_H

#include "base/base.h"

/* The runtime stops: the world is stopped and the goroutines are about to be abandoned, their stacks
 * still there. Waits for those calls of goroutines that run on a pool's thread (their arguments
 * mostly lie on the stacks) and takes the waiting ones out of the queues. Pools and the calls of
 * foreign threads go on. -EBUSY if one still runs after timeout_ns (< 0: no limit): then nothing has
 * changed, and the world may be started again. */
int pool_shutdown(int64_t timeout_ns);

#endif
