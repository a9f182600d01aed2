/* Claims on parked goroutines: claim.c. */
#ifndef SCHED_CLAIM_H
#define SCHED_CLAIM_H

#include "sched/sched_int.h"

enum claim { CLAIM_NONE, CLAIM_ANNOUNCED, CLAIM_TAKEN, CLAIM_AWAITED };

/* Begins some claims; others wait until claims_end. False: the system has no barrier for them, there are
 * none. Not on a goroutine. */
bool claims_begin(void);
void claims_end(void);

/* Between the two, for as many as there are in a batch: announce each, then one claims_settle, then take
 * each. True: gp is parked, and stays so until claim_release; false: it is not, and nothing is to be
 * released. Every one that was announced must be taken. */
void claim_announce(struct g *gp);
void claims_settle(void);
bool claim_take(struct g *gp);
void claim_release(struct g *gp);

void claim_met(struct g *gp);
/* By whoever is about to run gp, which is in running, and not in memory of another's stack yet. */
static always_inline void claim_check(struct g *gp)
{
    compiler_barrier(); /* the status first: step 2 in claim.c */
    /* acquire: what was done under a claim that is over */
    if (unlikely(load_acquire(&gp->claim) != CLAIM_NONE))
        claim_met(gp);
}

#endif
