/* Groups: goroutines that are waited for together; the first error counts and cancels the rest.
 *
 * A group goes through rounds: from the first go to the wait that finds all ended. Each round has a
 * context and a first error of its own. A wait leaves both as they are, so that its caller can
 * still look at them, and marks the round as spent; the next go begins a new one.
 *
 *   Invariant: running counts the goroutines of the round and those that were given a place under
 *   the limit but have not been started yet. Places pass from a goroutine that ends straight to the
 *   caller of loam_group_go that waits longest: while any waits, running does not go down.
 *   Invariant: spent means running == 0. So the context is not replaced under a running goroutine.
 *
 * The rule of the last touch: a group may be freed as soon as loam_group_wait has returned. A
 * waiter is woken under the lock, and loam_group_free takes the lock once more before it frees.
 *
 * After loam_stop only loam_group_free is allowed: the goroutines are gone, nobody is waited for.
 *
 * Lock: loam_group.lock, rank sema (it is a queue of waiters like a semaphore's); contexts are made
 * and cancelled without it. Who calls: the program. Rejected: a waitgroup, a semaphore and a once,
 * as errgroup has them: three locks where one does, and no round could be told from the next. */
#include "base/throw.h"
#include "lock/lock.h"
#include "mem/mem.h"
#include "sched/sched.h"
#include "sync/context.h"
#include "sync/parker_int.h"
#include "sync/ring_int.h"
#include "sync/sync_int.h"

#include <loam/group.h>

struct loam_group {
    struct loam_context *parent; /* const; holds a reference */
    uint32_t epoch;              /* const */
    struct mutex lock;
    /* lock */
    struct loam_context *ctx; /* of the round */
    int err;                  /* of the round: the first error */
    bool spent;               /* the round was waited for: the next go begins another */
    int64_t running, limit;   /* limit 0: none */
    struct ring places;       /* callers of go that wait for the limit */
    struct ring waiters;      /* callers of wait and free */
};

/* On the waiting goroutine's stack; the group's lock protects it until it is woken. */
struct group_waiter {
    struct ring link; /* first: a ring's member is the waiter */
    struct parker pk;
    struct loam_context *ctx; /* the round's, with a reference, and its error */
    int err;
};

/* What a goroutine of the group gets, by value. */
struct group_call {
    struct loam_group *group;
    struct loam_context *ctx;
    int (*fn)(struct loam_context *ctx, void *arg);
    void *arg;
};

struct loam_group *loam_group_new(struct loam_context *parent)
{
    struct loam_group *g = objalloc(sizeof *g, OBJ_GROUP);
    if (g == NULL)
        return NULL;
    g->ctx = loam_context_with_cancel(parent);
    if (g->ctx == NULL) {
        objfree(g, OBJ_GROUP);
        return NULL;
    }
    context_ref(parent);
    g->parent = parent;
    g->epoch = runtime_epoch();
    g->lock = (struct mutex)MUTEX_INIT(sema);
    ring_init(&g->places);
    ring_init(&g->waiters);
    return g;
}

struct loam_context *loam_group_context(struct loam_group *g)
{
    lock(&g->lock);
    struct loam_context *ctx = g->ctx;
    unlock(&g->lock);
    return ctx;
}

int loam_group_set_limit(struct loam_group *g, int n)
{
    lock(&g->lock);
    bool busy = g->running > 0;
    if (!busy)
        g->limit = n > 0 ? n : 0;
    unlock(&g->lock);
    return busy ? -EBUSY : 0;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

/* With the lock, which it gives back. */
static void group_park_unlock(struct loam_group *g, struct ring *queue, struct group_waiter *w,
                              enum waitreason reason)
{
    ring_add_tail(queue, &w->link);
    unlock(&g->lock);
    (void)parker_wait(&w->pk, reason, -1);
}

/* With the lock and nothing running: the round is over, *w learns how. */
static void group_end_round_locked(struct loam_group *g, struct group_waiter *w)
{
    g->spent = true;
    w->err = g->err;
    w->ctx = g->ctx;
    context_ref(w->ctx);
}

static int group_wait(struct loam_group *g, const char *what)
{
    struct group_waiter w;
    lock(&g->lock);
    if (g->running == 0) {
        group_end_round_locked(g, &w);
        unlock(&g->lock);
    } else {
        parker_init(&w.pk, getg_or_die(what));
        group_park_unlock(g, &g->waiters, &w, WAIT_waitgroup_wait);
    }
    loam_context_cancel(w.ctx, 0);
    context_unref(w.ctx);
    return w.err;
}

int loam_group_wait(struct loam_group *g)
{
    struct m *mp = getm();
    if (mp != NULL)
        preempt_point(mp);
    return group_wait(g, "loam_group_wait");
}

void loam_group_free(struct loam_group *g)
{
    if (g == NULL)
        return;
    if (g->epoch == runtime_epoch()) {
        /* Nobody begins a round any more: the context stays the same. */
        loam_context_cancel(g->ctx, 0);
        (void)group_wait(g, "loam_group_free");
        sync_point();
        /* Who woke us, or still gives the lock back, is done once we had it. */
        lock(&g->lock);
        unlock(&g->lock);
    }
    loam_context_free(g->ctx);
    context_unref(g->parent);
    objfree(g, OBJ_GROUP);
}

/* ---- Running --------------------------------------------------------------------------------- */

static void group_set_error(struct loam_group *g, struct loam_context *ctx, int err)
{
    lock(&g->lock);
    bool first = g->err == 0;
    if (first)
        g->err = err;
    unlock(&g->lock);
    if (first)
        loam_context_cancel(ctx, err);
}

/* One has ended, or could not be started. */
static void group_leave(struct loam_group *g)
{
    lock(&g->lock);
    struct ring *r = ring_pop(&g->places);
    if (r != NULL) {
        (void)parker_wake(&container_of(r, struct group_waiter, link)->pk, PARKER_CODE);
    } else if (--g->running == 0) {
        while ((r = ring_pop(&g->waiters)) != NULL) {
            struct group_waiter *w = container_of(r, struct group_waiter, link);
            group_end_round_locked(g, w);
            (void)parker_wake(&w->pk, PARKER_CODE);
        }
    }
    unlock(&g->lock);
}

static void group_goexit(void *arg)
{
    struct group_call *c = arg;
    group_leave(c->group);
}

static void group_main(void *arg)
{
    struct group_call *c = arg;
    struct g *gp = getg();
    gp->at_goexit = group_goexit;
    int err = c->fn(c->ctx, c->arg);
    gp->at_goexit = NULL;
    if (err != 0)
        group_set_error(c->group, c->ctx, err);
    sync_point();
    group_leave(c->group);
}

/* With the lock, gives it back meanwhile: begins a round if the last one was waited for. */
static int group_begin_round_locked(struct loam_group *g)
{
    while (g->spent) {
        unlock(&g->lock);
        struct loam_context *other = loam_context_with_cancel(g->parent);
        lock(&g->lock);
        if (other == NULL)
            return -ENOMEM;
        if (g->spent) {
            struct loam_context *fresh = other;
            other = g->ctx;
            g->ctx = fresh;
            g->err = 0;
            g->spent = false;
        }
        unlock(&g->lock);
        loam_context_free(other);
        lock(&g->lock);
    }
    return 0;
}

static int group_start(struct loam_group *g, int (*fn)(struct loam_context *ctx, void *arg),
                       void *arg, bool wait, uintptr_t callerpc)
{
    if (fn == NULL)
        fatal("go of nil func value");
    sync_point();
    lock(&g->lock);
    int err = group_begin_round_locked(g);
    if (err != 0) {
        unlock(&g->lock);
        return err;
    }
    struct group_call c = {.group = g, .ctx = g->ctx, .fn = fn, .arg = arg};
    if (g->limit == 0 || g->running < g->limit) {
        g->running++;
        unlock(&g->lock);
    } else if (wait) {
        struct group_waiter w;
        parker_init(&w.pk, getg_or_die("loam_group_go"));
        group_park_unlock(g, &g->places, &w, WAIT_semacquire); /* running counts us already */
    } else {
        unlock(&g->lock);
        return -EAGAIN;
    }
    err = newproc_with(&(struct newborn){.fn = group_main,
                                         .code = (uintptr_t)fn,
                                         .copy = &c,
                                         .copy_size = sizeof c,
                                         .callerpc = callerpc});
    if (err != 0) {
        group_set_error(g, c.ctx, err);
        group_leave(g);
    }
    return err;
}

int loam_group_go(struct loam_group *g, int (*fn)(struct loam_context *ctx, void *arg), void *arg)
{
    struct m *mp = getm();
    if (mp != NULL)
        preempt_point(mp);
    return group_start(g, fn, arg, true, arch_callerpc());
}

int loam_group_try_go(struct loam_group *g, int (*fn)(struct loam_context *ctx, void *arg),
                      void *arg)
{
    return group_start(g, fn, arg, false, arch_callerpc());
}
