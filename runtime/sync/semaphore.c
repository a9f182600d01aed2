/* Weighted semaphore, first come, first served, with cancellation.
 *
 * Waiters queue under the lock; whoever gives units back serves from the front until the next one's
 * wish is not there. It does not look further: a large wish would wait for ever behind small ones.
 *
 * A waiter can be woken by a grant and by its context's callback, which may come at any time between
 * context_wait_begin and context_wait_end (context.h). What both agree on is waiter.state, under the
 * semaphore's lock:
 *
 *     NEW --> QUEUED --> GRANTED     by whoever releases
 *      |         '-----> CANCELLED   by the callback, which takes it off the queue
 *      |--> DOOMED ----> CANCELLED   by the callback: its wish is above the size, it never queues
 *      '---------------> CANCELLED   by the callback, before it has queued
 *
 * The first to leave QUEUED wins and wakes it: nothing is lost or granted twice. One that is granted
 * and whose context ends before it returns counts as cancelled and gives back, as in Go.
 *
 * The last touch (sema.h): release touches the semaphore only until it gives the lock back; so does
 * the callback. Locks: the semaphore's, rank sema; the callback has the context's too, which comes
 * before. Rejected: a select over the context's channel and one per waiter, which are two allocations
 * and let a grant cross a cancellation as messages. */
#include "sync/context.h"
#include "sync/sync_int.h"

enum wait_state { NEW, QUEUED, DOOMED, GRANTED, CANCELLED };

struct waiter {
    struct sudog sg;          /* lock; elem unused */
    struct context_waiter cw; /* see context.h */
    struct loam_semaphore *s; /* const */
    int64_t n;                /* const */
    enum wait_state state;    /* lock */
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

/* ---- Waiting ---------------------------------------------------------------------------------- */

/* The context is done. On whatever thread cancels, with the context's lock held. */
static void context_done(struct context_waiter *cw)
{
    struct waiter *w = container_of(cw, struct waiter, cw);
    struct loam_semaphore *s = w->s;
    struct g *gp = w->sg.g;
    struct mutex *l = mutex_of(s);
    struct sudog *list = NULL;
    lock(l);
    enum wait_state state = w->state;
    if (state == QUEUED) {
        take_out(s, w, CANCELLED);
        list = serve(s); /* it may have held up those behind it */
    } else if (state != GRANTED) {
        w->state = CANCELLED;
    }
    unlock(l);
    if (state == QUEUED || state == DOOMED)
        goready(gp);
    sema_ready_list(list);
}

/* Takes n units, or waits for them or for the callback. */
static void wait(struct loam_semaphore *s, struct waiter *w)
{
    struct mutex *l = mutex_of(s);
    lock(l);
    if (w->state == CANCELLED) {
        unlock(l);
        return;
    }
    if (take_units(s, w->n)) {
        w->state = GRANTED;
        unlock(l);
        return;
    }
    if (w->n > s->size)
        w->state = DOOMED; /* in nobody's way */
    else
        push(s, w);
    goparkunlock(l, WAIT_semacquire);
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
    int err = loam_context_err(ctx); /* gives way, too */
    if (err != 0)
        return err;
    if (loam_semaphore_try_acquire(s, n))
        return 0;
    struct waiter w = {.sg = {.g = getg_or_die("loam_semaphore_acquire"), .c = s}, .s = s, .n = n};
    err = context_wait_begin(ctx, &w.cw, context_done);
    if (err == 0)
        wait(s, &w);
    /* After this nobody else knows w any more, so its state needs no lock. */
    bool done = context_wait_end(&w.cw);
    if (err != 0 || !done)
        return err;
    if (w.state == GRANTED)
        loam_semaphore_release(s, n);
    return loam_context_err(ctx);
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
