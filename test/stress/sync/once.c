/* Once under contention: one call each, seen by all that return. */
#include "stress.h"

enum { CALLERS = 6, ONCES = 200 };

static struct loam_once onces[ONCES];
static int64_t value[ONCES]; /* by the once; not atomic on purpose */
static int calls[ONCES];

static void init(void *arg)
{
    size_t i = (size_t)(uintptr_t)arg;
    uint64_t seed = i;
    CHECK_EQ(add(&calls[i], 1), 1);
    disturb(&seed);
    value[i] = (int64_t)i + 7;
}

static void call(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (size_t i = 0; i < ONCES; i++) {
        loam_once_do(&onces[i], init, (void *)i);
        CHECK_EQ(value[i], (int64_t)i + 7);
        disturb(&seed);
    }
}

static void all(void)
{
    for (int64_t n = times(60); n > 0; n--) {
        struct loam_waitgroup wg = {0};
        memset(onces, 0, sizeof onces);
        memset(value, 0, sizeof value);
        memset(calls, 0, sizeof calls);
        for (int i = 0; i < CALLERS; i++)
            CHECK_EQ(loam_waitgroup_go(&wg, call, (void *)(intptr_t)(i + 1)), 0);
        loam_waitgroup_wait(&wg);
        for (int i = 0; i < ONCES; i++)
            CHECK_EQ(calls[i], 1);
    }
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
