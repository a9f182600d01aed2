/* The mutex under load: nobody gets in twice, nobody is forgotten, and the last user may free it. */
#include "stress.h"

enum { GOROUTINES = 12 };

static struct loam_mutex mu;
static int64_t count; /* mu; not atomic on purpose */
static int inside;

static void lock_and_count(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int64_t i = times(6000); i > 0; i--) {
        if (draw(&seed) % 8 == 0) {
            while (!loam_mutex_try_lock(&mu))
                loam_yield();
        } else {
            loam_mutex_lock(&mu);
        }
        CHECK_EQ(add(&inside, 1), 1);
        count++;
        disturb(&seed);
        CHECK_EQ(add(&inside, -1), 0);
        loam_mutex_unlock(&mu);
        disturb(&seed);
    }
}

static void exclusion(void)
{
    struct loam_waitgroup wg = {0};
    count = 0;
    for (int i = 0; i < GOROUTINES; i++)
        CHECK_EQ(loam_waitgroup_go(&wg, lock_and_count, (void *)(intptr_t)(i + 1)), 0);
    loam_waitgroup_wait(&wg);
    CHECK_EQ(count, GOROUTINES * times(6000));
    CHECK_EQ(mu.state, 0);
    CHECK(mu.sema.head == NULL && mu.sema.tail == NULL);
}

/* An object that its last user frees: the usual reference count under the object's own mutex. */
struct object {
    struct loam_mutex mu;
    int refs; /* mu */
    int uses; /* mu */
};

static int freed;

static void use_and_drop(void *arg)
{
    struct object *o = arg;
    for (int i = 0; i < 3; i++) {
        loam_mutex_lock(&o->mu);
        o->uses++;
        if (o->uses % 5 == 0)
            loam_yield();
        loam_mutex_unlock(&o->mu);
    }
    loam_mutex_lock(&o->mu);
    bool last = --o->refs == 0;
    loam_mutex_unlock(&o->mu);
    if (last) {
        CHECK_EQ(o->mu.state, 0);
        memset(o, 0xa5, sizeof *o);
        free(o);
        add(&freed, 1);
    }
}

static void last_user_frees(void)
{
    enum { USERS = 5 };
    int64_t objects = times(3000);
    struct loam_waitgroup wg = {0};
    store(&freed, 0);
    for (int64_t i = 0; i < objects; i++) {
        struct object *o = calloc(1, sizeof *o);
        CHECK(o != NULL);
        o->refs = USERS;
        for (int k = 0; k < USERS; k++)
            CHECK_EQ(loam_waitgroup_go(&wg, use_and_drop, o), 0);
        if (i % 16 == 15)
            loam_waitgroup_wait(&wg);
    }
    loam_waitgroup_wait(&wg);
    CHECK_EQ(load(&freed), objects);
}

/* Long holders beside short ones: starvation mode comes and goes. */
static void hold_long(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int64_t i = times(60); i > 0; i--) {
        loam_mutex_lock(&mu);
        CHECK_EQ(add(&inside, 1), 1);
        if (draw(&seed) % 2)
            loam_sleep(draw(&seed) % 1500 * LOAM_MICROSECOND);
        CHECK_EQ(add(&inside, -1), 0);
        loam_mutex_unlock(&mu);
    }
}

static void starvation(void)
{
    struct loam_waitgroup wg = {0};
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(loam_waitgroup_go(&wg, hold_long, (void *)(intptr_t)(i + 1)), 0);
        CHECK_EQ(loam_waitgroup_go(&wg, lock_and_count, (void *)(intptr_t)(i + 100)), 0);
    }
    loam_waitgroup_wait(&wg);
    CHECK_EQ(mu.state, 0);
}

static void all(void)
{
    exclusion();
    last_user_frees();
    starvation();
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
