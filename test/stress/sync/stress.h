/* What the stress tests of sync/ share. They are compiled with LOAM_SYNC_POINTS: in torture builds and
 * seeded runs goroutines also change inside the inline operations. */
#ifndef STRESS_SYNC_H
#define STRESS_SYNC_H

#include "../../check.h"

/* For how many Ps everything is run in turn; a seeded run has one. */
static const int stress_procs[] = {1, 2, 4};

static inline int for_each_procs(void (*fn)(void))
{
    for (size_t i = 0; i < (seeded() ? 1 : sizeof stress_procs / sizeof stress_procs[0]); i++) {
        if (!seeded())
            loam_gomaxprocs(stress_procs[i]);
        fn();
    }
    return 0;
}

/* A stream of random numbers for one goroutine. */
static inline uint32_t draw(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 33);
}

/* Now and then: something that makes others run, by one way or another. */
static inline void disturb(uint64_t *s)
{
    switch (draw(s) % 32) {
    case 0:
        loam_yield();
        break;
    case 1:
        loam_sleep(draw(s) % 20 * LOAM_MICROSECOND);
        break;
    case 2:
        for (volatile int i = (int)(draw(s) % 500); i > 0; i--)
            ;
        break;
    default:
        break;
    }
}

#endif
