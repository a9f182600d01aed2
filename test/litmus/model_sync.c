/* Models of the waitgroup, the read-write mutex and the object pool's deque (runtime/sync/). */
#include "model.h"

#include <stddef.h>

enum { A, B, C, I };

/* ---- Waitgroup ----------------------------------------------------------------------------------- */

/* STATE is the counter times 8 plus the waiters. Two are to be done; the waiter frees it when its wait
 * returns. */
enum { STATE, SEMA, WAKE, FIRST, SECOND };
enum { QUEUED, FREED };
enum { RIGHT, COUNTS_BEFORE_LOCK, DONE_RELAXED, WAKES_BEFORE_UNLOCK };

static void alive(struct run *r)
{
    if (r->w->meta[FREED])
        r->failed = "touched after it was freed";
}

static void done(struct run *r)
{
    BEGIN;
    OP(st(r, r->thread == 1 ? FIRST : SECOND, 1, RLX));
    OP(alive(r);
       V(A) = (int8_t)(fetch_add(r, STATE, -8, VARIANT(DONE_RELAXED) ? RLX : ACQ_REL) - 8));
    if (V(A) >= 8 || V(A) == 0)
        EXIT;
    OP(alive(r); acquire(r, SEMA));
    OP(alive(r); st(r, STATE, 0, REL));
    V(B) = META(QUEUED);
    META(QUEUED) = 0;
    if (VARIANT(WAKES_BEFORE_UNLOCK) && V(B))
        OP(st(r, WAKE, 1, REL));
    OP(alive(r); release(r, SEMA));
    if (!VARIANT(WAKES_BEFORE_UNLOCK) && V(B))
        OP(st(r, WAKE, 1, REL));
    END;
}

static void wait(struct run *r)
{
    BEGIN;
    OP(V(A) = (int8_t)ld(r, STATE, ACQ));
    if (V(A) >= 8) {
        if (!VARIANT(COUNTS_BEFORE_LOCK))
            OP(acquire(r, SEMA));
        for (V(B) = 0; !V(B);) {
            OP(V(A) = (int8_t)ld(r, STATE, ACQ));
            if (V(A) < 8)
                break;
            OP(V(B) = cas(r, STATE, V(A), V(A) + 1, RLX));
        }
        if (VARIANT(COUNTS_BEFORE_LOCK) && V(B))
            OP(acquire(r, SEMA));
        if (V(B))
            META(QUEUED) = 1;
        if (V(B) || !VARIANT(COUNTS_BEFORE_LOCK))
            OP(release(r, SEMA));
        if (V(B)) {
            OP(V(A) = (int8_t)ld(r, WAKE, ACQ); when(r, V(A)));
            OP(V(A) = (int8_t)ld(r, STATE, RLX));
            ASSERT(V(A) == 0, "it looks reused");
        }
    }
    META(FREED) = 1;
    OP(V(A) = (int8_t)ld(r, FIRST, RLX));
    OP(V(B) = (int8_t)ld(r, SECOND, RLX));
    ASSERT(V(A) && V(B), "what was done is not seen");
    END;
}

static void init_waitgroup(struct world *w, int *memory, int variant)
{
    (void)w;
    (void)variant;
    memory[STATE] = 2 * 8;
}

static const struct program waitgroup = {
    "waitgroup",
    3,
    {wait, done, done},
    init_waitgroup,
    NULL,
    {{"a waiter is counted before it has the lock", MODEL_SC},
     {"done is relaxed", MODEL_WEAK},
     {"the waiter is woken before the lock is given back", MODEL_SC}},
    false,
};

/* ---- Read-write mutex ------------------------------------------------------------------------------ */

/* Each reader stores a word of its own while it is in, which writers look at. */
enum { COUNT, READERS_LEFT, W, READER_SEM, WRITER_SEM, WRITTEN, READ0, READ1 };
enum { READERS, WRITERS, WRITES, READS0, READS1 };
enum { MAX_READERS = 32 };
enum {
    RUNLOCK_RELAXED = 1,
    LEAVING_RELAXED,
    RLOCK_RELAXED,
    UNLOCK_RELAXED,
    WRITER_STORES_WAIT,
    WRITER_FORGETS_TO_WAIT,
};

static void reader(struct run *r)
{
    BEGIN;
    for (V(I) = 0; V(I) < 2; V(I)++) {
        OP(V(A) = (int8_t)(fetch_add(r, COUNT, 1, VARIANT(RLOCK_RELAXED) ? RLX : ACQ) + 1));
        if (V(A) < 0)
            OP(take_one(r, READER_SEM));
        META(READERS)++;
        ASSERT(META(WRITERS) == 0, "a reader beside a writer");
        OP(V(A) = (int8_t)ld(r, WRITTEN, RLX));
        ASSERT(V(A) == META(WRITES), "a reader misses a write");
        OP(st(r, READ0 + r->thread, V(I) + 1, RLX));
        META(READERS)--;
        META(READS0 + r->thread)++;
        OP(V(A) = (int8_t)(fetch_add(r, COUNT, -1, VARIANT(RUNLOCK_RELAXED) ? RLX : REL) - 1));
        if (V(A) < 0) {
            OP(V(A) = (int8_t)(fetch_add(r, READERS_LEFT, -1,
                                         VARIANT(LEAVING_RELAXED) ? RLX : ACQ_REL) -
                               1));
            if (V(A) == 0)
                OP(fetch_add(r, WRITER_SEM, 1, REL));
        }
    }
    END;
}

static void writer(struct run *r)
{
    BEGIN;
    OP(acquire(r, W));
    OP(V(A) = (int8_t)fetch_add(r, COUNT, -MAX_READERS, ACQ_REL));
    if (V(A) != 0) {
        if (VARIANT(WRITER_STORES_WAIT)) {
            OP(st(r, READERS_LEFT, V(A), SEQ));
            V(B) = V(A);
        } else {
            OP(V(B) = (int8_t)(fetch_add(r, READERS_LEFT, V(A), ACQ_REL) + V(A)));
        }
        if (V(B) != 0 && !VARIANT(WRITER_FORGETS_TO_WAIT))
            OP(take_one(r, WRITER_SEM));
    }
    ASSERT(META(READERS) == 0 && META(WRITERS) == 0, "a writer is not alone");
    META(WRITERS) = 1;
    OP(V(A) = (int8_t)ld(r, READ0, RLX));
    OP(V(B) = (int8_t)ld(r, READ1, RLX));
    ASSERT(V(A) == META(READS0) && V(B) == META(READS1), "a writer misses what a reader did");
    OP(V(A) = (int8_t)ld(r, WRITTEN, RLX));
    ASSERT(V(A) == META(WRITES), "a writer misses a write");
    OP(st(r, WRITTEN, V(A) + 1, RLX));
    META(WRITES)++;
    META(WRITERS) = 0;
    OP(V(A) = (int8_t)(fetch_add(r, COUNT, MAX_READERS, VARIANT(UNLOCK_RELAXED) ? RLX : REL) +
                       MAX_READERS));
    if (V(A) > 0)
        OP(fetch_add(r, READER_SEM, V(A), REL));
    OP(release(r, W));
    END;
}

static const struct program rwmutex = {
    "rwmutex",
    4,
    {reader, reader, writer, writer},
    NULL,
    NULL,
    {{"runlock is no release", MODEL_WEAK},
     {"a reader that leaves a writer waiting is no release", MODEL_WEAK},
     {"rlock is no acquire", MODEL_WEAK},
     {"unlock is no release", MODEL_WEAK},
     {"the writer stores how many it waits for", MODEL_SC},
     {"the writer does not wait", MODEL_SC}},
    false,
};

/* ---- Deque of the object pool ----------------------------------------------------------------------- */

enum { TOP, BOTTOM, SLOT0, SLOT1 };
enum { TAKEN, OBJECTS };
enum { T, BOT, OBJ, OK };
enum { NOT_SEQCST = 1, PUSH_RELAXED, LAST_WITHOUT_CAS, THIEF_READS_BOTTOM_FIRST };

static int slot(int i)
{
    return SLOT0 + (int)((unsigned)i % 2);
}

#define TAKE(obj)                                                                                  \
    do {                                                                                           \
        ASSERT((obj) > 0, "a slot without an object");                                             \
        ASSERT((META(TAKEN) & 1 << (obj)) == 0, "an object is given twice");                       \
        META(TAKEN) = (int8_t)(META(TAKEN) | 1 << (obj));                                          \
    } while (0)

/* Puts 1 and 2, takes twice, puts 3, takes twice. The slots' reuse needs top read with acquire, which
 * shows only where a load may be delayed beyond a later store. */
static void pool_owner(struct run *r)
{
    BEGIN;
    for (V(4) = 1; V(4) <= 3;) {
        OP(V(BOT) = (int8_t)ld(r, BOTTOM, ACQ));
        OP(V(T) = (int8_t)ld(r, TOP, ACQ));
        if (V(BOT) - V(T) < 2) {
            OP(st(r, slot(V(BOT)), V(4), RLX));
            OP(st(r, BOTTOM, V(BOT) + 1, VARIANT(PUSH_RELAXED) ? RLX : REL));
            V(4)++;
        }
        if (V(4) == 2)
            continue;
        for (V(5) = 0; V(5) < 2; V(5)++) {
            OP(V(BOT) = (int8_t)ld(r, BOTTOM, ACQ));
            OP(V(T) = (int8_t)ld(r, TOP, RLX));
            if (V(T) == V(BOT))
                break;
            V(BOT)--;
            OP(st(r, BOTTOM, V(BOT), VARIANT(NOT_SEQCST) ? REL : SEQ));
            OP(V(T) = (int8_t)ld(r, TOP, VARIANT(NOT_SEQCST) ? ACQ : SEQ));
            if (V(BOT) - V(T) < 0) {
                OP(st(r, BOTTOM, V(BOT) + 1, RLX));
                break;
            }
            OP(V(OBJ) = (int8_t)ld(r, slot(V(BOT)), RLX));
            V(OK) = 1;
            if (V(BOT) == V(T)) {
                if (VARIANT(LAST_WITHOUT_CAS))
                    OP(st(r, TOP, V(T) + 1, SEQ));
                else
                    OP(V(OK) = cas(r, TOP, V(T), V(T) + 1, SEQ));
                OP(st(r, BOTTOM, V(BOT) + 1, RLX));
            }
            if (V(OK))
                TAKE(V(OBJ));
        }
    }
    END;
}

static void pool_thief(struct run *r)
{
    BEGIN;
    for (V(4) = 0; V(4) < 2; V(4)++) {
        if (VARIANT(THIEF_READS_BOTTOM_FIRST)) {
            OP(V(BOT) = (int8_t)ld(r, BOTTOM, SEQ));
            OP(V(T) = (int8_t)ld(r, TOP, SEQ));
        } else {
            OP(V(T) = (int8_t)ld(r, TOP, VARIANT(NOT_SEQCST) ? ACQ : SEQ));
            OP(V(BOT) = (int8_t)ld(r, BOTTOM, VARIANT(NOT_SEQCST) ? ACQ : SEQ));
        }
        if (V(BOT) - V(T) <= 0)
            continue;
        OP(V(OBJ) = (int8_t)ld(r, slot(V(T)), RLX));
        OP(V(OK) = cas(r, TOP, V(T), V(T) + 1, SEQ));
        if (V(OK))
            TAKE(V(OBJ));
    }
    END;
}

static const char *all_given(const struct world *w)
{
    return w->meta[TAKEN] == (1 << 1 | 1 << 2 | 1 << 3) ? NULL : "an object is lost";
}

static const struct program deque = {
    "deque",
    3,
    {pool_owner, pool_thief, pool_thief},
    NULL,
    all_given,
    {{"acquire and release in place of seqcst", MODEL_TSO},
     {"the push is no release", MODEL_WEAK},
     {"the last object is taken without a CAS", MODEL_SC},
     {"a thief reads bottom before top", MODEL_SC}},
    false,
};

int main(void)
{
    static const struct program *const programs[] = {&waitgroup, &rwmutex, &deque, NULL};
    return check_programs(programs);
}
