/* Memory that nobody uses goes back to the system: sysmon's part of it.
 *
 * Once a second, a round: what a P kept for itself (dead goroutines, small stacks) and did not use since the
 * last one goes where others find it: sysmon takes it from idle Ps, others do it themselves, on their way
 * through findRunnable; dead goroutines of which there were too many all the time since the last round are buried, with
 * the memory of their slots, or of a chunk of those whose stacks grow; so are small and large stacks (stackalloc_scavenge). What is used again within
 * a second or two is left alone: the next one wants it warm. Goroutines that are parked for long lose what
 * their slots have below the stack pointer (trim.c). A million goroutines that ended are
 * forgotten within five seconds.
 *
 * sysmon has other things to do: it does this for half a millisecond at a time, between which it looks after
 * Ps; longer while all are idle. */
#include "sched/sched_int.h"

#include "sched/morestack.h"
#include "sched/sanitizer.h"

/* Less than the second that sysmon sleeps while all is idle: each of those begins a round. */
int64_t scavenge_round_ns = 900000000;
enum { SLICE_NS = 500000, SLICE_IDLE_NS = 10000000, BATCH = 64 };

void p_scavenge_locked(struct p *pp)
{
    store_relaxed(&pp->scavenge, 0);
    /* embryos rely on the others */
    int spare = pp->gfree_n - (pp->embryos_pending > 0 ? pp->embryos_pending : 0);
    gfree_retire_locked(pp, spare < pp->gfree_low ? spare : pp->gfree_low);
    gsmall_retire_locked(pp, pp->gsmall_low);
    stackcache_clear(&pp->stackcache); /* filled again in a microsecond */
}

static void ask_ps(void)
{
    for (int i = 0, n = ps_len(); i < n; i++) {
        store_relaxed(&allp[i]->scavenge, 1); /* relaxed: now or a moment later */
        struct m *mp = load_relaxed(&allp[i]->m);
        if (mp != NULL) /* goroutines that switch to each other pass by findRunnable */
            or_relaxed(&mp->preempt, PREEMPT_SLICE);
    }
    lock(&sched.lock);
    for (struct p *pp = sched.pidle; pp != NULL; pp = pp->link)
        p_scavenge_locked(pp); /* nobody takes it off the list meanwhile */
    unlock(&sched.lock);
}

static void begin_round(struct scavenger *s)
{
    ask_ps();
    lock(&sched.lock);
    for (int class = 0; class < GFREE_LISTS; class ++) {
        struct gfreelist *l = &sched.gfree[class];
        s->excess[class] = l->low;
        l->low = l->n;
    }
    unlock(&sched.lock);
    stackalloc_scavenge();
}

/* False: there are none left to bury. */
static bool bury_some(struct scavenger *s)
{
    for (uint32_t class = 0; class < GFREE_LISTS; class ++) {
        if (s->excess[class] == 0)
            continue;
        uint32_t n =
            gs_bury(class, s->excess[class] < BATCH ? s->excess[class] : BATCH, &s->trimmer.at);
        s->excess[class] -= n;
        s->slots |= n > 0 && class != GFREE_SMALL;
        if (n == 0)
            s->excess[class] = 0; /* they are of use after all; or another round */
        return true;
    }
    return false;
}

/* False: nothing is left to do. */
static bool step(struct scavenger *s)
{
    /* TSan would take the next user of a stack for one that races with the former, whose fiber is gone. */
    if (!LOAM_TSAN && bury_some(s))
        return true;
    if (s->slots) /* when all are buried: whole slabs are cheaper */
        s->slots = slots_give_back();
    return s->slots || trim_parked(&s->trimmer);
}

bool scavenge(struct scavenger *s, int64_t now)
{
    if (now - s->last >= scavenge_round_ns) {
        s->last = now;
        begin_round(s);
    }
    bool more = step(s);
    while (more) {
        bool idle = load_relaxed(&sched.npidle) == (uint32_t)load_relaxed(&gomaxprocs);
        if (os_nanotime() - now >= (idle ? SLICE_IDLE_NS : SLICE_NS))
            break;
        more = step(s);
    }
    return more;
}
