/* What the litmus tests on the machine share: threads that meet before each round, and delays at
 * random, so that the rounds overlap in many ways. */
#ifndef LITMUS_H
#define LITMUS_H

#include "../check.h"

#include <pthread.h>
#include <sched.h>

/* Threads meet here; short waits, so that they leave within some 100 ns of each other. */
struct meeting {
    int parties;
    int arrived, round; /* atomic */
};

static inline void meet(struct meeting *m)
{
    int round = load(&m->round);
    if (add(&m->arrived, 1) == m->parties) {
        store(&m->arrived, 0);
        add(&m->round, 1);
        return;
    }
    for (int i = 0; load(&m->round) == round; i++)
        if (i > 2000) /* fewer CPUs than parties */
            sched_yield();
}

static inline uint32_t draw(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 33);
}

/* From nothing to about a microsecond. */
static inline void delay(uint64_t *s)
{
    uint32_t kind = draw(s) % 8;
    if (kind < 3)
        return;
    for (volatile int i = (int)(draw(s) % (kind < 7 ? 30 : 1000)); i > 0; i--)
        ;
}

#endif
