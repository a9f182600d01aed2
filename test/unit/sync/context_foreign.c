/* Contexts without goroutines: on foreign threads, before the runtime starts, after it stopped, and
 * in the time between two starts. */
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

static void *cancel_soon(void *arg)
{
    usleep(5000);
    loam_context_cancel(arg, -EPIPE);
    return NULL;
}

static void without_runtime(void)
{
    struct loam_context *a = loam_context_with_cancel(NULL);
    struct loam_context *b = loam_context_with_value(a, &a, a);
    CHECK(loam_context_value(b, &a) == a);
    CHECK(loam_context_with_timeout(a, LOAM_SECOND) == NULL); /* nothing could run its timer */
    CHECK(loam_context_sleep(b, LOAM_MILLISECOND) == 0);
    pthread_t t;
    CHECK(pthread_create(&t, NULL, cancel_soon, a) == 0);
    CHECK(loam_context_sleep(b, INT64_MAX) == -ECANCELED);
    CHECK(loam_context_cause(b) == -EPIPE);
    pthread_join(t, NULL);
    loam_context_free(a);
    loam_context_free(b);
}

static void wait_for_it(void *arg)
{
    (void)loam_recv(loam_context_done(arg));
}

static void sleep_long(void *arg)
{
    CHECK(loam_context_sleep(arg, 3600 * LOAM_SECOND) == -ECANCELED);
}

static struct loam_semaphore
    never; /* nothing to acquire; new for each runtime, before its goroutines */

static void acquire(void *arg)
{
    CHECK(loam_semaphore_acquire(&never, 1, arg) == -ECANCELED);
}

static void hello(void *arg)
{
    (void)arg;
}

/* A context cancelled by a thread wakes goroutines. */
static void from_thread(void)
{
    struct loam_context *a = loam_context_with_cancel(NULL);
    pthread_t t;
    CHECK(pthread_create(&t, NULL, cancel_soon, a) == 0);
    CHECK(loam_call(wait_for_it, a) == 0);
    pthread_join(t, NULL);
    CHECK(loam_context_cause(a) == -EPIPE);
    loam_context_free(a);
    a = loam_context_with_timeout(NULL, 5 * LOAM_MILLISECOND);
    CHECK(loam_context_sleep(a, 3600 * LOAM_SECOND) == -ETIMEDOUT);
    loam_context_free(a);
}

/* What goroutines wait on when they are abandoned: free must neither look at them nor leak. */
struct left {
    struct loam_context *parent, *ctx, *late;
    struct loam_context_after *after;
};

static void leave(struct left *l)
{
    l->parent = loam_context_with_cancel(NULL);
    l->ctx = loam_context_with_timeout(l->parent, 3600 * LOAM_SECOND);
    l->late = loam_context_with_timeout(l->parent, 2 * LOAM_MILLISECOND);
    l->after = loam_context_after_func(l->ctx, hello, NULL);
    loam_semaphore_init(&never, 0);
    loam_go(wait_for_it, l->ctx);
    for (int i = 0; i < 3; i++) {
        loam_go(sleep_long, l->ctx);
        loam_go(acquire, l->ctx);
        loam_go(sleep_long, l->parent);
    }
    while (loam_num_goroutine() < 10)
        usleep(1000);
    while (loam_context_err(l->late) == 0)
        usleep(1000);
    CHECK(loam_context_err(l->late) == -ETIMEDOUT);
}

static void drop(struct left *l, int order)
{
    if (order == 0) {
        loam_context_free(l->parent);
        CHECK(loam_context_after_stop(l->after) == false);
        loam_context_free(l->ctx);
    } else {
        CHECK(loam_context_after_stop(l->after));
        loam_context_free(l->ctx);
        loam_context_free(l->parent);
    }
    loam_context_free(l->late);
}

int main(void)
{
    struct loam_config config = {.maxprocs = 2};
    without_runtime();
    struct left before = {0};
    for (int i = 0; i < 5; i++) {
        CHECK(loam_start(&config) == 0);
        from_thread();
        if (before.ctx != NULL)
            drop(&before, i / 2); /* of the former runtime */
        before.ctx = NULL;
        struct left l;
        leave(&l);
        CHECK(loam_stop(LOAM_SECOND) == 0);
        if (i & 1)
            before = l;
        else
            drop(&l, i / 2);
        without_runtime();
    }
    return 0;
}
