/* A tree of 100,000 contexts, in chains and bushes, that several cancel and free at once, from above,
 * from below and by deadlines, while its leaves are waited for. */
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

enum { NODES = 100000, WAITERS = 500, WORKERS = 4 };

static struct loam_context *node[NODES];
static int next_free; /* atomic */
static int shape;

static int above(int i)
{
    switch (shape) {
    case 0: /* one chain */
        return i - 1;
    case 1: /* a binary tree */
        return (i - 1) / 2;
    case 2: /* a hundred chains */
        return i < 100 ? 0 : i - 100;
    default: /* a broom */
        return i < NODES / 2 ? i - 1 : NODES / 2 - 1;
    }
}

static void wait(void *arg)
{
    struct loam_context *ctx = arg;
    (void)loam_recv(loam_context_done(ctx));
    CHECK(loam_context_err(ctx) != 0);
}

static void cancel_some(void *arg)
{
    for (int i = (int)(intptr_t)arg; i < NODES; i += NODES / 50)
        loam_context_cancel(node[i], -EIO);
}

static void free_all(void *arg)
{
    (void)arg;
    for (;;) {
        int first = __atomic_fetch_add(&next_free, 100, __ATOMIC_SEQ_CST);
        if (first >= NODES)
            return;
        for (int i = first; i < first + 100; i++)
            loam_context_free(node[(int)(((int64_t)i * 70001) % NODES)]);
        loam_yield();
    }
}

static void one(int s)
{
    shape = s;
    node[0] = loam_context_with_cancel(NULL);
    for (int i = 1; i < NODES; i++) {
        node[i] = i % 1000 == 999
                      ? loam_context_with_timeout(node[above(i)], 20 * LOAM_MILLISECOND + i * 100)
                      : loam_context_with_cancel(node[above(i)]);
        CHECK(node[i] != NULL);
    }
    struct loam_waitgroup waiters = {0}, workers = {0};
    for (int i = 0; i < WAITERS; i++)
        CHECK(loam_waitgroup_go(&waiters, wait, node[NODES - 1 - i * (NODES / WAITERS)]) == 0);
    loam_yield();
    for (intptr_t i = 0; i < WORKERS; i++)
        CHECK(loam_waitgroup_go(&workers, cancel_some, (void *)(NODES / 2 - i * 11)) == 0);
    loam_context_cancel(node[0], -EPIPE);
    loam_waitgroup_wait(&workers);
    loam_waitgroup_wait(&waiters);
    for (int i = 0; i < NODES; i++)
        while (loam_context_err(node[i]) == 0)
            loam_yield(); /* a deadline is on its way down to it */
    next_free = 0;
    for (int i = 0; i < WORKERS; i++)
        CHECK(loam_waitgroup_go(&workers, free_all, NULL) == 0);
    loam_waitgroup_wait(&workers);
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    for (int s = 0; s < 4; s++)
        one(s);
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
