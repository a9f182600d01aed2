/* Locks and the waitgroup. */
#include "bench_loam.h"

static struct outcome mutex_free(void)
{
    const int64_t ops = 120000000;
    struct loam_mutex mu = {0};
    uint64_t count = 0;
    int64_t begin = bench_now();
    for (int64_t i = 0; i < ops; i++) {
        loam_mutex_lock(&mu);
        count++;
        loam_mutex_unlock(&mu);
    }
    return (struct outcome){bench_ns_per(begin, ops), count};
}

/* What the goroutines of one benchmark share. */
struct crowd {
    struct loam_waitgroup join;
    struct loam_waitgroup wg; /* what the row waitgroup measures: nobody waits on it meanwhile */
    struct loam_mutex mu;
    struct loam_rwmutex rw;
    int64_t each;            /* operations of one goroutine */
    uint64_t count, misread; /* mu, or rw */
};

/* Runs fn in that many goroutines; returns the ns per operation, of which each does its share. */
static double together(struct crowd *crowd, int goroutines, int64_t ops, void (*fn)(void *))
{
    crowd->each = ops / goroutines;
    loam_waitgroup_add(&crowd->join, goroutines);
    int64_t begin = bench_now();
    for (int i = 0; i < goroutines; i++)
        start(fn, crowd);
    loam_waitgroup_wait(&crowd->join);
    return bench_ns_per(begin, ops);
}

static void lock_unlock(void *arg)
{
    struct crowd *crowd = arg;
    for (int64_t i = 0, n = crowd->each; i < n; i++) {
        loam_mutex_lock(&crowd->mu);
        crowd->count++;
        loam_mutex_unlock(&crowd->mu);
    }
    loam_waitgroup_done(&crowd->join);
}

static struct outcome mutex_8(void)
{
    struct crowd *crowd = bench_alloc(1, sizeof *crowd);
    double value = together(crowd, 8, 48000000, lock_unlock);
    return (struct outcome){value, crowd->count};
}

static void read_and_write(void *arg)
{
    struct crowd *crowd = arg;
    uint64_t seen = 0, wrong = 0;
    for (int64_t i = 0, n = crowd->each; i < n; i++) {
        if (i % 100 == 0) {
            loam_rwmutex_lock(&crowd->rw);
            crowd->count++;
            loam_rwmutex_unlock(&crowd->rw);
        } else {
            loam_rwmutex_rlock(&crowd->rw);
            uint64_t now = crowd->count;
            loam_rwmutex_runlock(&crowd->rw);
            /* What a reader sees never goes back. */
            wrong += now < seen;
            seen = now;
        }
    }
    loam_rwmutex_lock(&crowd->rw);
    crowd->misread += wrong;
    loam_rwmutex_unlock(&crowd->rw);
    loam_waitgroup_done(&crowd->join);
}

static struct outcome rwmutex_8(void)
{
    struct crowd *crowd = bench_alloc(1, sizeof *crowd);
    double value = together(crowd, 8, 96000000, read_and_write);
    return (struct outcome){value, crowd->count + crowd->misread};
}

static void add_done(void *arg)
{
    struct crowd *crowd = arg;
    for (int64_t i = 0, n = crowd->each; i < n; i++) {
        loam_waitgroup_add(&crowd->wg, 1);
        loam_waitgroup_done(&crowd->wg);
    }
    loam_waitgroup_done(&crowd->join);
}

/* Two goroutines on one waitgroup: at GOMAXPROCS=2 they contend for its word. */
static struct outcome waitgroup(void)
{
    const int64_t ops = 48000000;
    struct crowd *crowd = bench_alloc(1, sizeof *crowd);
    double value = together(crowd, 2, ops, add_done);
    loam_waitgroup_wait(&crowd->wg);
    return (struct outcome){value, (uint64_t)ops};
}

/* clang-format off */
const struct bench sync_benches[] = {
    {"mutex_free", "ns", mutex_free},
    {"mutex_8", "ns", mutex_8},
    {"rwmutex_8", "ns", rwmutex_8},
    {"waitgroup", "ns", waitgroup},
    {NULL, NULL, NULL},
};
/* clang-format on */
