/* What the files of sync/ share beside the queue: yields for tests, and the inline operations of the
 * public header again for the runtime itself.
 *
 * Again, because a TSan build compiles the runtime without instrumentation and announces its atomic
 * operations through base/atomic.h; the public header's are announced by the compiler, in user code
 * only. */
#ifndef SYNC_SYNC_INT_H
#define SYNC_SYNC_INT_H

#include "base/debugvar.h"
#include "sync/sema.h"

/* Where a test wants a goroutine to yield at random: torture builds and seeded runs. Elsewhere only
 * a load. */
static inline void sync_point(void)
{
#if LOAM_TORTURE
    loam_sync_point();
#else
    if (unlikely(debug.dst_on))
        loam_sync_point();
#endif
}

/* loam_mutex_lock */
static inline void mutex_lock(struct loam_mutex *m)
{
    sync_point();
    if (unlikely(!cas_acquire(&m->state, 0, 1))) /* acquire: sees what the former holder wrote */
        loam_mutex_lock_slow(m);
}

/* loam_mutex_unlock */
static inline void mutex_unlock(struct loam_mutex *m)
{
    sync_point();
    uint32_t left = add_release(&m->state, -1u); /* release: the next holder sees our writes */
    if (unlikely(left != 0))
        loam_mutex_unlock_slow(m, left);
}

#endif
