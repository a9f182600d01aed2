/* Thread pools: calls.
 *
 * A call is an entry on its caller's stack: the caller queues it, or hands it to an idle thread at
 * once, and waits until somebody makes it OVER: the thread that ran it, its context, or who frees
 * the pool. All of that is decided under the pool's lock, so that exactly one of them wakes the
 * caller, and nobody but that one touches the entry afterwards.
 *
 *   Invariant: threads are idle only while nothing that may be begun is queued. A thread that
 *   becomes free looks at the queue before it goes idle, in one hold of the lock.
 *
 * There is one queue, first come first served. Callers that wait for a place in it wait in it: they
 * sleep on their own stacks either way, so that the bound costs or saves no memory; it decides when
 * loam_pool_try_call gives up.
 *
 * A goroutine parks while it waits and is counted as one that something outside will wake; a
 * foreign thread sleeps on the entry's futex, and watches its context's deadline itself, so that
 * this works without a running runtime.
 *
 * errno travels with the call: fn begins with the caller's and leaves its own to the caller, as if
 * it had been called in place.
 *
 * Seeded runs. Which pool thread is when done would be left to the kernel, and the run not
 * repeatable. So a goroutine's call passes a gate that lets in as many as there are threads, in
 * order; lingers, as the seed says; hands the call to a thread that the seed chooses; and blocks
 * its own thread, the only one that runs goroutines, until fn has returned. So fn finds the stack
 * and the thread-locals that the pool promises, and everything else stands still meanwhile: the
 * order of events is the seed's alone. The price: fn must not wait for a goroutine in a seeded run.
 * Rejected: running fn on the goroutine itself, whose stack may be too small for a library that
 * wanted a thread of its own, and which lacks what thread_start made.
 *
 * Locks: loam_pool.lock, rank pool, taken under a context's by call_cancelled. Who calls: the
 * program. Rejected: a futex per queue on which all idle threads sleep (a herd for one call); heap
 * objects as entries, so that an abandoned goroutine's can be told from a live one: at shutdown the
 * stacks are still there, and goroutines_abandon takes the entries out. */
#include "sync/pool_int.h"

#include "base/debugvar.h"
#include "os/os.h"
#include "sync/sync_int.h"

#include <loam/time.h>

/* ---- The queue: with the lock ---------------------------------------------------------------- */

static struct pool_call *call_of(struct ring *r)
{
    return container_of(r, struct pool_call, link);
}

static void begin_locked(struct loam_pool *p, struct pool_call *c)
{
    c->state = CALL_RUNNING;
    p->running += !c->inner;
}

static void give_locked(struct loam_pool *p, struct pool_worker *w, struct pool_call *c)
{
    begin_locked(p, c);
    p->goroutines_running += c->on_goroutine;
    w->call = c;
}

static void enqueue_locked(struct loam_pool *p, struct pool_call *c)
{
    c->state = CALL_QUEUED;
    p->waiting += !c->inner;
    ring_add_tail(c->seeded ? &p->gate : &p->queue, &c->link);
}

static void pass_gate_locked(struct loam_pool *p, struct pool_call *c)
{
    p->past_gate++;
    begin_locked(p, c);
    (void)parker_wake(&c->pk, PARKER_CODE);
}

static void dequeue_locked(struct loam_pool *p, struct pool_call *c)
{
    ring_remove(&c->link);
    p->waiting -= !c->inner;
}

/* The first call that may be begun, taken out; NULL: none. */
static struct pool_call *pop_locked(struct loam_pool *p)
{
    for (struct ring *r = p->queue.next; r != &p->queue; r = r->next) {
        struct pool_call *c = call_of(r);
        if (p->stopping && c->on_goroutine)
            continue;
        dequeue_locked(p, c);
        return c;
    }
    return NULL;
}

struct pool_call *pool_next_locked(struct loam_pool *p, struct pool_worker *w)
{
    if (w->call == NULL) {
        struct pool_call *c = pop_locked(p);
        if (c != NULL)
            give_locked(p, w, c);
    }
    return w->call;
}

static void wake_idle_locked(struct loam_pool *p, struct pool_worker *w)
{
    struct pool_worker **link = &p->idle;
    while (*link != w)
        link = &(*link)->next_idle;
    *link = w->next_idle;
    w->idle = false;
    notewakeup(&w->wake);
}

void pool_dispatch_locked(struct loam_pool *p)
{
    while (p->idle != NULL && pool_next_locked(p, p->idle) != NULL)
        wake_idle_locked(p, p->idle);
}

void pool_take_back_locked(struct loam_pool *p, struct pool_call *c, int result)
{
    dequeue_locked(p, c);
    p->taken_back++;
    c->state = CALL_OVER;
    c->result = result;
    (void)parker_wake(&c->pk, PARKER_CODE);
}

/* ---- Coming, going, cancelling --------------------------------------------------------------- */

/* Before anything of the call can touch the pool: from here to leave() the pool stays. */
static int enter(struct loam_pool *p, bool on_goroutine)
{
    lock(&p->lock);
    int err = p->closing ? -ESHUTDOWN : 0;
    if (err == 0) {
        p->callers++;
        p->goroutine_callers += on_goroutine;
    }
    unlock(&p->lock);
    return err;
}

static void leave(struct loam_pool *p, bool on_goroutine)
{
    lock(&p->lock);
    p->callers--;
    p->goroutine_callers -= on_goroutine;
    if (p->closing)
        pool_tell_freer_locked(p);
    unlock(&p->lock);
}

/* The context is done. With its lock: until we return the entry stays. */
static void call_cancelled(struct context_waiter *w)
{
    struct pool_call *c = container_of(w, struct pool_call, cw);
    struct loam_pool *p = c->pool;
    int err = context_err(w->ctx);
    lock(&p->lock);
    if (c->state == CALL_NEW)
        c->result = err; /* submit() will see it */
    else if (c->state == CALL_QUEUED)
        pool_take_back_locked(p, c, err);
    unlock(&p->lock);
}

/* Queues the call or begins it. -errno: it is OVER. */
static int submit(struct loam_pool *p, struct pool_call *c, bool wait)
{
    int err = 0;
    lock(&p->lock);
    if (p->closing)
        err = -ESHUTDOWN;
    else if (c->result != 0)
        err = c->result;
    else if (!wait && (int64_t)p->running + p->waiting >= (int64_t)p->threads + p->queue_max)
        err = -EAGAIN;
    if (err != 0) {
        c->state = CALL_OVER;
    } else if (c->seeded && p->past_gate < p->threads) {
        pass_gate_locked(p, c);
    } else {
        enqueue_locked(p, c);
        pool_dispatch_locked(p);
    }
    unlock(&p->lock);
    return err;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

/* A foreign thread's deadline needs no timer, which would need the runtime. */
static void thread_wait(struct pool_call *c, struct loam_context *ctx)
{
    int64_t when;
    if (!debug.dst_on && loam_context_deadline(ctx, &when)) {
        int64_t now = os_nanotime();
        if (parker_wait(&c->pk, WAIT_pool_call, when > now ? when - now : 0) != PARKER_ASLEEP)
            return;
        context_expire(ctx); /* calls us off, unless we run */
    }
    (void)parker_wait(&c->pk, WAIT_pool_call, -1);
}

static void await(struct pool_call *c, struct loam_context *ctx)
{
    if (!c->on_goroutine) {
        thread_wait(c, ctx);
    } else if (c->seeded) {
        (void)parker_wait(&c->pk, WAIT_pool_call, -1); /* a goroutine opens the gate */
    } else {
        external_begin();
        (void)parker_wait(&c->pk, WAIT_pool_call, -1);
        external_end();
    }
}

/* ---- Seeded runs ----------------------------------------------------------------------------- */

/* What a call would take in a real run. */
static void linger(void)
{
    switch (choose(4)) {
    case 0:
        break;
    case 1:
        loam_sleep(1 + choose(1000000));
        break;
    default:
        gosched();
    }
}

/* Runs the call on the thread that the seed chooses, while this thread waits. */
static void run_standing_still(struct loam_pool *p, struct pool_call *c)
{
    struct pool_call in = {
        .pool = p, .fn = c->fn, .arg = c->arg, .inner = true, .saved_errno = c->saved_errno};
    parker_init(&in.pk, NULL);
    struct pool_worker *w = &p->workers[choose((uint32_t)p->threads)];
    lock(&p->lock);
    if (w->call == NULL) {
        give_locked(p, w, &in);
        if (w->idle)
            wake_idle_locked(p, w); /* else it is on its way, and looks */
    } else {
        enqueue_locked(p, &in); /* a foreign thread's call is there */
        pool_dispatch_locked(p);
    }
    unlock(&p->lock);
    (void)parker_wait(&in.pk, WAIT_pool_call, -1);
    c->saved_errno = in.saved_errno;
    c->result = in.result; /* the pool may be freed before a foreign thread's call has ended */
}

static void run_seeded(struct loam_pool *p, struct pool_call *c)
{
    linger();
    run_standing_still(p, c);
    linger();
    lock(&p->lock);
    p->done += c->result == 0;
    p->running--;
    p->past_gate--;
    struct ring *r = p->gate.next;
    if (r != &p->gate) {
        dequeue_locked(p, call_of(r));
        pass_gate_locked(p, call_of(r));
    }
    unlock(&p->lock);
}

/* ---- The public face ------------------------------------------------------------------------- */

static int call(struct loam_pool *p, void (*fn)(void *), void *arg, struct loam_context *ctx,
                bool wait)
{
    if (fn == NULL)
        return -EINVAL;
    if (!pool_is_here(p))
        return -ECHILD;
    struct g *gp = getg();
    int before = errno; /* others run from here on */
    if (gp != NULL)
        preempt_point(getm());
    struct pool_call c = {.pool = p,
                          .fn = fn,
                          .arg = arg,
                          .on_goroutine = gp != NULL,
                          .seeded = gp != NULL && debug.dst_on,
                          .saved_errno = before};
    parker_init(&c.pk, gp);
    int err = enter(p, c.on_goroutine);
    if (err == 0) {
        err = context_wait_begin(ctx, &c.cw, call_cancelled);
        sync_point();
        if (err == 0)
            err = submit(p, &c, wait);
        if (err == 0) {
            await(&c, ctx);
            if (c.seeded && c.result == 0)
                run_seeded(p, &c);
            err = c.result;
        }
        sync_point();
        context_wait_end(&c.cw);
        leave(p, c.on_goroutine);
    }
    errno = err == 0 ? c.saved_errno : before; /* of the thread that we are on now */
    return err;
}

int loam_pool_call(struct loam_pool *p, void (*fn)(void *), void *arg, struct loam_context *ctx)
{
    return call(p, fn, arg, ctx, true);
}

int loam_pool_try_call(struct loam_pool *p, void (*fn)(void *), void *arg, struct loam_context *ctx)
{
    return call(p, fn, arg, ctx, false);
}

void loam_pool_read_stats(struct loam_pool *p, struct loam_pool_stats *stats)
{
    lock(&p->lock);
    *stats = (struct loam_pool_stats){.threads = p->threads,
                                      .running = p->running,
                                      .waiting = p->waiting,
                                      .done = p->done,
                                      .taken_back = p->taken_back};
    unlock(&p->lock);
}
