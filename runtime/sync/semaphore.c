/* Weighted semaphore, first come, first served, with cancellation.
 *
 * Waiters queue under the lock; whoever gives units back serves from the front until the next one's
 * wish is not there. It does not look further: a large wish would wait for ever behind small ones.
 *
 * A waiter without a context has one way to be woken. One with a context has two, a grant and the
 * context's callback, which runs on a goroutine of its own at any time from its registration on. What
 * both agree on is waiter.state, under the semaphore's lock:
 *
 *     NEW --> QUEUED --> GRANTED      by whoever releases
 *      |         '-----> CANCELLED    by the callback, which takes it off the queue
 *      '---------------> CANCELLED    by the callback, before it has queued
 *
 * The first to leave QUEUED wins and wakes it; nothing is lost or granted twice. The waiter, its
 * sudog and its state lie on its stack, so it may not return while the callback can still come:
 * loam_context_after_stop says whether it has been kept from starting; if not, the waiter waits for
 * `called`, which the callback sets as its last act. Granted and cancelled at once counts as
 * cancelled: the units go back, as in Go.
 *
 * The last touch (sema.h): release touches the semaphore only until it gives the lock back; so does
 * the callback. Locks: the semaphore's, rank sema; the context's functions are called without it.
 * Rejected: a select over the context's channel and one per waiter: two allocations more, and the
 * grant would be a message that can cross the cancellation. */
#include "sync/sync_int.h"

#include <loam/context.h>

enum wait_state { NEW, QUEUED, GRANTED, CANCELLED };

struct waiter {
    struct sudog sg; /* lock; elem unused */
    int64_t n;       /* const */
    struct loam_semaphore *s;
    enum wait_state state;    /* lock */
    bool called;              /* lock: the callback has been here */
    bool sleeps_for_callback; /* lock */
};

static struct mutex *mutex_of(struct loam_semaphore *s)
{
    return sync_mutex(&s->lock, &s->rank);
}

static struct waiter *waiter_of(void *sg)
{
    return container_of((struct sudog *)sg, struct waiter, sg);
}

/* ---- The queue, doubly linked, under the lock ------------------------------------------------- */

static void push(struct loam_semaphore *s, struct waiter *w)
{
    w->sg.next = NULL;
    w->sg.prev = s->tail;
    if (s->tail != NULL)
        ((struct sudog *)s->tail)->next = &w->sg;
    else
        s->head = &w->sg;
    s->tail = &w->sg;
    w->state = QUEUED;
}

static void take_out(struct loam_semaphore *s, struct waiter *w, enum wait_state state)
{
    if (w->sg.prev != NULL)
        w->sg.prev->next = w->sg.next;
    else
        s->head = w->sg.next;
    if (w->sg.next != NULL)
        w->sg.next->prev = w->sg.prev;
    else
        s->tail = w->sg.prev;
    w->sg.next = NULL;
    w->state = state;
}

/* Serves from the front what there is; returns those served, for sema_ready_list. */
static struct sudog *serve(struct loam_semaphore *s)
{
    struct sudog *list = NULL, **end = &list;
    while (s->head != NULL) {
        struct waiter *w = waiter_of(s->head);
        if (s->size - s->used < w->n)
            break;
        s->used += w->n;
        take_out(s, w, GRANTED);
        *end = &w->sg;
        end = &w->sg.next;
    }
    return list;
}

static bool take_units(struct loam_semaphore *s, int64_t n)
{
    bool ok = s->head == NULL && s->size - s->used >= n;
    if (ok)
        s->used += n;
    return ok;
}

/* Queues w, gives the lock back and sleeps. */
static void sleep_queued(struct loam_semaphore *s, struct waiter *w)
{
    struct mutex *l = mutex_of(s);
    push(s, w);
    goparkunlock(l, WAIT_semacquire);
    (void)load_acquire(&l->key); /* acquire: as in semacquire */
}

/* ---- Waiting ---------------------------------------------------------------------------------- */

/* The context is done. Runs on a goroutine of its own. */
static void context_done(void *arg)
{
    struct waiter *w = arg;
    struct loam_semaphore *s = w->s;
    struct mutex *l = mutex_of(s);
    struct sudog *list = NULL;
    lock(l);
    bool wake = w->sleeps_for_callback;
    if (w->state == QUEUED) {
        take_out(s, w, CANCELLED);
        list = serve(s); /* it may have held up those behind it */
        wake = true;
    } else if (w->state == NEW) {
        wake = wake || w->sg.success; /* success: it sleeps without having queued */
        w->state = CANCELLED;
    }
    w->called = true;
    struct g *gp = w->sg.g;
    unlock(l);
    /* Unless we wake it, the waiter may be gone from here on. */
    if (wake)
        goready(gp);
    sema_ready_list(list);
}

/* Ends a wait that a callback was registered for: afterwards it is over or will never come. */
static void finish_callback(struct waiter *w, struct loam_context_after *after)
{
    if (loam_context_after_stop(after))
        return;
    struct mutex *l = mutex_of(w->s);
    lock(l);
    if (w->called) {
        unlock(l);
        return;
    }
    w->sleeps_for_callback = true;
    goparkunlock(l, WAIT_semacquire);
}

static int wait_with_context(struct loam_semaphore *s, int64_t n, struct loam_context *ctx,
                             struct g *gp)
{
    struct waiter w = {.sg = {.g = gp, .c = s}, .n = n, .s = s, .state = NEW};
    struct loam_context_after *after = loam_context_after_func(ctx, context_done, &w);
    if (after == NULL)
        return -ENOMEM;
    struct mutex *l = mutex_of(s);
    lock(l);
    if (w.state == CANCELLED) {
        unlock(l);
    } else if (n > s->size) {
        w.sg.success = true; /* waits for the context only, in nobody's way */
        goparkunlock(l, WAIT_semacquire);
    } else if (take_units(s, n)) {
        w.state = GRANTED;
        unlock(l);
    } else {
        sleep_queued(s, &w);
    }
    finish_callback(&w, after);
    /* No lock: nobody else knows w any more. */
    int err = loam_context_err(ctx);
    if (err != 0 && w.state == GRANTED)
        loam_semaphore_release(s, n);
    return err;
}

static int wait_for_ever(struct loam_semaphore *s, int64_t n, struct g *gp)
{
    struct waiter w = {.sg = {.g = gp, .c = s}, .n = n, .s = s, .state = NEW};
    struct mutex *l = mutex_of(s);
    lock(l);
    if (n > s->size) {
        goparkunlock(l, WAIT_semacquire); /* for ever */
    } else if (take_units(s, n)) {
        unlock(l);
    } else {
        sleep_queued(s, &w);
    }
    return 0;
}

/* ---- The public face --------------------------------------------------------------------------- */

int loam_semaphore_init(struct loam_semaphore *s, int64_t size)
{
    if (size < 0)
        return -EINVAL;
    *s = (struct loam_semaphore){.size = size};
    return 0;
}

bool loam_semaphore_try_acquire(struct loam_semaphore *s, int64_t n)
{
    if (n < 0)
        return false;
    sync_point();
    struct mutex *l = mutex_of(s);
    lock(l);
    bool ok = take_units(s, n);
    unlock(l);
    return ok;
}

int loam_semaphore_acquire(struct loam_semaphore *s, int64_t n, struct loam_context *ctx)
{
    if (n < 0)
        return -EINVAL;
    if (ctx != NULL) {
        int err = loam_context_err(ctx);
        if (err != 0)
            return err;
    }
    if (loam_semaphore_try_acquire(s, n))
        return 0;
    struct g *gp = getg_or_die("loam_semaphore_acquire");
    preempt_point(getm());
    if (ctx == NULL || loam_context_done(ctx) == NULL) /* NULL: never done */
        return wait_for_ever(s, n, gp);
    return wait_with_context(s, n, ctx, gp);
}

void loam_semaphore_release(struct loam_semaphore *s, int64_t n)
{
    sync_point();
    struct mutex *l = mutex_of(s);
    lock(l);
    if (n < 0 || n > s->used) {
        unlock(l);
        panic_text("semaphore: released more than held");
    }
    s->used -= n;
    struct sudog *list = serve(s);
    unlock(l);
    sema_ready_list(list);
}
