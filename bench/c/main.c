/* bench_loam: our side of `make bench`; the twin of bench/go. */
#include "bench_loam.h"

static const struct bench *const tables[] = {
    sched_benches, chan_benches, sync_benches, timer_benches, stack_benches, preempt_benches, NULL,
};

static int run(int argc, char **argv)
{
    return bench_main(argc, argv, tables, loam_gomaxprocs);
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
