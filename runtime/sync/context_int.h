/* A context's structure, for context.c (the tree) and context_wait.c (who waits on one). */
#ifndef SYNC_CONTEXT_INT_H
#define SYNC_CONTEXT_INT_H

#include "base/atomic.h"
#include "lock/lock.h"
#include "sched/sched.h"
#include "sync/context.h"
#include "sync/ring_int.h"

struct loam_context {
    /* const after init */
    struct loam_context *parent; /* holds a reference on it */
    struct loam_context *valued; /* the nearest of itself and its ancestors that has a value */
    const void *key;             /* its own pair, if valued is itself */
    void *value;
    int64_t deadline; /* the earliest of its own and its ancestors'; NO_DEADLINE: none */
    uint32_t epoch;   /* of its making */

    int32_t err;             /* atomic: 0, once -errno for ever; written under lock */
    int32_t cause;           /* const once err is set */
    struct loam_hchan *done; /* atomic: made on demand, const once set */
    uint64_t refs;           /* atomic: handle, children, waiters, timer, the parent's list */

    struct mutex lock;
    /* lock */
    struct ring children;     /* not yet cancelled; each counts as a reference on the child */
    struct ring waiters;      /* on threads' stacks, or objects: see context_waiter */
    struct ring gwaiters;     /* on goroutines' stacks: gone when the runtime stops */
    struct ring sleepers;     /* goroutines in loam_context_sleep: their timers */
    uint64_t ngwaiters;       /* references of both, called or not */
    struct loam_timer *timer; /* of its own deadline */
    bool timer_ref;           /* the timer holds a reference */

    /* parent->lock while the parent is not done; then whoever cancels the parent */
    struct ring sibling;
    bool linked;
};

#define NO_DEADLINE INT64_MAX

extern struct loam_context context_background;

/* NULL is the root. */
static inline struct loam_context *context_or_root(struct loam_context *ctx)
{
    return ctx != NULL ? ctx : &context_background;
}

/* The runtime that it was made under was stopped. */
static inline bool context_stale(const struct loam_context *c)
{
    return c->epoch != runtime_epoch();
}

/* context_wait.c: calls those that wait on c, which is done; stale: not the abandoned ones. */
void context_fire(struct loam_context *c, bool stale);
/* context_wait.c: frees the timers of a list of sleepers that were abandoned. */
void context_free_sleepers(struct ring *sleepers);

/* context.c: sets err and cause on c and all its descendants that are not done. The caller holds a
 * reference on c. */
void context_cancel(struct loam_context *c, int32_t err, int32_t cause);

#endif
