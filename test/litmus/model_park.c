/* Models of parking and waking (runtime/sched/park.c), of the note and of the runtime mutex
 * (runtime/lock/lock.c). A goroutine is resumed with its context saved, what was written before a
 * wake-up is seen after it, and no wake-up is lost. */
#include "model.h"

#include <stddef.h>

enum { LOCK, COND, QUEUED, CONTEXT, STATUS, RUNQ, DATA, KEY };
enum { A, B, C };

/* ---- The direct switch: the lock is released by the successor ----------------------------------- */

enum { RIGHT, UNLOCKS_BEFORE_SAVE, UNLOCKS_RELAXED, QUEUE_RELAXED, LOOKS_BEFORE_LOCK };
enum { WAITING = 1, RUNNABLE, RUNNING };

/* A goroutine that waits for COND, up to the point where its thread runs something else. */
static void parker(struct run *r)
{
    BEGIN;
    if (VARIANT(LOOKS_BEFORE_LOCK)) {
        OP(V(A) = (int8_t)ld(r, COND, RLX));
        OP(acquire(r, LOCK));
    } else {
        OP(acquire(r, LOCK));
        OP(V(A) = (int8_t)ld(r, COND, RLX));
    }
    if (V(A)) {
        OP(release(r, LOCK));
        OP(st(r, RUNQ, 1, REL)); /* it did not wait: the end is the same */
        OP(st(r, CONTEXT, 1, RLX));
        EXIT;
    }
    OP(st(r, QUEUED, 1, RLX));
    OP(st(r, STATUS, WAITING, REL));
    if (VARIANT(UNLOCKS_BEFORE_SAVE)) {
        OP(release(r, LOCK));
        OP(st(r, CONTEXT, 1, RLX));
    } else if (VARIANT(UNLOCKS_RELAXED)) {
        OP(st(r, CONTEXT, 1, RLX));
        OP(xchg(r, LOCK, 0, RLX));
    } else {
        OP(st(r, CONTEXT, 1, RLX)); /* arch_switch */
        OP(release(r, LOCK));       /* the hook, on the successor's side */
    }
    END;
}

static void waker(struct run *r)
{
    BEGIN;
    OP(st(r, DATA, 1, RLX));
    OP(acquire(r, LOCK));
    OP(st(r, COND, 1, RLX));
    OP(V(A) = (int8_t)ld(r, QUEUED, RLX));
    OP(release(r, LOCK));
    if (V(A)) {
        OP(V(B) = cas(r, STATUS, WAITING, RUNNABLE, ACQ_REL)); /* goready */
        ASSERT(V(B), "goready: not waiting");
        OP(st(r, RUNQ, 1, VARIANT(QUEUE_RELAXED) ? RLX : REL));
    }
    END;
}

/* Whoever takes it off the run queue. */
static void resumer(struct run *r)
{
    BEGIN;
    for (;;) {
        OP(V(A) = (int8_t)ld(r, RUNQ, ACQ); when(r, V(A) != 0));
        if (V(A))
            break;
    }
    OP(V(B) = (int8_t)ld(r, STATUS, RLX));
    if (V(B) == 0)
        EXIT; /* it had not waited */
    ASSERT(V(B) == RUNNABLE, "resumed while not runnable");
    OP(V(B) = (int8_t)ld(r, CONTEXT, RLX));
    ASSERT(V(B), "resumed without a saved context");
    OP(V(B) = (int8_t)ld(r, DATA, RLX));
    ASSERT(V(B), "the waker's message is not seen");
    END;
}

static const struct program park = {
    "park, ready",
    3,
    {parker, waker, resumer},
    NULL,
    NULL,
    {{"the lock is released before the context is saved", MODEL_SC},
     {"the lock's release is relaxed", MODEL_WEAK},
     {"the run queue's store is relaxed", MODEL_WEAK},
     {"the condition is looked at before the lock", MODEL_SC}},
    false,
};

/* ---- The note ------------------------------------------------------------------------------------ */

enum { NOTE_RELAXED = 1, NOTE_READ_RELAXED, NOTE_SLEEPS_BLINDLY, NOTE_WAKES_FIRST };

static void note_waker(struct run *r)
{
    BEGIN;
    OP(st(r, DATA, 1, RLX));
    if (VARIANT(NOTE_WAKES_FIRST))
        OP(futex_wake(r, KEY, 1));
    OP(xchg(r, KEY, 1, VARIANT(NOTE_RELAXED) ? RLX : REL));
    if (!VARIANT(NOTE_WAKES_FIRST))
        OP(futex_wake(r, KEY, 1));
    END;
}

static void note_sleeper(struct run *r)
{
    BEGIN;
    for (;;) {
        OP(V(A) = (int8_t)ld(r, KEY, VARIANT(NOTE_READ_RELAXED) ? RLX : ACQ));
        if (V(A))
            break;
        OP(futex_wait(r, KEY, 0, !VARIANT(NOTE_SLEEPS_BLINDLY)));
        OP(waking(r));
    }
    OP(V(A) = (int8_t)ld(r, DATA, RLX));
    ASSERT(V(A), "the waker's message is not seen");
    END;
}

static const struct program note = {
    "note",
    2,
    {note_waker, note_sleeper},
    NULL,
    NULL,
    {{"the waker's exchange is relaxed", MODEL_WEAK},
     {"the sleeper's load is relaxed", MODEL_WEAK},
     {"the sleeper sleeps without looking", MODEL_SC},
     {"the waker wakes before it sets", MODEL_SC}},
    false,
};

/* ---- The runtime mutex: 0 free, 1 taken, 2 taken and somebody may sleep -------------------------- */

enum { LOCK_TAKES_AS_1 = 1, UNLOCK_NEVER_WAKES, LOCK_RELAXED, UNLOCK_RELAXED };
enum { INSIDE };

static void locker(struct run *r)
{
    BEGIN;
    OP(V(A) = cas(r, KEY, 0, 1, VARIANT(LOCK_RELAXED) ? RLX : ACQ));
    while (!V(A)) {
        OP(V(B) = (int8_t)xchg(r, KEY, 2, VARIANT(LOCK_RELAXED) ? RLX : ACQ));
        if (V(B) == 0)
            break;
        OP(futex_wait(r, KEY, 2, true));
        OP(waking(r));
        if (VARIANT(LOCK_TAKES_AS_1)) /* forgets that others may sleep too */
            OP(V(A) = cas(r, KEY, 0, 1, ACQ));
    }
    ASSERT(META(INSIDE) == 0, "two are inside");
    META(INSIDE) = 1;
    OP(V(B) = (int8_t)ld(r, DATA, RLX));
    OP(st(r, DATA, V(B) + 1, RLX));
    META(INSIDE) = 0;
    META(1)++;
    ASSERT(V(B) + 1 == META(1), "the former holder's store is not seen");
    OP(V(B) = (int8_t)xchg(r, KEY, 0, VARIANT(UNLOCK_RELAXED) ? RLX : REL));
    if (V(B) != 1 && !VARIANT(UNLOCK_NEVER_WAKES))
        OP(futex_wake(r, KEY, 1));
    END;
}

static const struct program mutex = {
    "lock.c",
    3,
    {locker, locker, locker},
    NULL,
    NULL,
    {{"a woken one takes it as if nobody else slept", MODEL_SC},
     {"unlock never wakes", MODEL_SC},
     {"the lock is no acquire", MODEL_WEAK},
     {"the unlock is no release", MODEL_WEAK}},
    false,
};

int main(void)
{
    static const struct program *const programs[] = {&park, &note, &mutex, NULL};
    return check_programs(programs);
}
