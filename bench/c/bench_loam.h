/* What the files of bench_loam share. */
#ifndef BENCH_LOAM_H
#define BENCH_LOAM_H

#include "bench.h"

#include <loam.h>

/* The tables, each at the end of its file. */
extern const struct bench sched_benches[], chan_benches[], sync_benches[], timer_benches[],
    stack_benches[], preempt_benches[];

/* A goroutine that cannot be started is the end of the benchmark. */
static inline void start(void (*fn)(void *), void *arg)
{
    if (__builtin_expect(loam_go(fn, arg) != 0, 0))
        bench_fail("loam_go: %s", loam_error_text());
}

/* A channel's elements are as wide as Go's int. */
typedef loam_chan(int64_t) int_chan;

#endif
