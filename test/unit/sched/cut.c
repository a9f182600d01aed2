/* Where a goroutine is not held. A handler of the program's on a goroutine's stack, which has cut the runtime where that has a lock, and takes
 * longer than a slice: the goroutine is not held there, or nobody would give the lock back. And between
 * libc_enter and libc_leave. */
#include "chan/chan_int.h"
#include "schedtest.h"

#include <sys/time.h>

enum { GOROUTINES = 3, CUTS = 30 };

static loam_chan(int) ring;
static int quit, cuts;
static int64_t counts[GOROUTINES];

/* It comes to who uses the processor. */
static void on_profile(int sig)
{
    CHECK_EQ(sig, SIGPROF);
    if (load_relaxed(&((struct loam_hchan *)ring)->lock.key) == 0)
        return;
    for (int64_t from = clock_ns(); clock_ns() - from < 4 * LOAM_MILLISECOND;)
        ;
    add(&cuts, 1);
}

static void circulate(void *arg)
{
    for (int v; !load(&quit);) {
        for (int k = 0; k < 100; k++) {
            (void)loam_try_send(ring, k);
            (void)loam_try_recv(ring, &v);
        }
        add((int64_t *)arg, 1);
    }
}

static uint64_t preemptions(void)
{
    struct loam_sched_stats s;
    loam_read_sched_stats(&s);
    return s.preemptions;
}

static void wait_for_turns(void *arg)
{
    while (!load((int *)arg))
        loam_yield();
}

/* As if the runtime were in libc, then as if it were not, beside one that wants the only P. */
static void counted_as_libc(void *arg)
{
    struct thread *t = libc_enter();
    uint64_t before = preemptions();
    for (int64_t from = clock_ns(); clock_ns() - from < 40 * LOAM_MILLISECOND;)
        ;
    CHECK_EQ(preemptions(), before);
    libc_leave(t);
    while (preemptions() == before)
        ;
    store((int *)arg, 1);
}

static void in_libc(void)
{
    int over = 0;
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 1}), 0);
    go(wait_for_turns, &over);
    go(counted_as_libc, &over);
    AWAIT_THREAD(load(&over) && loam_num_goroutine() == 0);
    CHECK_EQ(loam_stop(-1), 0);
}

int main(void)
{
    in_libc();
    struct sigaction action = {.sa_handler = on_profile, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 1}), 0);
    ring = loam_chan_make(int, 8);
    CHECK_EQ(sigaction(SIGPROF, &action, NULL), 0);
    CHECK_EQ(setitimer(ITIMER_PROF, &often, NULL), 0);
    for (int i = 0; i < GOROUTINES; i++)
        go(circulate, &counts[i]);
    AWAIT_THREAD(load(&cuts) >= CUTS);
    CHECK_EQ(setitimer(ITIMER_PROF, &never, NULL), 0);
    for (int i = 0; i < GOROUTINES; i++) {
        int64_t before = load(&counts[i]);
        AWAIT_THREAD(load(&counts[i]) != before);
    }
    store(&quit, 1);
    CHECK_EQ(loam_stop(-1), 0);
    loam_chan_free(ring);
    return 0;
}
