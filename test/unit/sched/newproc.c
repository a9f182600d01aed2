/* Starting goroutines: their numbers, parents and names; arguments by value; errors of these. How they
 * end: goexit.c; their stacks: stacks.c. */
#include "sched/sched_int.h"

#include "../../child.h"
#include "schedtest.h"

#include <errno.h>

static struct outcome o;
static struct loam_waitgroup wg;
static int ran;

static void count(void *arg)
{
    (void)arg;
    add(&ran, 1);
}

/* ---- Numbers, parents, names ------------------------------------------------------------------------- */

enum { STARTERS = 6, FOREIGN = 2, EACH = 400 };
static uint64_t goids[STARTERS + FOREIGN][EACH];
static int64_t each;

struct child {
    uint64_t parent, *goid;
};

static void note_goid(void *arg)
{
    struct child *c = arg;
    struct g *gp = getg();
    CHECK(loam_goid() != 0 && loam_goid() == gp->goid);
    CHECK_EQ(gp->parent, c->parent);
    CHECK_EQ(gp->status, G_running);
    CHECK(gp->name == NULL && gp->locals == NULL && gp->lockedm == NULL && gp->locked == 0);
    *c->goid = loam_goid();
    if (*c->goid % 3 == 0) {
        loam_yield();
        CHECK_EQ(loam_goid(), *c->goid);
    }
    loam_set_name("used"); /* its successor on this stack has no name */
    add(&ran, 1);
    free(c);
}

static void start_each(void *arg)
{
    uint64_t *out = arg;
    for (int i = 0; i < each; i++) {
        struct child *c = malloc(sizeof *c);
        CHECK(c != NULL);
        *c = (struct child){loam_goid(), &out[i]};
        go(note_goid, c);
        if (i % 64 == 0)
            loam_yield();
    }
}

static void *start_each_foreign(void *arg)
{
    start_each(arg);
    return NULL;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void numbers(void *arg)
{
    (void)arg;
    each = times(EACH);
    memset(goids, 0, sizeof goids);
    store(&ran, 0);
    pthread_t t[FOREIGN];
    for (int i = 0; i < FOREIGN; i++)
        t[i] = thread_start(start_each_foreign, goids[STARTERS + i]);
    for (int i = 0; i < STARTERS; i++)
        loam_waitgroup_go(&wg, start_each, goids[i]);
    loam_waitgroup_wait(&wg);
    AWAIT(load(&ran) == (STARTERS + FOREIGN) * each);
    for (int i = 0; i < FOREIGN; i++)
        pthread_join(t[i], NULL);
    qsort(goids, (STARTERS + FOREIGN) * EACH, sizeof(uint64_t), by_number);
    const uint64_t *g = goids[0];
    for (int i = 1; i < (STARTERS + FOREIGN) * EACH; i++)
        CHECK(g[i] == 0 || g[i] != g[i - 1]); /* 0: fewer than EACH */
    AWAIT(loam_num_goroutine() == 1);
}

static int main_number(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    CHECK_EQ(loam_goid(), 1);
    CHECK_EQ(getg()->parent, 0);
    return 0;
}

static void has_name(void *arg)
{
    CHECK_STR(getg()->name, (const char *)arg);
    loam_set_name(NULL);
    CHECK(getg()->name == NULL);
    add(&ran, 1);
}

static void names(void *arg)
{
    static char name[] = "a name";
    (void)arg;
    store(&ran, 0);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(loam_go_with(&(struct loam_go_options){.name = name}, has_name, name), 0);
    CHECK_EQ(loam_go_with(NULL, count, NULL), 0);
    AWAIT(load(&ran) == 11);
}

/* ---- Arguments by value ----------------------------------------------------------------------------- */

enum { COPY_MAX = 16 << 10 };
static unsigned char pattern[COPY_MAX + 1];
static size_t copy_size;

/* Touches most of what there is of this stack. */
static noinline unsigned deep(int levels)
{
    volatile unsigned char block[4096];
    memset((void *)(uintptr_t)block, levels, sizeof block);
    unsigned below = levels > 0 ? deep(levels - 1) : 0;
    return below + block[17];
}

static void check_copy(void *arg)
{
    size_t n = load(&copy_size);
    CHECK_EQ((uintptr_t)arg % 16, 0);
    if (n > 0)
        CHECK(memcmp(arg, pattern, n) == 0);
    memset(arg, 0xff, n);            /* its own */
    (void)deep(TEST_ASAN ? 15 : 40); /* frames are larger there */
    loam_yield();
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(((unsigned char *)arg)[i], 0xff);
    add(&ran, 1);
}

static void copy_one(size_t n)
{
    static unsigned char data[COPY_MAX];
    memcpy(data, pattern, n);
    store(&copy_size, n);
    store(&ran, 0);
    CHECK_EQ(loam_go_copy(check_copy, data, n), 0);
    memset(data, 0, n); /* the goroutine does not see it */
    if (getg() != NULL)
        AWAIT(load(&ran) == 1);
    else
        AWAIT_THREAD(load(&ran) == 1);
}

static void copies(void *arg)
{
    static const size_t sizes[] = {
        0,    1,    2,    3,    7,    8,    15,    16,           17,      24,
        31,   63,   64,   65,   100,  255,  256,   257,          1000,    1023,
        1024, 4095, 4096, 4097, 8191, 9999, 12345, COPY_MAX - 1, COPY_MAX};
    (void)arg;
    for (int round = 0; round < times(3); round++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            copy_one(sizes[i]);
    store(&ran, 0);
    CHECK_EQ(loam_go_copy(count, pattern, COPY_MAX + 1), -E2BIG);
    CHECK_HAS(loam_error_text(), "16385 bytes");
    CHECK_EQ(loam_go_copy(count, pattern, SIZE_MAX), -E2BIG);
    store(&copy_size, 0);
    CHECK_EQ(loam_go_copy(check_copy, NULL, 0), 0);
    CHECK_EQ(loam_go_copy(check_copy, NULL, 100), 0); /* nothing there to copy */
    if (getg() != NULL)
        AWAIT(load(&ran) == 2);
    else
        AWAIT_THREAD(load(&ran) == 2);
}

/* ---- No function ---------------------------------------------------------------------------------- */

static void no_fn(void *arg)
{
    intptr_t how = (intptr_t)arg;
    void (*none)(void *) = NULL;
    int err = how == 0   ? loam_go(none, NULL)
              : how == 1 ? loam_go_with(NULL, none, NULL)
              : how == 2 ? loam_go_copy(none, "x", 1)
                         : loam_call(none, NULL);
    FAIL("way %d returned %d", (int)how, err);
}

static void no_fn_goroutine(void *arg)
{
    on_goroutine(1, no_fn, arg);
}

static void no_fn_foreign(void *arg)
{
    CHECK_EQ(loam_start(NULL), 0);
    no_fn(arg);
}

int main(void)
{
    for (int i = 0; i <= COPY_MAX; i++)
        pattern[i] = (unsigned char)(i * 7 + i / 256 + 1);
    for (int procs = 1; procs <= 4; procs++) {
        on_goroutine(procs, numbers, NULL);
        on_goroutine(procs, names, NULL);
        on_goroutine(procs, copies, NULL);
        CHECK_EQ(loam_run(main_number, 0, NULL), 0);
    }
    CHECK_EQ(loam_start(NULL), 0);
    copies(NULL);
    CHECK_EQ(loam_stop(-1), 0);
    for (intptr_t how = 0; how < 4; how++) {
        in_child(&o, no_fn_goroutine, (void *)how);
        CHECK_OUTCOME(&o, 2, "fatal error: go of nil func value");
        in_child(&o, no_fn_foreign, (void *)how);
        CHECK_OUTCOME(&o, 2, "fatal error: go of nil func value");
    }
    return 0;
}
