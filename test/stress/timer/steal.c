/* Timers of Ps that compute and do not come to look at them: other Ps fire them. Half of the Ps are
 * kept busy by loops that make timers and call the runtime rarely; all the others steal. */
#include "../../unit/time/timetest.h"

enum { HOGS = 2, ROUNDS = 20, EACH = 50 };

static int stop, hogs_left;
static int64_t fired;

static void count(void *arg)
{
    (void)arg;
    add(&fired, 1);
}

/* Sets timers in its P's heap, then computes past their time: what fires meanwhile, fires elsewhere.
 * With one P, or nobody idle, its own P does it afterwards. */
static void hog(void *arg)
{
    struct loam_timer *t[EACH];
    int64_t *mine = arg;
    for (int round = 0; round < times(ROUNDS); round++) {
        for (int i = 0; i < EACH; i++)
            t[i] = loam_after_func((i % 10) * 20000, count, NULL);
        *mine += EACH;
        int64_t begin = loam_now();
        while (loam_now() < begin + (seeded() ? 5000 : 500000))
            ;
        loam_yield();
        for (int i = 0; i < EACH; i++) {
            if (loam_timer_stop(t[i]))
                *mine -= 1;
            loam_timer_free(t[i]);
        }
    }
    add(&hogs_left, -1);
}

/* Somebody has to be runnable now and then, for others to look for work. */
static void nap(void *arg)
{
    (void)arg;
    while (!get(&stop))
        loam_sleep(5000);
    put(&stop, 2);
}

static void steal(void)
{
    int64_t mine[HOGS] = {0}, want = 0;
    fired = 0;
    stop = 0;
    hogs_left = HOGS;
    start(nap, NULL);
    for (int i = 0; i < HOGS; i++)
        start(hog, &mine[i]);
    while (get(&hogs_left) > 0)
        loam_sleep(LOAM_MILLISECOND);
    for (int i = 0; i < HOGS; i++)
        want += mine[i];
    while (get(&fired) < want)
        loam_sleep(10000);
    loam_sleep(LOAM_MILLISECOND);
    CHECK_EQ(get(&fired), want);
    put(&stop, 1);
    while (get(&stop) != 2)
        loam_sleep(10000);
}

/* A P that never comes back by itself: its timer fires all the same. */
static int go_on;

static void lets_go(void *arg)
{
    (void)arg;
    put(&go_on, 1);
}

static void endless(void *arg)
{
    struct loam_timer *t = loam_after_func(LOAM_MILLISECOND, lets_go, NULL);
    while (!get(&go_on))
        ;
    loam_timer_free(t);
    put((int *)arg, 1);
}

static void stuck(void)
{
    if (seeded() || loam_gomaxprocs(0) == 1)
        return; /* nobody else is there */
    int over = 0;
    go_on = 0;
    start(endless, &over);
    while (!get(&over))
        loam_sleep(100000);
}

/* clang-format off */
static const struct test tests[] = {
    {"steal", steal},
    {"stuck", stuck},
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
