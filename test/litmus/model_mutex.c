/* Model of the mutex (runtime/sync/mutex.c): word, queue, spinning, starvation mode. Nobody gets in
 * twice, nobody sleeps for ever, what the former holder wrote is seen, and the last user may free it
 * as soon as its unlock returns, whatever the others' unlocks are still doing.
 *
 * What is time in the code is choice here: whether to spin, whether 1 ms has passed. */
#include "model.h"

#include <stddef.h>

enum { STATE, SEMA, DATA, WAKE }; /* one WAKE per thread */
enum { LOCKED = 1, HELD = 2, TAKEN = LOCKED | HELD, WOKEN = 4, STARVING = 8, WAITER = 16 };

/* META: the queue, who was handed the mutex, and what is checked. */
enum { QUEUE, QUEUED = 4, HANDED, INSIDE = 9, ENTRIES, USERS, FREED, ROUNDS };

enum { OLD, OK, AWOKE, STARVES, AGAIN, SPINS, ROUND, NEW };

enum {
    RIGHT,
    FREES_FIRST,
    QUEUES_UNSEEN,
    UNLOCK_RELAXED,
    KEEPS_WOKEN,
    LOCK_RELAXED,
    WAKE_RELAXED,
};

static void alive(struct run *r)
{
    if (r->w->meta[FREED])
        r->failed = "touched after it was freed";
}

static void push(struct run *r, bool front)
{
    int8_t *q = &r->w->meta[QUEUE], *n = &r->w->meta[QUEUED];
    if (front)
        for (int i = *n; i > 0; i--)
            q[i] = q[i - 1];
    q[front ? 0 : *n] = (int8_t)(r->thread + 1);
    ++*n;
}

static int pop(struct run *r)
{
    int8_t *q = &r->w->meta[QUEUE], *n = &r->w->meta[QUEUED];
    int t = q[0];
    for (int i = 1; i < *n; i++)
        q[i - 1] = q[i];
    if (*n > 0)
        q[--*n] = 0;
    return t;
}

/* The word of one who takes a free mutex. */
static int taken(struct run *r, int old, bool awoke)
{
    int rest = awoke ? old & ~WOKEN : old;
    if (r->variant == FREES_FIRST)
        return rest | LOCKED;
    return rest != 0 ? rest | TAKEN : LOCKED;
}

static bool is_taken(struct run *r, int state)
{
    return (state & (r->variant == FREES_FIRST ? LOCKED : TAKEN)) != 0;
}

static enum order release_order(struct run *r)
{
    return r->variant == UNLOCK_RELAXED ? RLX : REL;
}

static void user(struct run *r)
{
    BEGIN;
    for (V(ROUND) = 0; V(ROUND) < META(ROUNDS); V(ROUND)++) {
        /* ---- lock ---- */
        V(AWOKE) = V(STARVES) = V(AGAIN) = V(SPINS) = 0;
        OP(alive(r); V(OK) = cas(r, STATE, 0, LOCKED, VARIANT(LOCK_RELAXED) ? RLX : ACQ));
        while (!V(OK)) {
            OP(alive(r); V(OLD) = (int8_t)ld(r, STATE, RLX));
            if (!is_taken(r, V(OLD))) {
                OP(alive(r); V(OK) = cas(r, STATE, V(OLD), taken(r, V(OLD), V(AWOKE)),
                                         VARIANT(LOCK_RELAXED) ? RLX : ACQ));
                continue;
            }
            if (!(V(OLD) & STARVING) && V(SPINS) == 0) {
                OP(V(SPINS) = (int8_t)choose(r, 2));
                if (V(SPINS)) {
                    if (!V(AWOKE) && !(V(OLD) & WOKEN) && V(OLD) >= WAITER)
                        OP(alive(r); V(AWOKE) = cas(r, STATE, V(OLD), V(OLD) | WOKEN, RLX));
                    continue;
                }
            }
            /* wait_for_unlock */
            OP(alive(r); acquire(r, SEMA));
            if (VARIANT(QUEUES_UNSEEN)) {
                OP(alive(r); fetch_add(r, STATE, WAITER, RLX));
                V(OK) = 1;
            }
            while (!V(OK)) {
                OP(alive(r); V(OLD) = (int8_t)ld(r, STATE, RLX));
                if (!is_taken(r, V(OLD)))
                    break;
                V(NEW) = (int8_t)(V(OLD) + WAITER);
                if (!VARIANT(FREES_FIRST))
                    V(NEW) |= HELD;
                if (V(STARVES))
                    V(NEW) |= STARVING;
                if (V(AWOKE) && !VARIANT(KEEPS_WOKEN))
                    V(NEW) &= (int8_t)~WOKEN;
                OP(alive(r); V(OK) = cas(r, STATE, V(OLD), V(NEW), RLX));
            }
            if (!V(OK)) {
                OP(alive(r); release(r, SEMA));
                continue;
            }
            V(OK) = 0;
            push(r, V(AGAIN));
            OP(alive(r); release(r, SEMA));
            OP(when(r, cas(r, WAKE + r->thread, 1, 0, ACQ))); /* gopark returns */
            if (!V(STARVES) && !VARIANT(FREES_FIRST))
                OP(V(STARVES) = (int8_t)choose(r, 2));
            if (META(HANDED + r->thread)) {
                META(HANDED + r->thread) = 0;
                OP(alive(r); V(OLD) = (int8_t)ld(r, STATE, RLX));
                if ((V(OLD) & STARVING) && (!V(STARVES) || V(OLD) < WAITER))
                    OP(alive(r); fetch_add(r, STATE, -STARVING, RLX));
                break;
            }
            V(AWOKE) = V(AGAIN) = 1;
            V(SPINS) = 0;
        }

        /* ---- inside ---- */
        ASSERT(META(INSIDE) == 0, "two are inside");
        META(INSIDE) = 1;
        OP(V(NEW) = (int8_t)ld(r, DATA, RLX));
        OP(st(r, DATA, V(NEW) + 1, RLX));
        META(INSIDE) = 0;
        META(ENTRIES)++;
        ASSERT(V(NEW) + 1 == META(ENTRIES), "the former holder's store is not seen");
        V(AGAIN) = META(ENTRIES) == META(USERS) * META(ROUNDS); /* this user is the last */

        /* ---- unlock ---- */
        OP(alive(r); V(OLD) = (int8_t)(fetch_add(r, STATE, -LOCKED, release_order(r)) - LOCKED));
        if (VARIANT(FREES_FIRST)) {
            /* as Go does it: free it, then look for somebody to wake */
            for (;;) {
                if (V(OLD) < WAITER || (V(OLD) & (LOCKED | WOKEN | STARVING)) != 0)
                    break;
                OP(alive(r); V(OK) = cas(r, STATE, V(OLD), (V(OLD) - WAITER) | WOKEN, RLX));
                if (V(OK)) {
                    OP(alive(r); acquire(r, SEMA));
                    V(NEW) = (int8_t)pop(r);
                    OP(alive(r); release(r, SEMA));
                    OP(st(r, WAKE + V(NEW) - 1, 1, REL));
                    break;
                }
                OP(alive(r); V(OLD) = (int8_t)ld(r, STATE, RLX));
            }
            V(OLD) = 0;
        }
        while (V(OLD) != 0) {
            if (V(OLD) >= WAITER && (V(OLD) & (WOKEN | STARVING)) != WOKEN) {
                OP(alive(r); acquire(r, SEMA));
                V(NEW) = (int8_t)pop(r);
                ASSERT(V(NEW) != 0, "waiters are counted and none is queued");
                OP(alive(r); release(r, SEMA));
                for (;;) {
                    OP(alive(r); V(OLD) = (int8_t)ld(r, STATE, RLX));
                    V(AWOKE) = (V(OLD) & STARVING) != 0;
                    META(HANDED + V(NEW) - 1) = V(AWOKE);
                    V(SPINS) = (int8_t)(V(OLD) - WAITER);
                    V(SPINS) = (int8_t)(V(AWOKE) ? V(SPINS) | LOCKED : (V(SPINS) | WOKEN) & ~HELD);
                    OP(alive(r); V(OK) = cas(r, STATE, V(OLD), V(SPINS), release_order(r)));
                    if (V(OK))
                        break;
                }
                /* goready: m may be gone */
                OP(st(r, WAKE + V(NEW) - 1, 1, VARIANT(WAKE_RELAXED) ? RLX : REL));
                break;
            }
            OP(alive(r); V(OK) = cas(r, STATE, V(OLD), V(OLD) & ~HELD, release_order(r)));
            if (V(OK))
                break;
            OP(alive(r); V(OLD) = (int8_t)ld(r, STATE, RLX));
        }
        if (V(AGAIN))
            META(FREED) = 1;
    }
    END;
}

static void two_users(struct world *w, int *memory, int variant)
{
    (void)memory;
    (void)variant;
    w->meta[USERS] = 2;
    w->meta[ROUNDS] = 2;
}

static void three_users(struct world *w, int *memory, int variant)
{
    (void)memory;
    (void)variant;
    w->meta[USERS] = 3;
    w->meta[ROUNDS] = 1;
}

static void three_users_twice(struct world *w, int *memory, int variant)
{
    three_users(w, memory, variant);
    w->meta[ROUNDS] = 2;
}

static const struct program two = {"two users",        2,    {user, user}, two_users, NULL,
                                   {{NULL, MODEL_SC}}, false};

static const struct program three = {
    "three users",
    3,
    {user, user, user},
    three_users,
    NULL,
    {{"unlock frees it before it looks for waiters", MODEL_SC},
     {"a waiter queues without looking again", MODEL_SC},
     {"unlock is no release", MODEL_WEAK},
     {"a waiter leaves WOKEN set", MODEL_SC},
     {"lock is no acquire", MODEL_WEAK},
     {"the wake-up orders nothing", MODEL_WEAK}},
    false,
};

static const struct program thrice = {
    "three, twice", 3, {user, user, user}, three_users_twice, NULL, {{NULL, MODEL_SC}}, true};

/* With any argument also what takes a quarter of a minute. */
int main(int argc, char **argv)
{
    (void)argv;
    static const struct program *programs[] = {&two, &three, NULL, NULL};
    if (argc > 1)
        programs[2] = &thrice;
    return check_programs(programs);
}
