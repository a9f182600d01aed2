/* Contexts: a tree along which cancellation goes down, deadlines and values up.
 *
 * Every context but the root is a node that can be cancelled, one with a value too: whoever owns
 * any of them ends it with loam_context_free, and what was derived from it is then done.
 *
 * Memory. A node is counted: its handle, each child (values and the list are found through the
 * parent), each registered waiter, its timer, and its place in the parent's list of children are a
 * reference each. So parents and children are freed in any order, and whoever works on a node holds
 * a reference to it. The last reference gives up the one on the parent; a chain of parents is
 * walked by a loop.
 *
 * Cancelling. One thread wins the node: under its lock it sets err and takes the whole list of
 * children away, O(1). These lie on a list of its own then, with the references that came with
 * them, and are treated the same way one after the other: their children go to the end of that
 * list. The list links lie in the nodes, so that a tree of any depth and width needs neither
 * recursion nor memory, and never more than one context's lock is held: there is no order among
 * them.
 *
 *   Invariant: the links in a node (sibling) belong to the parent's lock while the parent's err is
 *   0, and to whoever cancelled the parent afterwards. A node that is cancelled or freed on its own
 *   therefore takes itself out of the parent's list only if, under the parent's lock, err is 0.
 *
 *   Invariant: a node that is linked below a parent whose err is 0 will be cancelled with it. A
 *   node that is done may still be in the list for a moment: to be cancelled again does nothing.
 *
 * While a cancellation is under way descendants become done one after the other, parents first.
 * When loam_context_cancel returns, all are that it found not done, unless another thread had
 * cancelled an ancestor of theirs at the same time and is still on its way.
 *
 * A deadline is a timer that starts a goroutine when it fires; none waits. A context whose parent's
 * deadline is earlier has no timer. Who asks whether a context is done looks at the clock too.
 * Rejected: one goroutine per child that waits for the parent's channel, which Go does for foreign
 * parents only; locking the parent over the whole walk, as Go does (a stack frame and a held lock per
 * level).
 *
 * After loam_stop a context is good only for its free function: see context_stale.
 *
 * Locks: loam_context.lock, rank context; under it only those of waiters (context_wait.c). Who
 * calls: the program on any thread, and timers. */
#include "sync/context_int.h"

#include "base/throw.h"
#include "mem/mem.h"
#include "sched/sched.h"
#include "sync/sync_int.h"

#include <loam/time.h>

struct loam_context context_background = {.deadline = NO_DEADLINE};

bool context_cancellable(const struct loam_context *ctx)
{
    return ctx != NULL && ctx != &context_background;
}

/* ---- Memory ---------------------------------------------------------------------------------- */

void context_ref(struct loam_context *ctx)
{
    if (context_cancellable(ctx))
        (void)add_relaxed(&ctx->refs, 1); /* the caller holds one: nothing to order */
}

static void context_destroy(struct loam_context *c)
{
    loam_timer_free(c->timer);
    loam_chan_delete(c->done);
    objfree(c, OBJ_CONTEXT);
}

static void context_unref_n(struct loam_context *c, uint64_t n)
{
    /* acqrel: what every holder did comes before the destruction by the last */
    while (context_cancellable(c) && add_acqrel(&c->refs, -n) == 0) {
        struct loam_context *parent = c->parent;
        context_destroy(c);
        c = parent;
        n = 1;
    }
}

void context_unref(struct loam_context *ctx)
{
    context_unref_n(ctx, 1);
}

/* ---- Cancelling ------------------------------------------------------------------------------ */

/* Takes the timer's reference away from it: false if it has none. The caller has another. */
static bool context_take_timer_ref(struct loam_context *c)
{
    lock(&c->lock);
    bool had = c->timer_ref;
    c->timer_ref = false;
    unlock(&c->lock);
    return had;
}

static void context_stop_timer(struct loam_context *c, struct loam_timer *timer)
{
    /* If it was too late, deadline_reached runs or will. */
    if (loam_timer_stop(timer) && context_take_timer_ref(c))
        context_unref(c);
}

/* Makes one node done: false if it was. Its children come to the end of `work`. */
static bool context_finish(struct loam_context *c, int32_t err, int32_t cause, struct ring *work)
{
    lock(&c->lock);
    if (c->err != 0) {
        unlock(&c->lock);
        return false;
    }
    c->cause = cause;
    store_release(&c->err, err); /* release: who sees err sees the cause */
    ring_join(work, &c->children);
    struct loam_hchan *done = c->done;
    struct loam_timer *timer = c->timer_ref ? c->timer : NULL;
    bool waiters = !ring_empty(&c->waiters) || !ring_empty(&c->gwaiters);
    unlock(&c->lock);
    sync_point();

    /* From here on nobody adds a waiter, and whoever makes the channel closes it. */
    if (done == NULL && timer == NULL && !waiters)
        return true;
    /* A foreign thread keeps the runtime from going away under those that it wakes. If the stop was
     * faster, visit_hold has synchronised with it, and the epoch is another. */
    visit_hold();
    bool stale = context_stale(c);
    if (done != NULL && !stale)
        loam_chan_close(done);
    if (waiters)
        context_fire(c, stale);
    if (timer != NULL && !stale)
        context_stop_timer(c, timer);
    visit_end();
    return true;
}

/* A node that is done leaves the parent's list, unless the parent's canceller has it. */
static void context_leave_parent(struct loam_context *c)
{
    struct loam_context *parent = c->parent;
    if (!context_cancellable(parent))
        return;
    bool left = false;
    lock(&parent->lock);
    if (c->linked && parent->err == 0) {
        ring_remove(&c->sibling);
        c->linked = false;
        left = true;
    }
    unlock(&parent->lock);
    if (left)
        context_unref(c); /* the list's; the caller has another */
}

void context_cancel(struct loam_context *c, int32_t err, int32_t cause)
{
    struct ring work;
    ring_init(&work);
    if (!context_finish(c, err, cause, &work))
        return;
    context_leave_parent(c);
    for (struct ring *r; (r = ring_pop(&work)) != NULL;) {
        c = container_of(r, struct loam_context, sibling);
        (void)context_finish(c, err, cause, &work);
        context_unref(c); /* its parent's list had it */
    }
}

/* ---- Making ---------------------------------------------------------------------------------- */

/* A node with one reference, its handle, below parent but not yet in its list. */
static struct loam_context *context_new(struct loam_context *parent)
{
    struct loam_context *c = objalloc(sizeof *c, OBJ_CONTEXT);
    if (c == NULL)
        return NULL;
    context_ref(parent);
    c->parent = parent;
    c->valued = parent->valued;
    c->deadline = parent->deadline;
    c->epoch = runtime_epoch();
    c->refs = 1;
    c->lock = (struct mutex)MUTEX_INIT(context);
    ring_init(&c->children);
    ring_init(&c->waiters);
    ring_init(&c->gwaiters);
    ring_init(&c->sleepers);
    ring_init(&c->sibling);
    return c;
}

/* From here on c is cancelled with its parent; at once if the parent is done. */
static void context_join_parent(struct loam_context *c)
{
    struct loam_context *parent = c->parent;
    if (!context_cancellable(parent))
        return;
    sync_point();
    lock(&parent->lock);
    int32_t err = parent->err, cause = parent->cause;
    if (err == 0) {
        c->refs++; /* nobody else knows c yet */
        c->linked = true;
        ring_add_tail(&parent->children, &c->sibling);
    }
    unlock(&parent->lock);
    if (err != 0)
        context_cancel(c, err, cause);
}

struct loam_context *loam_context_background(void)
{
    return &context_background;
}

struct loam_context *loam_context_with_cancel(struct loam_context *parent)
{
    struct loam_context *c = context_new(context_or_root(parent));
    if (c != NULL)
        context_join_parent(c);
    return c;
}

struct loam_context *loam_context_with_value(struct loam_context *parent, const void *key,
                                             void *value)
{
    struct loam_context *c = context_new(context_or_root(parent));
    if (c == NULL)
        return NULL;
    c->key = key;
    c->value = value;
    c->valued = c;
    context_join_parent(c);
    return c;
}

/* ---- Deadlines ------------------------------------------------------------------------------- */

void context_expire(struct loam_context *ctx)
{
    context_cancel(ctx, -ETIMEDOUT, -ETIMEDOUT);
}

/* The timer fired: on a goroutine of its own. */
static void deadline_reached(void *arg)
{
    struct loam_context *c = arg;
    context_expire(c);
    if (context_take_timer_ref(c))
        context_unref(c);
}

/* Sets c's timer; false: no memory, or no runtime to run it. */
static bool deadline_start(struct loam_context *c, int64_t ns)
{
    /* Its reference before it runs, its place in c afterwards: it may fire at once. */
    lock(&c->lock);
    context_ref(c);
    c->timer_ref = true;
    unlock(&c->lock);
    struct loam_timer *timer = loam_after_func(ns, deadline_reached, c);
    if (timer == NULL) {
        if (context_take_timer_ref(c))
            context_unref(c);
        return false;
    }
    sync_point();
    lock(&c->lock);
    c->timer = timer;
    bool stop = c->err != 0; /* cancelled meanwhile, by somebody who did not know the timer */
    unlock(&c->lock);
    if (stop)
        context_stop_timer(c, timer);
    return true;
}

struct loam_context *loam_context_with_deadline(struct loam_context *parent, int64_t when)
{
    struct loam_context *c = context_new(context_or_root(parent));
    if (c == NULL)
        return NULL;
    bool own = when < c->deadline;
    if (own)
        c->deadline = when;
    context_join_parent(c);
    if (!own || load_acquire(&c->err) != 0)
        return c;
    int64_t now = loam_now();
    if (when <= now) {
        context_cancel(c, -ETIMEDOUT, -ETIMEDOUT);
    } else {
        int64_t ns;
        if (__builtin_sub_overflow(when, now, &ns))
            ns = INT64_MAX;
        if (!deadline_start(c, ns)) {
            loam_context_free(c);
            return NULL;
        }
    }
    return c;
}

struct loam_context *loam_context_with_timeout(struct loam_context *parent, int64_t ns)
{
    int64_t when;
    if (__builtin_add_overflow(loam_now(), ns, &when))
        when = ns > 0 ? NO_DEADLINE : INT64_MIN;
    return loam_context_with_deadline(parent, when);
}

bool loam_context_deadline(struct loam_context *ctx, int64_t *when)
{
    int64_t deadline = context_or_root(ctx)->deadline;
    if (deadline == NO_DEADLINE)
        return false;
    *when = deadline;
    return true;
}

/* ---- Ending and asking ----------------------------------------------------------------------- */

void loam_context_cancel(struct loam_context *ctx, int cause)
{
    if (!context_cancellable(ctx))
        return;
    context_ref(ctx); /* whoever sees that it is done may free it before we are through */
    context_cancel(ctx, -ECANCELED, cause < 0 ? cause : -ECANCELED);
    context_unref(ctx);
}

/* What waited went with the runtime, its stacks and its timers: returns the references it had. */
static uint64_t context_forget_goroutines(struct loam_context *c)
{
    struct ring sleepers;
    ring_init(&sleepers);
    lock(&c->lock);
    uint64_t refs = c->ngwaiters + (c->timer_ref ? 1 : 0);
    c->ngwaiters = 0;
    c->timer_ref = false;
    ring_init(&c->gwaiters);
    ring_join(&sleepers, &c->sleepers);
    unlock(&c->lock);
    context_free_sleepers(&sleepers);
    return refs;
}

void loam_context_free(struct loam_context *ctx)
{
    if (!context_cancellable(ctx))
        return;
    uint64_t refs = 1; /* the handle's */
    if (context_stale(ctx))
        refs += context_forget_goroutines(ctx);
    context_cancel(ctx, -ECANCELED, -ECANCELED);
    context_unref_n(ctx, refs);
}

int context_err(struct loam_context *ctx)
{
    /* acquire: who sees that it is done sees what was done before it was cancelled */
    return load_acquire(&context_or_root(ctx)->err);
}

/* What a loop that computes asks between its steps: others get their turn, and the deadline holds even
 * if no thread is free to run its timer. */
int loam_context_err(struct loam_context *ctx)
{
    struct loam_context *c = context_or_root(ctx);
    struct m *mp = getm();
    if (mp != NULL)
        preempt_point(mp);
    if (context_err(c) == 0 && unlikely(c->deadline != NO_DEADLINE) && loam_now() >= c->deadline)
        context_expire(c);
    return context_err(c);
}

int loam_context_cause(struct loam_context *ctx)
{
    struct loam_context *c = context_or_root(ctx);
    return loam_context_err(c) != 0 ? c->cause : 0;
}

void *loam_context_value(struct loam_context *ctx, const void *key)
{
    struct loam_context *c = context_or_root(ctx)->valued;
    while (c != NULL && c->key != key)
        c = c->parent->valued;
    return c != NULL ? c->value : NULL;
}

/* Made when first asked for: most contexts are only passed on. */
loam_chan(char) loam_context_done(struct loam_context *ctx)
{
    if (!context_cancellable(ctx))
        return NULL;
    struct loam_hchan *done = load_acquire(&ctx->done); /* acquire: sees a whole channel */
    if (done == NULL) {
        struct loam_hchan *made;
        if (loam_chan_new(&made, sizeof(char), 0) != 0)
            fatal("out of memory: cannot make a context's channel");
        bool closed = false;
        sync_point();
        lock(&ctx->lock);
        while (ctx->done == NULL) {
            if (ctx->err != 0 && !closed) {
                unlock(&ctx->lock); /* nobody else has it yet: closing it needs no lock */
                loam_chan_close(made);
                closed = true;
                lock(&ctx->lock);
                continue;
            }
            store_release(&ctx->done, made); /* release: pairs with the load above */
        }
        done = ctx->done;
        unlock(&ctx->lock);
        if (done != made)
            loam_chan_delete(made);
    }
    return (loam_chan(char))(uintptr_t)done;
}
