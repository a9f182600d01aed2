/* bench_pthread: what plain threads cost for the rows where they are the obvious alternative. The
 * value of GOMAXPROCS becomes the number of CPUs that the process may use. */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void check(int error, const char *what)
{
    if (error)
        bench_fail("%s: %s", what, strerror(error));
}

static pthread_t thread(void *(*fn)(void *), void *arg)
{
    pthread_t t;
    check(pthread_create(&t, NULL, fn, arg), "pthread_create");
    return t;
}

static void *nothing(void *arg)
{
    return arg;
}

static struct outcome spawn(void)
{
    enum { BATCH = 1000, BATCHES = 15 };
    pthread_t threads[BATCH];
    int64_t begin = bench_now();
    uint64_t joined = 0;
    for (int i = 0; i < BATCHES; i++) {
        for (int k = 0; k < BATCH; k++)
            threads[k] = thread(nothing, NULL);
        for (int k = 0; k < BATCH; k++)
            joined += pthread_join(threads[k], NULL) == 0;
    }
    return (struct outcome){bench_ns_per(begin, (int64_t)BATCH * BATCHES), joined / BATCHES};
}

struct crowd {
    pthread_mutex_t mu;
    pthread_rwlock_t rw;
    int64_t each;            /* operations of one thread */
    uint64_t count, misread; /* mu, or rw */
};

static struct outcome together(int threads, int64_t ops, void *(*fn)(void *))
{
    struct crowd crowd = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_RWLOCK_INITIALIZER, ops / threads, 0,
                          0};
    pthread_t all[8];
    int64_t begin = bench_now();
    for (int i = 0; i < threads; i++)
        all[i] = thread(fn, &crowd);
    for (int i = 0; i < threads; i++)
        check(pthread_join(all[i], NULL), "pthread_join");
    return (struct outcome){bench_ns_per(begin, ops), crowd.count + crowd.misread};
}

static void *lock_unlock(void *arg)
{
    struct crowd *crowd = arg;
    for (int64_t i = 0, n = crowd->each; i < n; i++) {
        pthread_mutex_lock(&crowd->mu);
        crowd->count++;
        pthread_mutex_unlock(&crowd->mu);
    }
    return NULL;
}

static struct outcome mutex_free(void)
{
    return together(1, 120000000, lock_unlock);
}

static struct outcome mutex_8(void)
{
    return together(8, 48000000, lock_unlock);
}

static void *read_and_write(void *arg)
{
    struct crowd *crowd = arg;
    uint64_t seen = 0, wrong = 0;
    for (int64_t i = 0, n = crowd->each; i < n; i++) {
        if (i % 100 == 0) {
            pthread_rwlock_wrlock(&crowd->rw);
            crowd->count++;
            pthread_rwlock_unlock(&crowd->rw);
        } else {
            pthread_rwlock_rdlock(&crowd->rw);
            uint64_t now = crowd->count;
            pthread_rwlock_unlock(&crowd->rw);
            wrong += now < seen;
            seen = now;
        }
    }
    pthread_rwlock_wrlock(&crowd->rw);
    crowd->misread += wrong;
    pthread_rwlock_unlock(&crowd->rw);
    return NULL;
}

static struct outcome rwmutex_8(void)
{
    return together(8, 96000000, read_and_write);
}

static struct outcome sleep_1ms_late_p50(void)
{
    enum { SLEEPS = 400 };
    const int64_t millisecond = 1000000;
    int64_t late[SLEEPS];
    for (int i = 0; i < SLEEPS; i++) {
        int64_t begin = bench_now();
        struct timespec t = {0, millisecond};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
        late[i] = bench_now() - begin - millisecond;
    }
    return (struct outcome){bench_percentile(late, SLEEPS, 50), bench_not_early(late, SLEEPS)};
}

/* Confines the process to the first n of the CPUs that it may use. */
static int confine(int n)
{
    const char *asked = getenv("GOMAXPROCS");
    if (n == 0)
        n = asked ? atoi(asked) : 1;
    cpu_set_t may, chosen;
    if (sched_getaffinity(0, sizeof may, &may) != 0)
        bench_fail("sched_getaffinity failed");
    CPU_ZERO(&chosen);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&chosen) < n; cpu++)
        if (CPU_ISSET(cpu, &may))
            CPU_SET(cpu, &chosen);
    if (CPU_COUNT(&chosen) < n || sched_setaffinity(0, sizeof chosen, &chosen) != 0)
        bench_fail("cannot run on %d CPUs", n);
    return n;
}

/* clang-format off */
static const struct bench benches[] = {
    {"spawn", "ns", spawn},
    {"mutex_free", "ns", mutex_free},
    {"mutex_8", "ns", mutex_8},
    {"rwmutex_8", "ns", rwmutex_8},
    {"sleep_1ms_late_p50", "ms", sleep_1ms_late_p50},
    {NULL, NULL, NULL},
};
/* clang-format on */

int main(int argc, char **argv)
{
    const struct bench *const tables[] = {benches, NULL};
    return bench_main(argc, argv, tables, confine);
}
