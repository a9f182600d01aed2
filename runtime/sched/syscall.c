/* Blocking calls: the P goes to others while a goroutine blocks its thread.
 *
 * entersyscall leaves the P behind in P_syscall: the M may take it back by one CAS when the call was
 * short; anyone else may take it by the same CAS: sysmon, when the call lasts (retake), or who stops
 * the world. exitsyscall without its P looks for an idle one, else queues the goroutine and sleeps.
 *
 * Against a stop of the world (store-load on both sides, hence seqcst): the M stores P_syscall, then
 * looks at gcwaiting; the stopper stores gcwaiting, then looks for P_syscall. One of them sees the
 * other, and the CAS decides who counts the P as stopped.
 *
 * In a seeded run there is one thread: the call only puts its P aside and takes it again. */
#include "sched/sched_int.h"

#include <errno.h>

#include <loam.h>

noinline static void entersyscall_gcwait(struct p *pp)
{
    lock(&sched.lock);
    if (sched.stopwait > 0 && caspstatus(pp, P_syscall, P_gcstop)) {
        if (--sched.stopwait == 0)
            notewakeup(&sched.stopnote);
    }
    unlock(&sched.lock);
}

void entersyscall(void)
{
    struct m *mp = getm();
    struct g *gp = mp->curg;
    if (unlikely(mp->incall != 0)) {
        if (mp->incall == INCALL_BLOCKING)
            fatal("loam_blocking_enter: already in a blocking call");
        cannot_switch("loam_blocking_enter");
    }
    mp->incall = INCALL_BLOCKING;
    struct p *pp = mp->p;
    traceev(EV_GoSyscallBegin, trace_clock(), gp->goid, ++pp->traceseq);
    casgstatus(gp, G_running, G_syscall);
    mp->oldp = pp;
    mp->p = NULL;
    if (unlikely(debug.dst_on))
        return;
    count_owner(&pp->syscalltick, 1);
    store_relaxed(&pp->m, NULL);
    count_edge(EDGE_P_running_syscall);
    store_seqcst(&pp->status, P_syscall); /* see the head; from here on it may be taken */
    if (unlikely(load_seqcst(&sched.gcwaiting)))
        entersyscall_gcwait(pp);
    if (unlikely(load_relaxed(&sched.sysmonwait)))
        sysmon_wake();
}

bool exitsyscall_try_idle(struct m *mp)
{
    lock(&sched.lock);
    struct p *pp = load_relaxed(&sched.gcwaiting) ? NULL : pidleget_locked();
    unlock(&sched.lock);
    if (pp == NULL)
        return false;
    acquirep(mp, pp);
    return true;
}

/* On g0: no P. Queue the goroutine; schedule() then finds a P for this M, or sleeps. */
static void exitsyscall0(struct m *mp, struct g *gp)
{
    casgstatus(gp, G_syscall, G_runnable);
    traceev(EV_GoSyscallEndBlocked, trace_clock(), gp->goid, 0);
    lock(&sched.lock);
    globrunqput_locked(gp);
    struct p *pp = load_relaxed(&sched.gcwaiting) ? NULL : pidleget_locked();
    unlock(&sched.lock);
    if (pp != NULL)
        acquirep(mp, pp);
}

void exitsyscall(void)
{
    struct m *mp = getm();
    struct g *gp = mp->curg;
    if (unlikely(mp->incall != INCALL_BLOCKING)) {
        if (mp->incall == 0)
            fatal("loam_blocking_leave: not in a blocking call");
        cannot_switch("loam_blocking_leave");
    }
    mp->incall = 0;
    struct p *pp = mp->oldp;
    mp->oldp = NULL;
    if (unlikely(debug.dst_on)) {
        mp->p = pp;
        casgstatus(gp, G_syscall, G_running);
        traceev(EV_GoSyscallEnd, trace_clock(), gp->goid, 0);
        preempt_point(mp);
        return;
    }
    /* shared edge: sysmon and stoppers try too; acquire sees what they did with it in between */
    if (likely(caspstatus(pp, P_syscall, P_running))) {
        mp->p = pp;
        store_relaxed(&pp->m, mp);
        count_owner(&pp->syscalltick, 1);
    } else if (!exitsyscall_try_idle(mp)) {
        gswitch_to_g0(mp, gp, exitsyscall0);
        return;
    }
    casgstatus(gp, G_syscall, G_running);
    traceev(EV_GoSyscallEnd, trace_clock(), gp->goid, 0);
    preempt_point(mp);
}

void loam_blocking_enter(void)
{
    if (getg() != NULL)
        entersyscall();
}

void loam_blocking_leave(void)
{
    if (getg() == NULL)
        return;
    int saved = *loam_errno_location();
    exitsyscall();
    *loam_errno_location() = saved; /* of the thread that we are on now */
}

void loam_blocking(void (*fn)(void *), void *arg)
{
    loam_blocking_enter();
    fn(arg);
    loam_blocking_leave();
}

const char *incall_text(const struct m *mp)
{
    return mp->incall & INCALL_THREAD_STACK ? "loam_on_thread_stack" : "loam_blocking";
}

/* ---- Goroutines wired to their thread --------------------------------------------------------- */

void loam_lock_os_thread(void)
{
    struct g *gp = getg_or_die("loam_lock_os_thread");
    struct m *mp = gp->m;
    gp->locked++;
    gp->lockedm = mp;
    mp->lockedg = gp;
}

void loam_unlock_os_thread(void)
{
    struct g *gp = getg_or_die("loam_unlock_os_thread");
    if (gp->locked == 0 || --gp->locked > 0)
        return;
    gp->m->lockedg = NULL;
    gp->lockedm = NULL;
}
