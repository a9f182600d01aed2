/* The object pool under load: what is put is got once, nothing is lost when Ps come and go. */
#include "stress.h"

#include <pthread.h>

enum { GOROUTINES = 10, HELD = 40, MOST = 1 << 20 };

struct object {
    int owner;      /* 0: in the pool; not atomic on purpose */
    int64_t number; /* const */
};

static struct loam_objpool *pool;
static int64_t made, discarded;

static void *make(void *arg)
{
    (void)arg;
    struct object *o = calloc(1, sizeof *o);
    CHECK(o != NULL);
    o->number = add(&made, 1);
    return o;
}

static void discard(void *obj, void *arg)
{
    struct object *o = obj;
    (void)arg;
    CHECK_EQ(o->owner, 0);
    o->owner = -1;
    add(&discarded, 1);
    free(o);
}

static void get_and_put(int me, int64_t n, bool may_yield)
{
    struct object *held[HELD];
    int count = 0;
    uint64_t seed = (uint64_t)me;
    for (; n > 0; n--) {
        if (count < HELD && draw(&seed) % 2) {
            struct object *o = loam_objpool_get(pool);
            CHECK_EQ(o->owner, 0);
            o->owner = me;
            held[count++] = o;
        } else if (count > 0) {
            int k = (int)(draw(&seed) % (uint32_t)count);
            struct object *o = held[k];
            held[k] = held[--count];
            CHECK_EQ(o->owner, me);
            o->owner = 0;
            loam_objpool_put(pool, o);
        }
        if (may_yield)
            disturb(&seed);
    }
    while (count > 0) {
        held[--count]->owner = 0;
        loam_objpool_put(pool, held[count]);
    }
}

static void on_goroutine(void *arg)
{
    get_and_put((int)(intptr_t)arg, times(15000), true);
}

static void *on_thread(void *arg)
{
    get_and_put((int)(intptr_t)arg, times(15000), false);
    return NULL;
}

static void resize(void *arg)
{
    uint64_t seed = 1;
    for (int64_t i = times(60); i > 0; i--) {
        loam_gomaxprocs((int)(draw(&seed) % 4) + 1);
        loam_sleep(100 * LOAM_MICROSECOND);
    }
    loam_waitgroup_done(arg);
}

static void join_thread(void *arg)
{
    pthread_join(*(pthread_t *)arg, NULL);
}

static void all(void)
{
    struct loam_waitgroup wg = {0};
    made = discarded = 0;
    pool = loam_objpool_new(make, discard, NULL);
    CHECK(pool != NULL);
    for (int i = 0; i < GOROUTINES; i++)
        CHECK_EQ(loam_waitgroup_go(&wg, on_goroutine, (void *)(intptr_t)(i + 1)), 0);
    pthread_t thread[2];
    for (int i = 0; i < 2 && !seeded(); i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, on_thread, (void *)(intptr_t)(100 + i)), 0);
    if (!seeded()) {
        int former = loam_gomaxprocs(0);
        loam_waitgroup_add(&wg, 1);
        go(resize, &wg);
        loam_waitgroup_wait(&wg);
        loam_gomaxprocs(former);
        for (int i = 0; i < 2; i++)
            loam_blocking(join_thread, &thread[i]);
    } else {
        loam_waitgroup_wait(&wg);
    }
    loam_objpool_free(pool);
    CHECK(load(&made) < MOST);
    CHECK_EQ(load(&discarded), load(&made));
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
