/* Models of falling asleep and waking in the scheduler (runtime/sched/proc.c, findRunnable and wakep):
 * a thread that looks for work gives up while another makes some. It must not sleep while that work
 * waits behind a goroutine that computes for ever. */
#include "model.h"

#include <stddef.h>

enum { WORK, NEXT, NPIDLE, NMSPINNING, LOCK, NOTE };
enum { A, B };

enum { RIGHT, NOT_SEQCST, LOOKS_THEN_STOPS_SPINNING, WAKES_THEN_PUBLISHES };

/* Makes one goroutine ready and computes for ever. */
static void maker(struct run *r)
{
    BEGIN;
    if (!VARIANT(WAKES_THEN_PUBLISHES))
        OP(st(r, WORK, 1, VARIANT(NOT_SEQCST) ? REL : SEQ));           /* (c) */
    OP(V(A) = (int8_t)ld(r, NPIDLE, VARIANT(NOT_SEQCST) ? ACQ : SEQ)); /* (d) */
    if (V(A) != 0) {
        OP(V(A) = (int8_t)ld(r, NMSPINNING, VARIANT(NOT_SEQCST) ? ACQ : SEQ));
        if (V(A) == 0) {
            OP(V(A) = cas(r, NMSPINNING, 0, 1, SEQ));
            if (V(A)) {
                OP(acquire(r, LOCK));
                OP(V(A) = (int8_t)ld(r, NPIDLE, RLX));
                if (V(A) > 0)
                    OP(fetch_add(r, NPIDLE, -1, SEQ));
                OP(release(r, LOCK));
                if (V(A) > 0)
                    OP(xchg(r, NOTE, 1, REL)); /* startm, for this thread or a new one */
            }
        }
    }
    if (VARIANT(WAKES_THEN_PUBLISHES))
        OP(st(r, WORK, 1, SEQ));
    END;
}

/* The last spinning thread. */
static void spinner(struct run *r)
{
    BEGIN;
    OP(V(A) = (int8_t)ld(r, WORK, ACQ));
    if (V(A))
        EXIT;
    OP(acquire(r, LOCK));
    OP(fetch_add(r, NPIDLE, 1, SEQ));
    OP(release(r, LOCK));
    if (VARIANT(LOOKS_THEN_STOPS_SPINNING))
        OP(V(A) = (int8_t)ld(r, WORK, SEQ));
    OP(fetch_add(r, NMSPINNING, -1, SEQ)); /* (a) */
    if (!VARIANT(LOOKS_THEN_STOPS_SPINNING))
        OP(V(A) = (int8_t)ld(r, WORK, VARIANT(NOT_SEQCST) ? ACQ : SEQ)); /* (b) */
    if (V(A)) {
        OP(acquire(r, LOCK));
        OP(V(B) = (int8_t)ld(r, NPIDLE, RLX));
        if (V(B) > 0)
            OP(fetch_add(r, NPIDLE, -1, SEQ));
        OP(release(r, LOCK));
        if (V(B) > 0)
            EXIT;
    }
    OP(V(A) = (int8_t)ld(r, NOTE, ACQ); when(r, V(A))); /* stopm */
    OP(V(A) = (int8_t)ld(r, WORK, ACQ));
    ASSERT(V(A), "woken for nothing");
    END;
}

static void init(struct world *w, int *memory, int variant)
{
    (void)w;
    (void)variant;
    memory[NMSPINNING] = 1;
}

static const struct program last_look = {
    "last look",
    2,
    {maker, spinner},
    init,
    NULL,
    {{"acquire and release in place of seqcst", MODEL_TSO},
     {"the last look comes before the end of spinning", MODEL_SC},
     {"the waker looks before it publishes", MODEL_SC}},
    false,
};

/* ---- A goroutine kicked out of runnext into the ring ------------------------------------------ */

/* runnext holds goroutine 1, which nobody has taken. The owner puts 2 there, 1 goes into the ring
 * (WORK is its tail) by a store that is a mere release; then the owner takes 2 and runs it for ever.
 * Whoever looks and finds runnext empty has to see 1 in the ring: the take must be a release. (On
 * arm64 a load-acquire is never performed before an earlier store-release, so there an acquire would
 * do as well; C11 does not say so.) */
enum { TAKE_IS_NO_RELEASE = 1 };

static void kicker(struct run *r)
{
    BEGIN;
    OP(V(A) = (int8_t)xchg(r, NEXT, 2, SEQ));
    if (V(A) == 1)
        OP(st(r, WORK, 1, REL));
    OP(V(A) = (int8_t)ld(r, NPIDLE, SEQ));
    if (V(A) != 0) {
        OP(V(A) = (int8_t)ld(r, NMSPINNING, SEQ));
        if (V(A) == 0) {
            OP(V(A) = cas(r, NMSPINNING, 0, 1, SEQ));
            if (V(A)) {
                OP(acquire(r, LOCK));
                OP(V(A) = (int8_t)ld(r, NPIDLE, RLX));
                if (V(A) > 0)
                    OP(fetch_add(r, NPIDLE, -1, SEQ));
                OP(release(r, LOCK));
                if (V(A) > 0)
                    OP(xchg(r, NOTE, 1, REL)); /* startm, for this thread or a new one */
            }
        }
    }
    OP(V(A) = cas(r, NEXT, 2, 0, VARIANT(TAKE_IS_NO_RELEASE) ? ACQ : ACQ_REL));
    END;
}

static void spinner_kicked(struct run *r)
{
    BEGIN;
    /* its search has passed this P, or left runnext to its owner */
    OP(acquire(r, LOCK));
    OP(fetch_add(r, NPIDLE, 1, SEQ));
    OP(release(r, LOCK));
    OP(fetch_add(r, NMSPINNING, -1, SEQ));
    for (;;) {
        OP(V(A) = (int8_t)ld(r, WORK, SEQ));
        OP(V(B) = (int8_t)ld(r, NEXT, SEQ));
        OP(V(2) = (int8_t)ld(r, WORK, SEQ));
        if (V(A) == V(2))
            break;
    }
    if (V(A) != 0 || V(B) != 0)
        EXIT;
    OP(V(A) = (int8_t)ld(r, NOTE, ACQ); when(r, V(A)));
    END;
}

static void init_kicked(struct world *w, int *memory, int variant)
{
    (void)w;
    (void)variant;
    memory[NMSPINNING] = 1;
    memory[NEXT] = 1;
}

static const struct program kicked = {
    "kicked out", 2,    {kicker, spinner_kicked},
    init_kicked,  NULL, {{"taking runnext is no release", MODEL_WEAK}},
    false,
};

int main(void)
{
    static const struct program *const programs[] = {&last_look, &kicked, NULL};
    return check_programs(programs);
}
