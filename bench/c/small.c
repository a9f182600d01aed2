/* bench_small: what is measured on small stacks; built by `loam build --stack=small`. */
#include "bench_loam.h"

#include <stdio.h>
#include <string.h>

enum { FRAMES = 1000000, GOROUTINES = 1000000 };

/* A frame of 100 bytes, with the return address and what the compiler saves. */
BENCH_OPAQUE static int64_t recurse(int64_t n)
{
    volatile char some[72];
    some[0] = 1;
    return n == 0 ? 0 : recurse(n - 1) + some[0];
}

/* ---- Recursion --------------------------------------------------------------------------------------- */

struct recursion {
    struct loam_waitgroup wg;
    int rounds;
    double ns;
    uint64_t sum;
};

static void recursion(void *arg)
{
    struct recursion *r = arg;
    for (int i = 0; i < r->rounds; i++) {
        int64_t begin = bench_now();
        r->sum += (uint64_t)recurse(FRAMES);
        r->ns = bench_ns_per(begin, FRAMES);
    }
    loam_waitgroup_done(&r->wg);
}

static struct outcome recurse_rounds(int rounds)
{
    struct recursion r = {.rounds = rounds};
    loam_waitgroup_add(&r.wg, 1);
    start(recursion, &r);
    loam_waitgroup_wait(&r.wg);
    return (struct outcome){r.ns, r.sum};
}

static struct outcome recurse_first(void)
{
    return recurse_rounds(1);
}

static struct outcome recurse_again(void)
{
    return recurse_rounds(2);
}

static void hundred(void *wg)
{
    if (recurse(100) != 100)
        bench_fail("recursion");
    loam_waitgroup_done(wg);
}

static struct outcome spawn_100_frames(void)
{
    const int batch = 100, batches = 2000;
    struct loam_waitgroup wg = {0};
    int64_t begin = bench_now();
    for (int i = 0; i < batches; i++) {
        loam_waitgroup_add(&wg, batch);
        for (int k = 0; k < batch; k++)
            start(hundred, &wg);
        loam_waitgroup_wait(&wg);
    }
    return (struct outcome){bench_ns_per(begin, (int64_t)batch * batches), batch * batches};
}

/* ---- A call that crosses ------------------------------------------------------------------------------ */

BENCH_OPAQUE static void leaf(volatile int64_t *n)
{
    volatile char some[64];
    some[0] = 1;
    *n += some[0];
}

/* The time of a call at every depth of some segments: the deepest is one that crosses, the least is a
 * plain one. */
struct crossing {
    struct loam_waitgroup wg;
    double least, most;
    uint64_t calls;
};

BENCH_OPAQUE static void cross(struct crossing *c, int depth)
{
    const int ops = 20000;
    volatile int64_t n = 0;
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        int64_t begin = bench_now();
        for (int i = 0; i < ops; i++)
            leaf(&n);
        double ns = bench_ns_per(begin, ops);
        best = ns < best ? ns : best;
    }
    c->calls += (uint64_t)n;
    c->least = best < c->least ? best : c->least;
    c->most = best > c->most ? best : c->most;
    if (depth > 0)
        cross(c, depth - 1);
    c->calls++;
}

static void crossing(void *arg)
{
    struct crossing *c = arg;
    cross(c, 20);
    loam_waitgroup_done(&c->wg);
}

static struct outcome hot_split(void)
{
    struct crossing c = {.least = 1e9};
    loam_waitgroup_add(&c.wg, 1);
    start(crossing, &c);
    loam_waitgroup_wait(&c.wg);
    return (struct outcome){c.most - c.least, c.calls};
}

/* ---- Parked ------------------------------------------------------------------------------------------- */

static int_chan gate;
static struct loam_waitgroup parked_wg;
static int64_t arrived; /* atomic: how many are about to park */

BENCH_OPAQUE static int64_t three(void)
{
    return loam_recv(gate) + 1;
}

BENCH_OPAQUE static int64_t two(void)
{
    return three() + 1;
}

BENCH_OPAQUE static int64_t one(void)
{
    return two() + 1;
}

static void parks(void *arg)
{
    (void)arg;
    __atomic_add_fetch(&arrived, 1, __ATOMIC_RELAXED);
    if (one() != 3)
        bench_fail("a closed channel's value");
    loam_waitgroup_done(&parked_wg);
}

/* Resident memory and page tables. */
static double memory(void)
{
    char line[200];
    unsigned long kb, sum = 0;
    FILE *f = fopen("/proc/self/status", "r");
    if (f == NULL)
        bench_fail("/proc/self/status");
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "VmRSS: %lu", &kb) == 1 || sscanf(line, "VmPTE: %lu", &kb) == 1)
            sum += kb;
    fclose(f);
    return (double)sum * 1024;
}

static struct outcome park_all(double *bytes)
{
    gate = loam_chan_make(int64_t, 0);
    loam_waitgroup_add(&parked_wg, GOROUTINES);
    double before = memory();
    int64_t begin = bench_now();
    for (int i = 0; i < GOROUTINES; i++) {
        start(parks, NULL);
        if (i % 1000 == 999)
            loam_yield();
    }
    while (__atomic_load_n(&arrived, __ATOMIC_RELAXED) < GOROUTINES)
        loam_yield();
    double ns = bench_ns_per(begin, GOROUTINES);
    *bytes = (memory() - before) / GOROUTINES;
    loam_close(gate);
    loam_waitgroup_wait(&parked_wg);
    loam_chan_free(gate);
    return (struct outcome){ns, GOROUTINES};
}

static struct outcome parked_create_small(void)
{
    double bytes;
    return park_all(&bytes);
}

static struct outcome parked_bytes_small(void)
{
    double bytes;
    struct outcome o = park_all(&bytes);
    return (struct outcome){bytes, o.checksum};
}

static const struct bench small_benches[] = {
    {"recurse_first", "ns", recurse_first},
    {"recurse_again", "ns", recurse_again},
    {"spawn_100_frames", "ns", spawn_100_frames},
    {"hot_split", "ns", hot_split},
    {"parked_create_small", "ns", parked_create_small},
    {"parked_bytes_small", "B", parked_bytes_small},
    {0},
};

static const struct bench *const tables[] = {small_benches, NULL};

static int run(int argc, char **argv)
{
    return bench_main(argc, argv, tables, loam_gomaxprocs);
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
