/* Thread pools, for pool.c (calls) and pool_thread.c (threads, making, freeing, shutdown). */
#ifndef SYNC_POOL_INT_H
#define SYNC_POOL_INT_H

#include "base/atomic.h"
#include "lock/lock.h"
#include "sync/context.h"
#include "sync/parker_int.h"
#include "sync/ring_int.h"

#include <loam/pool.h>

/* Of a call, under the pool's lock:
 *
 *     NEW --> QUEUED --> RUNNING --> OVER     a thread took it, and is done
 *      |        '------------------> OVER     taken back: context done, pool freed; result says why
 *      '---------------------------> OVER     never queued */
enum call_state { CALL_NEW, CALL_QUEUED, CALL_RUNNING, CALL_OVER };

/* On the caller's stack. The pool knows it while it is QUEUED or RUNNING; its parker is then woken
 * once, by whoever makes it OVER. */
struct pool_call {
    struct ring link; /* pool->lock */
    struct parker pk;
    struct context_waiter cw;
    /* const */
    struct loam_pool *pool;
    void (*fn)(void *);
    void *arg;
    bool on_goroutine;
    bool seeded;     /* waits at the gate, see pool.c */
    bool inner;      /* the second half of a seeded call: counted already */
    int saved_errno; /* passes to and fro with the call */
    /* pool->lock */
    enum call_state state;
    int result;
};

struct pool_worker {
    struct loam_pool *pool;        /* const */
    uintptr_t handle;              /* const once started; 0: not started */
    struct note wake;              /* it sleeps here while idle */
    struct pool_call *call;        /* pool->lock: what it runs, or was handed while idle */
    struct pool_worker *next_idle; /* pool->lock */
    bool idle;                     /* pool->lock: on the list of idle ones */
};

struct loam_pool {
    /* const after init */
    int threads, queue_max;
    void (*thread_start)(void *);
    void (*thread_end)(void *);
    void *arg;
    uint32_t *here; /* a page that the kernel zeroes in a forked child */

    struct mutex lock;
    /* lock */
    struct ring queue;      /* calls that wait for a thread, first come first served */
    struct ring gate;       /* seeded calls that wait for their turn */
    int waiting;            /* calls in both */
    int running;            /* calls that have a thread, or passed the gate */
    int past_gate;          /* of these, seeded ones */
    int goroutines_running; /* calls of goroutines that a thread has and has not woken yet */
    int callers, goroutine_callers; /* calls that may still touch the pool; of these, goroutines' */
    struct pool_worker *idle;       /* last in, first out: the warmest first */
    int alive;                      /* threads that have not ended */
    bool closing;                   /* loam_pool_free was called: no new calls */
    bool ending;                    /* threads are to end */
    bool aborted;                   /* loam_pool_new failed: threads are to end at once */
    bool stopping;                  /* goroutines_abandon: calls of goroutines are not begun */
    struct parker *freer;           /* waits until there are no callers; then, no threads */
    bool freer_on_goroutine;
    uint64_t done, taken_back;

    struct ring all; /* the list of pools */
    struct pool_worker workers[];
};

/* False in a forked child, where the threads are not. */
static inline bool pool_is_here(const struct loam_pool *p)
{
    return load_relaxed(p->here) != 0;
}

/* pool.c: gives the worker its next call; NULL: there is none. With the lock. */
struct pool_call *pool_next_locked(struct loam_pool *p, struct pool_worker *w);
/* Ends a call that was not begun. With the lock; the call may be gone afterwards. */
void pool_take_back_locked(struct loam_pool *p, struct pool_call *c, int result);
/* Wakes idle threads for calls that may be begun. With the lock. */
void pool_dispatch_locked(struct loam_pool *p);
/* pool_thread.c: wakes who frees the pool, if what it waits for has come. With the lock. */
void pool_tell_freer_locked(struct loam_pool *p);

#endif
