/* Groups in groups, with limits, errors, cancellations from outside and goroutines that start more.
 *
 * What must hold of every round: wait returns when all have ended, with the error of one that failed,
 * and 0 only if none did; never more run than the limit allows; after a failure the others see a
 * context that is done. */
#include <stdio.h>
#include <stdlib.h>

#include <loam.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum { OUTER = 8, ROUNDS = 300, MEMBERS = 24 };

struct round {
    struct loam_group *g;
    int limit;          /* const; 0: none */
    int running, most;  /* atomic */
    int started, ended; /* atomic */
    int failed;         /* atomic: how many returned an error of their own */
    unsigned seed;
};

static int add(int *p, int n)
{
    return __atomic_add_fetch(p, n, __ATOMIC_SEQ_CST);
}

static int get(int *p)
{
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static unsigned rnd(unsigned *s, unsigned n)
{
    *s = *s * 1664525u + 1013904223u;
    return (*s >> 8) % n;
}

struct task {
    struct round *r;
    unsigned seed;
    int depth;
};

static int member(struct loam_context *ctx, void *arg);

static int start(struct round *r, unsigned seed, int depth, bool wait)
{
    struct task *t = malloc(sizeof *t);
    CHECK(t != NULL);
    *t = (struct task){r, seed, depth};
    add(&r->started, 1);
    int err = wait ? loam_group_go(r->g, member, t) : loam_group_try_go(r->g, member, t);
    CHECK(err == 0 || (err == -EAGAIN && !wait && r->limit > 0));
    if (err != 0) {
        add(&r->started, -1);
        free(t);
    }
    return err;
}

static int member(struct loam_context *ctx, void *arg)
{
    struct task t = *(struct task *)arg;
    free(arg);
    struct round *r = t.r;
    int now = add(&r->running, 1);
    CHECK(r->limit == 0 || now <= r->limit);
    if (now > get(&r->most))
        __atomic_store_n(&r->most, now, __ATOMIC_SEQ_CST);
    int err = 0;
    switch (rnd(&t.seed, 8)) {
    case 0:
        err = -(1 + (int)rnd(&t.seed, 30));
        break;
    case 1:
        err = loam_context_sleep(ctx, 1 + rnd(&t.seed, 50000));
        CHECK(err == 0 || loam_context_err(ctx) == err);
        err = 0;
        break;
    case 2:
        if (get(&r->failed) > 0) { /* then the context is done, or about to be */
            (void)loam_recv(loam_context_done(ctx));
            CHECK(loam_context_err(ctx) == -ECANCELED);
        }
        break;
    case 3:
    case 4:
        if (t.depth > 0) /* not waiting: all places may be held by such as we are */
            (void)start(r, t.seed, t.depth - 1, false);
        break;
    default:
        loam_yield();
    }
    if (err != 0)
        add(&r->failed, 1);
    add(&r->running, -1);
    add(&r->ended, 1);
    return err;
}

static void canceller(void *arg)
{
    loam_yield();
    loam_context_cancel(arg, -ENODEV);
}

static int outer(struct loam_context *ctx, void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg * 7919u + 3;
    struct loam_context *parent = loam_context_with_cancel(ctx);
    struct loam_group *g = loam_group_new(parent);
    struct loam_waitgroup wg = {0};
    for (int i = 0; i < ROUNDS; i++) {
        struct round r = {.g = g, .limit = (int)rnd(&seed, 6)};
        CHECK(loam_group_set_limit(g, r.limit) == 0);
        if (i == ROUNDS / 2)
            CHECK(loam_waitgroup_go(&wg, canceller, parent) == 0);
        int members = 1 + (int)rnd(&seed, MEMBERS);
        for (int m = 0; m < members; m++)
            CHECK(start(&r, seed + (unsigned)m * 31u, 2, true) == 0);
        int err = loam_group_wait(g);
        CHECK(r.running == 0 && r.started == r.ended && r.ended >= members);
        CHECK((err != 0) == (r.failed > 0));
        CHECK(err <= 0 && err >= -30);
        CHECK(r.limit == 0 || r.most <= r.limit);
        CHECK(loam_context_err(loam_group_context(g)) == -ECANCELED);
        if (err != 0 && i < ROUNDS / 2)
            CHECK(loam_context_cause(loam_group_context(g)) == err);
    }
    loam_waitgroup_wait(&wg);
    if (rnd(&seed, 2)) {
        struct round r = {.g = g};
        CHECK(loam_group_set_limit(g, 0) == 0);
        for (int m = 0; m < 5; m++)
            CHECK(start(&r, seed + (unsigned)m, 1, true) == 0);
        loam_group_free(g);
        CHECK(r.running == 0 && r.started == r.ended);
    } else {
        loam_group_free(g);
    }
    loam_context_free(parent);
    return 0;
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct loam_group *g = loam_group_new(NULL);
    CHECK(loam_group_set_limit(g, 3) == 0);
    for (uintptr_t i = 0; i < OUTER; i++)
        CHECK(loam_group_go(g, outer, (void *)i) == 0);
    CHECK(loam_group_wait(g) == 0);
    loam_group_free(g);
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
