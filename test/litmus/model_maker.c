/* A model of the maker's protocol (runtime/sched/maker.c, startm_later in m.c): a goroutine that is held
 * owns the lock of libc's that making a thread takes, while two who have a P and work for it find no idle M.
 * All work is done, by no more threads than needed, no P is lent twice, and nobody waits for ever.
 *
 * What lies under sched.lock and is of no more interest is the checker's (META). */
#include "model.h"

#include <stddef.h>

enum { LOCK, LIBC, ORDERED, ASLEEP, NOTE, NEXTP, PARK };
enum { A, B };
/* META; UNBORN: threads that were made and have not arrived; WANTED: most idle Ps at an order */
enum { HELDQ, LENT, PIDLE, MIDLE, WORK, COMING, UNBORN, ORDERS, CALLERS, MADE, WANTED };

enum {
    RIGHT,
    ASLEEP_AFTER_THE_LOCK,
    MAKES_UNDER_THE_LOCK,
    IDLE_LIST_FIRST,
    STAYS_HELD,
    COMING_NOT_COUNTED,
    ARRIVES_WITHOUT_LOOKING,
    NOTE_RELAXED
};

/* startm, of a P that has one goroutine queued. */
static void caller(struct run *r)
{
    BEGIN;
    OP(acquire(r, LOCK));
    META(WORK)++;
    if (META(MIDLE) > 0) {
        META(WORK) = 0; /* the idle M runs it, and both are idle again */
        META(PIDLE)++;
        OP(release(r, LOCK); META(CALLERS)++);
        EXIT;
    }
    V(B) = META(HELDQ) && !VARIANT(IDLE_LIST_FIRST);
    if (V(B)) {
        if (!VARIANT(STAYS_HELD))
            META(HELDQ) = 0;
        ASSERT(!META(LENT), "a second P is lent to the same thread");
        META(LENT) = 1;
        OP(st(r, NEXTP, 1, RLX));
    } else {
        META(PIDLE)++;
    }
    OP(V(A) = (int8_t)ld(r, ORDERED, RLX));
    if (V(A) + META(COMING) < (META(PIDLE) > 1 ? META(PIDLE) : 1)) {
        OP(st(r, ORDERED, V(A) + 1, RLX));
        META(ORDERS)++;
        META(WANTED) = META(PIDLE) > META(WANTED) ? META(PIDLE) : META(WANTED);
        OP(V(A) = (int8_t)ld(r, ASLEEP, RLX));
        if (V(A)) {
            OP(st(r, ASLEEP, 0, RLX));
            OP(V(A) = (int8_t)xchg(r, NOTE, 1, REL));
            ASSERT(!V(A), "notewakeup: double wakeup");
        }
    }
    OP(release(r, LOCK); META(CALLERS)++);
    if (V(B))
        OP(xchg(r, PARK, 1, VARIANT(NOTE_RELAXED) ? RLX : REL));
    END;
}

/* The thread that is held, in the handler; then it runs what is queued. */
static void held(struct run *r)
{
    BEGIN;
    OP(V(A) = (int8_t)ld(r, PARK, ACQ); when(r, V(A)));
    OP(V(A) = (int8_t)ld(r, NEXTP, RLX));
    ASSERT(V(A), "woken without a P");
    OP(acquire(r, LOCK)); /* held once more, and alone in the queue */
    OP(release(r, LOCK));
    OP(release(r, LIBC));
    OP(acquire(r, LOCK));
    META(WORK) = 0;
    META(PIDLE)++;
    META(LENT) = 0;
    OP(release(r, LOCK));
    END;
}

/* m_arrive, under the lock: with work and a P for it that is done at once. */
#define ARRIVE                                                                                     \
    do {                                                                                           \
        META(UNBORN)--;                                                                            \
        if (META(COMING) > 0)                                                                      \
            META(COMING)--;                                                                        \
        if (META(PIDLE) > 0 && !VARIANT(ARRIVES_WITHOUT_LOOKING))                                  \
            META(WORK) = 0;                                                                        \
        META(MIDLE)++;                                                                             \
    } while (0)

/* The maker, and the threads that it makes. */
static void maker(struct run *r)
{
    BEGIN;
    for (;;) {
        OP(V(A) = (int8_t)choose(
               r, 2)); /* it arrives now, or later: at the latest when there is no order */
        OP(acquire(r, LOCK));
        if (META(UNBORN) > 0 && V(A)) {
            ARRIVE;
            OP(release(r, LOCK));
            continue;
        }
        OP(V(A) = (int8_t)ld(r, ORDERED, RLX));
        if (V(A) == 0 && META(UNBORN) > 0) {
            ARRIVE;
            OP(release(r, LOCK));
            continue;
        }
        if (V(A) == 0) {
            OP(st(r, NOTE, 0, RLX)); /* noteclear */
            if (VARIANT(ASLEEP_AFTER_THE_LOCK)) {
                OP(release(r, LOCK));
                OP(st(r, ASLEEP, 1, RLX));
            } else {
                OP(st(r, ASLEEP, 1, RLX));
                OP(release(r, LOCK));
            }
            OP(V(A) = (int8_t)ld(r, NOTE, ACQ);
               when(r, V(A) || (META(CALLERS) == 2 && META(ORDERS) == 0)));
            if (!V(A))
                EXIT; /* nobody will order any more */
            continue;
        }
        OP(st(r, ORDERED, V(A) - 1, RLX));
        META(ORDERS)--;
        V(B) = META(MIDLE) == 0;
        META(COMING) = (int8_t)(META(COMING) + (V(B) && !VARIANT(COMING_NOT_COUNTED)));
        if (!VARIANT(MAKES_UNDER_THE_LOCK))
            OP(release(r, LOCK));
        if (V(B)) {
            OP(acquire(r, LIBC)); /* pthread_create */
            OP(release(r, LIBC));
            META(MADE)++;
            META(UNBORN)++;
        }
        if (VARIANT(MAKES_UNDER_THE_LOCK))
            OP(release(r, LOCK));
        if (!V(B)) { /* wakep: the idle one does what an arrival does */
            OP(acquire(r, LOCK));
            if (META(PIDLE) > 0)
                META(WORK) = 0;
            OP(release(r, LOCK));
        }
    }
    END;
}

static void init(struct world *w, int *memory, int variant)
{
    (void)variant;
    memory[LIBC] = 1;
    w->meta[HELDQ] = 1;
    w->meta[WANTED] = 1;
}

static const char * final(const struct world *w)
{
    if (w->meta[WORK] > 0)
        return "work is left, and a P and a thread for it";
    return w->meta[MADE] > w->meta[WANTED] ? "a thread too many was made" : NULL;
}

static const struct program orders = {
    "orders",
    4,
    {caller, caller, maker, held},
    init,
    final,
    {{"the maker says that it sleeps after it gave the lock back", MODEL_SC},
     {"it makes the thread under the lock", MODEL_SC},
     {"a P goes to the idle list though somebody is held", MODEL_SC},
     {"a P is lent to who stays in the queue", MODEL_SC},
     {"threads on their way are not counted", MODEL_SC},
     {"a new thread does not look for work", MODEL_SC},
     {"the held thread's note is no release", MODEL_WEAK}},
    false,
};

int main(void)
{
    static const struct program *const programs[] = {&orders, NULL};
    return check_programs(programs);
}
