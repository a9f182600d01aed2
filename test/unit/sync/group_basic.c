/* Groups. */
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

static int atomic_add(int *p, int n)
{
    return __atomic_add_fetch(p, n, __ATOMIC_SEQ_CST);
}

static int count(struct loam_context *ctx, void *arg)
{
    CHECK(ctx != NULL);
    loam_yield();
    atomic_add(arg, 1);
    return 0;
}

static int fail(struct loam_context *ctx, void *arg)
{
    (void)ctx;
    return (int)(intptr_t)arg;
}

static int until_done(struct loam_context *ctx, void *arg)
{
    (void)loam_recv(loam_context_done(ctx));
    atomic_add(arg, 1);
    return loam_context_err(ctx);
}

static void test_all_well(void)
{
    int n = 0;
    struct loam_group *g = loam_group_new(NULL);
    CHECK(g != NULL);
    struct loam_context *ctx = loam_group_context(g);
    CHECK(loam_context_err(ctx) == 0);
    for (int i = 0; i < 1000; i++)
        CHECK(loam_group_go(g, count, &n) == 0);
    CHECK(loam_group_wait(g) == 0);
    CHECK(n == 1000);
    CHECK(loam_context_err(ctx) == -ECANCELED); /* done after wait */
    CHECK(loam_group_wait(g) == 0);             /* and nothing is left */
    loam_group_free(g);
    loam_group_free(NULL);
    g = loam_group_new(NULL);
    loam_group_free(g); /* never used */
}

static void test_first_error(void)
{
    int n = 0;
    struct loam_group *g = loam_group_new(NULL);
    struct loam_context *ctx = loam_group_context(g);
    for (int i = 0; i < 10; i++)
        CHECK(loam_group_go(g, until_done, &n) == 0);
    CHECK(loam_group_go(g, fail, (void *)-EIO) == 0);
    CHECK(loam_group_wait(g) == -EIO); /* not the -ECANCELED of the others */
    CHECK(n == 10);
    CHECK(loam_context_err(ctx) == -ECANCELED && loam_context_cause(ctx) == -EIO);
    CHECK(loam_group_wait(g) == -EIO);
    /* the next round begins afresh */
    CHECK(loam_group_go(g, count, &n) == 0);
    CHECK(loam_context_err(loam_group_context(g)) == 0);
    CHECK(loam_group_wait(g) == 0 && n == 11);
    CHECK(loam_group_go(g, fail, (void *)-EPIPE) == 0);
    CHECK(loam_group_wait(g) == -EPIPE);
    loam_group_free(g);
}

static void test_parent(void)
{
    static char key;
    int n = 0;
    struct loam_context *root = loam_context_with_value(NULL, &key, &n);
    struct loam_context *parent = loam_context_with_cancel(root);
    struct loam_group *g = loam_group_new(parent);
    CHECK(loam_context_value(loam_group_context(g), &key) == &n);
    for (int i = 0; i < 3; i++)
        CHECK(loam_group_go(g, until_done, &n) == 0);
    loam_context_cancel(parent, -EPERM);
    loam_context_free(parent); /* the group keeps what it needs of it */
    CHECK(loam_group_wait(g) == -ECANCELED && n == 3);
    CHECK(loam_group_go(g, until_done, &n) == 0); /* done from the beginning */
    CHECK(loam_context_cause(loam_group_context(g)) == -EPERM);
    CHECK(loam_context_value(loam_group_context(g), &key) == &n);
    CHECK(loam_group_wait(g) == -ECANCELED && n == 4);
    loam_group_free(g);
    loam_context_free(root);
}

static int leave(struct loam_context *ctx, void *arg)
{
    (void)ctx;
    atomic_add(arg, 1);
    loam_goexit();
}

/* A member that ends by Goexit has ended, without an error. */
static void test_goexit(void)
{
    int n = 0;
    struct loam_group *g = loam_group_new(NULL);
    CHECK(loam_group_set_limit(g, 2) == 0);
    for (int i = 0; i < 10; i++)
        CHECK(loam_group_go(g, leave, &n) == 0);
    CHECK(loam_group_wait(g) == 0 && n == 10);
    loam_group_free(g);
}

struct limited {
    int now, most, done;
};

static int crowd(struct loam_context *ctx, void *arg)
{
    (void)ctx;
    struct limited *l = arg;
    int now = atomic_add(&l->now, 1);
    for (int most = __atomic_load_n(&l->most, __ATOMIC_SEQ_CST); now > most;)
        if (__atomic_compare_exchange_n(&l->most, &most, now, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
            break;
    while (__atomic_load_n(&l->most, __ATOMIC_SEQ_CST) < 3)
        loam_yield(); /* the limit is reached, too */
    loam_sleep(20000);
    atomic_add(&l->now, -1);
    atomic_add(&l->done, 1);
    return 0;
}

static void test_limit(void)
{
    struct limited l = {0, 0, 0};
    struct loam_group *g = loam_group_new(NULL);
    CHECK(loam_group_set_limit(g, 3) == 0);
    for (int i = 0; i < 100; i++) {
        CHECK(loam_group_go(g, crowd, &l) == 0);
        if (i == 50)
            CHECK(loam_group_set_limit(g, 5) == -EBUSY);
    }
    CHECK(loam_group_wait(g) == 0);
    CHECK(l.done == 100 && l.most == 3);
    CHECK(loam_group_set_limit(g, 1) == 0);
    int n = 0;
    CHECK(loam_group_try_go(g, until_done, &n) == 0);
    CHECK(loam_group_try_go(g, until_done, &n) == -EAGAIN);
    loam_context_cancel(loam_group_context(g), -EIO);
    CHECK(loam_group_wait(g) == -ECANCELED && n == 1);
    CHECK(loam_group_set_limit(g, -1) == 0);
    for (int i = 0; i < 100; i++)
        CHECK(loam_group_try_go(g, count, &n) == 0);
    CHECK(loam_group_wait(g) == 0 && n == 101);
    loam_group_free(g);
}

struct tree {
    struct loam_group *g;
    int depth, *leaves;
};

static int grow(struct loam_context *ctx, void *arg)
{
    (void)ctx;
    struct tree *t = arg;
    if (t->depth == 0) {
        atomic_add(t->leaves, 1);
        free(t);
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        struct tree *child = malloc(sizeof *child);
        CHECK(child != NULL);
        *child = (struct tree){t->g, t->depth - 1, t->leaves};
        CHECK(loam_group_go(t->g, grow, child) == 0);
    }
    free(t);
    return 0;
}

/* Members start members; free waits, and cancels. */
static void test_from_within(void)
{
    int leaves = 0, n = 0;
    struct loam_group *g = loam_group_new(NULL);
    struct tree *t = malloc(sizeof *t);
    CHECK(t != NULL);
    *t = (struct tree){g, 10, &leaves};
    CHECK(loam_group_go(g, grow, t) == 0);
    CHECK(loam_group_wait(g) == 0 && leaves == 1024);
    for (int i = 0; i < 10; i++)
        CHECK(loam_group_go(g, until_done, &n) == 0);
    loam_group_free(g);
    CHECK(n == 10);
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    test_all_well();
    test_first_error();
    test_parent();
    test_goexit();
    test_limit();
    test_from_within();
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
