/* Claims: whoever wants to look at the stack of a parked goroutine, or to change memory of it, keeps it from
 * running meanwhile. A look at its status would not do: it may be woken and run a moment later.
 *
 * Waking is what programs do all the time, claiming is rare: so all the cost is the claimer's. Neither side
 * of a wake-up has an atomic instruction for it; who is about to run a goroutine
 *
 *   1. has stored its status, which is not waiting any more (start_running in park.c),
 *   2. then loads the claim. If there is none it goes on; if one is announced, withdraws it; if one is taken,
 *      waits for its end.
 *
 * The claimer
 *
 *   3. announces: stores the claim,
 *   4. has the kernel make every thread of the process pass a full barrier (membarrier),
 *   5. then loads the status. Is it waiting, takes the claim by compare-and-exchange from announced: fails if
 *      it was withdrawn.
 *
 * A thread's barrier of 4 comes before its load in 2, which then sees the claim, or after its store in 1,
 * which then is seen in 5; a goroutine that ran and parked again meanwhile is as good as one that had not. That it
 * is waiting means that its context is saved and its stack at rest (park.c). One barrier serves a batch.
 *
 * Claims are made by one thread at a time: had another announced one between, a withdrawn one could be taken
 * without a barrier of its own.
 *
 * Who meets a claim that is taken sleeps with its P: what is done under one is to take microseconds. For more
 * than that (a collector and a deep stack) the place to put the goroutine aside, or to do the work oneself, is
 * claim_met. test/litmus/model_claim.c has all this.
 *
 * Rejected: a bit in the status: a compare-and-exchange for each wake-up; claims with the world stopped. */
#include "sched/claim.h"

#include <errno.h>

static struct mutex claims_lock = MUTEX_INIT(claims);
static enum { UNTRIED, THERE, NOT_THERE } barrier; /* claims_lock */
static bool settled;                               /* claims_lock */

/* The lock is kept over what the system does for a batch: others who claim can wait, and nobody else takes it. */
bool claims_begin(void)
{
    lock(&claims_lock);
    if (barrier == UNTRIED)
        barrier = os_barrier_register() == 0 ? THERE : NOT_THERE;
    if (barrier == THERE)
        return true;
    unlock(&claims_lock);
    return false;
}

void claims_end(void)
{
    unlock(&claims_lock);
}

void claim_announce(struct g *gp)
{
    store_relaxed(&gp->claim, CLAIM_ANNOUNCED); /* relaxed: the barrier orders it */
}

void claims_settle(void)
{
    settled = os_barrier_all() == 0;
}

bool claim_take(struct g *gp)
{
    /* acquire: its context */
    if (settled && load_acquire(&gp->status) == G_waiting)
        return cas_acqrel(&gp->claim, CLAIM_ANNOUNCED, CLAIM_TAKEN);
    (void)cas_acqrel(&gp->claim, CLAIM_ANNOUNCED, CLAIM_NONE); /* or it was withdrawn */
    return false;
}

void claim_release(struct g *gp)
{
    /* release: it runs on what we left */
    if (xchg_release(&gp->claim, CLAIM_NONE) == CLAIM_AWAITED)
        os_futex_wake(&gp->claim, 1);
}

noinline void claim_met(struct g *gp)
{
    if (cas_acqrel(&gp->claim, CLAIM_ANNOUNCED, CLAIM_NONE))
        return;
    for (;;) {
        uint32_t claim = load_acquire(&gp->claim); /* as in claim_check */
        if (claim == CLAIM_NONE)
            return;
        if (claim == CLAIM_AWAITED || cas_acqrel(&gp->claim, CLAIM_TAKEN, CLAIM_AWAITED))
            os_futex_wait(&gp->claim, CLAIM_AWAITED, -1);
    }
}
