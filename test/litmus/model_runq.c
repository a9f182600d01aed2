/* Models of the run queue (runtime/sched/runq.c): a ring of two slots, its owner and thieves. Every
 * goroutine that is put is taken once, whole. */
#include "model.h"

#include <stddef.h>

enum { HEAD, TAIL, SLOT0, SLOT1, NEXT };
enum { TAKEN, ITEMS };     /* META: a bit per goroutine; how many there are */
enum { H, T, N, G, I, K }; /* variables */
enum { SIZE = 2, BATCH = 1 };

enum { RIGHT, TAIL_RELAXED, SLOT_AFTER_CAS, THIEF_STORES, OWNER_STORES };

static int slot(int i)
{
    return SLOT0 + (int)((unsigned)i % SIZE);
}

/* Somebody has goroutine g to run. */
#define TAKE(g)                                                                                    \
    do {                                                                                           \
        ASSERT((g) > 0 && (g) <= META(ITEMS), "a slot without a goroutine");                       \
        ASSERT((META(TAKEN) & 1 << (g)) == 0, "a goroutine is taken twice");                       \
        META(TAKEN) = (int8_t)(META(TAKEN) | 1 << (g));                                            \
    } while (0)

static const char *all_taken(const struct world *w)
{
    for (int g = 1; g <= w->meta[ITEMS]; g++)
        if ((w->meta[TAKEN] & 1 << g) == 0)
            return "a goroutine is lost";
    return NULL;
}

/* ring_grab of one, twice: n - n / 2 of one or two is one. */
static void thief(struct run *r)
{
    BEGIN;
    for (V(I) = 0; V(I) < 2; V(I)++) {
        OP(V(H) = (int8_t)ld(r, HEAD, ACQ));
        OP(V(T) = (int8_t)ld(r, TAIL, ACQ));
        if (V(T) - V(H) <= 0 || V(T) - V(H) > SIZE)
            continue;
        if (VARIANT(SLOT_AFTER_CAS)) {
            OP(V(K) = cas(r, HEAD, V(H), V(H) + 1, ACQ_REL));
            if (!V(K))
                continue;
            OP(V(G) = (int8_t)ld(r, slot(V(H)), RLX));
        } else if (VARIANT(THIEF_STORES)) {
            OP(V(G) = (int8_t)ld(r, slot(V(H)), RLX));
            OP(st(r, HEAD, V(H) + 1, REL));
        } else {
            OP(V(G) = (int8_t)ld(r, slot(V(H)), RLX));
            OP(V(K) = cas(r, HEAD, V(H), V(H) + 1, ACQ_REL));
            if (!V(K))
                continue;
        }
        TAKE(V(G));
    }
    END;
}

/* Puts four, with room for two; then takes until it is empty. */
static void owner(struct run *r)
{
    BEGIN;
    for (V(I) = 1; V(I) <= 4;) {
        OP(V(H) = (int8_t)ld(r, HEAD, ACQ));
        OP(V(T) = (int8_t)ld(r, TAIL, RLX));
        if (V(T) - V(H) < SIZE) {
            OP(st(r, slot(V(T)), V(I), RLX));
            OP(st(r, TAIL, V(T) + 1, VARIANT(TAIL_RELAXED) ? RLX : SEQ));
            V(I)++;
            continue;
        }
        /* runqputslow: half of it, and this one, to the global queue */
        OP(V(G) = (int8_t)ld(r, slot(V(H)), RLX));
        OP(V(K) = cas(r, HEAD, V(H), V(H) + BATCH, REL));
        if (!V(K))
            continue;
        TAKE(V(G));
        TAKE(V(I));
        V(I)++;
    }
    for (;;) {
        OP(V(H) = (int8_t)ld(r, HEAD, ACQ));
        OP(V(T) = (int8_t)ld(r, TAIL, RLX));
        if (V(H) == V(T))
            break;
        OP(V(G) = (int8_t)ld(r, slot(V(H)), RLX));
        if (VARIANT(OWNER_STORES)) {
            OP(st(r, HEAD, V(H) + 1, RLX));
        } else {
            OP(V(K) = cas(r, HEAD, V(H), V(H) + 1, ACQ_REL));
            if (!V(K))
                continue;
        }
        TAKE(V(G));
    }
    END;
}

static void init(struct world *w, int *memory, int variant)
{
    (void)memory;
    (void)variant;
    w->meta[ITEMS] = 4;
}

static const struct program ring = {
    "ring",
    2,
    {owner, thief},
    init,
    all_taken,
    {{"the tail's store is relaxed", MODEL_WEAK},
     {"a consumer reads the slot after its CAS, as a CPU may if that is no release", MODEL_SC},
     {"a thief stores head", MODEL_SC},
     {"the owner stores head as if alone", MODEL_SC}},
    false,
};

static const struct program ring2 = {
    "two thieves", 3, {owner, thief, thief}, init, all_taken, {{NULL, MODEL_SC}}, false};

/* ---- runnext ------------------------------------------------------------------------------------ */

enum { NEXT_STORED = 1, NEXT_TAKEN_BY_STORE };

/* Each put as the next one kicks the former into the ring. */
static void owner_next(struct run *r)
{
    BEGIN;
    for (V(I) = 1; V(I) <= 2; V(I)++) {
        if (VARIANT(NEXT_STORED)) {
            OP(V(G) = (int8_t)ld(r, NEXT, RLX));
            OP(st(r, NEXT, V(I), SEQ));
        } else {
            OP(V(G) = (int8_t)xchg(r, NEXT, V(I), SEQ));
        }
        if (V(G) == 0)
            continue;
        OP(V(T) = (int8_t)ld(r, TAIL, RLX));
        OP(st(r, slot(V(T)), V(G), RLX));
        OP(st(r, TAIL, V(T) + 1, REL));
    }
    for (V(I) = 0; V(I) < 2; V(I)++) {
        OP(V(G) = (int8_t)ld(r, NEXT, RLX));
        if (V(G) != 0) {
            if (VARIANT(NEXT_TAKEN_BY_STORE)) {
                OP(st(r, NEXT, 0, RLX));
                V(K) = 1;
            } else {
                OP(V(K) = cas(r, NEXT, V(G), 0, ACQ));
            }
            if (V(K)) {
                TAKE(V(G));
                continue;
            }
        }
        for (;;) {
            OP(V(H) = (int8_t)ld(r, HEAD, ACQ));
            OP(V(T) = (int8_t)ld(r, TAIL, RLX));
            if (V(H) == V(T))
                break;
            OP(V(G) = (int8_t)ld(r, slot(V(H)), RLX));
            OP(V(K) = cas(r, HEAD, V(H), V(H) + 1, ACQ_REL));
            if (V(K)) {
                TAKE(V(G));
                break;
            }
        }
    }
    END;
}

static void thief_next(struct run *r)
{
    BEGIN;
    for (V(I) = 0; V(I) < 2; V(I)++) {
        OP(V(H) = (int8_t)ld(r, HEAD, ACQ));
        OP(V(T) = (int8_t)ld(r, TAIL, ACQ));
        if (V(T) - V(H) > 0) {
            OP(V(G) = (int8_t)ld(r, slot(V(H)), RLX));
            OP(V(K) = cas(r, HEAD, V(H), V(H) + 1, ACQ_REL));
        } else {
            OP(V(G) = (int8_t)ld(r, NEXT, RLX));
            if (V(G) == 0)
                continue;
            OP(V(K) = cas(r, NEXT, V(G), 0, ACQ_REL));
        }
        if (V(K))
            TAKE(V(G));
    }
    END;
}

static void init_next(struct world *w, int *memory, int variant)
{
    (void)memory;
    (void)variant;
    w->meta[ITEMS] = 2;
}

static const struct program next = {
    "runnext",
    2,
    {owner_next, thief_next},
    init_next,
    all_taken,
    {{"the owner loads and stores it", MODEL_SC}, {"the owner takes it by a store", MODEL_SC}},
    false,
};

int main(void)
{
    static const struct program *const programs[] = {&ring, &ring2, &next, NULL};
    return check_programs(programs);
}
