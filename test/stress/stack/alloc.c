/* stackalloc from all Ps and from threads of the program at once, with one that gives memory back to the
 * system all the time. Each stack that somebody has is filled with a pattern of its own, which must be
 * there when it is given up: a stack that two have, or whose pages went, shows. Some are given up by
 * another than who took them. At the end nothing is missing. */
#include "sched/sched_int.h"

#include "../../check.h"

#include <pthread.h>

enum { WORKERS = 8, THREADS = 2, HELD = 40, SHELF = 64 };

struct worker {
    struct stack held[HELD];
    uint64_t random;
    int64_t left; /* steps */
    struct stackcache *cache;
    uint64_t *done;
};

/* Where workers leave stacks for others. */
static struct shelf {
    uint32_t taken; /* whose turn it is */
    struct stack s;
} shelf[SHELF];

static uint64_t workers_done, over;

static uint32_t draw(struct worker *w, uint32_t below)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->random >> 33) % below;
}

/* ---- Patterns ----------------------------------------------------------------------------------------- */

/* Words of a stack: all of the first and last 256 bytes, one of each 1024 between. */
static void each_word(struct stack s, void (*fn)(uint64_t *word))
{
    uintptr_t words = (s.hi - s.lo) / 8;
    for (uintptr_t i = 0; i < words; i += i < 32 || i + 32 >= words ? 1 : 128)
        fn((uint64_t *)s.lo + i);
}

static void write_word(uint64_t *word)
{
    *word = ~(uint64_t)(uintptr_t)word;
}

static void check_word(uint64_t *word)
{
    if (*word != ~(uint64_t)(uintptr_t)word)
        FAIL("%p holds %#" PRIx64 ": somebody else has this stack", (void *)word, *word);
    *word = 0x5ac5ac5ac5ac5ac5; /* and whoever has it too will find this */
}

/* ---- Steps --------------------------------------------------------------------------------------------- */

static void take(struct worker *w, struct stack *s)
{
    /* mostly small ones; below 1 MB, for there are many */
    uint32_t class = draw(w, 8) != 0 ? draw(w, STACKALLOC_SMALL) : draw(w, 9);
    int got = stackalloc(w->cache, (size_t)2048 << class, s);
    if (got < 0)
        FAIL("stackalloc: %s", loam_error_text());
    each_word(*s, write_word);
}

static void give(struct worker *w, struct stack *s)
{
    each_word(*s, check_word);
    stackfree(w->cache, *s);
    s->lo = 0;
}

static void exchange(struct worker *w, struct stack *s)
{
    struct shelf *place = &shelf[draw(w, SHELF)];
    if (xchg_acquire(&place->taken, 1) != 0)
        return;
    struct stack other = place->s;
    place->s = *s;
    *s = other;
    store_release(&place->taken, 0);
}

static void step(struct worker *w)
{
    struct stack *s = &w->held[draw(w, HELD)];
    if (draw(w, 8) == 0)
        exchange(w, s);
    else if (s->lo == 0)
        take(w, s);
    else
        give(w, s);
    /* now and then all of them, so that spans and chunks come free */
    if (draw(w, 500) == 0)
        for (int i = 0; i < HELD; i++)
            if (w->held[i].lo != 0)
                give(w, &w->held[i]);
}

static void give_all(struct worker *w)
{
    for (int i = 0; i < HELD; i++)
        if (w->held[i].lo != 0)
            give(w, &w->held[i]);
}

/* ---- Goroutines: on g0 of whatever thread, with the cache of its P ----------------------------------------- */

static void some_steps(struct m *mp, struct g *gp)
{
    struct worker *w = gp->param;
    w->cache = &mp->p->stackcache;
    for (int i = 0; i < 50 && w->left > 0; i++, w->left--)
        step(w);
    if (w->left <= 0)
        give_all(w);
    gp->param = NULL;
    casgstatus(gp, G_running, G_runnable);
    runqput(mp->p, gp, false);
}

static void goroutine(void *arg)
{
    struct worker *w = arg;
    while (load(&w->left) > 0) {
        getg()->param = w;
        gswitch_to_g0(getm(), getg(), some_steps);
    }
    add(w->done, 1);
}

/* ---- Threads, without a cache ----------------------------------------------------------------------------- */

static void *thread(void *arg)
{
    struct worker *w = arg;
    for (; w->left > 0; w->left--)
        step(w);
    give_all(w);
    add(w->done, 1);
    return NULL;
}

static void *scavenger(void *arg)
{
    (void)arg;
    while (!load(&over)) {
        stackalloc_scavenge();
        struct loam_stack_class k[STACKALLOC_CLASSES];
        loam_read_stack_stats(k, STACKALLOC_CLASSES);
        stackalloc_scavenge();
        stackalloc_reclaim();
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return NULL;
}

/* ---- All ---------------------------------------------------------------------------------------------------- */

static void start_goroutines(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < WORKERS; i++)
        go(goroutine, &w[i]);
    AWAIT(load(&workers_done) == WORKERS);
}

static void round_of(int procs, uint64_t seed)
{
    static struct worker all[WORKERS + THREADS];
    memset(all, 0, sizeof all);
    store(&workers_done, 0);
    store(&over, 0);
    uint64_t threads_done = 0;
    for (int i = 0; i < WORKERS + THREADS; i++)
        all[i] = (struct worker){.random = seed * 1000 + (uint64_t)i,
                                 .left = times(20000),
                                 .done = i < WORKERS ? &workers_done : &threads_done};
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = procs}), 0);
    pthread_t t[THREADS + 1];
    int n = 0;
    for (; n < THREADS && !seeded(); n++)
        CHECK_EQ(pthread_create(&t[n], NULL, thread, &all[WORKERS + n]), 0);
    if (!seeded())
        CHECK_EQ(pthread_create(&t[n++], NULL, scavenger, NULL), 0);
    CHECK_EQ(loam_call(start_goroutines, all), 0);
    AWAIT_THREAD(seeded() || load(&threads_done) == THREADS);
    store(&over, 1);
    for (int i = 0; i < n; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < SHELF; i++)
        if (shelf[i].s.lo != 0)
            give(&all[WORKERS], &shelf[i].s);
    /* what is out lies in the caches, which nobody changes any more */
    struct loam_stack_class k[STACKALLOC_CLASSES];
    CHECK_EQ(loam_read_stack_stats(k, STACKALLOC_CLASSES), STACKALLOC_CLASSES);
    uint64_t refills = 0;
    for (int i = 0; i < STACKALLOC_CLASSES; i++) {
        CHECK_EQ(k[i].in_use, 0);
        refills += k[i].refills;
    }
    CHECK(refills > 0);
    CHECK_EQ(loam_stop(-1), 0);
    CHECK_EQ(stackalloc_mapped(), 0);
}

int main(void)
{
    for (int procs = 1; procs <= 4; procs *= 2)
        round_of(procs, (uint64_t)procs);
    return 0;
}
