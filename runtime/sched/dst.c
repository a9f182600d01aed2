/* Time and choices, the one place for both; and the seeded run (deterministic simulation testing).
 *
 * LOAMDEBUG=dst=SEED: one P, one thread, no sysmon. Every choice - which runnable goroutine is next,
 * select's order, whether a runtime call yields - comes from one stream of random numbers, and the
 * clock is virtual: it creeps while goroutines run and jumps to the next timer when all sleep. The
 * same seed gives the same run and the same event trace byte for byte, as long as the program itself
 * asks nothing else (the real clock, foreign threads, addresses). */
#include "sched/sched_int.h"

#include "base/rand.h"
#include "os/os.h"
#include "sched/needs.h"

#include <string.h>

enum { NS_PER_CLOCK_READ = 10, NS_PER_SCHEDULE = 500 };

static uint32_t stream[2];                /* the one thread of a seeded run */
static int64_t virtual_now;               /* atomic, relaxed: foreign threads may read the clock */
static uint32_t foreign_rand[2] = {1, 2}; /* unsynchronised on purpose: any mix will do */

void dst_init(void)
{
    rand_seed(stream, (uint64_t)debug.dst);
    store_relaxed(&virtual_now, INT64_C(1000000000)); /* 0 means "no timer" to many */
}

int64_t nanotime(void)
{
    if (likely(!debug.dst_on))
        return os_nanotime();
    return add_relaxed(&virtual_now, NS_PER_CLOCK_READ);
}

uint32_t choose(uint32_t n)
{
    struct m *mp = getm();
    if (likely(mp != NULL))
        return rand_below(unlikely(debug.dst_on) ? stream : mp->thread.rand, n);
    uint32_t s[2] = {load_relaxed(&foreign_rand[0]), load_relaxed(&foreign_rand[1])};
    uint32_t v = rand_below(s, n);
    store_relaxed(&foreign_rand[0], s[0]);
    store_relaxed(&foreign_rand[1], s[1]);
    return v;
}

void dst_tick(void)
{
    add_relaxed(&virtual_now, NS_PER_SCHEDULE);
}

int64_t trace_clock(void)
{
    return load_relaxed(&virtual_now);
}

/* ---- The one run queue: an array, so that any of it is taken in one step ------------------------- */

static struct g **queue; /* sched.lock; sched.runqsize are in it */
static uint32_t queue_cap;

static void enlarge_locked(void *unused)
{
    (void)unused;
    uint32_t cap = queue_cap != 0 ? 2 * queue_cap : 1024;
    struct g **bigger = os_mem_map(cap * sizeof *bigger, "loam seeded run");
    if (bigger == NULL)
        throw("out of memory: the run queue of a seeded run");
    if (queue != NULL)
        memcpy(bigger, queue, queue_cap * sizeof *queue);
    os_mem_unmap(queue, queue_cap * sizeof *queue);
    queue = bigger;
    queue_cap = cap;
}

void dst_put_locked(struct g *gp)
{
    if (sched.runqsize == queue_cap)
        systemstack(enlarge_locked, NULL);
    queue[sched.runqsize] = gp;
    store_relaxed(&sched.runqsize, sched.runqsize + 1);
}

static struct g *pick(void)
{
    lock(&sched.lock);
    struct g *gp = NULL;
    if (sched.runqsize > 0) {
        uint32_t k = choose(sched.runqsize);
        gp = queue[k];
        store_relaxed(&sched.runqsize, sched.runqsize - 1);
        queue[k] = queue[sched.runqsize];
    }
    unlock(&sched.lock);
    return gp;
}

void dst_fini(void)
{
    os_mem_unmap(queue, queue_cap * sizeof *queue);
    queue = NULL;
    queue_cap = 0;
}

static void idle(struct m *mp)
{
    lock(&sched.lock);
    sched.nmidle++; /* for checkdead: the only M has nothing to run */
    checkdead_locked();
    sched.nmidle--;
    unlock(&sched.lock);
    if (load_relaxed(&sched.gcwaiting) || load_relaxed(&sched.leaving) || load_relaxed(&mp->leave))
        return;
    /* A foreign thread may make something runnable: it says so by poll_break. */
    if (xchg_acquire(&sched.pollkey, 0) == 0) {
        os_futex_wait(&sched.pollkey, 0, 100000000);
        store_relaxed(&sched.pollkey, 0);
    }
}

struct g *dst_find(struct m *mp)
{
    for (;;) {
        if (load_relaxed(&sched.leaving))
            return NULL;
        if (load_relaxed(&sched.gcwaiting)) {
            if (!gcstopm(mp))
                return NULL;
            continue;
        }
        int64_t when = load_relaxed(&mp->p->timers_when);
        if (when != 0 && when <= nanotime()) {
            bool ran = false;
            timers_run(mp->p, nanotime(), &ran);
        }
        struct g *gp = pick();
        if (gp != NULL)
            return gp;
        if (load_relaxed(&mp->leave))
            return NULL;
        when = load_relaxed(&mp->p->timers_when);
        if (when == 0)
            idle(mp);
        else if (when > load_relaxed(&virtual_now))
            store_relaxed(&virtual_now, when);
    }
}
