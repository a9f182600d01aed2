/* What the stress tests of sched/ share. */
#ifndef STRESS_SCHED_H
#define STRESS_SCHED_H

#include "../sync/stress.h"

#include <pthread.h>

/* Keeps the CPU for about n steps, without the runtime. */
static inline void compute(uint32_t n)
{
    for (volatile uint32_t i = n; i > 0; i--)
        ;
}

/* Something that takes a while, in many lengths; may let others run. */
static inline void linger(uint64_t *s)
{
    switch (draw(s) % 4) {
    case 0:
        loam_yield();
        break;
    case 1:
        compute(draw(s) % 2000);
        break;
    default:
        break;
    }
}

/* The counter of one edge of the goroutines' automaton. */
static inline int64_t edge_count(const char *from, const char *to)
{
    struct loam_edge edges[64];
    size_t n = loam_read_edges(edges, 64);
    CHECK(n > 0 && n <= 64);
    for (size_t i = 0; i < n; i++)
        if (edges[i].automaton[0] == 'G' && strcmp(edges[i].from, from) == 0 &&
            strcmp(edges[i].to, to) == 0)
            return (int64_t)edges[i].count;
    FAIL("no edge from %s to %s", from, to);
}

/* On a goroutine, when what was started has done its work: waits until `left` goroutines are there,
 * then compares what the Ps count with what the Ms count. made: how many were started in all, those
 * that are left too, or -1. */
static inline void all_have_ended(int64_t left, int64_t made)
{
    AWAIT(loam_num_goroutine() == left);
    struct loam_sched_stats stats;
    loam_read_sched_stats(&stats);
    CHECK_EQ(stats.goroutines, left);
    if (made >= 0)
        CHECK_EQ(stats.goroutines_created, made);
    CHECK_EQ(edge_count("dead", "runnable"), stats.goroutines_created);
    CHECK_EQ(edge_count("running", "dead"), (int64_t)stats.goroutines_created - left);
}

#endif
