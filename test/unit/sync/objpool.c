/* The object pool: nothing is lost, nothing is given twice, whatever happens to the Ps. */
#include "synctest.h"

#include <pthread.h>

enum { OBJECTS = 1 << 16 };

/* What became of each object; an object is the address of its place here. */
static uint8_t state[OBJECTS];
enum { UNMADE, OUT, IN, DISCARDED };

static int made;

static void *make(void *arg)
{
    CHECK(arg == state);
    int i = add(&made, 1) - 1;
    CHECK(i < OBJECTS);
    CHECK_EQ(state[i], UNMADE);
    state[i] = OUT;
    return &state[i];
}

static void discard(void *obj, void *arg)
{
    CHECK(arg == state);
    CHECK_EQ(*(uint8_t *)obj, IN);
    *(uint8_t *)obj = DISCARDED;
}

/* In a torture build a goroutine may change its P between any two calls, and the private object of a P
 * that lives is not for others: then some more are made. */
static bool moves(void)
{
    return LOAM_TORTURE && loam_gomaxprocs(0) > 1;
}

static struct loam_objpool *pool_new(void)
{
    made = 0;
    memset(state, UNMADE, sizeof state);
    struct loam_objpool *pool = loam_objpool_new(make, discard, state);
    CHECK(pool != NULL);
    return pool;
}

static uint8_t *take(struct loam_objpool *pool)
{
    uint8_t *obj = loam_objpool_get(pool);
    CHECK(*obj == IN || *obj == OUT); /* OUT: just made */
    *obj = OUT;
    return obj;
}

static void give(struct loam_objpool *pool, uint8_t *obj)
{
    CHECK_EQ(*obj, OUT);
    *obj = IN;
    loam_objpool_put(pool, obj);
}

/* Frees it and checks that all that was made was in it. */
static void pool_free(struct loam_objpool *pool)
{
    loam_objpool_free(pool);
    for (int i = 0; i < made; i++)
        CHECK_EQ(state[i], DISCARDED);
}

static void test_one(void)
{
    struct loam_objpool *pool = pool_new();
    uint8_t *a = take(pool), *b = take(pool);
    CHECK(a != b);
    give(pool, a);
    uint8_t *again = take(pool);
    CHECK(again == a || moves());
    give(pool, again);
    give(pool, b);
    loam_objpool_put(pool, NULL);
    uint8_t *c = take(pool), *d = take(pool);
    CHECK(c != d && (made == 2 || moves()));
    give(pool, c);
    give(pool, d);
    pool_free(pool);
    loam_objpool_free(NULL);
}

static void test_without_make(void)
{
    struct loam_objpool *pool = loam_objpool_new(NULL, NULL, NULL);
    CHECK(loam_objpool_get(pool) == NULL);
    loam_objpool_put(pool, pool);
    CHECK(loam_objpool_get(pool) == pool || moves());
    CHECK(loam_objpool_get(pool) == NULL);
    loam_objpool_put(pool, pool);
    loam_objpool_free(pool);
}

/* Through several sizes of the ring, up and down. */
static void test_many(void)
{
    static uint8_t *held[5000];
    struct loam_objpool *pool = pool_new();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5000; i++)
            held[i] = take(pool);
        for (int i = 0; i < 5000; i++)
            give(pool, held[i]);
    }
    CHECK(made == 5000 || moves());
    pool_free(pool);
}

struct share {
    struct loam_objpool *pool;
    int n, done;
};

static void fill(void *arg)
{
    struct share *s = arg;
    uint8_t *held[64];
    for (int i = 0; i < s->n; i++)
        held[i] = take(s->pool);
    loam_yield();
    for (int i = 0; i < s->n; i++)
        give(s->pool, held[i]);
    add(&s->done, 1);
}

/* What is in the parts of Ps that are gone is found, the private objects too. */
static void test_ps_that_go(void)
{
    if (seeded())
        return;
    struct loam_objpool *pool = pool_new();
    for (int round = 0; round < 20; round++) {
        loam_gomaxprocs(4);
        struct share s = {pool, 1 + round % 40, 0};
        for (int i = 0; i < 16; i++)
            go(fill, &s);
        WAIT_UNTIL(load(&s.done) == 16);
        loam_gomaxprocs(1);
        static uint8_t *held[OBJECTS];
        int before = made;
        for (int i = 0; i < before; i++)
            held[i] = take(pool);
        CHECK_EQ(made, before);
        for (int i = 0; i < before; i++)
            give(pool, held[i]);
    }
    pool_free(pool);
}

static void *foreign(void *arg)
{
    struct loam_objpool *pool = arg;
    uint8_t *held[50];
    for (int i = 0; i < 50; i++)
        held[i] = take(pool);
    for (int i = 0; i < 50; i++)
        give(pool, held[i]);
    return NULL;
}

static void join_thread(void *arg)
{
    pthread_join(*(pthread_t *)arg, NULL);
}

static void test_foreign_thread(void)
{
    struct loam_objpool *pool = pool_new();
    uint8_t *a = take(pool), *b = take(pool);
    give(pool, a);
    give(pool, b);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, foreign, pool), 0);
    loam_blocking(join_thread, &thread);
    CHECK(made >= 50 && made <= 52); /* the private object of a P that lives is not for others */
    uint8_t *held[52];
    int before = made;
    for (int i = 0; i < before; i++)
        held[i] = take(pool);
    CHECK(made <= before + 2); /* nor is that of the P that we had before the call */
    for (int i = 0; i < before; i++)
        give(pool, held[i]);
    loam_objpool_free(pool);
}

static const struct test tests[] = {
    {"one", test_one},
    {"without make", test_without_make},
    {"many", test_many},
    {"foreign thread", test_foreign_thread},
    {"Ps that go", test_ps_that_go},
    {NULL, NULL},
};

static int test_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return run_tests(tests);
}

/* Objects outlive the runtime's stop, and the pool works before, between and after. */
static struct loam_objpool *lasting;

static void give_three(void *arg)
{
    uint8_t **held = arg;
    for (int i = 0; i < 3; i++)
        give(lasting, held[i]);
}

static void take_three(void *arg)
{
    uint8_t **held = arg;
    for (int i = 0; i < 3; i++)
        held[i] = take(lasting);
}

static void test_starts_and_stops(void)
{
    uint8_t *held[3];
    lasting = pool_new();
    take_three(held);
    give_three(held);
    take_three(held);
    for (int round = 0; round < 3; round++) {
        struct loam_config config = {.maxprocs = 1 + round};
        CHECK_EQ(loam_start(&config), 0);
        CHECK_EQ(loam_call(give_three, held), 0);
        CHECK_EQ(loam_stop(-1), 0);
        CHECK_EQ(loam_start(&config), 0);
        CHECK_EQ(loam_call(take_three, held), 0);
        CHECK_EQ(loam_stop(-1), 0);
    }
    give_three(held);
    pool_free(lasting);
}

int main(int argc, char **argv)
{
    int status = loam_run(test_main, argc, argv);
    if (status == 0 && !seeded())
        test_starts_and_stops();
    return status;
}
