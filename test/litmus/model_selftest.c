/* The checker checked: the classic litmus tests, of which is known what each memory model allows.
 * Each program asserts that the weak outcome does not happen; where the model allows it, the checker
 * has to find it. (Alglave, Maranget, Tautschnig, "Herding cats", 2014.) */
#include "model.h"

#include <stddef.h>
#include <stdio.h>

enum { X, Y };
enum { A, B };

/* Orders by variant: what the store and the load of each side use. */
static enum order store_order, load_order;
static bool with_fence;

/* Store buffering: both read 0. */
static void sb0(struct run *r)
{
    BEGIN;
    OP(st(r, X, 1, store_order));
    if (with_fence)
        OP(fence(r));
    OP(META(0) = (int8_t)ld(r, Y, load_order));
    END;
}

static void sb1(struct run *r)
{
    BEGIN;
    OP(st(r, Y, 1, store_order));
    if (with_fence)
        OP(fence(r));
    OP(META(1) = (int8_t)ld(r, X, load_order));
    END;
}

static const char *sb_final(const struct world *w)
{
    return w->meta[0] == 0 && w->meta[1] == 0 ? "both read 0" : NULL;
}

/* Message passing: the flag is seen, the message is not. */
static void mp0(struct run *r)
{
    BEGIN;
    OP(st(r, X, 1, RLX));
    OP(st(r, Y, 1, store_order));
    END;
}

static void mp1(struct run *r)
{
    BEGIN;
    OP(META(0) = (int8_t)ld(r, Y, load_order));
    OP(META(1) = (int8_t)ld(r, X, RLX));
    END;
}

static const char *mp_final(const struct world *w)
{
    return w->meta[0] == 1 && w->meta[1] == 0 ? "flag without message" : NULL;
}

/* Independent reads of independent writes: two readers disagree on the order. */
static void iriw_x(struct run *r)
{
    BEGIN;
    OP(st(r, X, 1, store_order));
    END;
}

static void iriw_y(struct run *r)
{
    BEGIN;
    OP(st(r, Y, 1, store_order));
    END;
}

static void iriw_xy(struct run *r)
{
    BEGIN;
    OP(META(0) = (int8_t)ld(r, X, load_order));
    OP(META(1) = (int8_t)ld(r, Y, load_order));
    END;
}

static void iriw_yx(struct run *r)
{
    BEGIN;
    OP(META(2) = (int8_t)ld(r, Y, load_order));
    OP(META(3) = (int8_t)ld(r, X, load_order));
    END;
}

static const char *iriw_final(const struct world *w)
{
    return w->meta[0] == 1 && w->meta[1] == 0 && w->meta[2] == 1 && w->meta[3] == 0
               ? "readers disagree"
               : NULL;
}

/* Coherence: one location never goes back. */
static void corr0(struct run *r)
{
    BEGIN;
    OP(st(r, X, 1, RLX));
    OP(st(r, X, 2, RLX));
    END;
}

static void corr1(struct run *r)
{
    BEGIN;
    OP(META(0) = (int8_t)ld(r, X, RLX));
    OP(META(1) = (int8_t)ld(r, X, RLX));
    END;
}

static const char *corr_final(const struct world *w)
{
    return w->meta[1] < w->meta[0] ? "a value went back" : NULL;
}

/* Release sequence: a read-modify-write between release and acquire keeps the chain. */
static void rs0(struct run *r)
{
    BEGIN;
    OP(st(r, X, 1, RLX));
    OP(st(r, Y, 1, REL));
    END;
}

static void rs1(struct run *r)
{
    BEGIN;
    OP(fetch_add(r, Y, 1, RLX));
    END;
}

static void rs2(struct run *r)
{
    BEGIN;
    OP(META(0) = (int8_t)ld(r, Y, ACQ));
    OP(META(1) = (int8_t)ld(r, X, RLX));
    END;
}

static const char *rs_final(const struct world *w)
{
    return w->meta[0] == 2 && w->meta[1] == 0 ? "the chain is broken" : NULL;
}

/* Two additions: none is lost. And a sleeper that looks: none is lost either. */
static void add_one(struct run *r)
{
    BEGIN;
    OP(fetch_add(r, X, 1, RLX));
    OP(futex_wake(r, X, 1));
    END;
}

static void sleep_for_two(struct run *r)
{
    BEGIN;
    for (;;) {
        OP(V(A) = (int8_t)ld(r, X, RLX));
        if (V(A) == 2)
            break;
        OP(futex_wait(r, X, V(A), true));
        OP(waking(r));
    }
    END;
}

static const struct program sb = {"SB", 2, {sb0, sb1}, NULL, sb_final, {{NULL, MODEL_SC}}, false};
static const struct program mp = {"MP", 2, {mp0, mp1}, NULL, mp_final, {{NULL, MODEL_SC}}, false};
static const struct program iriw = {
    "IRIW", 4, {iriw_x, iriw_y, iriw_xy, iriw_yx}, NULL, iriw_final, {{NULL, MODEL_SC}}, false};
static const struct program corr = {"CoRR", 2, {corr0, corr1}, NULL, corr_final, {{NULL, MODEL_SC}},
                                    false};
static const struct program rs = {"RelSeq",           3,    {rs0, rs1, rs2}, NULL, rs_final,
                                  {{NULL, MODEL_SC}}, false};
static const struct program adds = {
    "Adds", 3, {add_one, add_one, sleep_for_two}, NULL, NULL, {{NULL, MODEL_SC}}, false};

static const struct {
    const struct program *p;
    enum order store, load;
    bool fence;
    bool allowed[MODELS];
} cases[] = {
    {&sb, RLX, RLX, false, {false, true, true}},
    {&sb, REL, ACQ, false, {false, true, true}},
    {&sb, SEQ, SEQ, false, {false, false, false}},
    {&sb, RLX, RLX, true, {false, false, false}},
    {&mp, RLX, RLX, false, {false, false, true}},
    {&mp, REL, RLX, false, {false, false, true}},
    {&mp, RLX, ACQ, false, {false, false, true}},
    {&mp, REL, ACQ, false, {false, false, false}},
    {&iriw, REL, ACQ, false, {false, false, true}},
    {&iriw, SEQ, SEQ, false, {false, false, false}},
    {&corr, RLX, RLX, false, {false, false, false}},
    {&rs, RLX, RLX, false, {false, false, false}},
    {&adds, RLX, RLX, false, {false, false, false}},
};

int main(void)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int m = 0; m < MODELS; m++) {
            store_order = cases[i].store;
            load_order = cases[i].load;
            with_fence = cases[i].fence;
            const char *what = explore(cases[i].p, 0, (enum model)m, false, NULL);
            if ((what != NULL) != cases[i].allowed[m]) {
                fprintf(stderr, "case %zu (%s), model %d: %s\n", i, cases[i].p->name, m,
                        what != NULL ? what : "not found");
                wrong++;
            }
        }
    return wrong != 0;
}
