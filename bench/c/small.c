/* bench_small: what is measured on small stacks; built by `loam build --stack=small`. */
#include "bench_loam.h"

#include <string.h>

enum { FRAMES = 1000000 };

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

static const struct bench small_benches[] = {
    {"recurse_first", "ns", recurse_first},
    {"recurse_again", "ns", recurse_again},
    {"spawn_100_frames", "ns", spawn_100_frames},
    {"hot_split", "ns", hot_split},
    {0},
};

static const struct bench *const tables[] = {small_benches, stack_benches, NULL};

static int run(int argc, char **argv)
{
    return bench_main(argc, argv, tables, loam_gomaxprocs);
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
