/* What chan.c and select.c share: the channel, its queues of waiters, its lock.
 *
 * Invariants, whenever the lock is free:
 *  - qcount <= dataqsiz; the buffer's elements are qcount slots from recvp on, around its end;
 *  - a live waiter in recvq implies qcount == 0, one in sendq implies qcount == dataqsiz;
 *  - not both queues have live waiters, except those of one select that both sends and receives;
 *  - closed implies that no live waiter is in either queue.
 * A waiter is live unless its select was won elsewhere (waitq_live).
 *
 * The lock is a struct mutex with a cheaper way out: chan_unlock ends with a plain store where
 * unlock() exchanges. On x86 that halves the locked instructions of an operation, which are most of
 * what one on a buffered channel costs. It is paid for in two places:
 *
 *  1. A sleeper may be missed. unlock reads 1 ("taken, nobody sleeps"), a locker writes 2 and goes to
 *     sleep, unlock stores 0 over it. Nobody ever gets the lock who should not: only its holder writes
 *     0. So sleepers sleep for a bounded time (chan_lock_slow) and look again; the window is a few
 *     cycles after a microsecond of spinning, the delay at most CHAN_SLEEP_NS.
 *
 *  2. A plain store may still be on its way to memory while the same thread's next loads are done.
 *     The lock-free rejections of non-blocking operations (chan_looks_full, chan_looks_empty) must not
 *     see that: a sends on x and finds y empty, b sends on y and finds x empty, cannot both be in any
 *     order of the four operations. Hence `polled`: the first operation that would reject takes the
 *     lock and sets it; only from then on is the channel rejected without the lock, and only from then
 *     on does chan_unlock exchange. An operation before that, in the order of the lock, happened
 *     before the setting, and is seen by whoever saw polled set; one after it orders itself by the
 *     exchange. Channels that nobody polls never pay.
 *
 * Rejected: a lock-free ring for the buffer (select and close would have to freeze it, and one CAS an
 * operation is what this costs too); a flag per thread instead of `polled` (every operation would
 * write it); membarrier() by the sleeper instead of the bounded sleep (a system call that sandboxes
 * forbid). */
#ifndef CHAN_CHAN_INT_H
#define CHAN_CHAN_INT_H

#include "base/throw.h"
#include "lock/lock.h"
#include "sched/sched.h"

#include <loam/chan.h>

#include <string.h>

/* Goroutines that wait, first come first. */
struct waitq {
    struct sudog *first; /* atomic: written under the lock, also read without it */
    struct sudog *last;  /* lock */
};

enum { COPY_ANY = UINT16_MAX };

/* Go's hchan. An operation on an unbuffered channel touches the first 64 bytes only. */
struct loam_hchan {
    struct mutex lock;
    uint8_t closed; /* atomic; set once, under the lock */
    uint8_t polled; /* atomic; set once, under the lock: see above */
    uint16_t copy;  /* const: elemsize if it is one that chancopy knows, else COPY_ANY */
    uint32_t pad;
    uint64_t qcount;         /* atomic: written under the lock, also read without it */
    uint64_t dataqsiz;       /* const */
    struct waitq recvq;      /* lock */
    struct waitq sendq;      /* lock */
    size_t elemsize;         /* const */
    char *sendp, *recvp;     /* lock: the next slot to fill and to take */
    char *bufend;            /* const */
    _Alignas(16) char buf[]; /* lock: dataqsiz elements */
};
_Static_assert(offsetof(struct loam_hchan, elemsize) == 64, "the unbuffered part is a cache line");

enum {
    CHAN_SLEEP_NS = 50000, /* how long a locker sleeps before it looks again */
};

/* ---- Torture --------------------------------------------------------------------------------- */

/* Torture builds: lets other threads run here, where the others' view of us is half done. No lock of
 * another goroutine's may depend on it: locks may be held. */
void chan_torture_delay(void);
static always_inline void chan_delay(void)
{
    if (LOAM_TORTURE)
        chan_torture_delay();
}

/* ---- The lock -------------------------------------------------------------------------------- */

void chan_lock_slow(struct loam_hchan *c);

static always_inline void chan_lock(struct loam_hchan *c)
{
#if LOAM_DEBUG_CHECKS
    lock_rank_check(&c->lock);
#endif
    chan_delay();
    /* acquire: sees what the former holder wrote */
    if (unlikely(!cas_acquire(&c->lock.key, 0, 1)))
        chan_lock_slow(c);
}

/* Touches nothing of *c after the store: whoever locks it next may be free to delete it. */
static always_inline void chan_unlock(struct loam_hchan *c)
{
    if (unlikely(c->polled || load_relaxed(&c->lock.key) != 1)) {
#if LOAM_DEBUG_CHECKS
        lock_rank_release(&c->lock);
#endif
        /* seqcst: before any later load of this thread; see 2. above. On arm64 an exchange with acquire
         * and release, or its store-release before the load-acquire of a rejection, orders so. */
        if (xchg_seqcst(&c->lock.key, 0) == 2)
            unlock_slow(&c->lock); /* uses the address only */
        return;
    }
#if LOAM_DEBUG_CHECKS
    lock_rank_release(&c->lock);
#endif
    store_release(&c->lock.key, 0); /* release: the next holder sees what we wrote */
}

/* ---- Looking without the lock ------------------------------------------------------------------ */

/* True if a sender would have to wait. seqcst (on x86 a plain load): orders itself after this thread's
 * own exchange in chan_unlock, and before the caller's load of `closed`. */
static always_inline bool chan_looks_full(const struct loam_hchan *c)
{
    if (c->dataqsiz == 0)
        return load_seqcst(&c->recvq.first) == NULL;
    return load_seqcst(&c->qcount) == c->dataqsiz;
}

/* True if a receiver would have to wait, unless the channel is closed. Orders as above. */
static always_inline bool chan_looks_empty(const struct loam_hchan *c)
{
    if (c->dataqsiz == 0)
        return load_seqcst(&c->sendq.first) == NULL;
    return load_seqcst(&c->qcount) == 0;
}

/* ---- Elements ---------------------------------------------------------------------------------- */

/* Constant sizes become moves; users' element sizes are mostly these. */
static always_inline void chancopy(const struct loam_hchan *c, void *dst, const void *src)
{
    if (likely(c->copy == 8))
        memcpy(dst, src, 8);
    else if (c->copy == 4)
        memcpy(dst, src, 4);
    else if (c->copy == 16)
        memcpy(dst, src, 16);
    else
        memcpy(dst, src, c->elemsize);
}

/* The element of a receive that ended because the channel is closed. */
static inline void chanzero(const struct loam_hchan *c, void *elem)
{
    if (elem != NULL)
        memset(elem, 0, c->elemsize);
}

/* Puts an element into the buffer, which has room. Lock held. */
static always_inline void buf_put(struct loam_hchan *c, const void *elem)
{
    char *p = c->sendp;
    chancopy(c, p, elem);
    p += c->elemsize;
    c->sendp = p == c->bufend ? c->buf : p;
    /* relaxed: looks without the lock only decide that there is nothing to do, see chan.c */
    store_relaxed(&c->qcount, c->qcount + 1);
}

/* Takes the buffer's first element, which there is. Lock held. */
static always_inline void buf_take(struct loam_hchan *c, void *elem)
{
    char *p = c->recvp;
    if (likely(elem != NULL))
        chancopy(c, elem, p);
    p += c->elemsize;
    c->recvp = p == c->bufend ? c->buf : p;
    store_relaxed(&c->qcount, c->qcount - 1); /* relaxed: as in buf_put */
}

/* ---- Waiters ----------------------------------------------------------------------------------- */

static always_inline void waitq_put(struct waitq *q, struct sudog *sg)
{
    struct sudog *last = q->last;
    sg->next = NULL;
    sg->prev = last;
    q->last = sg;
    if (last != NULL)
        last->next = sg;
    else
        store_relaxed(&q->first, sg); /* relaxed: only looked at without the lock, not followed */
}

static always_inline void waitq_pop(struct waitq *q, struct sudog *sg)
{
    struct sudog *next = sg->next;
    store_relaxed(&q->first, next); /* relaxed: as in waitq_put */
    if (next != NULL)
        next->prev = NULL;
    else
        q->last = NULL;
}

/* Takes the first waiter off the queue, with the right and the duty to wake it; NULL: none. Lock held.
 *
 * A waiter of a select may be on several channels' queues: it belongs to whoever turns its select_done.
 * relaxed: only one can; what its winner reads was written under this channel's lock, what he writes
 * the goroutine reads after goready. The losers' sudogs stay valid until the lock is released, since
 * their goroutine takes it to look whether they are still queued (c != NULL). */
static always_inline struct sudog *waitq_get(struct waitq *q)
{
    struct sudog *sg;
    while ((sg = q->first) != NULL) {
        waitq_pop(q, sg);
        if (likely(!sg->is_select))
            break;
        sg->c = NULL;
        if (cas_relaxed(&sg->g->select_done, 0, 1))
            break;
    }
    return sg;
}

/* Is anybody there whom waitq_get could return? Another channel's waker may still be faster. */
static inline bool waitq_live(struct waitq *q)
{
    struct sudog *sg;
    while ((sg = q->first) != NULL && sg->is_select && load_relaxed(&sg->g->select_done) != 0) {
        waitq_pop(q, sg); /* relaxed: a hint, the CAS decides */
        sg->c = NULL;
    }
    return sg != NULL;
}

/* Takes one waiter out. Lock held. */
static inline void waitq_remove(struct waitq *q, struct sudog *sg)
{
    struct sudog *prev = sg->prev, *next = sg->next;
    if (prev != NULL)
        prev->next = next;
    else
        store_relaxed(&q->first, next); /* relaxed: as in waitq_put */
    if (next != NULL)
        next->prev = prev;
    else
        q->last = prev;
}

/* ---- What chan.c lends to select.c --------------------------------------------------------------- */

/* The calling thread's M, on entry of an operation that may park; `what` is its name. */
struct m *chan_enter_slow(struct m *mp, const char *what);
static always_inline struct m *chan_enter(const char *what)
{
    struct m *mp = getm();
    if (LOAM_TORTURE || unlikely(mp == NULL))
        return chan_enter_slow(mp, what);
    preempt_point(mp); /* may end on another M */
    return mp;
}

/* Finish an operation of the caller with a waiter that waitq_get gave. Lock held; they release it. */
void send_to(struct loam_hchan *c, struct sudog *sg, const void *elem);
void recv_from(struct loam_hchan *c, struct sudog *sg, void *elem);

_Noreturn void chan_park_forever(enum waitreason reason);
_Noreturn void panic_send_closed(void);

#endif
