/* Parking, waking and the direct switch, on the machine: a goroutine that parks gives up the lock by
 * which others find it; whoever has that lock may make it run on another thread at once. It must go on
 * with its own context: its registers and its stack hold what they held. And no wake-up is lost. */
#include "sched/sched.h"

#include "litmus.h"

#include <loam/module.h>

LOAM_MODULE(0)

enum { PAIRS = 3 };

/* One parks, the others wake it, by turns; several of these at once. */
struct pair {
    struct mutex lock;
    struct g *parked; /* lock */
    int64_t turns;    /* lock: wake-ups given */
    int64_t message;  /* not atomic on purpose: by the waker, before the wake-up */
    bool stop;        /* lock */
    struct loam_waitgroup *wg;
};

/* Values in callee-saved registers and on the stack, which the switch has to keep. */
#define FILL(x)                                                                                    \
    int64_t c0 = (x) ^ 0x11, c1 = (x) ^ 0x22, c2 = (x) ^ 0x33, c3 = (x) ^ 0x44, c4 = (x) ^ 0x55,   \
            stack_[8];                                                                             \
    for (int i_ = 0; i_ < 8; i_++)                                                                 \
        stack_[i_] = (x) + i_;                                                                     \
    __asm__ volatile(""                                                                            \
                     : "+r"(c0), "+r"(c1), "+r"(c2), "+r"(c3), "+r"(c4)                            \
                     : "r"(stack_)                                                                 \
                     : "memor"                                                                     \
                       "y")
#define CHECK_FILLED(x)                                                                            \
    do {                                                                                           \
        __asm__ volatile("" : "+r"(c0), "+r"(c1), "+r"(c2), "+r"(c3), "+r"(c4));                   \
        CHECK(c0 == ((x) ^ 0x11) && c1 == ((x) ^ 0x22) && c2 == ((x) ^ 0x33) &&                    \
              c3 == ((x) ^ 0x44) && c4 == ((x) ^ 0x55));                                           \
        for (int i_ = 0; i_ < 8; i_++)                                                             \
            CHECK_EQ(stack_[i_], (x) + i_);                                                        \
    } while (0)

/* What has the lock is as the runtime's own code: the signal must not cut it. */
static LOAM_NOPREEMPT void park_once(struct pair *pair, int64_t x)
{
    struct g *gp = getg();
    FILL(x);
    pair->parked = gp;
    goparkunlock(&pair->lock, WAIT_semacquire);
    CHECK(getg() == gp);
    CHECK(getm()->curg == gp && gp->m == getm());
    CHECK_FILLED(x);
}

static LOAM_NOPREEMPT void parker(void *arg)
{
    struct pair *pair = arg;
    int64_t n = times(15000);
    for (int64_t i = 0; i < n; i++) {
        lock(&pair->lock);
        if (pair->turns > i) { /* the waker came first */
            unlock(&pair->lock);
            continue;
        }
        park_once(pair, i * 7919);
        CHECK(pair->message > i);
    }
    lock(&pair->lock);
    pair->stop = true;
    unlock(&pair->lock);
    loam_waitgroup_done(pair->wg);
}

/* Gives one wake-up if the former was used; true when it is over. */
static LOAM_NOPREEMPT bool wake(struct pair *pair, uint64_t *seed)
{
    struct g *gp = NULL;
    lock(&pair->lock);
    bool stop = pair->stop;
    if (pair->parked != NULL || draw(seed) % 16 == 0) {
        gp = pair->parked;
        pair->parked = NULL;
        if (gp != NULL || !stop) {
            pair->message = pair->turns + 1;
            pair->turns++;
        }
    }
    unlock(&pair->lock);
    if (gp != NULL) {
        if (draw(seed) % 2)
            goready(gp);
        else
            goready_tail(gp);
    }
    return stop;
}

static void waker(void *arg)
{
    struct pair *pair = arg;
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    while (!wake(pair, &seed)) {
        delay(&seed);
        if (draw(&seed) % 4 == 0)
            loam_yield();
    }
    loam_waitgroup_done(pair->wg);
}

static void *foreign_waker(void *arg)
{
    struct pair *pair = arg;
    uint64_t seed = (uint64_t)(uintptr_t)arg + 1;
    while (!wake(pair, &seed))
        delay(&seed);
    return NULL;
}

static void join_thread(void *arg)
{
    pthread_join(*(pthread_t *)arg, NULL);
}

static void all(void)
{
    static struct pair pairs[PAIRS];
    struct loam_waitgroup wg = {0};
    pthread_t thread;
    memset(pairs, 0, sizeof pairs);
    loam_waitgroup_add(&wg, 2 * PAIRS);
    for (int i = 0; i < PAIRS; i++) {
        pairs[i].wg = &wg;
        go(parker, &pairs[i]);
        go(waker, &pairs[i]);
    }
    /* one pair is woken from a foreign thread too */
    CHECK_EQ(pthread_create(&thread, NULL, foreign_waker, &pairs[0]), 0);
    loam_waitgroup_wait(&wg);
    loam_blocking(join_thread, &thread);
}

static int litmus_main(int argc, char **argv)
{
    static const int procs[] = {1, 2, 4};
    (void)argc;
    (void)argv;
    for (int i = 0; i < 3; i++) {
        loam_gomaxprocs(procs[i]);
        all();
    }
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(litmus_main, argc, argv);
}
