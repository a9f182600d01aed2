/* The scheduler's loop: schedule, findRunnable.
 *
 * How a goroutine gets to run:
 *  1. schedule, on a thread's own stack (g0), asks findRunnable for a G and executes it; when that G
 *     parks, yields or ends without a successor at hand, control comes back here.
 *  2. findRunnable looks, in this order: timers that are due; every SCHED_TICK_GLOBAL-th time the
 *     global queue (a pair of goroutines that wake each other would keep it waiting for ever); the
 *     P's own queue; the global queue; other Ps' queues and timers, in random order.
 *  3. With nothing found it gives its P back and sleeps: one M until the earliest timer, the others
 *     until somebody needs them.
 *
 * No lost wake-up. Threads that look for work without having any are "spinning"; at most half as
 * many spin as Ps are busy. Whoever makes work visible wakes one thread only if none spins (wakep).
 * So the last spinning thread must not overlook work: it (a) gives up spinning by an atomic
 * decrement, (b) then looks at all queues again, and only then sleeps. The maker of work (c) makes it
 * visible, (d) then looks whether nobody spins and a P is idle. All four are sequentially consistent:
 * either (d) comes after (a) and a thread is woken, or (a) comes after (d), thus (b) after (c), and
 * the sleeper finds the work. A thread that stops spinning because it found work wakes another
 * (resetspinning), for there may be more where that came from. If (b) or (d) finds work but no idle P,
 * needspinning asks the next thread that is about to give its P back to search once more with it.
 * test/litmus models this.
 *
 * One case is milder: a goroutine that is the only one queued, in runnext (wakep_soft). Mostly the one
 * that made it ready parks within a microsecond and the P runs it itself; a thread woken for it finds
 * nothing and sleeps again, which at full speed of two goroutines that talk to each other doubled the
 * cost of a round trip. So after a search that found nothing such wake-ups are spaced, up to half a
 * millisecond; one that found something ends that. What is skipped is not lost: the owner runs it,
 * or sysmon, which looks at least every millisecond, wakes a thread for it.
 *
 * The same for a P that is given back with the global queue (under sched.lock) and for timers: who
 * adds an earlier timer looks at lastpoll and poll_until after publishing timers_when; the M that
 * goes to sleep publishes poll_until before it looks at all timers_when again.
 *
 * Rejected: waking a thread for every new goroutine (thrashes); one idle thread that always spins
 * (burns a core); a lock around everything (does not scale). */
#include "sched/sched_int.h"

#include "os/os.h"
#include "sched/needs.h"

struct schedt sched = {.lock = MUTEX_INIT(sched)};
struct m *allm;
int gomaxprocs;

bool time_to_look_global(struct p *pp)
{
    return load_relaxed(&pp->schedtick) % SCHED_TICK_GLOBAL == 0 &&
           load_relaxed(&sched.runqsize) != 0;
}

/* Reading the clock costs as much as a switch; timers late by a few microseconds are on time. */
enum { US_BETWEEN_CLOCKS = 2 };

bool timers_due(struct p *pp)
{
    int64_t when = load_relaxed(&pp->timers_when);
    if (likely(when == 0))
        return false;
    if (debug.dst_on)
        return when <= nanotime();
    uint64_t ticks = arch_ticks();
    if (ticks - pp->clock_ticks < US_BETWEEN_CLOCKS * sched.ticks_per_us)
        return false;
    bool due = when <= nanotime();
    if (!due) /* else whoever asks next, to act on it, shall see it too */
        pp->clock_ticks = ticks;
    return due;
}

/* ---- Spinning -------------------------------------------------------------------------------- */

static void resetspinning(struct m *mp)
{
    if (!mp->spinning)
        throw("resetspinning: not a spinning m");
    mp->spinning = false;
    if ((int32_t)add_seqcst(&sched.nmspinning, -1u) < 0) /* (a) above */
        throw("findRunnable: negative nmspinning");
    wakep();
}

void wakep(void)
{
    /* (d) above. seqcst loads are plain loads on x86. */
    if (likely(load_seqcst(&sched.npidle) == 0) || load_seqcst(&sched.nmspinning) != 0)
        return;
    if (!cas_seqcst(&sched.nmspinning, 0, 1)) /* be conservative about spinning threads */
        return;
    lock(&sched.lock);
    struct p *pp = load_relaxed(&sched.gcwaiting) ? NULL : pidleget_locked();
    /* Given up under the lock: during a stop of the world the start that follows, which takes the lock
     * first, wakes a thread in our place, and must not take us for one that spins. */
    if (pp == NULL) {
        sched.needspinning = true;
        if ((int32_t)add_seqcst(&sched.nmspinning, -1u) < 0)
            throw("wakep: negative nmspinning");
    }
    unlock(&sched.lock);
    if (pp != NULL)
        startm(pp, true);
}

enum { SOFT_GAP_MIN_US = 20, SOFT_GAP_MAX_US = 500 };

void wakep_soft(void)
{
    if (likely(load_seqcst(&sched.npidle) == 0) || load_seqcst(&sched.nmspinning) != 0)
        return;
    uint64_t gap = load_relaxed(&sched.soft_wake_gap);
    if (gap != 0 && !LOAM_TORTURE) {
        uint64_t now = arch_ticks();
        if (now - load_relaxed(&sched.soft_wake_ticks) < gap)
            return;
        store_relaxed(&sched.soft_wake_ticks, now);
    }
    wakep();
}

/* A spinning thread has found work, or has not. Heuristics: lost updates do no harm. */
static void soft_wake_feedback(bool found)
{
    uint64_t gap = load_relaxed(&sched.soft_wake_gap);
    if (found) {
        if (gap != 0)
            store_relaxed(&sched.soft_wake_gap, 0);
    } else if (gap < SOFT_GAP_MAX_US / 2 * sched.ticks_per_us) {
        store_relaxed(&sched.soft_wake_gap,
                      gap != 0 ? 2 * gap : SOFT_GAP_MIN_US * sched.ticks_per_us);
        store_relaxed(&sched.soft_wake_ticks, arch_ticks());
    }
}

/* ---- The sleeper that waits for timers -------------------------------------------------------- */

void poll_break(void)
{
    /* release: what we published before is seen after the wake-up */
    if (xchg_release(&sched.pollkey, 1) == 0)
        os_futex_wake(&sched.pollkey, 1);
}

void wake_for_timer(int64_t when)
{
    /* seqcst: the timer's publication comes first in the single order, see the head */
    if (load_seqcst(&sched.lastpoll) == 0) {
        int64_t until = load_seqcst(&sched.poll_until);
        if (until == 0 || until > when)
            poll_break();
    } else if (load_relaxed(&sched.npidle) != 0) {
        wakep(); /* nobody sleeps for timers: get a thread that will */
    }
}

/* Sleeps until `until` (0: for ever), a poll_break, or early for no reason. */
static void poll_sleep(int64_t until)
{
    if (xchg_acquire(&sched.pollkey, 0) == 1)
        return;
    int64_t ns = -1;
    if (until != 0) {
        ns = until - nanotime();
        if (ns <= 0)
            return;
    }
    os_futex_wait(&sched.pollkey, 0, ns);
    store_relaxed(&sched.pollkey, 0);
}

/* The earliest timer of all Ps; 0: none. */
static int64_t earliest_timer(void)
{
    int64_t until = 0;
    for (int i = 0, n = ps_len(); i < n; i++) {
        int64_t when = load_seqcst(&allp[i]->timers_when);
        if (when != 0 && (until == 0 || when < until))
            until = when;
    }
    return until;
}

/* ---- Stealing -------------------------------------------------------------------------------- */

enum { STEAL_ROUNDS = 4 };

static struct g *stealWork(struct m *mp, bool *inherit, bool *retry)
{
    struct p *pp = mp->p;
    uint32_t n = (uint32_t)gomaxprocs;
    for (int round = 0; round < STEAL_ROUNDS; round++) {
        bool last = round == STEAL_ROUNDS - 1;
        uint32_t start = choose(n);
        for (uint32_t i = 0; i < n; i++) {
            if (load_relaxed(&sched.gcwaiting)) {
                *retry = true;
                return NULL;
            }
            struct p *p2 = allp[(start + i) % n];
            if (p2 == pp)
                continue;
            /* Timers of others last: they have a thread that looks after them unless it runs one
             * goroutine for long. */
            int64_t when = last ? load_relaxed(&p2->timers_when) : 0;
            if (when != 0) {
                int64_t now = nanotime();
                bool ran = false;
                if (when <= now)
                    timers_run(p2, now, &ran);
                if (ran) {
                    struct g *gp = runqget(pp, inherit);
                    if (gp != NULL)
                        return gp;
                    *retry = true;
                }
            }
            struct g *gp = runqempty(p2) ? NULL : runqsteal(pp, p2, last);
            if (gp != NULL) {
                *inherit = false;
                return gp;
            }
        }
    }
    return NULL;
}

/* ---- Finding work ----------------------------------------------------------------------------- */

/* After the P was given back: is there work after all? Then a P for it, or NULL. */
static struct p *recheck(bool *found)
{
    *found = load_seqcst(&sched.runqsize) != 0;
    for (int i = 0, n = ps_len(); i < n && !*found; i++)
        *found = !runqempty(allp[i]);
    /* again: one may have gone from a P's queue to the global one before we looked at that P */
    *found = *found || load_seqcst(&sched.runqsize) != 0;
    if (!*found)
        return NULL;
    lock(&sched.lock);
    struct p *pp = load_relaxed(&sched.gcwaiting) ? NULL : pidleget_locked();
    if (pp == NULL)
        sched.needspinning = true;
    unlock(&sched.lock);
    return pp;
}

/* A G to run; NULL: this thread shall leave. */
static struct g *findRunnable(struct m *mp, bool *inherit)
{
    for (;;) {
        if (unlikely(load_relaxed(&sched.leaving)))
            return NULL;
        if (mp->p == NULL) {
            if (!stopm(mp))
                return NULL;
            continue;
        }
        if (unlikely(load_relaxed(&sched.gcwaiting))) {
            if (!gcstopm(mp))
                return NULL;
            continue;
        }
        if (unlikely(debug.dst_on))
            return dst_find(mp);
        struct p *pp = mp->p;
        if (unlikely(load_relaxed(&pp->scavenge) != 0)) {
            lock(&sched.lock);
            p_scavenge_locked(pp);
            unlock(&sched.lock);
        }
        if (unlikely(timers_due(pp))) {
            bool ran = false;
            timers_run(pp, nanotime(), &ran);
        }
        struct g *gp = NULL;
        if (unlikely(time_to_look_global(pp))) {
            lock(&sched.lock);
            gp = globrunqget_locked(pp, 1);
            unlock(&sched.lock);
            if (gp != NULL) {
                *inherit = false;
                return gp;
            }
        }
        gp = runqget(pp, inherit);
        if (gp != NULL)
            return gp;
        if (load_relaxed(&sched.runqsize) != 0) {
            lock(&sched.lock);
            gp = globrunqget_locked(pp, 0);
            unlock(&sched.lock);
            if (gp != NULL) {
                *inherit = false;
                return gp;
            }
        }
        if (load_relaxed(&mp->leave)) /* M0 whose program has ended */
            return NULL;

        /* Nothing here. Look at the others, unless enough threads do: half of the busy Ps. */
        bool retry = false;
        if (mp->spinning || 2 * load_relaxed(&sched.nmspinning) <
                                (uint32_t)gomaxprocs - load_relaxed(&sched.npidle)) {
            if (!mp->spinning) {
                mp->spinning = true;
                add_seqcst(&sched.nmspinning, 1);
            }
            gp = stealWork(mp, inherit, &retry);
            if (gp != NULL) {
                soft_wake_feedback(true);
                return gp;
            }
            if (retry)
                continue;
            soft_wake_feedback(false);
        }

        /* Give the P back, unless something came in meanwhile. */
        lock(&sched.lock);
        if (load_relaxed(&sched.gcwaiting)) {
            unlock(&sched.lock);
            continue;
        }
        if (sched.runqsize != 0) {
            gp = globrunqget_locked(pp, 0);
            unlock(&sched.lock);
            *inherit = false;
            return gp;
        }
        if (!mp->spinning && sched.needspinning) {
            /* a search found work and no P for it: this one's, after a search of its own */
            sched.needspinning = false;
            mp->spinning = true;
            add_seqcst(&sched.nmspinning, 1);
            unlock(&sched.lock);
            continue;
        }
        if (releasep(mp) != pp)
            throw("findRunnable: wrong p");
        pidleput_locked(pp);
        unlock(&sched.lock);

        bool was_spinning = mp->spinning;
        if (mp->spinning) {
            mp->spinning = false;
            if ((int32_t)add_seqcst(&sched.nmspinning, -1u) < 0) /* (a) */
                throw("findRunnable: negative nmspinning");
            bool found;
            struct p *p2 = recheck(&found); /* (b) */
            if (p2 != NULL) {
                acquirep(mp, p2);
                mp->spinning = true;
                add_seqcst(&sched.nmspinning, 1);
                continue;
            }
        }

        /* One M sleeps until the earliest timer; lastpoll 0 marks that there is one. */
        int64_t until = earliest_timer();
        if (until != 0 && xchg_seqcst(&sched.lastpoll, 0) != 0) {
            store_seqcst(&sched.poll_until, until);
            int64_t again = earliest_timer(); /* published meanwhile: see the head */
            if (again != 0 && again < until)
                until = again;
            if (!load_relaxed(&sched.leaving) && !load_relaxed(&mp->leave))
                poll_sleep(until);
            store_seqcst(&sched.poll_until, 0);
            store_seqcst(&sched.lastpoll, nanotime());
            lock(&sched.lock);
            struct p *p2 = load_relaxed(&sched.gcwaiting) ? NULL : pidleget_locked();
            unlock(&sched.lock);
            if (p2 != NULL) {
                acquirep(mp, p2);
                if (was_spinning) {
                    mp->spinning = true;
                    add_seqcst(&sched.nmspinning, 1);
                }
                continue;
            }
            if (load_relaxed(&mp->leave))
                return NULL;
        }
        if (!stopm(mp))
            return NULL;
    }
}

/* The goroutine that a switch took off the queue for this loop to run. */
static struct g *take_nextg(struct m *mp)
{
    struct g *gp = mp->nextg;
    mp->nextg = NULL;
    if (unlikely(gp != NULL && load_relaxed(&sched.gcwaiting) != 0)) {
        lock(&sched.lock);
        globrunqputhead_locked(gp);
        unlock(&sched.lock);
        gp = NULL;
    }
    return gp;
}

void schedule(struct m *mp)
{
    for (;;) {
        bool inherit = false;
        struct g *gp;
        if (unlikely(load_relaxed(&mp->leave)) && !mp->held) /* held: in a handler, below us */
            break;
        if (unlikely(mp->lockedg != NULL)) {
            if (!stoplockedm(mp))
                break;
            gp = mp->lockedg;
        } else {
            gp = mp->nextg != NULL ? take_nextg(mp) : NULL;
            if (gp == NULL)
                gp = findRunnable(mp, &inherit);
            if (gp == NULL)
                break;
            if (mp->spinning)
                resetspinning(mp);
            if (is_embryo(gp)) {
                gp = gbegin(mp, gp, true);
                if (unlikely(gp == NULL))
                    continue;
            }
            if (unlikely(gp->lockedm != NULL && gp->lockedm != mp)) {
                /* it may run on its own thread only: lend that one the P */
                if (!startlockedm(mp, gp))
                    break;
                continue;
            }
        }
        if (unlikely(debug.dst_on))
            dst_tick();
        execute(mp, gp, inherit);
    }
    /* Leaving: nothing of this thread's may be missed by the others. */
    if (mp->nextg != NULL) {
        lock(&sched.lock);
        globrunqputhead_locked(mp->nextg);
        mp->nextg = NULL;
        unlock(&sched.lock);
    }
    if (mp->spinning) {
        mp->spinning = false;
        add_seqcst(&sched.nmspinning, -1u);
    }
    if (mp->p != NULL) {
        if (load_relaxed(&sched.leaving)) {
            lock(&sched.lock);
            pidleput_locked(releasep(mp));
            unlock(&sched.lock);
        } else {
            handoffp(releasep(mp));
        }
    }
}

/* ---- The world outside --------------------------------------------------------------------------- */

void external_begin(void)
{
    /* seqcst: visible before whatever sleeps after it calls checkdead (under sched.lock) */
    add_seqcst(&sched.external, 1);
}

void external_end(void)
{
    add_seqcst(&sched.external, -1);
}

void external_threads(int n)
{
    add_seqcst(&sched.external_threads, n);
}

/* ---- Deadlock ---------------------------------------------------------------------------------- */

/* Called when an M goes to sleep for good: is there anybody left who could wake a goroutine? */
void checkdead_locked(void)
{
    if (!sched.run_mode || load_relaxed(&sched.leaving) || load_relaxed(&sched.main_done))
        return; /* embedded: any thread of the program may come and wake one */
    int run = sched.mcount - sched.nmidle - sched.nmidlelocked;
    /* One may sleep for a timer that was stopped since: it has no P and will find nothing. seqcst: it
     * stores lastpoll before it looks for a P again. */
    if (load_seqcst(&sched.lastpoll) == 0)
        run--;
    if (run > 0)
        return;
    if (load_relaxed(&sched.external) > 0 || earliest_timer() != 0 || sched.runqsize != 0)
        return;
    for (int i = 0, n = ps_len(); i < n; i++)
        if (!runqempty(allp[i]))
            return;
    /* Threads that the program made itself may wake goroutines too. */
    int threads = os_thread_count();
    if (threads < 0 || /* nobody can know */
        threads > threads_owned() + load_relaxed(&sched.external_threads))
        return;
    unlock(&sched.lock);
    throw_all = true;
    if (goroutines_alive() == 0)
        fatal("no goroutines (main called runtime.Goexit) - deadlock!");
    fatal("all goroutines are asleep - deadlock!");
}
