/* Thread pools under goroutines and foreign threads at once, with contexts that end at any moment, and
 * freed while calls run and wait.
 *
 * What must hold: a call's function ran exactly once if the call returns 0 and never otherwise; no
 * more run at once than the pool has threads; the pool's figures agree with what the callers saw;
 * errno is that of the function. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <loam.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum { GOROUTINES = 20, THREADS = 3, CALLS = 60, POOLS = 20, TARGETS = 8000 };

static bool seeded;

struct shared {
    struct loam_pool *p;
    struct loam_context *ctx; /* of the round: ends in the middle of it */
    int threads;
    int running;                        /* atomic */
    int ok, taken_back, refused, ended; /* atomic */
};

static int add(int *p, int n)
{
    return __atomic_add_fetch(p, n, __ATOMIC_SEQ_CST);
}

static unsigned rnd(unsigned *s, unsigned n)
{
    *s = *s * 1664525u + 1013904223u;
    return (*s >> 8) % n;
}

struct job {
    struct shared *s;
    int ran; /* the pool's thread writes, the caller reads after the call: no more is needed */
    int spin;
};

static void work(void *arg)
{
    struct job *j = arg;
    int now = add(&j->s->running, 1);
    CHECK(now <= j->s->threads);
    j->ran++;
    if (j->spin == 0 && !seeded)
        usleep(50);
    for (volatile int i = 0; i < j->spin; i++)
        ;
    add(&j->s->running, -1);
    errno = 1000 + j->spin;
}

static void one_call(struct shared *s, unsigned *r)
{
    struct job j = {s, 0, (int)rnd(r, 100)};
    struct loam_context *ctx = NULL, *mine = NULL;
    unsigned kind = rnd(r, 6);
    if (kind < 2)
        ctx = s->ctx;
    else if (kind == 2)
        ctx = mine = loam_context_with_timeout(s->ctx, (int64_t)rnd(r, 100) * 1000);
    else if (kind == 3)
        ctx = mine = loam_context_with_cancel(s->ctx);
    CHECK(kind != 2 && kind != 3 ? mine == NULL : mine != NULL);
    errno = 5;
    int err = rnd(r, 3) != 0 ? loam_pool_call(s->p, work, &j, ctx)
                             : loam_pool_try_call(s->p, work, &j, ctx);
    CHECK(errno == (err == 0 ? 1000 + j.spin : 5));
    CHECK(j.ran == (err == 0));
    switch (err) {
    case 0:
        add(&s->ok, 1);
        break;
    case -EAGAIN:
        break;
    case -ESHUTDOWN:
        add(&s->refused, 1);
        break;
    default:
        CHECK(err == -ECANCELED || err == -ETIMEDOUT);
        CHECK(ctx != NULL && loam_context_err(ctx) == err);
        add(&s->taken_back, 1);
    }
    loam_context_free(mine);
}

static void calls(struct shared *s, unsigned seed)
{
    for (int i = 0; i < CALLS; i++)
        one_call(s, &seed);
    add(&s->ended, 1);
}

struct start {
    struct shared *s;
    unsigned seed;
};

static void goroutine(void *arg)
{
    struct start *st = arg;
    calls(st->s, st->seed);
}

static void *thread(void *arg)
{
    goroutine(arg);
    return NULL;
}

static void one_pool(unsigned seed)
{
    struct shared s = {.threads = 1 + (int)rnd(&seed, 4)};
    struct loam_pool_config config = {.threads = s.threads, .queue = 1 + (int)rnd(&seed, 10)};
    CHECK(loam_pool_new(&s.p, &config) == 0);
    s.ctx = loam_context_with_cancel(NULL);
    int threads = seeded ? 0 : THREADS;
    pthread_t t[THREADS];
    struct start st[THREADS + GOROUTINES];
    struct loam_waitgroup wg = {0};
    for (int i = 0; i < threads + GOROUTINES; i++) {
        st[i] = (struct start){&s, seed + (unsigned)i * 7919u};
        if (i < threads)
            CHECK(pthread_create(&t[i], NULL, thread, &st[i]) == 0);
        else
            CHECK(loam_waitgroup_go(&wg, goroutine, &st[i]) == 0);
    }
    loam_sleep((int64_t)rnd(&seed, 5000) * 1000);
    if (rnd(&seed, 2))
        loam_context_cancel(s.ctx, -EIO);
    loam_waitgroup_wait(&wg);
    loam_blocking_enter();
    for (int i = 0; i < threads; i++)
        pthread_join(t[i], NULL);
    loam_blocking_leave();
    struct loam_pool_stats stats;
    loam_pool_read_stats(s.p, &stats);
    CHECK(stats.running == 0 && stats.waiting == 0 && stats.threads == s.threads);
    CHECK(s.refused == 0 && (int)stats.done == s.ok && (int)stats.taken_back <= s.taken_back);
    loam_context_free(s.ctx);
    loam_pool_free(s.p);
}

/* Freed under way, with each caller in its only call. */
static void call_once(void *arg)
{
    struct shared *s = arg;
    struct job j = {s, 0, 20};
    int err = loam_pool_call(s->p, work, &j, NULL);
    CHECK(err == 0 || err == -ESHUTDOWN);
    CHECK(j.ran == (err == 0));
    add(err == 0 ? &s->ok : &s->refused, 1);
}

static void one_free(unsigned seed)
{
    struct shared s = {.threads = 2};
    struct loam_pool_config config = {.threads = 2};
    CHECK(loam_pool_new(&s.p, &config) == 0);
    struct loam_waitgroup wg = {0};
    for (int i = 0; i < GOROUTINES; i++)
        CHECK(loam_waitgroup_go(&wg, call_once, &s) == 0);
    /* a call must have begun before free does: afterwards there is no pool */
    struct loam_pool_stats stats;
    do {
        loam_yield();
        loam_pool_read_stats(s.p, &stats);
    } while ((int)stats.done + stats.running + stats.waiting < GOROUTINES);
    loam_sleep((int64_t)rnd(&seed, 20) * 1000);
    loam_pool_free(s.p);
    loam_waitgroup_wait(&wg);
    CHECK(s.ok + s.refused == GOROUTINES);
}

/* A context that ends just as a call comes to a busy pool: the call comes back, whatever was first. */
static struct loam_context *target; /* atomic */
static int gate_open;               /* atomic */

static void *cancel_targets(void *arg)
{
    for (int i = 0; i < TARGETS; i++) {
        struct loam_context *ctx;
        while ((ctx = __atomic_load_n(&target, __ATOMIC_SEQ_CST)) == NULL)
            ;
        for (volatile int spin = 0; spin < i % 800; spin++)
            ;
        loam_context_cancel(ctx, 0);
        __atomic_store_n(&target, NULL, __ATOMIC_SEQ_CST);
    }
    return arg;
}

static void wait_at_gate(void *arg)
{
    while (!__atomic_load_n(&gate_open, __ATOMIC_SEQ_CST))
        usleep(500);
    (void)arg;
}

static void keep_busy(void *arg)
{
    CHECK(loam_pool_call(arg, wait_at_gate, NULL, NULL) == 0);
}

static void cancelled_at_entry(void)
{
    struct loam_pool *p;
    CHECK(loam_pool_new(&p, NULL) == 0);
    struct loam_waitgroup wg = {0};
    CHECK(loam_waitgroup_go(&wg, keep_busy, p) == 0);
    struct loam_pool_stats stats;
    do {
        loam_yield();
        loam_pool_read_stats(p, &stats);
    } while (stats.running == 0);
    pthread_t t;
    CHECK(pthread_create(&t, NULL, cancel_targets, NULL) == 0);
    for (int i = 0; i < TARGETS; i++) {
        struct loam_context *ctx = loam_context_with_cancel(NULL);
        __atomic_store_n(&target, ctx, __ATOMIC_SEQ_CST);
        CHECK(loam_pool_call(p, wait_at_gate, NULL, ctx) == -ECANCELED);
        while (__atomic_load_n(&target, __ATOMIC_SEQ_CST) != NULL)
            loam_yield();
        loam_context_free(ctx);
    }
    __atomic_store_n(&gate_open, 1, __ATOMIC_SEQ_CST);
    pthread_join(t, NULL);
    loam_waitgroup_wait(&wg);
    loam_pool_free(p);
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    for (unsigned i = 0; i < POOLS; i++)
        one_pool(i * 104729u + 17);
    for (unsigned i = 0; i < 30; i++)
        one_free(i * 31u);
    if (!seeded)
        cancelled_at_entry();
    return 0;
}

int main(int argc, char **argv)
{
    const char *debug = getenv("LOAMDEBUG");
    seeded = debug != NULL && strstr(debug, "dst=") != NULL;
    return loam_run(run, argc, argv);
}
