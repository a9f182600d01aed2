/* What a parked goroutine costs: memory, and the time to start, park, wake and end it. In bench_loam on
 * slots, in bench_small (BENCH_SMALL) on small stacks. */
#include "bench_loam.h"

#include <inttypes.h>
#include <stdio.h>

enum { PARKED = 1000000 };

/* Resident memory and page tables of this process in bytes: what the kernel gave it. */
static int64_t footprint(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    if (!f)
        bench_fail("no /proc/self/status");
    char line[256];
    int64_t kb = 0, n;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %" SCNd64, &n) == 1 || sscanf(line, "VmPTE: %" SCNd64, &n) == 1)
            kb += n;
    fclose(f);
    return kb * 1024;
}

static int_chan gate;
static struct loam_waitgroup ended;
static int64_t arrived, sum; /* atomic */

/* Three calls deep, as code that parks usually is. */
BENCH_OPAQUE static int64_t third(int_chan c)
{
    return loam_recv(c) + 1;
}

BENCH_OPAQUE static int64_t second(int_chan c)
{
    return third(c) + 1;
}

BENCH_OPAQUE static int64_t first(int_chan c)
{
    return second(c) + 1;
}

static void park(void *arg)
{
    (void)arg;
    __atomic_add_fetch(&arrived, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&sum, first(gate), __ATOMIC_RELAXED);
    loam_waitgroup_done(&ended);
}

/* Starts all of them and waits until each has come to where it parks; returns the ns of one. */
static double park_all(void)
{
    gate = loam_chan_make(int64_t, 0);
    loam_waitgroup_add(&ended, PARKED);
    int64_t begin = bench_now();
    for (int i = 0; i < PARKED; i++) {
        start(park, NULL);
        if (i % 256 == 255)
            loam_yield();
    }
    while (__atomic_load_n(&arrived, __ATOMIC_RELAXED) < PARKED)
        loam_yield();
    return bench_ns_per(begin, PARKED);
}

/* Wakes all and waits for their end; returns the ns of one. */
static double wake_all(void)
{
    int64_t begin = bench_now();
    loam_close(gate);
    loam_waitgroup_wait(&ended);
    return bench_ns_per(begin, PARKED);
}

static struct outcome parked_bytes(void)
{
    int64_t before = footprint();
    (void)park_all();
    int64_t bytes = footprint() - before;
    (void)wake_all();
    return (struct outcome){(double)bytes / PARKED, (uint64_t)sum};
}

static struct outcome parked_create(void)
{
    double ns = park_all();
    (void)wake_all();
    return (struct outcome){ns, (uint64_t)sum};
}

static struct outcome parked_wake(void)
{
    (void)park_all();
    double ns = wake_all();
    return (struct outcome){ns, (uint64_t)sum};
}

/* clang-format off */
const struct bench stack_benches[] = {
#ifdef BENCH_SMALL
    {"parked_bytes_small", "B", parked_bytes},
    {"parked_create_small", "ns", parked_create},
    {"parked_wake", "ns", parked_wake},
#else
    {"parked_bytes_slots", "B", parked_bytes},
    {"parked_create_slots", "ns", parked_create},
    {"parked_wake_slots", "ns", parked_wake},
#endif
    {NULL, NULL, NULL},
};
/* clang-format on */
