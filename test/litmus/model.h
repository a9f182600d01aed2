/* A small model checker: runs a program of two to four threads in every order that a memory model
 * allows, and checks that nothing forbidden happens.
 *
 * A thread is a function of protothread form: its text between BEGIN and END reads like C, each
 * access to shared memory stands alone in an OP, and its variables live in the world (V(name)), so
 * that a world can be copied, hashed and gone on from. One step of a thread is one OP and the local
 * code up to the next.
 *
 * Memory models:
 *   MODEL_SC    an access takes effect at once.
 *   MODEL_TSO   x86: each thread has a store buffer, first in, first out; loads look there first;
 *               read-modify-writes, seqcst stores and fences wait until it is empty.
 *   MODEL_WEAK  C11's relaxed, acquire, release and seqcst, by views: memory keeps each location's
 *               history of stores, each store carries what its thread knew if it is a release, each
 *               thread has a view (the oldest store of each location that it may still read), a load
 *               may return any store from its view on. A store goes to the end of its location's
 *               history. So loads may be late and stores may be seen in any order by others, as on
 *               arm64; what is missing is a load that takes its value from a store that comes later
 *               in its own thread's past (load buffering, which promises would model). Where a load
 *               must not be delayed beyond a later store, a variant of the program does the two in
 *               that order.
 *
 * Found are: an ASSERT that fails, a state in which no thread can go on and not all have ended (a
 * lost wake-up, a deadlock), a final state that the program's check refuses. A program comes with
 * variants, of which number 0 is right and the others are broken in one place each: the checker must
 * find each of those, which shows that it can. */
#ifndef LITMUS_MODEL_H
#define LITMUS_MODEL_H

#include <stdbool.h>
#include <stdint.h>

enum {
    MAX_THREADS = 4,
    MAX_LOCS = 8,
    MAX_VARS = 8,
    MAX_STORES = 16,
    MAX_META = 16,
    MAX_BUFFER = 6
};

enum model { MODEL_SC, MODEL_TSO, MODEL_WEAK, MODELS };
enum order { RLX, ACQ, REL, ACQ_REL, SEQ };

/* One store in a location's history. */
struct store {
    int8_t value;
    uint8_t view[MAX_LOCS]; /* what a load-acquire of it learns */
};

/* Everything. Unused bytes are zero: worlds are compared by their hash. */
struct world {
    uint16_t pc[MAX_THREADS];
    int8_t var[MAX_THREADS][MAX_VARS];
    uint8_t asleep[MAX_THREADS]; /* in a futex wait on that location + 1 */
    int8_t meta[MAX_META];       /* what the checker knows and the threads do not: no memory */
    uint8_t stores[MAX_LOCS];    /* SC and TSO: unused; WEAK: length of the history */
    union {
        struct {
            int8_t value[MAX_LOCS];
            uint8_t buffered[MAX_THREADS];
            struct {
                uint8_t loc;
                int8_t value;
            } buffer[MAX_THREADS][MAX_BUFFER];
        } strong; /* SC, TSO */
        struct {
            struct store history[MAX_LOCS][MAX_STORES];
            uint8_t view[MAX_THREADS][MAX_LOCS];
            uint8_t seen_by_seq[MAX_LOCS]; /* what seqcst loads and fences have to see */
        } weak;
    };
};

/* What a thread's function gets: the world, and which way to go where there are several. */
struct run {
    struct world *w;
    int thread;
    int variant;
    int choice;  /* which of the possible values this step takes */
    int choices; /* how many there were; set by the operation */
    bool blocked;
    const char *failed; /* what an ASSERT that does not hold says */
};

enum { DONE = UINT16_MAX };

#define BEGIN                                                                                      \
    switch (r->w->pc[r->thread]) {                                                                 \
    case 0:
#define END                                                                                        \
    }                                                                                              \
    r->w->pc[r->thread] = DONE
/* One step: everything up to here belongs to the step before. */
#define OP(...)                                                                                    \
    do {                                                                                           \
        r->w->pc[r->thread] = __LINE__;                                                            \
        return;                                                                                    \
    case __LINE__:                                                                                 \
        __VA_ARGS__;                                                                               \
        if (r->blocked || r->failed != NULL)                                                       \
            return;                                                                                \
    } while (0)
#define V(i) (r->w->var[r->thread][i])
#define META(i) (r->w->meta[i])
#define VARIANT(n) (r->variant == (n))
#define ASSERT(cond, what)                                                                         \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            r->failed = what;                                                                      \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#define EXIT                                                                                       \
    do {                                                                                           \
        r->w->pc[r->thread] = DONE;                                                                \
        return;                                                                                    \
    } while (0)

/* ---- Operations, one to an OP ---------------------------------------------------------------- */

int ld(struct run *r, int loc, enum order o);
void st(struct run *r, int loc, int value, enum order o);
int fetch_add(struct run *r, int loc, int value, enum order o); /* the value before */
int xchg(struct run *r, int loc, int value, enum order o);
bool cas(struct run *r, int loc, int expected, int value, enum order o);
void fence(struct run *r); /* seqcst */
/* Another thread's, on behalf of who has the kernel make all threads pass one: fence, fence_of each, fence. */
void fence_of(struct run *r, int thread);
int choose(struct run *r, int n);
/* A lock whose inside is of no interest: waits until the word is 0, sets it to 1. */
void acquire(struct run *r, int loc);
void release(struct run *r, int loc);
/* A semaphore whose inside is of no interest: waits until the word is above 0, takes 1. */
void take_one(struct run *r, int loc);
/* Goes to sleep if the word has that value, as the kernel sees it. `checks` false: without looking.
 * The next OP has to be waking(). */
void futex_wait(struct run *r, int loc, int value, bool checks);
void waking(struct run *r);
void futex_wake(struct run *r, int loc, int n);
/* Goes on when the condition holds: for what is not memory but the checker's own (META). */
void when(struct run *r, bool cond);

/* ---- Programs --------------------------------------------------------------------------------- */

struct program {
    const char *name;
    int threads;
    void (*thread[MAX_THREADS])(struct run *r);
    void (*init)(struct world *w, int *memory, int variant); /* NULL: all zero */
    const char *(*final)(const struct world *w); /* NULL or what is wrong; may be NULL */
    /* For each variant but the right one what is broken, and from which model on that shows. */
    struct {
        const char *what;
        enum model from;
    } broken[8];
    bool sc_only; /* its worlds are too many for the other models */
};

/* Checks all variants in all models, prints a line each; 0 if all is as expected. */
int check_programs(const struct program *const *programs);

/* Explores one variant in one model; NULL or what was found. states, if not NULL, gets how many were
 * visited; `loud` prints the steps that lead to it. */
const char *explore(const struct program *p, int variant, enum model m, bool loud,
                    uint64_t *states);

#endif
