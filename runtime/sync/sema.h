/* What the types of sync/ wait on: a queue of parked goroutines and a count of wake-ups to come.
 *
 * It is a means of sleeping and waking, not a semaphore to lock with (Mullender and Cox,
 * "Semaphores in Plan 9", 2008): every semacquire is paired with one semrelease, whichever of them
 * comes first. Invariant, under the lock: count > 0 only while nobody queues.
 *
 * The rule of the last touch. In C an object may be freed as soon as its last user has returned, and
 * mostly it lies on the stack of a goroutine that waits on it. So whoever wakes a goroutine has
 * finished with the object by then: the queue is changed under the lock, the lock is given back, and
 * the very last step is goready, on a sudog that is taken off the queue and lies on the sleeper's
 * stack. A goroutine that has not yet queued finds its wake-up in count, and gets there only through
 * the lock that the waker gave back. Both ways no byte of the object is touched after the sleeper
 * may return. (Giving back a contended lock still makes a futex call with its address, which needs
 * no memory there.)
 *
 * Hence the lock is taken even where a look at two atomic words would do, as Go's semaphores have
 * it: there the collector keeps the object alive. These are slow paths; the fast ones never get
 * here. A wake-up belongs to the goroutine that it wakes: nobody overtakes it, unlike Go's, where the
 * woken one competes for the count and queues again.
 *
 * What a waker did before goready happens before the sleeper's return from gopark: that is the
 * scheduler's promise, and what all the types here rely on for a wake-up. An acquire of the object's
 * own words after it would prove nothing: without that promise it might read an old value, with it,
 * it is not needed.
 *
 * Locks: sema.lock, rank sema, a leaf but for the scheduler's. Rejected: one table of queues hashed
 * by address, Go's way, which makes a mutex 8 bytes but lets strangers share a lock, and needs the
 * table's memory to outlive every start and stop. */
#ifndef SYNC_SEMA_H
#define SYNC_SEMA_H

#include "base/throw.h"
#include "lock/lock.h"
#include "sched/sched.h"

#include <loam/sync.h>

/* The runtime mutex in two words of a public struct. */
static always_inline struct mutex *sync_mutex(uint32_t *lock, uint32_t *rank)
{
    _Static_assert(sizeof(struct mutex) == 2 * sizeof(uint32_t) &&
                       offsetof(struct mutex, rank) == sizeof(uint32_t),
                   "public structs hold a mutex as two words");
    /* Zero memory has no rank yet. relaxed: everybody stores the same. */
    if (LOAM_DEBUG_CHECKS && load_relaxed(rank) != RANK_sema)
        store_relaxed(rank, RANK_sema);
    return (struct mutex *)(void *)lock;
}

static always_inline struct mutex *sema_mutex(struct loam_sema *s)
{
    return sync_mutex(&s->lock, &s->rank);
}

/* ---- The queue: under the lock --------------------------------------------------------------- */

static inline void sema_push(struct loam_sema *s, struct sudog *sg)
{
    sg->next = NULL;
    if (s->tail != NULL)
        ((struct sudog *)s->tail)->next = sg;
    else
        s->head = sg;
    s->tail = sg;
}

/* In front of all: for one that has waited before. */
static inline void sema_push_front(struct loam_sema *s, struct sudog *sg)
{
    sg->next = s->head;
    s->head = sg;
    if (s->tail == NULL)
        s->tail = sg;
}

/* The one that waits longest, or NULL. */
static inline struct sudog *sema_pop(struct loam_sema *s)
{
    struct sudog *sg = s->head;
    if (sg != NULL) {
        s->head = sg->next;
        if (s->head == NULL)
            s->tail = NULL;
    }
    return sg;
}

/* All of them, as a list by next. */
static inline struct sudog *sema_pop_all(struct loam_sema *s)
{
    struct sudog *list = s->head;
    s->head = s->tail = NULL;
    return list;
}

/* ---- Sleeping and waking (sema.c) ------------------------------------------------------------ */

/* Takes a wake-up from the count, or parks until one comes. After it everything is seen that the
 * waker did before its semrelease. On a goroutine. */
void semacquire(struct loam_sema *s, enum waitreason reason);

/* Wakes the n that wait longest; what is left over goes to the count. From any thread; touches
 * nothing of *s once the last of them may run. */
void semrelease(struct loam_sema *s, uint32_t n);

/* Readies a list taken off a queue, first in, first to run. NULL is allowed. */
void sema_ready_list(struct sudog *list);

#endif
