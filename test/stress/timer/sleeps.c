/* A hundred thousand sleeps at once: none ends early, all end. Then the same while GOMAXPROCS goes up
 * and down. gcc's ThreadSanitizer has no more than 8,128 fibers. */
#include "../../unit/time/timetest.h"

struct sleeper {
    struct loam_waitgroup *wg;
    int64_t ns;
};

static void sleeper(void *arg)
{
    struct sleeper *s = arg;
    int64_t begin = loam_now();
    loam_sleep(s->ns);
    CHECK(loam_now() >= begin + s->ns);
    loam_waitgroup_done(s->wg);
}

static struct sleeper *begin_sleeps(struct loam_waitgroup *wg, int n, uint64_t seed)
{
    struct sleeper *all = calloc((size_t)n, sizeof *all);
    loam_waitgroup_add(wg, n);
    for (int i = 0; i < n; i++) {
        all[i] = (struct sleeper){wg, (1 + rnd(&seed, 100)) * LOAM_MILLISECOND};
        start(sleeper, &all[i]);
    }
    return all;
}

static int many(void)
{
    int n = times(100000);
    if (seeded())
        return 1000; /* there are many seeds */
    return SANITIZED && n > 5000 ? 5000 : n;
}

static void at_once(void)
{
    struct loam_waitgroup wg = {0};
    struct sleeper *all = begin_sleeps(&wg, many(), 1);
    loam_waitgroup_wait(&wg);
    free(all);
}

static void change(void *arg)
{
    uint64_t seed = 7;
    int former = loam_gomaxprocs(0);
    while (!get((int *)arg)) {
        loam_gomaxprocs(1 + (int)rnd(&seed, 8));
        loam_sleep(200 * LOAM_MICROSECOND);
    }
    loam_gomaxprocs(former);
    put((int *)arg, 2);
}

static void procs_change(void)
{
    int stop = 0;
    struct loam_waitgroup wg = {0};
    start(change, &stop);
    struct sleeper *all = begin_sleeps(&wg, many() / 4 + 1, 2);
    loam_waitgroup_wait(&wg);
    free(all);
    put(&stop, 1);
    while (get(&stop) != 2)
        loam_sleep(LOAM_MILLISECOND);
}

/* clang-format off */
static const struct test tests[] = {
    {"at once", at_once},
    {"procs change", procs_change},
    {NULL, NULL},
};
/* clang-format on */

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return run_tests(tests);
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
