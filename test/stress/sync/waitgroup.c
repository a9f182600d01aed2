/* The waitgroup under load: on the stacks of a tree of goroutines, reused, with several waiters. */
#include "stress.h"

struct node {
    int depth;
    int64_t leaves; /* result */
};

/* Two children, waited for with an object that ends with this function. */
static void grow(void *arg)
{
    struct node *node = arg;
    if (node->depth == 0) {
        node->leaves = 1;
        return;
    }
    struct node left = {node->depth - 1, 0}, right = left;
    struct loam_waitgroup wg = {0};
    CHECK_EQ(loam_waitgroup_go(&wg, grow, &left), 0);
    CHECK_EQ(loam_waitgroup_go(&wg, grow, &right), 0);
    loam_waitgroup_wait(&wg);
    memset(&wg, 0xa5, sizeof wg);
    node->leaves = left.leaves + right.leaves;
}

static void tree(void)
{
    int depth = seeded() || TEST_TSAN ? 5 : 8;
    for (int64_t i = times(40); i > 0; i--) {
        struct node root = {depth, 0};
        grow(&root);
        CHECK_EQ(root.leaves, 1 << depth);
    }
}

enum { WORKERS = 4, WAITERS = 3 };

struct shared {
    struct loam_waitgroup work, round, all;
    int64_t rounds;
    int done;
};

static void work(void *arg)
{
    struct shared *s = arg;
    add(&s->done, 1);
    loam_waitgroup_done(&s->work);
}

static void wait_for_round(void *arg)
{
    struct shared *s = arg;
    loam_waitgroup_wait(&s->work);
    CHECK_EQ(load(&s->done), WORKERS);
    loam_waitgroup_done(&s->round);
}

/* The same waitgroup again, after all its waiters have returned. */
static void reuse(void)
{
    struct shared *s = calloc(1, sizeof *s);
    CHECK(s != NULL);
    for (int64_t i = times(3000); i > 0; i--) {
        store(&s->done, 0);
        loam_waitgroup_add(&s->work, WORKERS);
        loam_waitgroup_add(&s->round, WAITERS);
        for (int k = 0; k < WAITERS; k++) {
            go(wait_for_round, s);
            go(work, s);
        }
        for (int k = WAITERS; k < WORKERS; k++)
            go(work, s);
        loam_waitgroup_wait(&s->work);
        CHECK_EQ(load(&s->done), WORKERS);
        loam_waitgroup_wait(&s->round);
    }
    CHECK_EQ(s->work.state, 0);
    free(s);
}

/* Frees the waitgroup right after the wait, on the heap, where ASan watches. */
static void finish(void *arg)
{
    loam_waitgroup_done(arg);
}

static void ends_with_its_wait(void)
{
    for (int64_t i = times(6000); i > 0; i--) {
        struct loam_waitgroup *wg = calloc(1, sizeof *wg);
        CHECK(wg != NULL);
        loam_waitgroup_add(wg, 2);
        go(finish, wg);
        go(finish, wg);
        loam_waitgroup_wait(wg);
        memset(wg, 0xa5, sizeof *wg);
        free(wg);
    }
}

static void all(void)
{
    tree();
    reuse();
    ends_with_its_wait();
}

static int stress_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return for_each_procs(all);
}

int main(int argc, char **argv)
{
    return loam_run(stress_main, argc, argv);
}
