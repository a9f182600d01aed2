/* Starting goroutines, yielding, and fork and join. */
#include "bench_loam.h"

static void done(void *wg)
{
    loam_waitgroup_done(wg);
}

static struct outcome spawn(void)
{
    const int batch = 1000, batches = 3000;
    struct loam_waitgroup wg = {0};
    int64_t begin = bench_now();
    uint64_t joined = 0;
    for (int i = 0; i < batches; i++) {
        loam_waitgroup_add(&wg, batch);
        for (int k = 0; k < batch; k++)
            start(done, &wg);
        loam_waitgroup_wait(&wg);
        joined += batch;
    }
    /* Per batch, because a peer that is 50 times slower runs fewer of them. */
    return (struct outcome){bench_ns_per(begin, (int64_t)batch * batches), joined / batches};
}

static struct outcome spawn_one(void)
{
    const int ops = 2000000;
    struct loam_waitgroup wg = {0};
    int64_t begin = bench_now();
    for (int i = 0; i < ops; i++) {
        loam_waitgroup_add(&wg, 1);
        start(done, &wg);
        loam_waitgroup_wait(&wg);
    }
    return (struct outcome){bench_ns_per(begin, ops), ops};
}

struct yielder {
    struct loam_waitgroup *wg;
    int64_t ops, yields;
};

static void yielder(void *arg)
{
    struct yielder *y = arg;
    int64_t n = 0;
    for (int64_t i = 0; i < y->ops; i++) {
        loam_yield();
        n++;
    }
    y->yields = n;
    loam_waitgroup_done(y->wg);
}

static struct outcome yield_among(int goroutines, int64_t ops)
{
    struct loam_waitgroup wg = {0};
    struct yielder *all = bench_alloc(goroutines, sizeof *all);
    loam_waitgroup_add(&wg, goroutines);
    int64_t begin = bench_now();
    for (int i = 0; i < goroutines; i++) {
        all[i] = (struct yielder){&wg, ops / goroutines, 0};
        start(yielder, &all[i]);
    }
    loam_waitgroup_wait(&wg);
    struct outcome got = {bench_ns_per(begin, ops), 0};
    for (int i = 0; i < goroutines; i++)
        got.checksum += (uint64_t)all[i].yields;
    return got;
}

static struct outcome yield2(void)
{
    return yield_among(2, 10000000);
}

static struct outcome yield1000(void)
{
    return yield_among(1000, 8000000);
}

/* Opaque: gcc would unroll the recursion several levels deep, which Go's compiler does not. */
BENCH_OPAQUE static uint64_t fib_plain(int n)
{
    return n < 2 ? (uint64_t)n : fib_plain(n - 1) + fib_plain(n - 2);
}

static uint64_t fib_fork(int n);

struct fork {
    struct loam_waitgroup wg;
    uint64_t result;
    int n;
};

static void fork_half(void *arg)
{
    struct fork *f = arg;
    f->result = fib_fork(f->n);
    loam_waitgroup_done(&f->wg);
}

/* One goroutine per call above the cutoff; the caller computes the other half itself. */
static uint64_t fib_fork(int n)
{
    const int cutoff = 10;
    if (n <= cutoff)
        return fib_plain(n);
    struct fork left = {.n = n - 1};
    loam_waitgroup_add(&left.wg, 1);
    start(fork_half, &left);
    uint64_t right = fib_fork(n - 2);
    loam_waitgroup_wait(&left.wg);
    return left.result + right;
}

static struct outcome fib35_cutoff10(void)
{
    const int times = 4;
    int64_t begin = bench_now();
    uint64_t sum = 0;
    for (int i = 0; i < times; i++)
        sum += fib_fork(35);
    return (struct outcome){bench_ms_since(begin) / times, sum};
}

/* clang-format off */
const struct bench sched_benches[] = {
    {"spawn", "ns", spawn},
    {"spawn_one", "ns", spawn_one},
    {"yield2", "ns", yield2},
    {"yield1000", "ns", yield1000},
    {"fib35_cutoff10", "ms", fib35_cutoff10},
    {NULL, NULL, NULL},
};
/* clang-format on */
