/* Ms: threads, their idle list, and how Ps pass between them.
 *
 * An idle M sleeps on its own note; whoever takes it off the idle list (under sched.lock) is the one
 * that wakes it, after storing the P it is to take in nextp. Threads are never ended before shutdown,
 * except those whose wired goroutine ended. */
#include "sched/sched_int.h"

#include "base/print.h"
#include "base/rand.h"
#include "os/os.h"
#include "sched/morestack.h"
#include "sched/needs.h"
#include "sched/sanitizer.h"

#include <errno.h>
#include <string.h>

static void mstart(void *arg);

static void count_thread_locked(void)
{
    if (++sched.mcount <= sched.maxmcount)
        return;
    int max = sched.maxmcount;
    unlock(&sched.lock);
    throwf("thread exhaustion: the program exceeds the limit of %d threads "
           "(max_threads of struct loam_config)",
           max);
}

/* An M whose thread has ended, as good as new; NULL: none. Its counters go on. One that has left but
 * still runs destructors of the program's thread-specific data, which may take any time, is left. */
static struct m *m_again(void)
{
    /* Joined without the lock: libc may have to wait for one of its own (maker.c). */
    lock(&sched.lock);
    struct m *dead = sched.mdead;
    sched.mdead = NULL;
    unlock(&sched.lock);
    /* A thread may have lived and left before its maker has gone on, who would then give the next one
     * the handle of this one. acquire: the maker's store comes before ours. */
    struct m **link = &dead;
    while (*link != NULL && (load_acquire(&(*link)->being_made) ||
                             ((*link)->handle != 0 && !os_thread_try_join((*link)->handle))))
        link = &(*link)->schedlink;
    struct m *mp = *link;
    if (mp != NULL)
        *link = mp->schedlink;
    lock(&sched.lock);
    while (dead != NULL) {
        struct m *next = dead->schedlink;
        dead->schedlink = sched.mdead;
        sched.mdead = dead;
        dead = next;
    }
    if (mp != NULL)
        count_thread_locked();
    unlock(&sched.lock);
    if (mp == NULL)
        return NULL;
    mp->handle = 0;
    mp->schedlink = NULL;
    mp->hook_g = NULL;
    mp->nextp = mp->oldp = NULL;
    mp->nextg = NULL;
    mp->lockedg = NULL;
    mp->spinning = mp->blocked = mp->idlelocked = false;
    mp->incall = 0;
    store_relaxed(&mp->sig_caught, 0);
    store_relaxed(&mp->async, 0);
    store_relaxed(&mp->leave, 0);
    noteclear(&mp->park);
    return mp;
}

struct m *m_new(void)
{
    struct m *again = m_again();
    if (again != NULL)
        return again;
    /* In a forked child the thread that called fork finds its M empty, itself on no goroutine. */
    struct m *mp = os_mem_map_wiped_on_fork(sizeof *mp);
    if (mp == NULL)
        return NULL;
    rand_seed(mp->thread.rand, (uint64_t)os_nanotime() ^ (uintptr_t)mp);
    mp->g0.m = mp;
    mp->thread.g0 = &mp->g0.sched;
    lock(&sched.lock);
    mp->id = sched.mnext++;
    count_thread_locked();
    mp->alllink = allm;
    store_release(&allm, mp); /* release: readers without the lock see a whole M */
    unlock(&sched.lock);
    return mp;
}

void m_free(struct m *mp)
{
    os_mem_unmap(mp, sizeof *mp);
}

/* On its own thread, before it schedules. */
void m_begin(struct m *mp)
{
    thread_set(&mp->thread);
    mp->tid = os_gettid();
    mp->altstack = os_altstack_set(&mp->altstack_size);
    if (mp->altstack == NULL && stacks_grow() && !os_altstack_is_set())
        throwf("no memory for a thread's signal stack"); /* handlers would run on 2 KB */
    os_thread_stack(&mp->g0.stack.lo, &mp->g0.stack.hi);
    mp->former_slack = os_timer_slack(1);
    sanitizer_g0_new(&mp->g0);
    store_relaxed(&mp->preempt, debug.dst_on || LOAM_TORTURE ? PREEMPT_RANDOM : 0);
    store_release(&mp->alive, 1);
}

void m_end(struct m *mp, bool own_thread)
{
    store_release(&mp->alive, 0);
    bigs_release(mp);
    os_altstack_clear(mp->altstack, mp->altstack_size);
    if (!own_thread)
        os_timer_slack(mp->former_slack);
    thread_set(NULL);
}

static void bury_locked(struct m *mp)
{
    sched.mcount--;
    mp->schedlink = sched.mdead; /* m_new joins its thread and takes it again */
    sched.mdead = mp;
}

/* An M leaves before shutdown: its wired goroutine ended on it. */
static void m_retire(struct m *mp)
{
    lock(&sched.lock);
    bury_locked(mp);
    checkdead_locked();
    unlock(&sched.lock);
}

static void mstart(void *arg)
{
    struct m *mp = arg;
    m_begin(mp);
    if (mp->nextp != NULL) {
        struct p *pp = mp->nextp;
        mp->nextp = NULL;
        acquirep(mp, pp);
    } else {
        m_arrive(mp);
    }
    schedule(mp);
    if (!load_relaxed(&sched.leaving))
        m_retire(mp);
    m_end(mp, true);
}

/* Makes an M and its thread; 0 or -errno. On failure the M stays on allm, for the next. */
int newm_try(struct p *pp, bool spinning)
{
    struct m *mp = m_new();
    if (mp == NULL)
        return -ENOMEM;
    mp->nextp = pp;
    mp->spinning = spinning;
    char name[16];
    print_buf(name, sizeof name, "loam-m%d", mp->id);
    store_relaxed(&mp->being_made, 1);
    int err = os_thread_start(mstart, mp, name, 0, &sched.mask, &mp->handle);
    store_release(&mp->being_made, 0); /* m_again */
    if (err != 0) {
        mp->handle = 0;
        lock(&sched.lock);
        bury_locked(mp);
        unlock(&sched.lock);
    }
    return err;
}

_Noreturn void newm_failed(int err)
{
    throwf("failed to create new OS thread (have %d already): %s; ulimit -u or the cgroup's "
           "pids.max may be the limit",
           sched.mcount, strerror(-err));
}

struct newm {
    struct p *pp;
    bool spinning;
};

static void newm_there(void *p)
{
    const struct newm *n = p;
    int err = newm_try(n->pp, n->spinning);
    if (err != 0)
        newm_failed(err);
}

static noinline void newm(struct p *pp, bool spinning)
{
    struct newm n = {.pp = pp, .spinning = spinning};
    systemstack(newm_there, &n);
}

/* The first M of an embedded runtime, without a P: a system that has no thread for it is an error
 * of the start, not of the first goroutine, which could only die of it. */
int newm_first(void)
{
    sched.coming++; /* nobody else is there yet */
    int err = newm_try(NULL, false);
    if (err != 0)
        return error_note(err,
                          "cannot start a thread: %s; ulimit -u, ulimit -v or the cgroup's "
                          "pids.max may be the limit",
                          strerror(-err));
    return 0;
}

/* The lock, which is given back. No M is idle: see maker.c. */
static void startm_later(struct p *pp, bool spinning)
{
    struct m *lent = NULL;
    int64_t when = 0;
    if (load_relaxed(&sched.gcwaiting)) { /* the start that follows will see to what there is */
        caspstatus(pp, P_idle, P_gcstop);
        if (--sched.stopwait == 0)
            notewakeup(&sched.stopnote);
    } else {
        struct g *held = heldqget_locked();
        if (held != NULL) {
            lent = held->lockedm;
            lend_locked(pp, lent);
        } else {
            runqdrain_locked(pp);
            when = load_seqcst(&pp->timers_when);
            pidleput_locked(pp);
        }
        order_m_locked();
    }
    if (spinning && (int32_t)add_seqcst(&sched.nmspinning, -1u) < 0)
        throw("startm: negative nmspinning");
    unlock(&sched.lock);
    if (lent != NULL)
        notewakeup(&lent->park);
    /* Who sleeps for timers takes these in; with nobody the new M will. */
    if (when != 0 && load_seqcst(&sched.lastpoll) == 0)
        poll_break();
}

/* Gives pp to an idle or new M. spinning: the caller has counted it in nmspinning. */
void startm(struct p *pp, bool spinning)
{
    if (os_forked())
        throw("a thread was to be started in a forked child, which may only exec or _exit");
    lock(&sched.lock);
    struct m *mp = sched.midle;
    if (mp == NULL) {
        if (maker_on()) {
            startm_later(pp, spinning);
        } else {
            unlock(&sched.lock);
            newm(pp, spinning);
        }
        return;
    }
    sched.midle = mp->schedlink;
    sched.nmidle--;
    unlock(&sched.lock);
    if (mp->spinning || mp->nextp != NULL)
        throw("startm: m has p or is spinning");
    mp->spinning = spinning;
    mp->nextp = pp;
    notewakeup(&mp->park);
}

/* looks: for so many microseconds before it sleeps. */
static bool mpark(struct m *mp, uint32_t looks)
{
    enum { NUDGED_US = 50 }; /* preempt.c: how long the signal may take that a nudge goes with */
    mp->blocked = true;
    notesleep_looking(&mp->park, looks * sched.ticks_per_us, NUDGED_US * sched.ticks_per_us);
    mp->blocked = false;
    noteclear(&mp->park);
    if (mp->nextp != NULL) {
        struct p *pp = mp->nextp;
        mp->nextp = NULL;
        acquirep(mp, pp);
        return true;
    }
    return false; /* told to leave */
}

bool stopm(struct m *mp)
{
    lock(&sched.lock);
    if (load_relaxed(&sched.leaving) || load_relaxed(&mp->leave)) {
        unlock(&sched.lock);
        return false;
    }
    mp->schedlink = sched.midle;
    sched.midle = mp;
    sched.nmidle++;
    checkdead_locked();
    unlock(&sched.lock);
    return mpark(mp, 0);
}

/* ---- Ps --------------------------------------------------------------------------------------- */

void pidleput_locked(struct p *pp)
{
    pp->link = sched.pidle;
    sched.pidle = pp;
    add_seqcst(&sched.npidle, 1); /* proc.c, (a) */
}

struct p *pidleget_locked(void)
{
    struct p *pp = sched.pidle;
    if (pp == NULL)
        return NULL;
    sched.pidle = pp->link;
    pp->link = NULL;
    add_seqcst(&sched.npidle, -1u);
    if (unlikely(load_relaxed(&sched.sysmonwait)))
        sysmon_wake();
    return pp;
}

void acquirep(struct m *mp, struct p *pp)
{
    caspstatus(pp, P_idle, P_running);
    mp->p = pp;
    store_relaxed(&pp->m, mp); /* sysmon reads it; Ms stay valid */
    traceev(EV_ProcStart, trace_clock(), (uint64_t)pp->id, ++pp->traceseq);
}

struct p *releasep(struct m *mp)
{
    struct p *pp = mp->p;
    traceev(EV_ProcStop, trace_clock(), (uint64_t)pp->id, 0);
    mp->p = NULL;
    store_relaxed(&pp->m, NULL);
    caspstatus(pp, P_running, P_idle);
    return pp;
}

/* True if a thread got the P, because there may be work. */
static bool handoffp_to_thread(struct p *pp)
{
    if (!runqempty(pp) || load_relaxed(&sched.runqsize) != 0) {
        startm(pp, false);
        return true;
    }
    /* Nobody spins and nobody is idle: there may be work that only we could look for. */
    if (load_seqcst(&sched.nmspinning) + load_seqcst(&sched.npidle) == 0 &&
        cas_seqcst(&sched.nmspinning, 0, 1)) {
        startm(pp, true);
        return true;
    }
    return false;
}

/* Passes on a P whose M left it: to a thread if there may be work, else to the idle list. */
void handoffp(struct p *pp)
{
    /* A seeded run ends with main: another thread would run goroutines until the stop halts it, and
     * how far it gets is chance. */
    bool over = debug.dst_on && load_relaxed(&sched.main_done);
    if (!over && handoffp_to_thread(pp))
        return;
    lock(&sched.lock);
    if (load_relaxed(&sched.gcwaiting)) {
        caspstatus(pp, P_idle, P_gcstop);
        if (--sched.stopwait == 0)
            notewakeup(&sched.stopnote);
        unlock(&sched.lock);
        return;
    }
    if (!over && sched.runqsize != 0) {
        unlock(&sched.lock);
        startm(pp, false);
        return;
    }
    int64_t when = load_seqcst(&pp->timers_when);
    pidleput_locked(pp);
    unlock(&sched.lock);
    if (when != 0 && !over)
        wake_for_timer(when);
}

void stopp_locked(struct m *mp)
{
    struct p *pp = mp->p;
    traceev(EV_ProcStop, trace_clock(), (uint64_t)pp->id, 0);
    mp->p = NULL;
    store_relaxed(&pp->m, NULL);
    caspstatus(pp, P_running, P_gcstop);
    if (--sched.stopwait == 0)
        notewakeup(&sched.stopnote);
}

/* Stops this M for a stop of the world. False: leave. */
bool gcstopm(struct m *mp)
{
    if (mp->spinning) {
        mp->spinning = false;
        if ((int32_t)add_seqcst(&sched.nmspinning, -1u) < 0)
            throw("gcstopm: negative nmspinning");
    }
    lock(&sched.lock);
    if (!load_relaxed(&sched.gcwaiting)) {
        unlock(&sched.lock);
        return true; /* over already */
    }
    stopp_locked(mp);
    unlock(&sched.lock);
    return stopm(mp);
}

/* ---- Wired goroutines ---------------------------------------------------------------------------
 *
 * Those of loam_lock_os_thread, and those that a signal holds with their thread (preempt.c).
 *
 * A wired goroutine may be made runnable, and found, while its M is still on its way to sleep. So
 * startlockedm leaves the P in nextp, under sched.lock, and stoplockedm looks there first; idlelocked
 * says that the M sleeps without a P, and whoever clears it wakes it. */

/* The M of a wired goroutine sleeps until that one is runnable. False: leave. */
bool stoplockedm(struct m *mp)
{
    if (mp->p != NULL)
        handoffp(releasep(mp));
    lock(&sched.lock);
    if (mp->nextp == NULL) {
        if (load_relaxed(&sched.leaving) || (load_relaxed(&mp->leave) && !mp->held)) {
            unlock(&sched.lock);
            return false;
        }
        mp->idlelocked = true;
        sched.nmidlelocked++;
        checkdead_locked();
    }
    unlock(&sched.lock);
    return mpark(mp, mp->held ? mp->hold_looks : 0);
}

void lend_locked(struct p *pp, struct m *other)
{
    if (other->idlelocked) {
        other->idlelocked = false;
        sched.nmidlelocked--;
    }
    other->nextp = pp;
}

/* Lends our P to the M of a wired goroutine. False: leave. */
bool startlockedm(struct m *mp, struct g *gp)
{
    struct m *other = gp->lockedm;
    lock(&sched.lock);
    if (load_relaxed(&other->leave) && !load_relaxed(&other->held)) {
        /* the end of loam_run: its thread has left, what is wired to it is abandoned */
        unlock(&sched.lock);
        return true;
    }
    lend_locked(releasep(mp), other);
    unlock(&sched.lock);
    notewakeup(&other->park);
    return stopm(mp);
}
