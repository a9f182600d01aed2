/* One wait of one goroutine or foreign thread that several may end: the first to wake it wins.
 *
 *   AWAKE -- parker_wait --> ASLEEP -- parker_wake(code) --> code
 *   AWAKE -- parker_wake(code) ----------------------------> code     (it then does not sleep)
 *
 * The parker lies on the waiter's stack. A waker may touch it only while it knows that the wait has
 * not ended: because a lock says so, or because it is the only waker. parker_wake itself does not
 * touch it after the word holds the code, so that the waiter may go on and drop it at once.
 *
 * Rejected: gopark with a runtime mutex as everywhere else in this folder: a foreign thread has no
 * goroutine to park, and with two wakers (a pool's thread and a context) the mutex that decides the
 * winner is not the one that the waiter could hand to gopark. */
#ifndef SYNC_PARKER_INT_H
#define SYNC_PARKER_INT_H

#include "os/os.h"
#include "sched/sched.h"

enum { PARKER_AWAKE = 0, PARKER_ASLEEP = 1, PARKER_CODE = 2 /* the least code of a waker */ };

struct parker {
    struct g *g;    /* const after init; NULL: the waiter is a thread, asleep on the word */
    uint32_t state; /* atomic */
};

/* gp NULL: the calling thread waits, even if a goroutine runs on it. */
static inline void parker_init(struct parker *pk, struct g *gp)
{
    pk->g = gp;
    store_relaxed(&pk->state, PARKER_AWAKE); /* published by whatever publishes the parker */
}

static inline bool parker_commit(struct g *gp, void *p)
{
    struct parker *pk = p;
    (void)gp;
    /* release: a waker that sees ASLEEP finds the goroutine's context saved; it fails only when the
     * code is there already, which parker_wait then loads with acquire */
    return cas_release(&pk->state, PARKER_AWAKE, PARKER_ASLEEP);
}

/* Waits for a code and returns it. A thread waits at most ns (< 0: for ever) and then returns
 * PARKER_ASLEEP: it can be woken still, and can wait again; a goroutine takes ns < 0 only. */
static inline uint32_t parker_wait(struct parker *pk, enum waitreason reason, int64_t ns)
{
    /* acquire, here and below: the waiter sees what the waker wrote before it gave the code */
    uint32_t state = load_acquire(&pk->state);
    if (state >= PARKER_CODE)
        return state;
    if (pk->g != NULL) {
        gopark(parker_commit, pk, reason);
        return load_acquire(&pk->state);
    }
    if (state == PARKER_AWAKE && !cas_relaxed(&pk->state, PARKER_AWAKE, PARKER_ASLEEP))
        return load_acquire(&pk->state);
    int64_t deadline = os_deadline(ns);
    while ((state = load_acquire(&pk->state)) == PARKER_ASLEEP) {
        if (ns == 0)
            return PARKER_ASLEEP;
        os_futex_wait(&pk->state, PARKER_ASLEEP, ns);
        if (ns > 0) {
            int64_t left = deadline - os_nanotime();
            ns = left > 0 ? left : 0;
        }
    }
    return state;
}

/* Ends the wait with the code; false if another waker was first. From any thread; with runtime
 * mutexes held that may be held over goready. */
static inline bool parker_wake(struct parker *pk, uint32_t code)
{
    struct g *gp = pk->g;
    uint32_t *word = &pk->state;
    for (;;) {
        uint32_t state = load_relaxed(word);
        if (state >= PARKER_CODE)
            return false;
        /* acqrel: release for what the waker wrote; acquire so that goready comes after the
         * parking of a goroutine that is asleep */
        if (!cas_acqrel(word, state, code))
            continue;
        /* From here on only the word's address is used, and that only by the kernel: a wake-up of
         * whoever sleeps on reused memory is spurious, which every sleeper allows for. */
        if (state == PARKER_ASLEEP) {
            if (gp != NULL)
                goready(gp);
            else
                os_futex_wake(word, 1);
        }
        return true;
    }
}

#endif
