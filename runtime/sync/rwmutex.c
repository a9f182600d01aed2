/* Read-write mutex, by Go's scheme of two counts.
 *
 * reader_count is the number of readers that hold it or wait for it; a writer announces itself by
 * subtracting MAX_READERS, so that a reader sees by the sign of its own addition that it has to wait,
 * and one that leaves sees that it has to tell. w keeps all writers but one away from this.
 *
 *   writer: w; count -= MAX; the readers that were in are r; wait += r; sleep unless that is 0
 *   reader out, count < 0: wait -= 1; the one that makes it 0 wakes the writer
 *   writer out: count += MAX; wake as many readers as count then says; give up w
 *   reader in, count < 0: sleep
 *
 * wait may pass through negative values while readers leave before the writer has added r; it is 0
 * exactly when all r have left, whoever comes last. Wake-ups for readers need not reach the readers
 * that they were counted for: a reader that came after the next writer's announcement may take one,
 * then one of those counted waits in its stead; the number that leaves before that writer is the
 * same.
 *
 * Orders. All conflicts are read-modify-writes on one word, whose modification order decides them; no
 * sequence of store and load on two words matters. Data: a reader's += acquires what the writer's
 * += MAX released, or the semaphore wakes it; a leaving reader's -= releases to the writer's -= MAX,
 * if the writer found it gone, else its wait -= 1 releases to the last one's (acq_rel:
 * read-modify-writes continue a release), and that one to the writer through the semaphore. Locks: those of w and the semaphores. */
#include "sync/sync_int.h"

enum { MAX_READERS = 1 << 30 };

void loam_rwmutex_rlock_slow(struct loam_rwmutex *rw)
{
    getg_or_die("loam_rwmutex_rlock");
    preempt_point(getm());
    semacquire(&rw->reader, WAIT_rwmutex_rlock);
}

bool loam_rwmutex_try_rlock(struct loam_rwmutex *rw)
{
    sync_point();
    for (;;) {
        int32_t count = load_relaxed(&rw->reader_count);
        if (count < 0)
            return false;
        if (cas_acquire(&rw->reader_count, count, count + 1)) /* acquire: as rlock */
            return true;
    }
}

void loam_rwmutex_runlock_slow(struct loam_rwmutex *rw, int32_t count)
{
    if (count + 1 == 0 || count + 1 == -MAX_READERS)
        fatal("sync: RUnlock of unlocked RWMutex");
    /* acqrel: release to the writer, acquire so that the last reader passes on the others' */
    if (add_acqrel(&rw->reader_wait, -1) == 0)
        semrelease(&rw->writer, 1);
}

void loam_rwmutex_lock(struct loam_rwmutex *rw)
{
    mutex_lock(&rw->w);
    sync_point();
    /* acqrel: acquire from the readers that have left; nothing is released here, but readers'
     * releases before it must be continued for those who read after it: any read-modify-write does */
    int32_t readers = add_acqrel(&rw->reader_count, -MAX_READERS) + MAX_READERS;
    if (readers == 0)
        return;
    sync_point();
    if (add_acqrel(&rw->reader_wait, readers) != 0) { /* acquire: all have left already */
        getg_or_die("loam_rwmutex_lock");
        semacquire(&rw->writer, WAIT_rwmutex_lock);
    }
}

bool loam_rwmutex_try_lock(struct loam_rwmutex *rw)
{
    if (!loam_mutex_try_lock(&rw->w))
        return false;
    sync_point();
    if (cas_acquire(&rw->reader_count, 0, -MAX_READERS)) /* acquire: from the readers that left */
        return true;
    mutex_unlock(&rw->w);
    return false;
}

void loam_rwmutex_unlock(struct loam_rwmutex *rw)
{
    sync_point();
    /* release: readers see what this writer wrote (the next writer too) */
    int32_t readers = add_release(&rw->reader_count, MAX_READERS);
    if (readers >= MAX_READERS)
        fatal("sync: Unlock of unlocked RWMutex");
    if (readers > 0)
        semrelease(&rw->reader, (uint32_t)readers);
    mutex_unlock(&rw->w);
}
