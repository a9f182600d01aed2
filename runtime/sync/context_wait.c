/* Who waits on a context: runtime code (sync/context.h), functions to be started, sleepers.
 *
 * A waiter is in one of two lists: those on goroutines' stacks, which cease to exist when the
 * runtime stops, and the others, on threads' stacks and in objects. Whoever made the context done
 * takes them out one at a time and calls each under the context's lock. That makes the end of a
 * wait simple: under the same lock the waiter is either still in the list, and comes out uncalled,
 * or its call has returned. New ones are not taken once err is set, so the lists only become
 * shorter.
 *
 * The lock is given back between two calls: a context with many waiters does not keep others out
 * for long.
 *
 * Rejected: calling without the lock, which needs a state "being called" and somebody to wait for
 * its end; waiting on the done channel by a select, which makes a channel for every context that is
 * ever handed to a semaphore, and a pool's thread would have to take part in a select.
 *
 * Who calls: semaphores, thread pools, the program. Locks: loam_context.lock. */
#include "sync/context_int.h"

#include "base/throw.h"
#include "mem/mem.h"
#include "sched/sched.h"
#include "sync/parker_int.h"

#include <loam/chan.h>
#include <loam/time.h>

struct loam_context_after {
    struct context_waiter cw; /* its fn is NULL: that is how context_fire knows it */
    void (*fn)(void *);       /* const */
    void *arg;                /* const */
    uintptr_t callerpc;       /* const: who asked, for the traceback of the goroutine */
    bool started;             /* const: the context was done already */
};

/* The links of a ring, seen from the waiter. */
static struct ring *ring_of(struct context_waiter *w)
{
    _Static_assert(offsetof(struct context_waiter, next) == offsetof(struct ring, next) &&
                       offsetof(struct context_waiter, prev) == offsetof(struct ring, prev),
                   "a waiter begins with a ring's links");
    return (struct ring *)(void *)w;
}

int context_wait_begin(struct loam_context *ctx, struct context_waiter *w,
                       void (*fn)(struct context_waiter *w))
{
    *w = (struct context_waiter){.fn = fn};
    if (!context_cancellable(ctx))
        return 0;
    bool on_goroutine = fn != NULL && getg() != NULL; /* without fn it is in an object */
    lock(&ctx->lock);
    int err = ctx->err;
    if (err == 0) {
        w->ctx = ctx;
        w->linked = true;
        w->on_goroutine = on_goroutine;
        ring_add_tail(on_goroutine ? &ctx->gwaiters : &ctx->waiters, ring_of(w));
        ctx->ngwaiters += on_goroutine;
        context_ref(ctx);
    }
    unlock(&ctx->lock);
    return err;
}

bool context_wait_end(struct context_waiter *w)
{
    struct loam_context *ctx = w->ctx;
    if (ctx == NULL)
        return false;
    w->ctx = NULL;
    lock(&ctx->lock);
    bool called = !w->linked;
    if (w->linked)
        ring_remove(ring_of(w));
    w->linked = false;
    ctx->ngwaiters -= w->on_goroutine;
    unlock(&ctx->lock);
    context_unref(ctx);
    return called;
}

static void after_start(void (*fn)(void *), void *arg, uintptr_t callerpc)
{
    int err = newproc(fn, arg, callerpc);
    /* Nobody is left to tell, and the program relies on fn being run; but not if there is no
     * runtime to run it, or it is being stopped. */
    if (err != 0 && err != -EINVAL && err != -ECHILD)
        fatal("out of memory: cannot start the function of loam_context_after_func");
}

void context_fire(struct loam_context *c, bool stale)
{
    for (;;) {
        lock(&c->lock);
        struct ring *r = ring_pop(&c->waiters);
        if (r == NULL && !stale)
            r = ring_pop(&c->gwaiters);
        if (r == NULL) {
            unlock(&c->lock);
            return;
        }
        struct context_waiter *w = (struct context_waiter *)(void *)r;
        w->linked = false;
        if (w->fn != NULL) {
            w->fn(w);
            unlock(&c->lock);
            continue;
        }
        /* The object may be freed as soon as the lock is given back. */
        struct loam_context_after *a = container_of(w, struct loam_context_after, cw);
        void (*fn)(void *) = a->fn;
        void *arg = a->arg;
        uintptr_t callerpc = a->callerpc;
        unlock(&c->lock);
        if (!stale)
            after_start(fn, arg, callerpc);
    }
}

/* ---- Functions to be started ----------------------------------------------------------------- */

struct loam_context_after *loam_context_after_func(struct loam_context *ctx, void (*fn)(void *),
                                                   void *arg)
{
    if (fn == NULL)
        fatal("go of nil func value");
    struct loam_context_after *a = objalloc(sizeof *a, OBJ_CONTEXT);
    if (a == NULL)
        return NULL;
    a->fn = fn;
    a->arg = arg;
    a->callerpc = arch_callerpc();
    if (context_wait_begin(ctx, &a->cw, NULL) != 0) {
        a->started = newproc(fn, arg, a->callerpc) == 0;
        if (!a->started) {
            objfree(a, OBJ_CONTEXT);
            return NULL;
        }
    }
    return a;
}

bool loam_context_after_stop(struct loam_context_after *a)
{
    if (a == NULL)
        return false;
    bool started = a->started;
    if (context_wait_end(&a->cw))
        started = true;
    objfree(a, OBJ_CONTEXT);
    return !started;
}

/* ---- Sleep ----------------------------------------------------------------------------------- */

struct sleeper {
    struct context_waiter cw;
    struct parker pk;
};

static void sleeper_done(struct context_waiter *w)
{
    (void)parker_wake(&container_of(w, struct sleeper, cw)->pk, PARKER_CODE);
}

static int thread_sleep(struct loam_context *ctx, int64_t ns)
{
    struct sleeper s;
    parker_init(&s.pk, NULL);
    int err = context_wait_begin(ctx, &s.cw, sleeper_done);
    if (err != 0)
        return err;
    (void)parker_wait(&s.pk, WAIT_sleep, ns);
    return context_wait_end(&s.cw) ? loam_context_err(ctx) : 0;
}

/* A goroutine that sleeps on a context. The object makes the timer known to the context, which
 * frees it if the goroutine is abandoned. */
struct sleep_timer {
    struct ring link; /* ctx->lock */
    struct loam_timer *timer;
};

static void sleep_timer_free(struct sleep_timer *s)
{
    loam_timer_free(s->timer);
    objfree(s, OBJ_CONTEXT);
}

void context_free_sleepers(struct ring *sleepers)
{
    for (struct ring *r; (r = ring_pop(sleepers)) != NULL;)
        sleep_timer_free(container_of(r, struct sleep_timer, link));
}

/* Registers a sleeper for ns, or -errno. It keeps the context's memory. */
static int sleep_begin(struct loam_context *ctx, int64_t ns, struct sleep_timer **out)
{
    struct sleep_timer *s = objalloc(sizeof *s, OBJ_CONTEXT);
    if (s == NULL)
        return -ENOMEM;
    s->timer = loam_timer_new(ns);
    if (s->timer == NULL) {
        objfree(s, OBJ_CONTEXT);
        return -ENOMEM;
    }
    lock(&ctx->lock);
    ring_add_tail(&ctx->sleepers, &s->link);
    ctx->ngwaiters++;
    context_ref(ctx);
    unlock(&ctx->lock);
    *out = s;
    return 0;
}

static void sleep_end(struct loam_context *ctx, struct sleep_timer *s)
{
    lock(&ctx->lock);
    ring_remove(&s->link);
    ctx->ngwaiters--;
    unlock(&ctx->lock);
    sleep_timer_free(s);
    context_unref(ctx);
}

int loam_context_sleep(struct loam_context *ctx, int64_t ns)
{
    int err = loam_context_err(ctx);
    if (err != 0 || ns <= 0)
        return err;
    if (getg() == NULL)
        return thread_sleep(ctx, ns);
    if (!context_cancellable(ctx)) {
        loam_sleep(ns);
        return 0;
    }
    struct sleep_timer *s;
    err = sleep_begin(ctx, ns, &s);
    if (err != 0)
        return err;
    loam_chan(char) done = loam_context_done(ctx);
    if (loam_select(loam_on_recv(loam_timer_chan(s->timer), NULL), loam_on_recv(done, NULL)) != 0)
        err = loam_context_err(ctx);
    sleep_end(ctx, s);
    return err;
}
