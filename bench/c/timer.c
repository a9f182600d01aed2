/* Timers and sleeps. */
#include "bench_loam.h"

static const int64_t hour = 3600 * LOAM_SECOND;

static struct outcome timer_new_stop(void)
{
    const int64_t ops = 3000000;
    uint64_t stopped = 0;
    int64_t begin = bench_now();
    for (int64_t i = 0; i < ops; i++) {
        struct loam_timer *t = loam_timer_new(hour);
        stopped += loam_timer_stop(t);
        loam_timer_free(t);
    }
    return (struct outcome){bench_ns_per(begin, ops), stopped};
}

enum { LIVE = 1000000 };

struct cost {
    double create, stop;
    uint64_t stopped;
};

static void fire(void *arg)
{
    (void)arg;
}

/* Timers without a channel, as on the Go side, where one with a channel is not in the heap until
 * somebody waits for it. Their end is not timed: Go's never comes. */
static struct cost timers_1m(void)
{
    struct loam_timer **timers = bench_alloc(LIVE, sizeof *timers);
    struct cost cost = {0};
    uint64_t random = 1;
    int64_t begin = bench_now();
    for (int i = 0; i < LIVE; i++) {
        int64_t after = hour + (int64_t)(bench_random(&random) % 3600) * LOAM_SECOND;
        timers[i] = loam_after_func(after, fire, NULL);
    }
    cost.create = bench_ns_per(begin, LIVE);
    begin = bench_now();
    for (int i = 0; i < LIVE; i++)
        cost.stopped += loam_timer_stop(timers[i]);
    cost.stop = bench_ns_per(begin, LIVE);
    for (int i = 0; i < LIVE; i++)
        loam_timer_free(timers[i]);
    return cost;
}

static struct outcome timers_1m_create(void)
{
    struct cost cost = timers_1m();
    return (struct outcome){cost.create, cost.stopped};
}

static struct outcome timers_1m_stop(void)
{
    struct cost cost = timers_1m();
    return (struct outcome){cost.stop, cost.stopped};
}

/* The checksum counts the sleeps that did not end early. */
static struct outcome sleep_1ms_late_p50(void)
{
    enum { SLEEPS = 400 };
    int64_t late[SLEEPS];
    for (int i = 0; i < SLEEPS; i++) {
        int64_t begin = bench_now();
        loam_sleep(LOAM_MILLISECOND);
        late[i] = bench_now() - begin - LOAM_MILLISECOND;
    }
    return (struct outcome){bench_percentile(late, SLEEPS, 50), bench_not_early(late, SLEEPS)};
}

struct sleeper {
    struct loam_waitgroup *wg;
    int64_t ns, late;
};

static void sleeper(void *arg)
{
    struct sleeper *s = arg;
    int64_t begin = bench_now();
    loam_sleep(s->ns);
    s->late = bench_now() - begin - s->ns;
    loam_waitgroup_done(s->wg);
}

static struct outcome sleeps_100k_late_p99(void)
{
    const int sleeps = 100000;
    struct sleeper *all = bench_alloc((uint64_t)sleeps, sizeof *all);
    int64_t *late = bench_alloc((uint64_t)sleeps, sizeof *late);
    struct loam_waitgroup wg = {0};
    loam_waitgroup_add(&wg, sleeps);
    uint64_t random = 1;
    for (int i = 0; i < sleeps; i++) {
        all[i] =
            (struct sleeper){&wg, (int64_t)(1 + bench_random(&random) % 100) * LOAM_MILLISECOND, 0};
        start(sleeper, &all[i]);
    }
    loam_waitgroup_wait(&wg);
    for (int i = 0; i < sleeps; i++)
        late[i] = all[i].late;
    return (struct outcome){bench_percentile(late, sleeps, 99), bench_not_early(late, sleeps)};
}

/* clang-format off */
const struct bench timer_benches[] = {
    {"timer_new_stop", "ns", timer_new_stop},
    {"timers_1m_create", "ns", timers_1m_create},
    {"timers_1m_stop", "ns", timers_1m_stop},
    {"sleep_1ms_late_p50", "ms", sleep_1ms_late_p50},
    {"sleeps_100k_late_p99", "ms", sleeps_100k_late_p99},
    {NULL, NULL, NULL},
};
/* clang-format on */
