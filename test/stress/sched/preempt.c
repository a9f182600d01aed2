/* Goroutines that compute without ever calling the runtime keep what is their thread's, and their
 * registers, over ten thousand preemptions: errno, thread-locals, mutexes and files that they have
 * locked, the rounding mode, sums in x87, SSE and AVX registers. */
#include "stress.h"

#include <errno.h>
#include <sys/syscall.h>

/* More of both than there are CPUs: slices are of real time, so that they end side by side. */
enum { GOROUTINES = 48, PROCS = 16 };

static __thread uint64_t mine;
static int quit;
static uint64_t rounds[GOROUTINES];

static __attribute__((noinline)) long double x87(int n)
{
    long double a = 1.0L, b = 0.5L, c = 3.0L;
    for (int i = 0; i < n; i++) {
        a = a * 1.0000001L + b;
        b = b * 0.9999999L + c / (a + 1.0L);
        c = c - a * 1e-9L;
    }
    return a + b + c;
}

static __attribute__((noinline)) double sse(int n)
{
    double a = 1.0, b = 0.5, c = 3.0;
    for (int i = 0; i < n; i++) {
        a = a * 1.0000001 + b;
        b = b * 0.9999999 + c / (a + 1.0);
        c = c - a * 1e-9;
    }
    return a + b + c;
}

/* Eight doubles in vector registers, as wide as there are. */
typedef double wide __attribute__((vector_size(64)));

#define WIDE(name, cpu)                                                                            \
    cpu static __attribute__((noinline)) void name(int n, double out[8])                           \
    {                                                                                              \
        wide a = {1, 2, 3, 4, 5, 6, 7, 8}, b = a * 0.25, c = a + 0.125;                            \
        for (int i = 0; i < n; i++) {                                                              \
            a = a * 1.0000001 + b;                                                                 \
            b = b * 0.9999999 + c;                                                                 \
            c = c - a * 1e-9;                                                                      \
        }                                                                                          \
        a = a + b + c;                                                                             \
        memcpy(out, &a, sizeof a);                                                                 \
    }
WIDE(wide_plain, )
#ifdef __x86_64__
WIDE(wide_avx, __attribute__((target("avx"))))
WIDE(wide_avx512, __attribute__((target("avx512f"))))
#endif

static void (*widest(void))(int, double[8])
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return wide_avx512;
    if (__builtin_cpu_supports("avx"))
        return wide_avx;
#endif
    return wide_plain;
}

/* The rounding mode of both units: 0 to 3. */
static void set_rounding(unsigned mode)
{
#ifdef __x86_64__
    uint32_t mxcsr = 0x1f80 | mode << 13;
    uint16_t x87_control = (uint16_t)(0x37f | mode << 10);
    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" ::"m"(mxcsr), "m"(x87_control));
#else
    (void)mode;
#endif
}

static unsigned rounding(unsigned expected)
{
    (void)expected;
#ifdef __x86_64__
    uint32_t mxcsr;
    uint16_t x87_control;
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(x87_control));
    CHECK_EQ(mxcsr >> 13 & 3, x87_control >> 10 & 3);
    return mxcsr >> 13 & 3;
#else
    return expected;
#endif
}

static volatile int steps = 20000; /* volatile: computed anew each time */

static void keep(void *arg)
{
    uint64_t id = (uint64_t)(uintptr_t)arg;
    void (*vectors)(int, double[8]) = widest();
    unsigned mode = id % 4;
    pthread_mutex_t mutex;
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    CHECK_EQ(pthread_mutex_init(&mutex, &attr), 0);
    FILE *f = fopen("/dev/null", "w");
    CHECK(f != NULL);

    /* From here on nothing of the runtime is called: the thread is this one. */
    long tid = syscall(SYS_gettid);
    mine = id * 1000;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_mutex_lock(&mutex), 0);
    flockfile(f);
    set_rounding(mode);
    long double x = x87(steps);
    double s = sse(steps), v[8], w[8];
    vectors(steps, v);
    while (!load(&quit)) {
        errno = (int)id + 1000;
        CHECK(x87(steps) == x);
        CHECK(sse(steps) == s);
        vectors(steps, w);
        CHECK(memcmp(v, w, sizeof v) == 0);
        CHECK_EQ(errno, (int)id + 1000);
        CHECK_EQ(rounding(mode), mode);
        CHECK_EQ(mine++, id * 1000 + rounds[id]++);
        CHECK_EQ(syscall(SYS_gettid), tid);
        CHECK_EQ(pthread_mutex_lock(&mutex), 0);
        CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
        CHECK(fprintf(f, "%g\n", s) > 0);
    }
    set_rounding(0);
    funlockfile(f);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_mutex_unlock(&mutex), 0); /* by its owner alone */
    CHECK(pthread_mutex_unlock(&mutex) != 0);
    fclose(f);
    pthread_mutex_destroy(&mutex);
}

/* Others that do call it, all the time. */
static void talk(void *arg)
{
    loam_chan(int) c = arg;
    while (!load(&quit)) {
        (void)loam_try_send(c, 1);
        int v;
        (void)loam_try_recv(c, &v);
        loam_chan(int) other = loam_chan_make(int, 3);
        loam_chan_free(other);
        loam_sleep(100 * LOAM_MICROSECOND);
    }
}

int main(void)
{
    uint64_t target = (uint64_t)times(10000), seen = 0;
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = PROCS}), 0);
    loam_chan(int) c = loam_chan_make(int, 2);
    for (uintptr_t i = 0; i < GOROUTINES; i++)
        go(keep, (void *)i);
    for (int i = 0; i < 4; i++)
        go(talk, c);
    while (seen < target) {
        struct loam_sched_stats s;
        loam_read_sched_stats(&s);
        seen = s.preemptions;
        CHECK(s.held >= 0 && s.held <= GOROUTINES);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    store(&quit, 1);
    AWAIT_THREAD(loam_num_goroutine() == 0);
    for (int i = 0; i < GOROUTINES; i++)
        CHECK(rounds[i] > 0);
    loam_chan_free(c);
    CHECK_EQ(loam_stop(-1), 0);
    return 0;
}
