/* Timers that fire once: with a channel, or with a function. The rules are in timers.c.
 *
 * A timer and its channel are made and freed together, often, by servers once per request. So a P
 * keeps a few freed ones for the next: both allocations and the channel's making are saved. Threads
 * without a P, and builds that look for uses after free, do without.
 *
 * Callers: programs, on any thread; timers.c for firing; ticker.c. */
#include "time/time_int.h"

#include "base/throw.h"
#include "mem/mem.h"
#include "sched/sched.h"

#include <loam/chan.h>

/* When no goroutine could be started for a function: its timer fires again after this. */
enum { RETRY_NS = 1000000 };

/* ---- Making and freeing ------------------------------------------------------------------------ */

static always_inline struct timers *own_timers(void)
{
    struct m *mp = getm();
    return mp != NULL && mp->p != NULL ? mp->p->timers : NULL;
}

/* Which list of spares: those of one list are alike. */
static always_inline int spare_list(enum timer_kind kind)
{
    return kind == TIMER_FUNC;
}

static noinline struct loam_timer *timer_alloc(enum timer_kind kind)
{
    struct loam_timer *t = objalloc(sizeof *t, OBJ_TIMER);
    if (t == NULL)
        return NULL;
    if (kind != TIMER_FUNC && loam_chan_new(&t->chan, sizeof(int64_t), 1) != 0) {
        objfree(t, OBJ_TIMER);
        return NULL;
    }
    return t;
}

struct loam_timer *timer_make(enum timer_kind kind)
{
    if (unlikely(!sched_alive()))
        return NULL;
    struct timers *ts = own_timers();
    int list = spare_list(kind);
    struct loam_timer *t;
    if (ts != NULL && ts->spare[list] != NULL) {
        t = ts->spare[list];
        ts->spare[list] = t->spare;
        ts->nspare[list]--;
    } else {
        t = timer_alloc(kind);
        if (unlikely(t == NULL))
            return NULL;
    }
    t->kind = (uint8_t)kind;
    t->epoch = runtime_epoch();
    return t;
}

void timer_dispose(struct loam_timer *t)
{
    if (t->kind != TIMER_FUNC)
        loam_chan_delete(t->chan);
    objfree(t, OBJ_TIMER);
}

void timer_unclaim(struct loam_timer *t)
{
    /* acqrel: whoever ends it sees what all firings did */
    if (add_acqrel(&t->claims, -(uint32_t)CLAIM) == DEAD)
        timer_dispose(t);
}

/* True if P keeps it: it is in no heap, no firing knows it, and its channel is as good as new. */
static always_inline bool timer_keep(struct loam_timer *t)
{
    struct timers *ts = own_timers();
    int list = spare_list(t->kind);
    if (ts == NULL || (int)ts->nspare[list] >= SPARE_MAX)
        return false;
    if (t->epoch != runtime_epoch())
        return false; /* abandoned goroutines may be in its channel's queues */
    if (t->kind != TIMER_FUNC && loam_chan_try_recv(t->chan, NULL) == 0)
        return false; /* the program closed it */
    t->spare = ts->spare[list];
    ts->spare[list] = t;
    ts->nspare[list]++;
    return true;
}

void loam_timer_free(struct loam_timer *t)
{
    if (t == NULL)
        return;
    (void)timer_remove(t);
    /* acquire: a firing that gave its claim back is done with t. It may have put t into a heap again
     * before (move_timer, a retry); no claim, and in no heap, means that nobody knows t. */
    if (unlikely(load_acquire(&t->claims) != 0 || load_relaxed(&t->ts) != NULL)) {
        lock(&t->lock);
        (void)timer_stop_locked(t);
        unlock(&t->lock);
        /* acqrel: as in timer_unclaim */
        if (or_acqrel(&t->claims, DEAD) != 0)
            return; /* the last firing ends it */
        store_relaxed(&t->claims, 0);
    }
    if (!timer_keep(t))
        timer_dispose(t);
}

/* ---- Stopping, starting, firing ------------------------------------------------------------------ */

bool timer_stop_locked(struct loam_timer *t)
{
    bool pending = timer_remove(t);
    if (t->armed) { /* taken off by a firing that waits for the lock */
        t->armed = false;
        pending = true;
    }
    store_relaxed(&t->seq, t->seq + 1); /* see timers.c */
    if (t->kind != TIMER_FUNC && loam_chan_try_recv(t->chan, NULL) == 1)
        pending = true;
    return pending;
}

void timer_start_locked(struct loam_timer *t, int64_t when)
{
    struct timers *ts = timers_here();
    if (ts == NULL)
        return; /* after loam_stop a timer is good for freeing only */
    if (unlikely(!timer_insert(ts, t, when)))
        throwf("out of memory: no room for %u timers", ts->heap.n);
}

bool timer_fire(struct loam_timer *t, uint32_t seq, int64_t now)
{
    bool started = false;
    lock(&t->lock);
    if (likely(t->seq == seq)) {
        if (t->kind == TIMER_FUNC) {
            t->armed = false;
            started = newproc(t->fn, t->arg, (uintptr_t)t->fn) == 0;
            if (unlikely(!started)) {
                int64_t when;
                if (__builtin_add_overflow(now, (int64_t)RETRY_NS, &when))
                    when = WHEN_NEVER;
                timer_start_locked(t, when);
            }
        } else {
            if (t->kind == TIMER_CHAN)
                t->armed = false;
            /* full: the receiver is slow, a tick is dropped */
            started = loam_chan_try_send(t->chan, &now) == 1;
        }
    }
    unlock(&t->lock);
    timer_unclaim(t);
    return started;
}

/* ---- The public functions ------------------------------------------------------------------------ */

static always_inline struct loam_timer *timer_begin(struct loam_timer *t, int64_t ns)
{
    struct timers *ts = timers_here();
    if (likely(ts != NULL && timer_insert(ts, t, when_after(ns))))
        return t;
    timer_dispose(t);
    return NULL;
}

struct loam_timer *loam_timer_new(int64_t ns)
{
    struct loam_timer *t = timer_make(TIMER_CHAN);
    return likely(t != NULL) ? timer_begin(t, ns) : NULL;
}

struct loam_timer *loam_after_func(int64_t ns, void (*fn)(void *), void *arg)
{
    if (fn == NULL)
        fatal("go of nil func value");
    struct loam_timer *t = timer_make(TIMER_FUNC);
    if (unlikely(t == NULL))
        return NULL;
    t->fn = fn;
    t->arg = arg;
    return timer_begin(t, ns);
}

loam_chan(int64_t) loam_timer_chan(struct loam_timer *t)
{
    return (loam_chan(int64_t))(uintptr_t)(t->kind == TIMER_FUNC ? NULL : t->chan);
}

bool loam_timer_stop(struct loam_timer *t)
{
    if (likely(timer_remove(t)))
        return true;
    lock(&t->lock);
    bool pending = timer_stop_locked(t);
    unlock(&t->lock);
    return pending;
}

bool loam_timer_reset(struct loam_timer *t, int64_t ns)
{
    int64_t when = when_after(ns);
    struct timers *ts = timers_here();
    /* In another P's heap it is not changed but moved here, where it will be used next. */
    if (likely(ts != NULL && load_relaxed(&t->ts) == ts && timer_update(ts, t, when)))
        return true;
    lock(&t->lock);
    bool pending = timer_stop_locked(t);
    timer_start_locked(t, when);
    unlock(&t->lock);
    return pending;
}
