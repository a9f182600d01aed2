/* Claims on parked goroutines, and what they are for: a goroutine that has been parked for a round has no
 * memory below its stack pointer any more, and goes on right; one that is claimed does not run. */
#include "sched/claim.h"

#include "schedtest.h"

#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LEVELS = 35, BLOCK = 4096 };

static loam_chan(int) gate;
static int parked, ran, over;

static noinline unsigned deep(int levels, unsigned seed)
{
    volatile unsigned char block[BLOCK];
    memset((void *)(uintptr_t)block, (int)(seed + (unsigned)levels), sizeof block);
    unsigned below = levels > 0 ? deep(levels - 1, seed) : 0;
    return below + block[17] + block[BLOCK - 3];
}

/* Pages of gp's slot that are in memory and not in use. */
static int unused(const struct g *gp)
{
    unsigned char pages[STACK_SLOT / 4096];
    uintptr_t lo = gp->stack.lo, hi = align_down(gp->sched.sp, 4096);
    CHECK(hi > lo && (hi - lo) / 4096 <= sizeof pages);
    CHECK_EQ(mincore((void *)lo, hi - lo, pages), 0);
    int n = 0;
    for (size_t i = 0; i < (hi - lo) / 4096; i++)
        n += pages[i] & 1;
    return n;
}

static bool have_claims(void)
{
    bool have = claims_begin();
    if (have)
        claims_end();
    return have;
}

/* ---- Pages ------------------------------------------------------------------------------------------- */

static struct g *sleeper;
static int rounds;

static void sleep_deep(void *arg)
{
    (void)arg;
    unsigned char mine[512];
    store(&sleeper, getg());
    for (int i = 0; i < rounds; i++) {
        memset(mine, i, sizeof mine);
        unsigned was = deep(LEVELS, (unsigned)i);
        store(&parked, i + 1);
        int got;
        CHECK(loam_recv_ok(gate, &got) && got == i);
        for (size_t k = 0; k < sizeof mine; k++)
            CHECK_EQ(mine[k], i);
        CHECK_EQ(deep(LEVELS, (unsigned)i), was);
        store(&ran, i + 1);
    }
}

static void pages(void *arg)
{
    (void)arg;
    rounds = 3;
    gate = loam_chan_make(int, 0);
    go(sleep_deep, NULL);
    for (int i = 0; i < rounds; i++) { /* each time that it parks */
        AWAIT(load(&parked) == i + 1);
        AWAIT(__atomic_load_n(&sleeper->status, __ATOMIC_ACQUIRE) == G_waiting &&
              unused(sleeper) == 0);
        loam_send(gate, i);
        AWAIT(load(&ran) == i + 1);
    }
    loam_chan_free(gate);
}

/* ---- Beside those who park and wake all the time -------------------------------------------------------- */

enum { BUSY = 40 };
static loam_chan(int) ring[BUSY];

static void pass_on(void *arg)
{
    int me = (int)(intptr_t)arg, got;
    uint64_t seed = (uint64_t)me + 1;
    while (loam_recv_ok(ring[me], &got)) {
        int levels = (int)draw(&seed, LEVELS);
        unsigned was = deep(levels, (unsigned)got);
        if (draw(&seed, 8) == 0)
            loam_yield();
        CHECK_EQ(deep(levels, (unsigned)got), was);
        add(&ran, 1);
        loam_send(ring[(me + 1) % BUSY], got);
    }
    add(&over, 1);
}

/* A foreign thread that claims whatever it finds, and writes below the stack pointer of what it gets. */
static int taken;

static void *claim_all(void *arg)
{
    while (!load((int *)arg)) {
        struct g *gs[64];
        int n = 0;
        bool held = allg_hold();
        CHECK(claims_begin());
        for (struct g *gp = load_acquire(&allg); gp != NULL && n < 64;
             gp = load_acquire(&gp->alllink))
            claim_announce(gs[n++] = gp);
        claims_settle();
        for (int i = 0; i < n; i++)
            if (claim_take(gs[i])) {
                uintptr_t sp = gs[i]->sched.sp;
                CHECK(sp > gs[i]->stack.lo + BLOCK && sp < gs[i]->stack.hi);
                if (!TEST_TSAN) /* to which the runtime's own orders are unknown */
                    memset((void *)(sp - BLOCK), 0xc5, BLOCK / 2);
                add(&taken, 1);
                claim_release(gs[i]);
            }
        claims_end();
        allg_release(held);
    }
    return NULL;
}

static void beside_wakers(void *arg)
{
    (void)arg;
    int end = 0;
    store(&ran, 0);
    store(&over, 0);
    for (int i = 0; i < BUSY; i++)
        ring[i] = loam_chan_make(int, 1);
    for (int i = 0; i < BUSY; i++)
        go(pass_on, (void *)(intptr_t)i);
    pthread_t t = thread_start(claim_all, &end);
    for (int i = 0; i < BUSY / 4; i++) /* so many go round */
        loam_send(ring[4 * i], i);
    AWAIT(load(&ran) >= times(4000) && load(&taken) > 0);
    store(&end, 1);
    pthread_join(t, NULL);
    for (int i = 0, got; i < BUSY / 4; i++)
        CHECK(loam_recv_ok(ring[0], &got));
    for (int i = 0; i < BUSY; i++)
        loam_close(ring[i]);
    AWAIT(load(&over) == BUSY);
    for (int i = 0; i < BUSY; i++)
        loam_chan_free(ring[i]);
}

/* ---- One that is claimed does not run ------------------------------------------------------------------- */

static int step;

static void wait_once(void *arg)
{
    (void)arg;
    store(&sleeper, getg());
    int none;
    CHECK(!loam_recv_ok(gate, &none));
    add(&ran, 1);
}

static void *hold_it(void *arg)
{
    (void)arg;
    CHECK(claims_begin());
    do { /* until it is parked */
        claim_announce(sleeper);
        claims_settle();
    } while (!claim_take(sleeper));
    store(&step, 1); /* it is woken now, by a P that others want too */
    AWAIT_THREAD(load(&step) == 2);
    usleep(20000);
    CHECK_EQ(load(&ran), 0);
    claim_release(sleeper);
    claims_end();
    return NULL;
}

static void claimed(void *arg)
{
    (void)arg;
    store(&ran, 0);
    store(&step, 0);
    store(&sleeper, NULL);
    gate = loam_chan_make(int, 0);
    go(wait_once, NULL);
    AWAIT(load(&sleeper) != NULL);
    pthread_t t = thread_start(hold_it, NULL);
    AWAIT(load(&step) == 1);
    loam_close(gate);
    store(&step, 2);
    AWAIT(load(&ran) == 1);
    pthread_join(t, NULL);
    CHECK(__atomic_load_n(&sleeper->claim, __ATOMIC_SEQ_CST) == CLAIM_NONE);
    loam_chan_free(gate);
}

int main(void)
{
    /* asked of the kernel, so that a defect of ours does not look like a lack of its */
    long have = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    if (have < 0 || !(have & MEMBARRIER_CMD_PRIVATE_EXPEDITED))
        SKIP("this kernel has no membarrier");
    CHECK(have_claims());
    on_goroutine(2, claimed, NULL);
    on_goroutine(1, claimed, NULL);
    scavenge_round_ns /= 40; /* a test is not to take so long */
    on_goroutine(1, pages, NULL);
    store(&parked, 0);
    store(&ran, 0);
    on_goroutine(2, pages, NULL);
    scavenge_round_ns = 1; /* as fast as it can */
    on_goroutine(2, beside_wakers, NULL);
    on_goroutine(4, beside_wakers, NULL);
    return 0;
}
