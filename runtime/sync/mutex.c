/* Mutex: what happens when it is taken.
 *
 * The word: LOCKED 1, HELD 2, WOKEN 4, STARVING 8, and the number of waiters from bit 4. It is taken
 * while LOCKED or HELD is set. LOCKED is what unlock's fast path takes off; if it is all there is,
 * that frees the mutex. Whoever takes it while another bit stays, or queues while it is taken, adds
 * HELD; then the subtraction leaves it taken, and the slow path frees it when it has done its work.
 *
 *   Normal mode. Waiters queue first in, first out, but a woken one has to compete with those that
 *   come fresh, and these run already: a goroutine can take and give the mutex many times while
 *   others queue, without a switch for each. One that loses goes back to the queue's front.
 *   Starvation mode begins when a waiter has been woken in vain for 1 ms. Then unlock hands the mutex
 *   to the first waiter: it stays taken, so nobody can come between, and newcomers queue without
 *   trying. The one that it was handed to ends the mode if it is the last waiter or waited less than
 *   1 ms.
 *
 * Invariants:
 *   (1) Waiters are added to the word and to the queue in one hold of sema.lock, and only while the
 *       mutex is taken. Only the one that has it takes one off. So an unlock that reads waiters > 0
 *       finds the queue not empty, and one that reads 0 has nobody to wake: whoever comes later
 *       changes the word after that unlock, and reads that the mutex is free.
 *   (2) WOKEN is set only for a goroutine that is awake and will look at the word: one just woken, or
 *       one that spins while others queue. It clears the bit when it takes the mutex or queues. While
 *       it is set unlock wakes nobody else. That two may take it for theirs does no harm: each set is
 *       followed by a clear of the one it was set for.
 *   (3) STARVING is set only while it is taken, and it is not freed while STARVING is set.
 *   (4) If it is taken and any bit but LOCKED is set, HELD is.
 *
 * Freeing the mutex is the last thing that unlock does to it (sema.h, the rule of the last touch):
 * the waiter is taken off the queue first, then one operation on the word frees it, then goready. Go
 * frees it first and looks for a waiter afterwards; there the collector keeps the mutex. Rejected: a
 * compare-and-swap from LOCKED to 0 in the fast path, which needs no HELD but costs 15 % more than
 * the subtraction (x86, uncontended).
 *
 * Orders. The protocol of sleeping and waking needs nothing but the word's own modification order
 * and sema.lock, hence relaxed where no ownership passes; taking the mutex is an acquire, freeing it
 * a release; handing it over goes by goready, which orders all. test/litmus/model_mutex.c checks this
 * in every order. Locks: sema.lock. Rejected: handing over always (a switch per unlock
 * under contention: measured by everybody, slow); queueing by address in a table (sema.h). */
#include "os/os.h"
#include "sync/sync_int.h"

enum { LOCKED = 1, HELD = 2, TAKEN = LOCKED | HELD, WOKEN = 4, STARVING = 8, WAITER = 16 };

static const int64_t starvation_ns = 1000000;

enum {
    SPIN_ROUNDS = 4,     /* Go's: together about the time of two switches */
    SPIN_PAUSES = 30,    /* in each round */
    SPIN_LOOK_EVERY = 6, /* pauses between two looks at the word */
};

static int cpus; /* atomic: 0 or below: not known yet; relaxed: all store the same */

static void count_cpus(void *unused)
{
    (void)unused;
    store_relaxed(&cpus, os_cpu_count());
}

/* Spinning pays if the holder runs on another CPU and nothing else could run on this P: then it costs
 * nobody anything, and the mutex comes free sooner than a switch to and fro would take. */
static bool can_spin(int round)
{
    if (round >= SPIN_ROUNDS || gomaxprocs == 1)
        return false;
    struct m *mp = getm();
    struct p *pp = mp->p;
    if (pp == NULL || !runqempty(pp))
        return false;
    if (unlikely(load_relaxed(&cpus) <= 0))
        systemstack(count_cpus, NULL);
    if (load_relaxed(&cpus) <= 1)
        return false;
    /* Another P that runs: a hint only, relaxed. The search is short where it matters, on a busy
     * program. */
    for (int i = 0; i < gomaxprocs; i++)
        if (allp[i] != pp && load_relaxed(&allp[i]->status) == P_running)
            return true;
    return false;
}

static void spin(struct loam_mutex *m)
{
    for (int i = 0; i < SPIN_PAUSES; i++) {
        if (i % SPIN_LOOK_EVERY == 0 && !(load_relaxed(&m->state) & TAKEN)) /* a hint */
            return;
        arch_pause();
    }
}

/* Adds the caller to the waiters, in the word and in the queue, and parks it; false, and nothing
 * done, if the mutex is free. awoke: the caller is the one that WOKEN is set for. */
static bool wait_for_unlock(struct loam_mutex *m, struct sudog *sg, bool front, bool starving,
                            bool awoke)
{
    struct mutex *l = sema_mutex(&m->sema);
    lock(l);
    for (;;) {
        uint32_t old = load_relaxed(&m->state);
        if (!(old & TAKEN)) {
            unlock(l);
            return false;
        }
        uint32_t new = (old | HELD) + WAITER;
        if (starving)
            new |= STARVING;
        if (awoke)
            new &= ~WOKEN;
        if (cas_relaxed(&m->state, old, new)) /* (1); nothing is published but the count */
            break;
    }
    if (front)
        sema_push_front(&m->sema, sg);
    else
        sema_push(&m->sema, sg);
    goparkunlock(l, WAIT_mutex_lock);
    return true;
}

/* Takes a mutex that `old` says is free; false: it is no longer. */
static bool take(struct loam_mutex *m, uint32_t old, bool awoke)
{
    uint32_t rest = awoke ? old & ~(uint32_t)WOKEN : old;
    /* acquire: what the former holder wrote before its release is seen. (4) */
    return cas_acquire(&m->state, old, rest != 0 ? rest | TAKEN : LOCKED);
}

/* After a hand-over: the mutex is ours. */
static void take_over(struct loam_mutex *m, bool starving)
{
    uint32_t state = load_relaxed(&m->state); /* at least as new as the hand-over: goready */
    if ((state & STARVING) && (!starving || state < WAITER))
        /* Only we can clear it, and nobody sets it twice, so this takes off just that bit. relaxed:
         * the mutex stays ours. */
        (void)add_relaxed(&m->state, -(uint32_t)STARVING);
}

static noinline void lock_contended(struct loam_mutex *m)
{
    struct g *gp = getg_or_die("loam_mutex_lock");
    preempt_point(getm());
    struct sudog sg = {.g = gp, .c = m};
    bool awoke = false, starving = false;
    int64_t since = 0;
    for (int round = 0;;) {
        uint32_t old = load_relaxed(&m->state);
        if (!(old & TAKEN)) {
            if (take(m, old, awoke))
                return;
            continue;
        }
        if (!(old & STARVING) && can_spin(round)) {
            /* While we are awake unlock need wake nobody else: (2). relaxed: a hint to it. */
            if (!awoke && !(old & WOKEN) && old >= WAITER &&
                cas_relaxed(&m->state, old, old | WOKEN))
                awoke = true;
            spin(m);
            round++;
            continue;
        }
        bool again = since != 0;
        if (!again)
            since = nanotime();
        sg.success = false;
        sync_point();
        if (!wait_for_unlock(m, &sg, again, starving, awoke)) {
            if (!again)
                since = 0;
            continue;
        }
        starving = starving || nanotime() - since > starvation_ns;
        if (sg.success) {
            take_over(m, starving);
            return;
        }
        awoke = true;
        round = 0;
    }
}

void loam_mutex_lock_slow(struct loam_mutex *m)
{
    /* Free, with waiters asleep: take it before them. */
    uint32_t old = load_relaxed(&m->state);
    if (!(old & TAKEN) && take(m, old, false))
        return;
    lock_contended(m);
}

bool loam_mutex_try_lock(struct loam_mutex *m)
{
    sync_point();
    for (;;) {
        uint32_t old = load_relaxed(&m->state);
        if (old & TAKEN)
            return false;
        if (take(m, old, false))
            return true;
    }
}

/* The first waiter has been given the mutex: let it run now, for all others wait for it. */
static void yield_to_new_holder(void)
{
    struct m *mp = getm();
    if (mp != NULL && mp->curg != NULL && mp->p != NULL && !mp->incall && locks_held() == 0)
        gosched();
}

static noinline void unlock_and_wake(struct loam_mutex *m)
{
    struct mutex *l = sema_mutex(&m->sema);
    sync_point();
    lock(l);
    struct sudog *sg = sema_pop(&m->sema);
    unlock(l);
    if (sg == NULL)
        throw("sync: inconsistent mutex state"); /* (1): two unlocks at once */
    struct g *gp = sg->g;
    bool hand_over;
    sync_point();
    for (;;) {
        uint32_t old = load_relaxed(&m->state);
        hand_over = (old & STARVING) != 0;
        sg->success = hand_over; /* read by the waiter after goready */
        uint32_t new = old - WAITER;
        new = hand_over ? new | LOCKED : (new | WOKEN) & ~(uint32_t)HELD;
        /* release: the next holder, if it takes it, sees what this one wrote */
        if (cas_release(&m->state, old, new))
            break;
    }
    /* From here on m may be gone. */
    goready(gp);
    if (hand_over)
        yield_to_new_holder();
}

void loam_mutex_unlock_slow(struct loam_mutex *m, uint32_t state)
{
    if (!((state + LOCKED) & LOCKED))
        fatal("sync: unlock of unlocked mutex");
    for (;;) {
        if (state >= WAITER && (state & (WOKEN | STARVING)) != WOKEN) {
            unlock_and_wake(m);
            return;
        }
        /* Nobody waits, or one is awake and will take it. release: as above. */
        if (cas_release(&m->state, state, state & ~(uint32_t)HELD))
            return;
        state = load_relaxed(&m->state);
    }
}
