/* The hook by which the runtime waits on a context and something else: sync/context.h. */
#include "sync/context_int.h"
#include "sync/parker_int.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <loam.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

struct counted {
    struct context_waiter cw;
    int calls;
};

static void called(struct context_waiter *w)
{
    container_of(w, struct counted, cw)->calls++;
}

/* On a thread and on a goroutine. */
static void test_begin_end(void *arg)
{
    (void)arg;
    struct counted a = {.calls = 0}, b = {.calls = 0}, c = {.calls = 0};
    struct loam_context *ctx = loam_context_with_cancel(NULL);
    CHECK(!context_cancellable(NULL) && !context_cancellable(loam_context_background()));
    CHECK(context_cancellable(ctx) && ctx->refs == 1);
    CHECK(context_wait_begin(NULL, &a.cw, called) == 0 && !context_wait_end(&a.cw));
    CHECK(context_wait_begin(ctx, &a.cw, called) == 0);
    CHECK(context_wait_begin(ctx, &b.cw, called) == 0);
    CHECK(ctx->refs == 3 && ctx->ngwaiters == (getg() != NULL ? 2 : 0));
    CHECK(!context_wait_end(&a.cw) && !context_wait_end(&a.cw)); /* the second: nothing to end */
    CHECK(ctx->refs == 2);
    loam_context_cancel(ctx, 0);
    CHECK(a.calls == 0 && b.calls == 1);
    CHECK(context_wait_begin(ctx, &c.cw, called) == -ECANCELED);
    CHECK(!context_wait_end(&c.cw) && c.calls == 0);
    CHECK(ctx->refs == 2 && ctx->ngwaiters == (getg() != NULL ? 1 : 0));
    /* the registration keeps the context */
    context_ref(ctx);
    loam_context_free(ctx);
    CHECK(context_wait_end(&b.cw) && b.calls == 1);
    CHECK(ctx->refs == 1 && ctx->ngwaiters == 0);
    context_unref(ctx);
}

/* References: every way to make one gives it back. */
static void test_refs(void *arg)
{
    (void)arg;
    struct loam_context *a = loam_context_with_cancel(NULL);
    struct loam_context *b = loam_context_with_cancel(a);
    CHECK(a->refs == 2 && b->refs == 2); /* handle and child; handle and list */
    struct loam_context *c = loam_context_with_value(b, &a, NULL);
    context_ref(c);
    loam_context_free(c);
    CHECK(c->refs == 1 && b->refs == 3 && !c->linked && ring_empty(&b->children));
    loam_context_cancel(b, 0);
    CHECK(b->refs == 2 && a->refs == 2);
    context_unref(c);
    CHECK(b->refs == 1);
    loam_context_free(b);
    CHECK(a->refs == 1 && ring_empty(&a->children));
    struct loam_context *t = loam_context_with_timeout(a, 3600 * LOAM_SECOND);
    CHECK(t->refs == 3 && t->timer != NULL && t->timer_ref);
    loam_context_cancel(t, 0);
    CHECK(t->refs == 1 && !t->timer_ref);
    loam_context_free(t);
    t = loam_context_with_timeout(a, LOAM_MILLISECOND);
    struct loam_context *u = loam_context_with_timeout(t, LOAM_SECOND);
    CHECK(u->timer == NULL && u->deadline == t->deadline); /* the parent's will do */
    CHECK(loam_context_sleep(u, LOAM_SECOND) == -ETIMEDOUT);
    while (load_relaxed(&t->refs) != 2) /* its timer's goroutine is on its way */
        loam_yield();
    CHECK(!t->timer_ref);
    loam_context_free(u);
    loam_context_free(t);
    CHECK(a->refs == 1);
    loam_context_free(a);
}

/* ---- Races that leave a reference behind if they are lost --------------------------------------- */

enum { RACES = 1000 };

static struct loam_context *target; /* atomic: to be cancelled by the thread */

static void *canceller(void *arg)
{
    for (int i = 0; i < RACES; i++) {
        struct loam_context *ctx;
        while ((ctx = load_acquire(&target)) == NULL)
            ;
        for (volatile int spin = 0; spin < i % 300; spin++)
            ;
        loam_context_cancel(ctx, 0);
        store_release(&target, NULL);
    }
    return arg;
}

/* A parent is cancelled while children with deadlines far off are made: no timer keeps them. */
static void test_made_while_cancelled(void *arg)
{
    (void)arg;
    int late = 0;
    for (int i = 0; i < RACES; i++) {
        struct loam_context *a = loam_context_with_cancel(NULL);
        store_release(&target, a);
        struct loam_context *b = loam_context_with_timeout(a, 3600 * LOAM_SECOND);
        late += load_relaxed(&b->err) == 0;
        struct loam_context *c = loam_context_with_timeout(b, 1800 * LOAM_SECOND);
        while (load_acquire(&target) != NULL)
            loam_yield();
        CHECK(b->err == -ECANCELED && c->err == -ECANCELED);
        CHECK(c->refs == 1 && b->refs == 2 && a->refs == 2);
        CHECK(!b->timer_ref && !c->timer_ref);
        loam_context_free(b);
        loam_context_free(a);
        CHECK(b->refs == 1 && a->refs == 1); /* held by c, and by b */
        loam_context_free(c);
    }
    fprintf(stderr, "%d of %d children were made before the cancellation\n", late, RACES);
}

/* ---- The end of the runtime --------------------------------------------------------------------- */

static void sleep_on(void *arg)
{
    (void)loam_context_sleep(arg, 3600 * LOAM_SECOND);
}

static void wait_on(void *arg)
{
    struct loam_semaphore s;
    loam_semaphore_init(&s, 0);
    (void)loam_semaphore_acquire(&s, 1, arg);
}

/* References that abandoned goroutines and dropped timers held are given up by free. */
static void test_stale(void)
{
    struct loam_config config = {.maxprocs = 2};
    CHECK(loam_start(&config) == 0);
    struct loam_context *a = loam_context_with_cancel(NULL);
    struct loam_context *b = loam_context_with_timeout(a, 3600 * LOAM_SECOND);
    struct counted on_thread = {.calls = 0};
    CHECK(context_wait_begin(b, &on_thread.cw, called) == 0);
    context_ref(a);
    context_ref(b);
    for (int i = 0; i < 3; i++) {
        loam_go(sleep_on, b);
        loam_go(wait_on, b);
    }
    while (load_relaxed(&b->refs) < 11) /* handle, list, timer, 1 + 6 waiters, and ours */
        usleep(1000);
    lock(&b->lock);
    CHECK(b->refs == 11 && b->ngwaiters == 6);
    unlock(&b->lock);
    CHECK(loam_stop(LOAM_SECOND) == 0);
    loam_context_free(a);
    CHECK(on_thread.calls == 1); /* a thread's wait goes on, and ends */
    CHECK(context_wait_end(&on_thread.cw));
    loam_context_free(b);
    CHECK(b->refs == 1 && a->refs == 2);
    context_unref(b);
    CHECK(a->refs == 1);
    context_unref(a);
}

/* ---- The parker --------------------------------------------------------------------------------- */

enum { ROUNDS = 20000 };

static struct parker *shared; /* atomic */

static void waker(void *arg)
{
    uint32_t code = (uint32_t)(uintptr_t)arg;
    for (;;) {
        struct parker *pk = load_acquire(&shared);
        if (pk == (void *)1)
            return;
        /* whoever takes it away is the only waker */
        if (pk != NULL && cas_acqrel(&shared, pk, NULL)) {
            CHECK(parker_wake(pk, code));
        } else if (getg() != NULL) {
            loam_yield();
        }
    }
}

static void *waker_thread(void *arg)
{
    waker(arg);
    return NULL;
}

static void park_many(void *arg)
{
    bool thread = arg != NULL;
    int seen[2] = {0, 0};
    for (int i = 0; i < ROUNDS; i++) {
        struct parker pk;
        parker_init(&pk, thread ? NULL : getg());
        store_release(&shared, &pk);
        if (i % 64 == 0 && !thread)
            loam_yield();
        uint32_t code = parker_wait(&pk, WAIT_sleep, -1);
        CHECK(code == PARKER_CODE + 3 || code == PARKER_CODE + 4);
        seen[code - PARKER_CODE - 3]++;
    }
    store_release(&shared, (void *)1);
    fprintf(stderr, "%s: woken by the goroutine %d times, by the thread %d times\n",
            thread ? "thread" : "goroutine", seen[0], seen[1]);
}

/* First wins, later ones lose, before and after the sleep. */
static void test_first_wins(void)
{
    struct parker pk;
    parker_init(&pk, NULL);
    CHECK(parker_wait(&pk, WAIT_sleep, 1000) == PARKER_ASLEEP);
    CHECK(parker_wait(&pk, WAIT_sleep, 0) == PARKER_ASLEEP);
    CHECK(parker_wake(&pk, 5) && !parker_wake(&pk, 6) && !parker_wake(&pk, 5));
    CHECK(parker_wait(&pk, WAIT_sleep, -1) == 5 && parker_wait(&pk, WAIT_sleep, 0) == 5);
    parker_init(&pk, NULL);
    CHECK(parker_wake(&pk, 7) && parker_wait(&pk, WAIT_sleep, -1) == 7);
}

static void on_goroutine(void *arg)
{
    (void)arg;
    struct parker pk;
    parker_init(&pk, getg());
    CHECK(parker_wake(&pk, 7) && !parker_wake(&pk, 8));
    CHECK(parker_wait(&pk, WAIT_sleep, -1) == 7);
    loam_go(waker, (void *)(PARKER_CODE + 3));
    park_many(NULL);
}

static void stop_at(pthread_t t)
{
    pthread_join(t, NULL);
    while (loam_num_goroutine() > 0)
        usleep(1000);
    store_relaxed(&shared, NULL);
}

int main(void)
{
    struct loam_config config = {.maxprocs = 2};
    CHECK(loam_start(&config) == 0);
    test_begin_end(NULL);
    CHECK(loam_call(test_begin_end, NULL) == 0);
    CHECK(loam_call(test_refs, NULL) == 0);
    test_first_wins();
    pthread_t t;
    CHECK(pthread_create(&t, NULL, canceller, NULL) == 0);
    CHECK(loam_call(test_made_while_cancelled, NULL) == 0);
    pthread_join(t, NULL);
    CHECK(pthread_create(&t, NULL, waker_thread, (void *)(PARKER_CODE + 4)) == 0);
    CHECK(loam_call(on_goroutine, NULL) == 0);
    stop_at(t);
    CHECK(pthread_create(&t, NULL, waker_thread, (void *)(PARKER_CODE + 4)) == 0);
    loam_go(waker, (void *)(PARKER_CODE + 3));
    park_many((void *)1);
    stop_at(t);
    CHECK(loam_stop(LOAM_SECOND) == 0);
    if (runtime_epoch() > 0) /* the runtime's stop tells us */
        test_stale();
    return 0;
}
