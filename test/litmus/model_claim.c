/* A model of claims on parked goroutines (runtime/sched/claim.c): a goroutine does not run while it is
 * claimed, its context and stack are at rest then, what was done under the claim is seen by it, and it is not
 * kept from running for ever. */
#include "model.h"

#include <stddef.h>

enum { STATUS, CLAIM, CONTEXT, PAGES, RUNQ };
enum { A, B, N };
enum { WAITING, RUNNABLE, RUNNING };      /* STATUS */
enum { NONE, ANNOUNCED, TAKEN, AWAITED }; /* CLAIM */
enum { RUNS, CLAIMED, TRIMS, OVER };      /* what the checker knows */
enum { CLAIMER, WAKER, RUNNER };

enum {
    RIGHT,
    NO_BARRIER,
    WAITS_BEFORE_SAVE,
    STATUS_BEFORE_BARRIER,
    TAKES_BLINDLY,
    RELEASE_RELAXED,
    NO_WAKE
};

static void claimer(struct run *r)
{
    BEGIN;
    OP(st(r, CLAIM, ANNOUNCED, RLX));
    if (VARIANT(STATUS_BEFORE_BARRIER))
        OP(V(A) = (int8_t)ld(r, STATUS, ACQ));
    if (!VARIANT(NO_BARRIER)) {
        OP(fence(r));
        OP(fence_of(r, WAKER));
        OP(fence_of(r, RUNNER));
        OP(fence(r));
    }
    if (!VARIANT(STATUS_BEFORE_BARRIER))
        OP(V(A) = (int8_t)ld(r, STATUS, ACQ));
    if (V(A) != WAITING) {
        OP(cas(r, CLAIM, ANNOUNCED, NONE, ACQ_REL); META(OVER) = 1);
        EXIT;
    }
    if (VARIANT(TAKES_BLINDLY))
        OP(xchg(r, CLAIM, TAKEN, ACQ_REL); V(B) = 1; META(CLAIMED) = 1);
    else
        OP(V(B) = cas(r, CLAIM, ANNOUNCED, TAKEN, ACQ_REL); META(CLAIMED) = V(B);
           META(OVER) = !V(B));
    if (!V(B))
        EXIT;
    ASSERT(!META(RUNS), "claimed while it runs");
    OP(V(A) = (int8_t)ld(r, CONTEXT, RLX));
    ASSERT(V(A), "claimed without a saved context");
    OP(st(r, PAGES, 1, RLX); META(TRIMS) = 1);
    ASSERT(!META(RUNS), "it runs while it is claimed");
    META(CLAIMED) = 0;
    OP(V(A) = (int8_t)xchg(r, CLAIM, NONE, VARIANT(RELEASE_RELAXED) ? RLX : REL));
    if (V(A) == AWAITED && !VARIANT(NO_WAKE))
        OP(futex_wake(r, CLAIM, 1));
    META(OVER) = 1;
    END;
}

static void waker(struct run *r)
{
    BEGIN;
    OP(st(r, STATUS, RUNNABLE, REL));
    OP(st(r, RUNQ, 1, REL));
    OP(when(r, META(OVER))); /* who has ended passes no barrier */
    END;
}

/* Runs it, until it parks again. */
static void runner(struct run *r)
{
    BEGIN;
    for (;;) {
        OP(V(A) = (int8_t)ld(r, RUNQ, ACQ); when(r, V(A) != 0));
        if (V(A))
            break;
    }
    OP(st(r, STATUS, RUNNING, REL));
    OP(V(A) = (int8_t)ld(r, CLAIM, ACQ));
    if (V(A) != NONE) {
        OP(V(B) = cas(r, CLAIM, ANNOUNCED, NONE, ACQ_REL));
        while (!V(B)) {
            OP(V(A) = (int8_t)ld(r, CLAIM, ACQ));
            if (V(A) == NONE)
                break;
            if (V(A) == TAKEN)
                OP(V(N) = cas(r, CLAIM, TAKEN, AWAITED, ACQ_REL));
            else
                V(N) = 1;
            if (V(N)) {
                OP(futex_wait(r, CLAIM, AWAITED, true));
                OP(waking(r));
            }
        }
    }
    META(RUNS) = 1;
    ASSERT(!META(CLAIMED), "it runs while it is claimed");
    OP(st(r, CONTEXT, 0, RLX)); /* its stack is in use */
    OP(V(A) = (int8_t)ld(r, PAGES, RLX));
    ASSERT(V(A) || !META(TRIMS), "what was done under the claim is not seen");
    if (VARIANT(WAITS_BEFORE_SAVE)) {
        OP(st(r, STATUS, WAITING, REL));
        OP(st(r, CONTEXT, 1, RLX); META(RUNS) = 0);
    } else {
        OP(st(r, CONTEXT, 1, RLX); META(RUNS) = 0);
        OP(st(r, STATUS, WAITING, REL));
    }
    OP(when(r, META(OVER)));
    END;
}

static void init(struct world *w, int *memory, int variant)
{
    (void)w;
    (void)variant;
    memory[CONTEXT] = 1;
}

static const struct program claim = {
    "claim",
    3,
    {claimer, waker, runner},
    init,
    NULL,
    {{"no barrier", MODEL_TSO},
     {"waiting before the context is saved", MODEL_SC},
     {"the status is looked at before the barrier", MODEL_TSO},
     {"a withdrawn claim is taken", MODEL_SC},
     {"the claim's end is relaxed", MODEL_WEAK},
     {"who waits for the claim's end is not woken", MODEL_SC}},
    false,
};

int main(void)
{
    static const struct program *const programs[] = {&claim, NULL};
    return check_programs(programs);
}
