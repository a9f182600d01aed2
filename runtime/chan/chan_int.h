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
 *     The lock-free rejections of non-blocking operations (chan_rejects_send, chan_rejects_recv) must not
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
#include "sched/sanitizer.h"
#include "sched/sched.h"

#include <loam/chan.h>

#include <string.h>

/* Goroutines that wait, first come first. */
struct waitq {
    struct sudog *first; /* atomic: written under the lock, also read without it */
    struct sudog *last;  /* lock */
};

/* Go's hchan. An operation on an unbuffered channel touches the first 64 bytes only. */
struct loam_hchan {
    struct mutex lock;
    union {
        struct {
            uint8_t closed; /* atomic; set once, under the lock */
            uint8_t polled; /* atomic; set once, under the lock: see above */
            uint8_t bulky;  /* const: elemsize is none that chancopy_fast knows */
        };
        uint32_t odd; /* lock: 0 = nothing of this, one look for the fast paths */
    };
    uint32_t copy;       /* const: elemsize, or 0 if bulky */
    uint64_t qcount;     /* atomic: written under the lock, also read without it */
    uint64_t dataqsiz;   /* const */
    struct waitq recvq;  /* lock */
    struct waitq sendq;  /* lock */
    size_t elemsize;     /* const */
    char *sendp, *recvp; /* lock: the next slot to fill and to take */
    char *bufend;        /* const */
#if LOAM_DEBUG_CHECKS
    uint32_t epoch; /* const: the runtime_epoch of its making */
#endif
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
void chan_unlock_slow(struct loam_hchan *c);

/* False: it was taken, and nothing has changed. */
static always_inline bool chan_lock_fast(struct loam_hchan *c)
{
#if LOAM_DEBUG_CHECKS
    lock_rank_check(&c->lock);
#endif
    chan_delay();
    /* acquire: sees what the former holder wrote */
    if (likely(cas_acquire(&c->lock.key, 0, 1)))
        return true;
#if LOAM_DEBUG_CHECKS
    lock_rank_release(&c->lock);
#endif
    return false;
}

static always_inline void chan_lock(struct loam_hchan *c)
{
    if (unlikely(!chan_lock_fast(c)))
        chan_lock_slow(c);
}

/* Touches nothing of *c after the store: whoever locks it next may be free to delete it. `odd` is what
 * the caller knows of c->odd. */
static always_inline void chan_unlock_odd(struct loam_hchan *c, bool odd)
{
    if (unlikely(odd || load_relaxed(&c->lock.key) != 1)) {
        chan_unlock_slow(c);
        return;
    }
#if LOAM_DEBUG_CHECKS
    lock_rank_release(&c->lock);
#endif
    store_release(&c->lock.key, 0); /* release: the next holder sees what we wrote */
}

static always_inline void chan_unlock(struct loam_hchan *c)
{
    chan_unlock_odd(c, c->polled);
}

/* Unlocking by gopark's hook is two halves for TSan, to which the hook's stack is another thread: the
 * goroutine itself announces the release, before it parks, and the hook's store is not announced. */
static always_inline void chan_announce_unlock(struct loam_hchan *c)
{
    sanitizer_release(&c->lock.key);
}

static always_inline void chan_unlock_in_hook(struct loam_hchan *c)
{
#if LOAM_TSAN
#if LOAM_DEBUG_CHECKS
    lock_rank_release(&c->lock);
#endif
    /* seqcst: as in chan_unlock_slow */
    if (__atomic_exchange_n(&c->lock.key, 0, __ATOMIC_SEQ_CST) == 2)
        unlock_slow(&c->lock, 2);
#else
    chan_unlock(c);
#endif
}

/* ---- Looking without the lock ------------------------------------------------------------------
 *
 * A rejection needs one moment at which the channel was both open and full (or empty). So it looks at
 * the one and after that whether the channel is still open: then it was so at the first look. The
 * other way round the channel could be closed in between, which makes an unbuffered one on which a
 * receiver waited "full".
 *
 * acquire on polled: what happened before it was set is seen. seqcst on the state (on x86 a plain load):
 * after this thread's own exchange in chan_unlock, and before the load of closed. */

static always_inline bool chan_rejects_send(const struct loam_hchan *c)
{
    return load_acquire(&c->polled) &&
           (c->dataqsiz == 0 ? load_seqcst(&c->recvq.first) == NULL
                             : load_seqcst(&c->qcount) == c->dataqsiz) &&
           load_relaxed(&c->closed) == 0;
}

static always_inline bool chan_rejects_recv(const struct loam_hchan *c)
{
    return load_acquire(&c->polled) &&
           (c->dataqsiz == 0 ? load_seqcst(&c->sendq.first) == NULL
                             : load_seqcst(&c->qcount) == 0) &&
           load_relaxed(&c->closed) == 0;
}

/* Closed for ever and empty for ever: after close the buffer only empties. acquire: what came before
 * the close is seen, the last sends among it. */
static always_inline bool chan_drained(const struct loam_hchan *c)
{
    return load_acquire(&c->closed) && load_relaxed(&c->qcount) == 0;
}

/* ---- Elements ---------------------------------------------------------------------------------- */

static inline bool chancopy_knows(size_t elemsize)
{
    return elemsize == 1 || elemsize == 4 || elemsize == 8 || elemsize == 16;
}

/* An element that is not bulky: constant sizes become moves. */
static always_inline void chancopy_fast(const struct loam_hchan *c, void *dst, const void *src)
{
    if (likely(c->copy == 8))
        memcpy(dst, src, 8);
    else if (c->copy == 4)
        memcpy(dst, src, 4);
    else if (c->copy == 16)
        memcpy(dst, src, 16);
    else
        memcpy(dst, src, 1);
}

static always_inline void chancopy(const struct loam_hchan *c, void *dst, const void *src)
{
    if (likely(!c->bulky))
        chancopy_fast(c, dst, src);
    else
        copy_bytes(dst, src, c->elemsize);
}

/* The element of a receive that ended because the channel is closed. */
static inline void chanzero(const struct loam_hchan *c, void *elem)
{
    if (elem != NULL)
        zero_bytes(elem, c->elemsize);
}

/* The buffer's next free slot is filled, or its first element taken. Lock held. */
static always_inline void buf_filled(struct loam_hchan *c)
{
    char *p = c->sendp + c->elemsize;
    c->sendp = p == c->bufend ? c->buf : p;
    /* relaxed: looks without the lock only decide that there is nothing to do */
    store_relaxed(&c->qcount, c->qcount + 1);
}

static always_inline void buf_taken(struct loam_hchan *c)
{
    char *p = c->recvp + c->elemsize;
    c->recvp = p == c->bufend ? c->buf : p;
    store_relaxed(&c->qcount, c->qcount - 1); /* relaxed: as above */
}

/* Puts an element into the buffer, which has room. Lock held. */
static inline void buf_put(struct loam_hchan *c, const void *elem)
{
    chancopy(c, c->sendp, elem);
    buf_filled(c);
}

/* Takes the buffer's first element, which there is. Lock held. */
static inline void buf_take(struct loam_hchan *c, void *elem)
{
    if (elem != NULL)
        chancopy(c, elem, c->recvp);
    buf_taken(c);
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

/* The head of every operation that may park: the fast path only if this is false ... */
static always_inline bool chan_detour(void)
{
    struct m *mp = getm();
    return LOAM_TORTURE || mp == NULL || load_relaxed(&mp->preempt) != 0;
}

/* ... and this otherwise. `what` is the name that the program knows. */
void chan_enter(const char *what);

/* Finish an operation of the caller with a waiter that waitq_get gave. Lock held; they release it. */
void send_to(struct loam_hchan *c, struct sudog *sg, const void *elem);
void recv_from(struct loam_hchan *c, struct sudog *sg, void *elem);

_Noreturn void chan_park_forever(enum waitreason reason);
_Noreturn void panic_send_closed(void);

#endif
