/* Switching, parking, waking.
 *
 * A switch is: note in the M what the successor has to do for the goroutine that leaves (hook), save
 * and load registers, and on the other side do it (after_switch). The goroutine that leaves is
 * published - its channel's lock released, itself put on a queue or on the free list - only by that
 * hook, when its context is saved and its stack no longer in use. Hence:
 *
 *   Invariant: a G that another thread can find to make it runnable has its context in g->sched.
 *
 * The same goes for the status: it is waiting only when the context is saved, so that whoever claims a
 * waiting goroutine (claim.c) finds all of its stack at rest.
 *
 * The hook runs on the successor's stack, on the same thread: on g0, or, when a runnable goroutine is
 * at hand, on that goroutine's stack (a direct switch: no detour over g0, which would cost a second
 * switch). Either way the thread is the one that took the locks which the hook releases. A hook
 * needs at most STACK_SLACK bytes, with all that lies above it in the runtime (the gate `slack`): a new
 * goroutine's stack has them, and one that parked had them when it called the runtime.
 *
 * Why the release is enough on weak machines: the hook's unlock is a release after the stores of the
 * context, the waker's lock an acquire, and whoever resumes the goroutine got it from the waker
 * through a run queue (release/acquire).
 *
 * Who takes which stack: g0 is the thread's own stack and runs the scheduler's loop; everything else
 * runs on goroutines. Rejected: Go's mcall/systemstack with a function to run on g0 that never
 * returns: a loop that gets control back is easier to read, and to leave at shutdown. */
#include "sched/sched_int.h"

#include "sched/claim.h"
#include "sched/morestack.h"
#include "sched/sanitizer.h"

/* What a direct switch may not skip: a stop of the world, a request to preempt, timers. */
static always_inline bool must_schedule(struct m *mp, struct g *gp)
{
    return unlikely(gp->lockedm != NULL || debug.dst_on || load_relaxed(&sched.gcwaiting) != 0 ||
                    (load_relaxed(&mp->preempt) & ~(uint32_t)PREEMPT_RANDOM) != 0 ||
                    timers_due(mp->p));
}

/* The goroutine to switch to directly; NULL: the scheduler's loop shall decide, or run nextg. */
static always_inline struct g *successor(struct m *mp, struct g *gp, bool *inherit)
{
    if (must_schedule(mp, gp) || unlikely(time_to_look_global(mp->p)))
        return NULL;
    struct g *next = runqget(mp->p, inherit);
    if (next == NULL)
        return NULL;
    struct g *whole = next;
    if (is_embryo(next))
        whole = gbegin(mp, next, false);
    else if (unlikely(next->lockedm != NULL))
        whole = NULL;
    if (likely(whole != NULL))
        return whole;
    if (is_embryo(next)) {
        mp->nextg = next; /* the loop on g0 may sleep and map memory for it */
    } else {
        /* Not past this P's queue: a pair of which one is wired would keep that waiting for ever. */
        lock(&sched.lock);
        globrunqputhead_locked(next);
        unlock(&sched.lock);
    }
    return NULL;
}

static always_inline void start_running(struct m *mp, struct g *gp, bool inherit_time)
{
    struct p *pp = mp->p;
    mp->curg = gp;
    gp->m = mp;
    if (!inherit_time)
        count_owner(&pp->schedtick, 1);
    count_owner(&pp->schedules, 1);
    casgstatus(gp, G_runnable, G_running);
    claim_check(gp);
}

void after_switch(void)
{
    struct m *mp = getm();
    struct g *prev = mp->hook_g;
    if (prev != NULL) {
        mp->hook_g = NULL;
        sanitizer_hook_begin();
        mp->hook(mp, prev);
        sanitizer_hook_end();
    }
}

/* From the goroutine `from` of this M to `to`; returns when somebody switches back. */
static always_inline void gswitch(struct g *from, struct g *to, bool from_dies)
{
    sanitizer_before(from, to, from_dies);
    arch_switch(&from->sched, &to->sched);
    sanitizer_after(from);
}

static always_inline void leave(struct m *mp, struct g *gp, void (*hook)(struct m *, struct g *))
{
    mp->hook = hook;
    mp->hook_g = gp;
}

void gswitch_to_g0(struct m *mp, struct g *gp, void (*hook)(struct m *, struct g *))
{
    leave(mp, gp, hook);
    gp->m = NULL;
    mp->curg = NULL;
    gswitch(gp, &mp->g0, false);
    after_switch();
}

/* Like gswitch_to_g0, or to the next goroutine at once. */
static always_inline void gswitch_away(struct m *mp, struct g *gp,
                                       void (*hook)(struct m *, struct g *), bool dies)
{
    leave(mp, gp, hook);
    gp->m = NULL;
    bool inherit = false;
    struct g *next = successor(mp, gp, &inherit);
    if (likely(next != NULL)) {
        count_owner(&mp->direct, 1);
        traceev(EV_GoStart, trace_clock(), next->goid, ++next->traceseq);
        start_running(mp, next, inherit);
    } else {
        mp->curg = NULL;
        next = &mp->g0;
    }
    gswitch(gp, next, dies);
    after_switch();
}

void goexit_switch(struct m *mp, struct g *gp, void (*hook)(struct m *, struct g *))
{
    gswitch_away(mp, gp, hook, true);
}

/* On g0: runs gp until it switches back here, then does what it left to do. */
void execute(struct m *mp, struct g *gp, bool inherit_time)
{
    /* A request for the former goroutine's slice is granted by a new slice. Not cleared, it would send
     * every later yield and park of this thread over g0. */
    if (unlikely((load_relaxed(&mp->preempt) & PREEMPT_SLICE) != 0) && !inherit_time)
        and_relaxed(&mp->preempt, ~(uint32_t)PREEMPT_SLICE);
    traceev(EV_GoStart, trace_clock(), gp->goid, ++gp->traceseq);
    start_running(mp, gp, inherit_time);
    sanitizer_release(&mp->g0); /* its stack, to loam_on_thread_stack, and back */
    gswitch(&mp->g0, gp, false);
    sanitizer_acquire(&mp->g0);
    after_switch();
}

/* ---- Parking --------------------------------------------------------------------------------- */

noinline _Noreturn void cannot_switch(const char *what)
{
    (void)getg_or_die(what);
    throwf("%s was called inside %s", what, incall_text(getm()));
}

static void park_hook(struct m *mp, struct g *gp)
{
    bool (*unlockf)(struct g *, void *) = mp->hook_unlockf;
    casgstatus(gp, G_running, G_waiting);
    if (unlockf != NULL && !unlockf(gp, mp->hook_lock)) {
        /* what it waited for came in the meantime */
        casgstatus(gp, G_waiting, G_runnable);
        traceev(EV_GoUnblock, trace_clock(), gp->goid, ++gp->traceseq);
        runqput(mp->p, gp, true);
    }
}

void gopark(bool (*unlockf)(struct g *, void *), void *l, enum waitreason reason)
{
    struct m *mp = getm();
    struct g *gp = mp->curg;
    if (unlikely(gp == NULL || mp->incall != 0))
        cannot_switch("a function that waits");
    if (unlikely(gp->grown))
        morestack_trim(gp);
    gp->waitreason = (uint8_t)reason;
    /* relaxed: who looks does not depend on it */
    store_relaxed(&gp->waitsince, load_relaxed(&sched.coarse_now));
    traceev(EV_GoBlock, trace_clock(), gp->goid, reason);
    mp->hook_unlockf = unlockf;
    mp->hook_lock = l;
    gswitch_away(mp, gp, park_hook, false);
    sanitizer_acquire(gp); /* what the waker did before goready */
}

static bool park_unlock(struct g *gp, void *l)
{
    (void)gp;
    unlock(l);
    return true;
}

void goparkunlock(struct mutex *l, enum waitreason reason)
{
    sanitizer_release(l); /* the hook's unlock is not announced: it runs beside another goroutine */
    gopark(park_unlock, l, reason);
}

/* ---- Waking ---------------------------------------------------------------------------------- */

/* On a foreign thread, and in a blocking call. */
static noinline void ready_without_p(struct g *gp)
{
    if (os_forked())
        throw("a goroutine was made runnable in a forked child, which may only exec or _exit");
    lock(&sched.lock);
    globrunqput_locked(gp);
    unlock(&sched.lock);
    if (unlikely(debug.dst_on))
        poll_break(); /* the one thread may sleep with its P */
}

static always_inline void ready(struct g *gp, bool next)
{
    if (unlikely(load_relaxed(&gp->status) != G_waiting))
        throwf("goready: goroutine %lu is %s, not waiting", (unsigned long)gp->goid,
               gstatus_text(load_relaxed(&gp->status)));
    casgstatus(gp, G_waiting, G_runnable);
    traceev(EV_GoUnblock, trace_clock(), gp->goid, ++gp->traceseq);
    sanitizer_release(gp);
    struct m *mp = getm();
    struct p *pp = mp != NULL ? mp->p : NULL;
    if (likely(pp != NULL)) {
        if (likely(runqput(pp, gp, next))) {
            wakep_soft();
            return;
        }
    } else {
        ready_without_p(gp);
    }
    wakep();
}

void goready(struct g *gp)
{
    ready(gp, true);
}

void goready_tail(struct g *gp)
{
    ready(gp, false);
}

void goready_ahead(struct g *gp)
{
    if (unlikely(load_relaxed(&gp->status) != G_waiting))
        throwf("goready: goroutine %lu is %s, not waiting", (unsigned long)gp->goid,
               gstatus_text(load_relaxed(&gp->status)));
    casgstatus(gp, G_waiting, G_runnable);
    traceev(EV_GoUnblock, trace_clock(), gp->goid, ++gp->traceseq);
    sanitizer_release(gp);
    runqput_ahead(getm()->p, gp);
    wakep();
}

/* ---- Yielding -------------------------------------------------------------------------------- */

/* The status changes in the hooks, not before the switch: a G on a queue has its context saved. */
static void preempt_hook(struct m *mp, struct g *gp)
{
    (void)mp;
    casgstatus(gp, G_running, G_runnable);
    lock(&sched.lock);
    globrunqput_locked(gp);
    unlock(&sched.lock);
    /* An idle P may look at the global queue: this one is about to. */
    if (load_relaxed(&sched.npidle) != 0)
        wakep();
}

static void yield_hook(struct m *mp, struct g *gp)
{
    casgstatus(gp, G_running, G_runnable);
    runqput(mp->p, gp, false);
}

/* To the tail of this P's queue, not of the global one as in Go: no lock, and other Ps steal from
 * there as well. With nobody else waiting there is nothing to do at all. */
void gosched(void)
{
    struct m *mp = getm();
    struct g *gp = mp->curg;
    if (unlikely(mp->incall != 0))
        cannot_switch("a function that yields");
    if (must_schedule(mp, gp)) {
        traceev(EV_GoStop, trace_clock(), gp->goid, 0);
        gswitch_to_g0(mp, gp, preempt_hook);
        return;
    }
    bool inherit = false;
    struct g *next = successor(mp, gp, &inherit);
    if (next == NULL) {
        /* those in the global queue are others too: behind them */
        bool other = mp->nextg != NULL;
        if (other || load_relaxed(&sched.runqsize) != 0) {
            traceev(EV_GoStop, trace_clock(), gp->goid, 0);
            gswitch_to_g0(mp, gp, other ? yield_hook : preempt_hook);
        }
        return;
    }
    traceev(EV_GoStop, trace_clock(), gp->goid, 0);
    leave(mp, gp, yield_hook);
    gp->m = NULL;
    count_owner(&mp->direct, 1);
    traceev(EV_GoStart, trace_clock(), next->goid, ++next->traceseq);
    start_running(mp, next, inherit);
    gswitch(gp, next, false);
    after_switch();
}

/* Called by arch_async_preempt, which has saved all registers on the goroutine's stack; see copied.c. */
void preempt_copied(void)
{
    struct m *mp = getm();
    struct g *gp = mp->curg;
    const struct m *before = mp;
    /* relaxed: a request that comes between is one that is being granted */
    and_relaxed(&mp->preempt, (uint32_t)PREEMPT_RANDOM);
    count_owner(&mp->copies, 1);
    traceev(EV_GoStop, trace_clock(), gp->goid, 0);
    gswitch_to_g0(mp, gp, preempt_hook);
    mp = getm();
    if (mp != before)
        count_owner(&mp->moves, 1);
}

noinline void preempt_slow(struct m *mp)
{
    uint32_t why = load_relaxed(&mp->preempt);
    if (mp->curg == NULL || mp->p == NULL || mp->incall || locks_held() != 0)
        return;
    if (why == PREEMPT_RANDOM && choose(4) != 0)
        return;
    /* relaxed: a request that comes between is one that is being granted */
    store_relaxed(&mp->preempt, why & PREEMPT_RANDOM);
    traceev(EV_GoStop, trace_clock(), mp->curg->goid, 0);
    gswitch_to_g0(mp, mp->curg, preempt_hook);
}
