/* Contexts: what the tree of them promises, on goroutines. */
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

/* 0: open, 1: closed. */
static int closed(struct loam_context *ctx)
{
    int r = loam_chan_try_recv(loam_chan_raw(loam_context_done(ctx)), NULL);
    CHECK(r == 0 || r == -EAGAIN);
    return r == 0;
}

static void test_background(void)
{
    struct loam_context *root = loam_context_background();
    int64_t when;
    CHECK(root == loam_context_background());
    loam_context_cancel(root, 0);
    loam_context_free(root);
    loam_context_free(NULL);
    CHECK(loam_context_err(root) == 0 && loam_context_cause(root) == 0);
    CHECK(loam_context_done(root) == NULL);
    CHECK(!loam_context_deadline(root, &when));
    CHECK(loam_context_value(root, &when) == NULL && loam_context_value(root, NULL) == NULL);
    /* NULL is the root everywhere */
    loam_context_cancel(NULL, 0);
    CHECK(loam_context_err(NULL) == 0 && loam_context_cause(NULL) == 0);
    CHECK(loam_context_done(NULL) == NULL && !loam_context_deadline(NULL, &when));
    CHECK(loam_context_value(NULL, &when) == NULL);
}

static void test_cancel(void)
{
    struct loam_context *a = loam_context_with_cancel(NULL);
    struct loam_context *b = loam_context_with_cancel(a);
    struct loam_context *c = loam_context_with_cancel(b);
    struct loam_context *sister = loam_context_with_cancel(a);
    CHECK(!closed(b)); /* made before the end; c's is made after */
    CHECK(loam_context_err(c) == 0 && loam_context_cause(c) == 0);
    loam_context_cancel(b, -EIO);
    CHECK(loam_context_err(b) == -ECANCELED && loam_context_cause(b) == -EIO);
    CHECK(loam_context_err(c) == -ECANCELED && loam_context_cause(c) == -EIO);
    CHECK(closed(b) && closed(c));
    CHECK(loam_context_done(c) == loam_context_done(c));
    CHECK(loam_context_err(a) == 0 && loam_context_err(sister) == 0 && !closed(sister));
    /* the first cause stays; what is no -errno is none */
    loam_context_cancel(b, -EPIPE);
    loam_context_cancel(a, 7);
    CHECK(loam_context_cause(b) == -EIO && loam_context_cause(c) == -EIO);
    CHECK(loam_context_cause(a) == -ECANCELED && loam_context_cause(sister) == -ECANCELED);
    CHECK(closed(sister));
    /* children of what is done */
    struct loam_context *late = loam_context_with_cancel(c);
    CHECK(loam_context_err(late) == -ECANCELED && loam_context_cause(late) == -EIO && closed(late));
    struct loam_context *later = loam_context_with_timeout(late, LOAM_SECOND);
    CHECK(loam_context_err(later) == -ECANCELED && loam_context_cause(later) == -EIO);
    struct loam_context *all[] = {b, late, a, c, later, sister};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        loam_context_free(all[i]);
}

static void test_values(void)
{
    static char key1, key2, key3;
    struct loam_context *a = loam_context_with_value(NULL, &key1, "one");
    struct loam_context *b = loam_context_with_cancel(a);
    struct loam_context *c = loam_context_with_value(b, &key2, "two");
    struct loam_context *d = loam_context_with_value(c, &key1, "ein");
    struct loam_context *e = loam_context_with_timeout(d, LOAM_SECOND * 1000);
    struct loam_context *f = loam_context_with_value(e, NULL, "null");
    CHECK(!strcmp(loam_context_value(b, &key1), "one"));
    CHECK(!strcmp(loam_context_value(c, &key1), "one"));
    CHECK(!strcmp(loam_context_value(e, &key1), "ein"));
    CHECK(!strcmp(loam_context_value(f, &key2), "two"));
    CHECK(!strcmp(loam_context_value(f, NULL), "null") && loam_context_value(e, NULL) == NULL);
    CHECK(loam_context_value(f, &key3) == NULL && loam_context_value(a, &key2) == NULL);
    /* a value's context is a node like the others; parents may go first */
    loam_context_free(a);
    CHECK(loam_context_err(f) == -ECANCELED);
    loam_context_free(c);
    loam_context_free(d);
    CHECK(!strcmp(loam_context_value(f, &key1), "ein"));
    CHECK(!strcmp(loam_context_value(f, &key2), "two"));
    CHECK(!strcmp(loam_context_value(b, &key1), "one"));
    loam_context_free(e);
    loam_context_free(b);
    CHECK(!strcmp(loam_context_value(f, &key2), "two"));
    loam_context_free(f);
}

enum { DEEP = 100000 };

/* On a goroutine's stack of 256 KB: no recursion. */
static void test_deep(int order)
{
    static struct loam_context *c[DEEP];
    for (int i = 0; i < DEEP; i++) {
        c[i] = loam_context_with_cancel(i > 0 ? c[i - 1] : NULL);
        CHECK(c[i] != NULL);
    }
    (void)loam_context_done(c[DEEP - 1]);
    if (order == 0)
        loam_context_cancel(c[0], -EIO);
    for (int i = 0; i < DEEP; i++) {
        int k = order == 1 ? DEEP - 1 - i : order == 2 ? (int)(((int64_t)i * 70001) % DEEP) : i;
        if (order == 0)
            CHECK(loam_context_cause(c[k]) == -EIO);
        if (order == 2)
            loam_context_cancel(c[k], -EPIPE);
        loam_context_free(c[k]);
    }
}

static void test_wide(void)
{
    static struct loam_context *c[DEEP];
    struct loam_context *top = loam_context_with_cancel(NULL);
    for (int i = 0; i < DEEP; i++)
        c[i] = loam_context_with_cancel(top);
    for (int i = 0; i < DEEP; i += 3)
        loam_context_free(c[i]);
    loam_context_free(top);
    for (int i = 0; i < DEEP; i++) {
        if (i % 3 == 0)
            continue;
        CHECK(loam_context_err(c[i]) == -ECANCELED);
        loam_context_free(c[i]);
    }
}

static void test_deadline(void)
{
    int64_t now = loam_now(), when = 0;
    struct loam_context *a = loam_context_with_timeout(NULL, 20 * LOAM_MILLISECOND);
    struct loam_context *b = loam_context_with_deadline(a, now + 3600 * LOAM_SECOND);
    struct loam_context *c = loam_context_with_timeout(a, 5 * LOAM_MILLISECOND);
    struct loam_context *d = loam_context_with_cancel(c);
    CHECK(loam_context_deadline(b, &when) && when >= now + 20 * LOAM_MILLISECOND);
    CHECK(when < now + LOAM_SECOND); /* the parent's is earlier */
    CHECK(loam_context_deadline(d, &when) && when < now + LOAM_SECOND);
    (void)loam_recv(loam_context_done(d));
    CHECK(loam_now() >= now + 5 * LOAM_MILLISECOND);
    CHECK(loam_context_err(c) == -ETIMEDOUT && loam_context_cause(c) == -ETIMEDOUT);
    CHECK(loam_context_err(d) == -ETIMEDOUT);
    (void)loam_recv(loam_context_done(b));
    CHECK(loam_now() >= now + 20 * LOAM_MILLISECOND);
    CHECK(loam_context_err(b) == -ETIMEDOUT);
    (void)loam_recv(loam_context_done(a));
    loam_context_free(a);
    loam_context_free(b);
    loam_context_free(c);
    loam_context_free(d);

    /* in the past, and at the ends of the scale */
    const int64_t past[] = {0, -1, INT64_MIN};
    for (int i = 0; i < 3; i++) {
        a = loam_context_with_timeout(NULL, past[i]);
        CHECK(loam_context_err(a) == -ETIMEDOUT && loam_context_deadline(a, &when));
        loam_context_free(a);
        a = loam_context_with_deadline(NULL, past[i]);
        CHECK(loam_context_err(a) == -ETIMEDOUT && closed(a));
        loam_context_free(a);
    }
    a = loam_context_with_timeout(NULL, INT64_MAX);
    b = loam_context_with_deadline(NULL, INT64_MAX);
    CHECK(loam_context_err(a) == 0 && loam_context_err(b) == 0);
    CHECK(!loam_context_deadline(a, &when) && !loam_context_deadline(b, &when));
    loam_context_free(a);
    loam_context_free(b);

    /* cancelled before its time, and freed at it */
    for (int i = 0; i < 100; i++) {
        a = loam_context_with_timeout(NULL, 50 * LOAM_MICROSECOND);
        b = loam_context_with_timeout(a, LOAM_SECOND * 3600);
        if (i % 2 == 0)
            loam_context_cancel(a, -EIO);
        if (i % 3 == 0)
            loam_sleep(45 * LOAM_MICROSECOND);
        loam_context_free(a);
        (void)loam_recv(loam_context_done(b)); /* a's deadline may be cancelling it just now */
        CHECK(loam_context_err(b) != 0);
        loam_context_free(b);
    }
}

static int ran;

static void count(void *arg)
{
    __atomic_fetch_add(&ran, (int)(intptr_t)arg, __ATOMIC_SEQ_CST);
}

static void wait_for_ran(int n)
{
    while (__atomic_load_n(&ran, __ATOMIC_SEQ_CST) != n)
        loam_sleep(10000);
}

static void test_after_func(void)
{
    struct loam_context *a = loam_context_with_cancel(NULL);
    struct loam_context_after *f = loam_context_after_func(a, count, (void *)1);
    struct loam_context_after *g = loam_context_after_func(a, count, (void *)10);
    struct loam_context_after *h = loam_context_after_func(a, count, (void *)100);
    struct loam_context_after *never = loam_context_after_func(NULL, count, (void *)100000);
    CHECK(loam_context_after_stop(g)); /* was kept from starting */
    loam_context_cancel(a, 0);
    wait_for_ran(101);
    CHECK(!loam_context_after_stop(f));
    struct loam_context_after *i = loam_context_after_func(a, count, (void *)1000); /* at once */
    wait_for_ran(1101);
    loam_context_free(a);
    CHECK(!loam_context_after_stop(i) && !loam_context_after_stop(h)); /* after the context */
    CHECK(loam_context_after_stop(never));
    CHECK(!loam_context_after_stop(NULL));
    loam_sleep(LOAM_MILLISECOND);
    CHECK(ran == 1101);
}

static void cancel_soon(void *arg)
{
    loam_sleep(5 * LOAM_MILLISECOND);
    loam_context_cancel(arg, -EPIPE);
}

static void free_soon(void *arg)
{
    loam_sleep(5 * LOAM_MILLISECOND);
    loam_context_free(arg);
}

static void test_sleep(void)
{
    int64_t begin = loam_now();
    CHECK(loam_context_sleep(NULL, 2 * LOAM_MILLISECOND) == 0);
    CHECK(loam_now() - begin >= 2 * LOAM_MILLISECOND);
    struct loam_context *a = loam_context_with_cancel(NULL);
    begin = loam_now();
    CHECK(loam_context_sleep(a, 2 * LOAM_MILLISECOND) == 0);
    CHECK(loam_now() - begin >= 2 * LOAM_MILLISECOND);
    CHECK(loam_context_sleep(a, 0) == 0 && loam_context_sleep(a, -5) == 0);
    loam_go(cancel_soon, a);
    CHECK(loam_context_sleep(a, 3600 * LOAM_SECOND) == -ECANCELED);
    CHECK(loam_context_cause(a) == -EPIPE);
    CHECK(loam_context_sleep(a, 0) == -ECANCELED && loam_context_sleep(a, 1) == -ECANCELED);
    loam_context_free(a);
    a = loam_context_with_timeout(NULL, LOAM_MILLISECOND);
    CHECK(loam_context_sleep(a, 3600 * LOAM_SECOND) == -ETIMEDOUT);
    loam_context_free(a);
    /* freed while somebody sleeps on it: it is cancelled, and stays for as long */
    a = loam_context_with_cancel(NULL);
    loam_go(free_soon, a);
    CHECK(loam_context_sleep(a, 3600 * LOAM_SECOND) == -ECANCELED);
}

static void test_errno(void)
{
    errno = 4711;
    struct loam_context *a = loam_context_with_timeout(NULL, LOAM_SECOND);
    (void)loam_context_done(a);
    loam_context_cancel(a, 0);
    loam_context_free(a);
    CHECK(errno == 4711);
}

static void ask_until_done(void *arg)
{
    while (loam_context_err(arg) == 0) {
    }
}

static void cancel(void *arg)
{
    loam_context_cancel(arg, 0);
}

/* Loops that only ask: every processor has one, so that nobody else runs timers, and the last of them
 * shares its processor. */
static void test_ask(void)
{
    struct loam_context *a = loam_context_with_timeout(NULL, LOAM_MILLISECOND);
    struct loam_context *b = loam_context_with_value(a, &a, a);
    struct loam_waitgroup wg = {0};
    for (int i = 0; i <= loam_gomaxprocs(0); i++)
        CHECK(loam_waitgroup_go(&wg, ask_until_done, b) == 0);
    loam_waitgroup_wait(&wg);
    CHECK(loam_context_err(b) == -ETIMEDOUT && loam_context_cause(b) == -ETIMEDOUT);
    loam_context_free(b);
    loam_context_free(a);

    int former = loam_gomaxprocs(1);
    struct loam_rwmutex rw = {0};
    int64_t when;
    a = loam_context_with_timeout(NULL, LOAM_MILLISECOND);
    CHECK(loam_context_deadline(a, &when));
    while (loam_now() < when) {
    }
    CHECK(loam_context_err(a) == -ETIMEDOUT);
    loam_context_free(a);
    a = loam_context_with_cancel(NULL);
    loam_go(cancel, a);
    for (int err = 0; err == 0;) {
        loam_rwmutex_rlock(&rw);
        err = loam_context_cause(a);
        loam_rwmutex_runlock(&rw);
    }
    loam_gomaxprocs(former);
    loam_context_free(a);
}

static void all(void *arg)
{
    (void)arg;
    test_background();
    test_cancel();
    test_values();
    for (int order = 0; order < 3; order++)
        test_deep(order);
    test_wide();
    test_deadline();
    test_after_func();
    test_sleep();
    test_errno();
    test_ask();
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    /* on a stack of the usual size: main's is larger */
    CHECK(loam_call(all, NULL) == 0);
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
