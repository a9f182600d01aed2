/* Message passing through each type of sync/: what one goroutine wrote, by plain stores, before it
 * signals is read by plain loads after the signal was seen. On x86 the compiler is what can break it;
 * on arm64 the order; in a TSan build an edge that is missing is a reported race. */
#include "litmus.h"

enum { WORDS = 4 };

struct box {
    int64_t words[WORDS]; /* not atomic on purpose */
    struct loam_mutex mu;
    struct loam_rwmutex rw;
    struct loam_cond cond;
    struct loam_waitgroup wg;
    struct loam_once once;
    struct loam_semaphore sem;
    struct loam_objpool *pool;
    int64_t number;
    bool full; /* mu */
};

static void fill(struct box *b)
{
    for (int i = 0; i < WORDS; i++)
        b->words[i] = b->number + i;
}

static void read_back(const struct box *b)
{
    for (int i = 0; i < WORDS; i++)
        CHECK_EQ(b->words[i], b->number + i);
}

static uint64_t seed_of(const struct box *b)
{
    return (uint64_t)b->number * 2654435761u;
}

/* ---- One pair a type: left writes, right reads ------------------------------------------------ */

static void mutex_left(struct box *b)
{
    loam_mutex_lock(&b->mu);
    fill(b);
    b->full = true;
    loam_mutex_unlock(&b->mu);
}

static void mutex_right(struct box *b)
{
    for (bool there = false; !there; loam_yield()) {
        loam_mutex_lock(&b->mu);
        there = b->full;
        loam_mutex_unlock(&b->mu);
    }
}

static void try_right(struct box *b)
{
    for (bool there = false; !there; loam_yield())
        if (loam_mutex_try_lock(&b->mu)) {
            there = b->full;
            loam_mutex_unlock(&b->mu);
        }
}

static void rw_left(struct box *b)
{
    loam_rwmutex_lock(&b->rw);
    fill(b);
    b->full = true;
    loam_rwmutex_unlock(&b->rw);
}

static void rw_right(struct box *b)
{
    for (bool there = false; !there; loam_yield()) {
        loam_rwmutex_rlock(&b->rw);
        there = b->full;
        loam_rwmutex_runlock(&b->rw);
    }
}

/* The reader leaves a message, the writer finds it. */
static void rw_back_left(struct box *b)
{
    loam_rwmutex_rlock(&b->rw);
    fill(b);
    b->full = true;
    loam_rwmutex_runlock(&b->rw);
}

static void rw_back_right(struct box *b)
{
    for (bool there = false; !there; loam_yield()) {
        loam_rwmutex_lock(&b->rw);
        there = b->full;
        loam_rwmutex_unlock(&b->rw);
    }
}

static void cond_left(struct box *b)
{
    loam_mutex_lock(&b->mu);
    fill(b);
    b->full = true;
    loam_mutex_unlock(&b->mu);
    loam_cond_signal(&b->cond);
}

static void cond_right(struct box *b)
{
    loam_mutex_lock(&b->mu);
    while (!b->full)
        loam_cond_wait(&b->cond, &b->mu);
    loam_mutex_unlock(&b->mu);
}

static void waitgroup_left(struct box *b)
{
    fill(b);
    loam_waitgroup_done(&b->wg);
}

static void waitgroup_right(struct box *b)
{
    loam_waitgroup_wait(&b->wg);
}

static void fill_once(void *arg)
{
    fill(arg);
}

static void once_both(struct box *b)
{
    loam_once_do(&b->once, fill_once, b);
    read_back(b);
}

static void semaphore_left(struct box *b)
{
    fill(b);
    loam_semaphore_release(&b->sem, 1);
}

static void semaphore_right(struct box *b)
{
    CHECK_EQ(loam_semaphore_acquire(&b->sem, 1, NULL), 0);
}

static void semaphore_try_right(struct box *b)
{
    while (!loam_semaphore_try_acquire(&b->sem, 1))
        loam_yield();
}

static void pool_left(struct box *b)
{
    fill(b);
    loam_objpool_put(b->pool, b);
}

static void pool_right(struct box *b)
{
    /* the private object of a P that lives is not for others: there it may wait for ever */
    for (int i = 0; i < 200; i++) {
        struct box *got = loam_objpool_get(b->pool);
        if (got != NULL) {
            CHECK(got == b);
            read_back(b);
            return;
        }
        loam_yield();
    }
}

static const struct {
    void (*left)(struct box *), (*right)(struct box *);
    bool read; /* by the frame here; the others do it themselves */
} cases[] = {
    {mutex_left, mutex_right, true},
    {mutex_left, try_right, true},
    {rw_left, rw_right, true},
    {rw_back_left, rw_back_right, true},
    {cond_left, cond_right, true},
    {waitgroup_left, waitgroup_right, true},
    {once_both, once_both, false},
    {semaphore_left, semaphore_right, true},
    {semaphore_left, semaphore_try_right, true},
    {pool_left, pool_right, false},
};

struct side {
    struct box *box;
    struct loam_waitgroup *wg;
    size_t kind;
    bool right;
};

static void run_side(void *arg)
{
    struct side *s = arg;
    uint64_t seed = seed_of(s->box) + s->right;
    delay(&seed);
    if (s->right)
        cases[s->kind].right(s->box);
    else
        cases[s->kind].left(s->box);
    if (s->right && cases[s->kind].read)
        read_back(s->box);
    loam_waitgroup_done(s->wg);
}

static void all(void)
{
    enum { AT_ONCE = 8 };
    for (int64_t n = times(800); n > 0; n--)
        for (size_t kind = 0; kind < sizeof cases / sizeof cases[0]; kind++) {
            static struct box boxes[AT_ONCE];
            static struct side sides[AT_ONCE][2];
            struct loam_waitgroup wg = {0};
            struct loam_objpool *pool = loam_objpool_new(NULL, NULL, NULL);
            CHECK(pool != NULL);
            int boxes_used = cases[kind].left == pool_left ? 1 : AT_ONCE;
            loam_waitgroup_add(&wg, 2 * boxes_used);
            for (int i = 0; i < boxes_used; i++) {
                boxes[i] = (struct box){.number = n * 100 + i, .pool = pool};
                CHECK_EQ(loam_semaphore_init(&boxes[i].sem, 1), 0);
                CHECK(loam_semaphore_try_acquire(&boxes[i].sem, 1));
                loam_waitgroup_add(&boxes[i].wg, 1);
                for (int right = 0; right < 2; right++) {
                    sides[i][right] = (struct side){&boxes[i], &wg, kind, right != (n % 2)};
                    go(run_side, &sides[i][right]);
                }
            }
            loam_waitgroup_wait(&wg);
            loam_objpool_free(pool);
        }
}

static int litmus_main(int argc, char **argv)
{
    static const int procs[] = {1, 2, 4};
    (void)argc;
    (void)argv;
    for (int i = 0; i < (seeded() ? 1 : 3); i++) {
        if (!seeded())
            loam_gomaxprocs(procs[i]);
        all();
    }
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(litmus_main, argc, argv);
}
