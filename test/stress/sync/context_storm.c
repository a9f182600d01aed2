/* Contexts made, cancelled, asked, waited for and freed by many at once, below and above each other.
 *
 * A table of contexts, each with a lock of the program's: read to use one, write to make or free one.
 * The library's own races remain: a child is made while its parent is cancelled or its grandparent
 * freed, a deadline passes during a cancellation, a function is stopped while it is started.
 *
 * What must hold: whoever waits is woken; a function runs once or was stopped, never both, never
 * neither; below a context that is done all become done; the table says so of every context at the
 * end. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <loam.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum { SLOTS = 24, GOROUTINES = 12, THREADS = 2, ROUNDS = 6000 };

static char key; /* its value in a context is the slot that made it */

static struct slot {
    struct loam_rwmutex lock;
    struct loam_context *ctx; /* lock */
} slots[SLOTS];

static int registered, started, stopped, waits, woken;

static int add(int *p, int n)
{
    return __atomic_add_fetch(p, n, __ATOMIC_SEQ_CST);
}

static int get(int *p)
{
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

/* A stream of choices of one goroutine: the seeded run shall have all its chances in one place. */
static unsigned rnd(unsigned *s, unsigned n)
{
    *s = *s * 1664525u + 1013904223u;
    return (*s >> 8) % n;
}

static void on_done(void *arg)
{
    (void)arg;
    add(&started, 1);
}

static struct loam_context *make(struct loam_context *parent, struct slot *s, unsigned *r)
{
    switch (rnd(r, 4)) {
    case 0:
        return loam_context_with_cancel(parent);
    case 1:
        return loam_context_with_timeout(parent, (int64_t)rnd(r, 300) * 1000);
    case 2:
        return loam_context_with_timeout(parent, 3600 * LOAM_SECOND);
    default:
        return loam_context_with_value(parent, &key, s);
    }
}

/* Puts a new context into an empty slot, below one of another slot or below none. */
static void fill(struct slot *s, unsigned *r)
{
    struct slot *above = &slots[rnd(r, SLOTS)];
    if (!loam_rwmutex_try_lock(&s->lock))
        return;
    if (s->ctx == NULL && above == s) {
        s->ctx = make(NULL, s, r);
        CHECK(s->ctx != NULL);
    } else if (s->ctx == NULL && loam_rwmutex_try_rlock(&above->lock)) {
        s->ctx = make(above->ctx, s, r);
        CHECK(s->ctx != NULL);
        loam_rwmutex_runlock(&above->lock);
    }
    loam_rwmutex_unlock(&s->lock);
}

static void drop(struct slot *s)
{
    if (!loam_rwmutex_try_lock(&s->lock))
        return;
    struct loam_context *ctx = s->ctx;
    s->ctx = NULL;
    loam_rwmutex_unlock(&s->lock);
    loam_context_free(ctx); /* its children in other slots go on */
}

static void ask(struct loam_context *ctx)
{
    int err = loam_context_err(ctx), cause = loam_context_cause(ctx);
    CHECK(err == 0 || err == -ECANCELED || err == -ETIMEDOUT);
    CHECK(err == 0 || (cause < 0 && loam_context_cause(ctx) == cause));
    CHECK(err == 0 || loam_context_err(ctx) == err);
    struct slot *s = loam_context_value(ctx, &key);
    CHECK(s == NULL || (s >= slots && s < slots + SLOTS));
    /* done is closed soon after err is set, and not before */
    int r = loam_chan_try_recv(loam_chan_raw(loam_context_done(ctx)), NULL);
    CHECK(r == 0 || r == -EAGAIN);
    CHECK(r != 0 || loam_context_err(ctx) != 0);
}

static void register_function(struct loam_context *ctx, unsigned *r)
{
    struct loam_context_after *a = loam_context_after_func(ctx, on_done, NULL);
    CHECK(a != NULL);
    add(&registered, 1);
    switch (rnd(r, 3)) {
    case 0:
        loam_context_cancel(ctx, -EIO);
        break;
    case 1:
        loam_yield();
        break;
    default:
        break;
    }
    if (loam_context_after_stop(a))
        add(&stopped, 1);
}

static void wait(struct loam_context *ctx, unsigned *r)
{
    static struct loam_semaphore none; /* zero: no unit */
    int64_t ns = 1 + (int64_t)rnd(r, 200) * 1000;
    add(&waits, 1);
    int err;
    if (rnd(r, 2)) {
        err = loam_context_sleep(ctx, ns);
        CHECK(err <= 0);
    } else {
        struct loam_context *child = loam_context_with_timeout(ctx, ns);
        if (rnd(r, 2)) {
            err = loam_semaphore_acquire(&none, 1, child);
            CHECK(err == -ECANCELED || err == -ETIMEDOUT);
        } else {
            (void)loam_recv(loam_context_done(child));
        }
        CHECK(loam_context_err(child) != 0);
        loam_context_free(child);
    }
    add(&woken, 1);
}

/* All that was below a context is done soon after it. */
static void cancel_family(struct loam_context *ctx)
{
    enum { CHILDREN = 20 };
    struct loam_context *c[CHILDREN];
    for (int i = 0; i < CHILDREN; i++)
        c[i] = loam_context_with_cancel(i == 0 ? ctx : c[(i - 1) / 2]);
    loam_context_cancel(ctx, -EPIPE);
    for (int i = 0; i < CHILDREN; i++) {
        (void)loam_recv(loam_context_done(c[i])); /* another may be cancelling it */
        CHECK(loam_context_err(c[i]) != 0);
    }
    for (int i = 0; i < CHILDREN; i++)
        loam_context_free(c[(i * 7) % CHILDREN]);
}

static void use(struct slot *s, unsigned *r, bool may_wait)
{
    if (!loam_rwmutex_try_rlock(&s->lock))
        return;
    if (s->ctx != NULL) {
        switch (rnd(r, may_wait ? 6 : 3)) {
        case 0:
            loam_context_cancel(s->ctx, -(int)rnd(r, 3));
            break;
        case 1:
            ask(s->ctx);
            break;
        case 2:
            register_function(s->ctx, r);
            break;
        case 3:
            cancel_family(s->ctx);
            break;
        default:
            wait(s->ctx, r);
        }
    }
    loam_rwmutex_runlock(&s->lock);
}

static void storm(unsigned seed, bool may_wait)
{
    unsigned r = seed;
    for (int i = 0; i < ROUNDS; i++) {
        struct slot *s = &slots[rnd(&r, SLOTS)];
        switch (rnd(&r, 5)) {
        case 0:
        case 1:
            fill(s, &r);
            break;
        case 2:
            drop(s);
            break;
        default:
            use(s, &r, may_wait);
        }
    }
}

static void goroutine(void *arg)
{
    storm((unsigned)(uintptr_t)arg * 7919u + 1, true);
}

static void *thread(void *arg)
{
    storm((unsigned)(uintptr_t)arg * 104729u + 5, false);
    return NULL;
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    const char *debug = getenv("LOAMDEBUG");
    int threads = debug != NULL && strstr(debug, "dst=") != NULL ? 0 : THREADS;
    pthread_t t[THREADS];
    for (int i = 0; i < threads; i++)
        CHECK(pthread_create(&t[i], NULL, thread, (void *)(uintptr_t)i) == 0);
    struct loam_waitgroup wg = {0};
    for (uintptr_t i = 0; i < GOROUTINES; i++)
        CHECK(loam_waitgroup_go(&wg, goroutine, (void *)i) == 0);
    loam_waitgroup_wait(&wg);
    loam_blocking_enter();
    for (int i = 0; i < threads; i++)
        pthread_join(t[i], NULL);
    loam_blocking_leave();
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].ctx != NULL)
            loam_context_cancel(slots[i].ctx, 0);
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].ctx != NULL) {
            CHECK(loam_context_err(slots[i].ctx) != 0);
            loam_context_free(slots[i].ctx);
        }
    while (get(&started) + get(&stopped) < registered)
        loam_sleep(10000);
    loam_sleep(LOAM_MILLISECOND);
    CHECK(get(&started) + get(&stopped) == registered);
    CHECK(waits == woken);
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
