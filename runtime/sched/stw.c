/* Stopping the world, and changing the number of Ps.
 *
 * The stopper sets gcwaiting and asks every running M into the scheduler (preempt); a running M
 * halts its P at its next call into the runtime, Ps of blocking calls and idle Ps are taken at once.
 * stopwait counts those that are left, under sched.lock; the last one sets stopnote. One stop at a
 * time (stw_busy). The stopper's own P, if it has one, counts as stopped but stays with its M.
 *
 * Who has not come after a millisecond gets a signal, which takes its P (preempt.c). Not for the end of
 * the runtime: what is held so cannot be abandoned, and counts as running.
 *
 * It may be called on a goroutine, on a foreign thread and on sysmon's. */
#include "sched/sched_int.h"

#include "os/os.h"
#include "sched/morestack.h"
#include "sched/needs.h"

#include <errno.h>
#include <string.h>

#include <loam.h>

struct p *allp[MAX_PROCS];
int ps_made;

enum { SIGNAL_AFTER_NS = 1000000 };

void preempt_all(void)
{
    for (struct m *mp = load_acquire(&allm); mp != NULL; mp = mp->alllink)
        or_relaxed(&mp->preempt, PREEMPT_STOP);
}

/* False: not before the deadline, or a foreign thread that would wait for the end of the runtime. */
static bool take_turn(int64_t deadline)
{
    if (getm() != NULL && (getm()->incall & INCALL_THREAD_STACK))
        cannot_switch("a function that stops the world"); /* always, not only when it has to wait */
    while (!cas_acquire(&sched.stw_busy, 0, 1)) {         /* acquire: the former stop is over */
        struct m *mp = getm();
        if (mp != NULL && mp->p != NULL) { /* not so within loam_blocking */
            gosched();                     /* and be stopped */
            continue;
        }
        if (!sched_alive() || (deadline != INT64_MAX && os_nanotime() >= deadline))
            return false;
        os_usleep(50);
    }
    return true;
}

/* True when all Ps have stopped; false after timeout_ns (< 0: never), with gcwaiting still set. */
static bool stop(enum stw_kind kind, int64_t timeout_ns)
{
    struct m *mp = getm();
    traceev(EV_STWBegin, trace_clock(), kind, 0);
    lock(&sched.lock);
    noteclear(&sched.stopnote);
    sched.stopwait = gomaxprocs;
    store_seqcst(&sched.gcwaiting, 1); /* syscall.c's head */
    preempt_all();
    if (mp != NULL && mp->p != NULL) {
        caspstatus(mp->p, P_running, P_gcstop);
        sched.stopwait--;
    }
    for (int i = 0; i < gomaxprocs; i++)
        if (load_seqcst(&allp[i]->status) == P_syscall &&
            caspstatus(allp[i], P_syscall, P_gcstop)) {
            traceev(EV_ProcSteal, trace_clock(), (uint64_t)i, ++allp[i]->traceseq);
            sched.stopwait--;
        }
    for (struct p *pp; (pp = pidleget_locked()) != NULL;) {
        caspstatus(pp, P_idle, P_gcstop);
        sched.stopwait--;
    }
    bool wait = sched.stopwait > 0;
    unlock(&sched.lock);
    if (debug.dst_on)
        poll_break(); /* its one thread may sleep with its P */
    int64_t deadline = os_deadline(timeout_ns), asked = os_nanotime();
    while (wait && !notetsleep(&sched.stopnote, 100000)) {
        if (os_nanotime() >= deadline)
            return false;
        preempt_all(); /* an M that took a P since has missed the first call */
        if (kind != STW_SHUTDOWN && os_nanotime() - asked >= SIGNAL_AFTER_NS) {
            asked = os_nanotime();
            preempt_all_by_signal();
        }
    }
    add_relaxed(&sched.stws, 1); /* a statistic */
    return true;
}

/* sched.lock. Every stopped P is idle again; those with work are returned as a list by link. */
static struct p *release_stopped(struct p *keep)
{
    struct p *busy = NULL;
    for (int i = gomaxprocs - 1; i >= 0; i--) {
        struct p *pp = allp[i];
        if (pp == keep || load_relaxed(&pp->status) != P_gcstop)
            continue;
        caspstatus(pp, P_gcstop, P_idle);
        if (runqempty(pp)) {
            pidleput_locked(pp);
        } else {
            pp->link = busy;
            busy = pp;
        }
    }
    return busy;
}

static void start(void)
{
    struct m *mp = getm();
    for (struct m *m2 = load_acquire(&allm); m2 != NULL; m2 = m2->alllink)
        and_relaxed(&m2->preempt, ~(uint32_t)PREEMPT_STOP);
    lock(&sched.lock);
    struct p *keep = mp != NULL ? mp->p : NULL;
    if (keep != NULL)
        caspstatus(keep, P_gcstop, P_running);
    sched.stopwait = 0;
    store_seqcst(&sched.gcwaiting, 0);
    struct p *busy = release_stopped(keep);
    unlock(&sched.lock);
    traceev(EV_STWEnd, trace_clock(), 0, 0);
    sysmon_wake();
    for (struct p *next; busy != NULL; busy = next) {
        next = busy->link;
        busy->link = NULL;
        startm(busy, false);
    }
    wakep(); /* the global queue, or timers, may want somebody */
    store_release(&sched.stw_busy, 0);
}

void stopTheWorld(enum stw_kind kind)
{
    if (!take_turn(INT64_MAX))
        throw("stopTheWorld: on a foreign thread, after the end of the runtime");
    (void)stop(kind, -1);
}

enum stw_result stopTheWorldFor(enum stw_kind kind, int64_t timeout_ns)
{
    if (!take_turn(os_deadline(timeout_ns)))
        return STW_NO_TURN;
    return stop(kind, timeout_ns) ? STW_STOPPED : STW_LATE;
}

void startTheWorld(void)
{
    start();
}

static bool any_in_call(void)
{
    for (struct m *mp = load_acquire(&allm); mp != NULL; mp = mp->alllink) {
        struct g *gp = load_relaxed(&mp->curg);
        if (gp != NULL && load_acquire(&gp->status) == G_syscall)
            return true;
    }
    return false;
}

/* The world is stopped: lets calls that are about to end do so. They cannot get a P and give their
 * goroutines up. True: there is none left. */
static bool calls_drained(void)
{
    for (int i = 0; i < 40; i++) {
        if (!any_in_call())
            return true;
        os_usleep(25);
    }
    return false;
}

bool stop_for_shutdown(int64_t timeout_ns)
{
    int64_t deadline = os_deadline(timeout_ns);
    for (unsigned us = 200;; us = us < 5000 ? 2 * us : us) {
        if (!take_turn(deadline))
            return false; /* somebody stops the world and waits for an endless loop */
        int64_t left = timeout_ns < 0 ? -1 : deadline - os_nanotime();
        if (timeout_ns >= 0 && left < 0)
            left = 0; /* below 0 is for ever */
        if (stop(STW_SHUTDOWN, left) && calls_drained() && load_seqcst(&sched.held) == 0)
            return true;
        start();
        left = deadline - os_nanotime();
        if (left <= 0)
            return false;
        os_usleep(left < us * INT64_C(1000) ? (unsigned)(left / 1000) + 1 : us);
    }
}

/* ---- Number of Ps ------------------------------------------------------------------------------ */

static int p_make(int id)
{
    struct p *pp = os_mem_map(sizeof *pp, "loam p");
    if (pp == NULL)
        return -ENOMEM;
    pp->id = id;
    pp->status = P_gcstop;
    int err = timers_init_p(pp);
    if (err != 0) {
        os_mem_unmap(pp, sizeof *pp);
        return err;
    }
    allp[id] = pp;
    store_release(&ps_made, id + 1); /* see ps_len */
    return 0;
}

/* The world is stopped. Everything of this P's goes where others find it. */
static void p_retire(struct p *pp)
{
    lock(&sched.lock);
    runqdrain_locked(pp);
    gfree_retire_locked(pp, pp->gfree_n);
    while (pp->embryos != NULL) {
        struct g *embryo = pp->embryos;
        pp->embryos = embryo->schedlink;
        embryo->schedlink = sched.embryos;
        store_relaxed(&sched.embryos, embryo);
    }
    pp->embryos_n = pp->embryos_pending = 0;
    gsmall_retire_locked(pp, pp->gsmall_n);
    unlock(&sched.lock);
    stackcache_clear(&pp->stackcache);
    timers_fini_p(pp, allp[0]);
    caspstatus(pp, P_gcstop, P_dead);
}

/* The world is stopped, or not started yet. Returns -errno if not all could be made. */
static int procresize(int n)
{
    int err = 0;
    for (int i = gomaxprocs; i < n; i++) {
        if (i < ps_made) {
            err = timers_init_p(allp[i]);
            if (err == 0)
                caspstatus(allp[i], P_dead, P_gcstop);
        } else {
            err = p_make(i);
        }
        if (err != 0) {
            n = i;
            break;
        }
    }
    int former = gomaxprocs;
    struct m *mp = getm();
    struct p *mine = mp != NULL ? mp->p : NULL;
    if (mine != NULL && mine->id >= n) {
        /* this thread's P goes: it takes the first one, which is stopped like all */
        store_relaxed(&mine->m, NULL);
        mp->p = allp[0];
        store_relaxed(&allp[0]->m, mp);
    }
    for (int i = n; i < former; i++)
        p_retire(allp[i]);
    store_relaxed(&gomaxprocs, n);
    traceev(EV_ProcsChange, trace_clock(), (uint64_t)n, 0);
    return err;
}

int procresize_start(int n)
{
    gomaxprocs = 0;
    int err = procresize(n);
    if (err != 0)
        return err;
    lock(&sched.lock);
    (void)release_stopped(NULL);
    unlock(&sched.lock);
    return 0;
}

void ps_free(void)
{
    for (int i = 0; i < ps_made; i++) {
        if (i < gomaxprocs)
            timers_fini_p(allp[i], NULL);
        os_mem_unmap(allp[i], sizeof *allp[i]);
        allp[i] = NULL;
    }
    ps_made = 0;
    gomaxprocs = 0;
}

static int set_maxprocs(int n)
{
    int former = load_relaxed(&gomaxprocs);
    if (n > MAX_PROCS)
        n = MAX_PROCS;
    if (n < 1 || debug.dst_on)
        return former;
    store_relaxed(&sched.maxprocs_fixed, true);
    if (n == former)
        return former;
    if (!take_turn(INT64_MAX))
        return 0; /* the runtime ends */
    (void)stop(STW_GOMAXPROCS, -1);
    former = gomaxprocs;
    (void)procresize(n); /* as many as memory allows */
    start();
    return former;
}

int loam_gomaxprocs(int n)
{
    if (!visit_begin())
        return 0;
    int former = set_maxprocs(n);
    visit_end();
    return former;
}

/* sysmon: the system allows another number of CPUs. A goroutine that never calls the runtime must not
 * halt the others for good because of that, nor sysmon, for whose end a stop waits: then another time. */
void maxprocs_follow(int n)
{
    enum { PATIENCE_NS = 10000000 };
    if (!take_turn(os_nanotime() + PATIENCE_NS))
        return;
    if (stop(STW_GOMAXPROCS, PATIENCE_NS) && !load_relaxed(&sched.maxprocs_fixed))
        (void)procresize(n);
    start();
}
