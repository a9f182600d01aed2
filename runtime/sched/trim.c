/* What a parked goroutine's slot has below its stack pointer goes back to the system.
 *
 * It once called something deep, and now waits for hours: sysmon walks all goroutines, some at a time between
 * its other work, claims those on slots that have been parked for a round of scavenging, once for each time that
 * they park, and gives the pages back that they do not use. Their next calls find zeros there, where frames that
 * have ended were: nobody may look at those.
 *
 * A walk over a million goroutines is a tenth of a second of cache misses; so the next one begins when
 * WALK_SHARE times as long has passed, or after a round.
 *
 * Segments of small stacks are given back by the goroutine itself when it parks. */
#include "sched/claim.h"

enum { BATCH = 64, WALK_SHARE = 64, PAGE = 4096 };

static bool worth_it(const struct g *gp, int64_t now)
{
    int64_t since = load_relaxed(&gp->waitsince);
    return load_relaxed(&gp->status) == G_waiting && gp->seg == NULL &&
           now - since >= scavenge_round_ns && load_relaxed(&gp->trimmed) != since;
}

/* gp is claimed. */
static void trim(struct g *gp)
{
    uintptr_t lo = align_up(gp->stack.lo, (uintptr_t)PAGE);
    uintptr_t hi = align_down(gp->sched.sp, (uintptr_t)PAGE);
    /* seg: it may be another goroutine's g than when it was looked at */
    if (gp->seg == NULL && hi > lo && gp->sched.sp < gp->stack.hi)
        os_mem_give_back((void *)lo, hi - lo);
    store_relaxed(&gp->trimmed, load_relaxed(&gp->waitsince));
}

static void trim_all(struct g **gs, int n)
{
    if (!claims_begin())
        return;
    for (int i = 0; i < n; i++)
        claim_announce(gs[i]);
    claims_settle();
    for (int i = 0; i < n; i++)
        if (claim_take(gs[i])) {
            trim(gs[i]);
            claim_release(gs[i]);
        }
    claims_end();
}

bool trim_parked(struct trimmer *t)
{
    int64_t begin = os_nanotime();
    if (t->at == NULL) {
        if (begin < t->next)
            return false;
        t->at = load_acquire(&allg); /* acquire: Gs are whole; so below */
        t->spent = 0;
    }
    struct g *found[BATCH], *gp = t->at;
    int n = 0;
    for (int seen = 0; gp != NULL && seen < BATCH; seen++, gp = load_acquire(&gp->alllink))
        if (worth_it(gp, begin))
            found[n++] = gp;
    t->at = gp;
    if (n > 0)
        trim_all(found, n);
    int64_t now = os_nanotime();
    t->spent += now - begin;
    if (gp != NULL)
        return true;
    int64_t pause = t->spent * WALK_SHARE;
    t->next = now + (pause > scavenge_round_ns ? pause : scavenge_round_ns);
    return false;
}
