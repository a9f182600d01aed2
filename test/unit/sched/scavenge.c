/* Memory goes back to the system without anybody's doing: that of dead goroutines, their slots, the small
 * stacks that Ps kept. What is in use stays as it is, also for whoever lists all goroutines meanwhile. */
#include "sched/sched_int.h"

#include "schedtest.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

static int goroutines, ran;
static loam_chan(int) gate;
static int64_t count_at_rest, rss_at_rest;

static int64_t gs(void)
{
    int64_t n = 0;
    bool held = allg_hold();
    CHECK(held);
    for (struct g *gp = load_acquire(&allg); gp != NULL; gp = load_acquire(&gp->alllink))
        n++;
    allg_release(held);
    return n;
}

static uint64_t stacks_mapped(void)
{
    struct loam_sched_stats s;
    loam_read_sched_stats(&s);
    return s.stacks_mapped;
}

static noinline unsigned deep(int levels)
{
    volatile unsigned char block[2048];
    memset((void *)(uintptr_t)block, levels, sizeof block);
    unsigned below = levels > 0 ? deep(levels - 1) : 0;
    return below + block[17];
}

static void park_until_release(void *arg)
{
    unsigned mine = deep(8);
    add(&ran, 1);
    int none;
    CHECK(!loam_recv_ok(gate, &none));
    CHECK_EQ(mine, deep(8));
    (void)arg;
}

static void count(void *arg)
{
    (void)arg;
    add(&ran, 1);
}

/* Many at once, of several stack sizes. */
static void crowd(int n)
{
    store(&ran, 0);
    gate = loam_chan_make(int, 0);
    for (int i = 0; i < n; i++) {
        static const size_t sizes[] = {0, 0, 0, 0, 0, 0, 0, 300000};
        CHECK_EQ(loam_go_with(&(struct loam_go_options){.stack_size = sizes[i % 8]},
                              park_until_release, NULL),
                 0);
    }
    AWAIT(load(&ran) == n);
    CHECK(gs() >= n);
    loam_close(gate);
    while (loam_num_goroutine() > 1)
        loam_sleep(5000000);
    loam_chan_free(gate);
}

/* Until what the crowd left is gone: its Gs, and, where a sanitizer's own memory does not hide it, the
 * resident memory to within 10 percent and a megabyte, of some hundred. */
static void await_rest(void)
{
    while (gs() > count_at_rest ||
           (!TEST_ASAN && process_status("VmRSS:") > rss_at_rest * 11 / 10 + 1024))
        loam_sleep(20000000);
}

static void crowds(void *arg)
{
    (void)arg;
    goroutines = (int)times(6000);
    /* what is made once and stays */
    crowd(100);
    count_at_rest = 1; /* this one */
    rss_at_rest = INT64_MAX / 20;
    await_rest();
    rss_at_rest = process_status("VmRSS:");
    crowd(goroutines);
    uint64_t mapped = stacks_mapped();
    await_rest();
    /* their addresses are used again */
    crowd(goroutines);
    CHECK_EQ(stacks_mapped(), mapped);
    await_rest();
    crowd(1);
}

/* A P that is never idle gives up what it kept, too. */
static void busy(void *arg)
{
    (void)arg;
    crowd(100);
    AWAIT(gs() == 1);
}

/* ---- Beside those who look at all of them ------------------------------------------------------------- */

static int dumping;

static void *dumps(void *arg)
{
    (void)arg;
    int fd = open("/dev/null", O_WRONLY);
    CHECK(fd >= 0);
    while (load(&dumping)) {
        loam_dump_goroutines(fd);
        struct loam_sched_stats s;
        loam_read_sched_stats(&s);
    }
    close(fd);
    return NULL;
}

static void beside_dumps(void *arg)
{
    (void)arg;
    store(&dumping, 1);
    pthread_t t = thread_start(dumps, NULL);
    crowd((int)times(2000));
    while (gs() > 10) {
        go(count, NULL); /* some come and go meanwhile */
        loam_sleep(5000000);
    }
    store(&dumping, 0);
    pthread_join(t, NULL);
}

/* Slots that were given back with their guards, which a program that locks its memory may not set again. */
static void locked_memory(void *arg)
{
    (void)arg;
    crowd(1000);
    while (gs() > 1)
        loam_sleep(5000000);
    if (mlockall(MCL_CURRENT | MCL_ONFAULT) != 0) {
        CHECK(errno == EPERM || errno == ENOMEM || errno == ENOSYS);
        return;
    }
    crowd(1000);
    CHECK_EQ(munlockall(), 0);
    crowd(1000);
}

/* ---- Small stacks of idle Ps ---------------------------------------------------------------------------- */

static void take_and_give(struct m *mp, struct g *gp)
{
    static struct stack s[100];
    for (int class = 0; class < STACKALLOC_SMALL; class ++) {
        for (int i = 0; i < 100; i++)
            CHECK(stackalloc(&mp->p->stackcache, (size_t)2048 << class, &s[i]) >= 0);
        for (int i = 0; i < 100; i++)
            stackfree(&mp->p->stackcache, s[i]);
    }
    CHECK(stackalloc(NULL, 1 << 20, &s[0]) >= 0);
    stackfree(NULL, s[0]);
    casgstatus(gp, G_running, G_runnable);
    runqput(mp->p, gp, false);
}

static void small_stacks(void *arg)
{
    (void)arg;
    gswitch_to_g0(getm(), getg(), take_and_give);
    CHECK(stackalloc_mapped() > 0);
    while (stackalloc_mapped() > 0) /* which leaves this P idle */
        loam_sleep(50000000);
    struct loam_stack_class k[STACKALLOC_CLASSES];
    loam_read_stack_stats(k, STACKALLOC_CLASSES);
    for (int i = 0; i < STACKALLOC_CLASSES; i++)
        CHECK_EQ(k[i].in_use + k[i].cached + k[i].pooled, 0);
}

int main(void)
{
    scavenge_round_ns /= 20; /* a test is not to take so long */
    if (!TEST_TSAN) {        /* there the memory of goroutines stays */
        on_goroutine(2, crowds, NULL);
        on_goroutine(1, busy, NULL);
        on_goroutine(4, beside_dumps, NULL);
        on_goroutine(2, locked_memory, NULL);
    }
    on_goroutine(1, small_stacks, NULL);
    return 0;
}
