/* A goroutine is held where it may be, and nowhere else: the signal is sent to its own thread at chosen
 * points, not left to chance. Among these are all instructions of some of the runtime's operations, one by
 * one, each interrupted itself and in a handler on the goroutine's stack.
 *
 * What of preempt.c each of these is to notice, when it is taken out:
 *   points        the wiring, errno kept by os/, in_libc, the check for g0, m.locks where it is counted,
 *                 schedtick, hook_g, the return address of the kernel
 *   each_step     the check of the program counter; in_handlers: runtime_cut
 *   ids           os_handler_sleeps, both halves
 *   few_threads   a spare thread beyond half of them; be_patient_locked, mostly
 * Not noticed: in_runtime's cold half, since only ends of the program lie there; the half of max_threads in
 * many(). Of the others: test/unit/sched/preempt.c (os_front_keep: handlers; HELD_MANY: capped; the stop of the
 * runtime: stop_is_refused), maker.c, cut.c, and the registers: test/stress/sched/preempt.c. */
#include "../../child.h"
#include "sched/sched_int.h"
#include "schedtest.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum { ASYNC_SLICE = 1, CLOBBERED = 77 };

/* ---- Libc's syscall, which may change errno when it succeeds -------------------------------------- */

static volatile bool clobbers;

static long raw_syscall(long n, const long a[6])
{
#ifdef __x86_64__
    register long r10 __asm__("r10") = a[3];
    register long r8 __asm__("r8") = a[4];
    register long r9 __asm__("r9") = a[5];
    long r;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(n), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
#else
    register long x8 __asm__("x8") = n;
    register long r __asm__("x0") = a[0];
    register long x1 __asm__("x1") = a[1];
    register long x2 __asm__("x2") = a[2];
    register long x3 __asm__("x3") = a[3];
    register long x4 __asm__("x4") = a[4];
    register long x5 __asm__("x5") = a[5];
    __asm__ volatile("svc #0"
                     : "+r"(r)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
#endif
    return r;
}

/* no_sanitize: it takes six arguments, however many there are. */
no_sanitize long syscall(long n, ...)
{
    va_list list;
    long a[6];
    va_start(list, n);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    long r = raw_syscall(n, a);
    if (r >= 0 && !clobbers)
        return r;
    errno = r < 0 ? (int)-r : CLOBBERED;
    return r < 0 ? -1 : r;
}

/* ---- The signal ------------------------------------------------------------------------------------ */

static void send(struct m *mp, uint32_t tick)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = SIGURG;
    info.si_code = SI_QUEUE;
    info.si_ptr = &sched;
    mp->async_tick = tick;
    store_release(&mp->async, ASYNC_SLICE);
    /* not by libc: the program counter is here */
    const long args[6] = {getpid(), mp->tid, SIGURG, (long)&info};
    CHECK_EQ(raw_syscall(SYS_rt_tgsigqueueinfo, args), 0);
}

/* Of the calling goroutine, on its thread; true: it was held. Nobody else wants its P, so that sysmon sends
 * no signal of its own, and it gets the P itself. */
static bool held_now(void)
{
    struct m *mp = getm();
    uint64_t before = mp->holds;
    send(mp, mp->p->schedtick);
    CHECK(getm() == mp);
    return mp->holds != before;
}

static struct sigaction found;
static int calls;

/* Not by the kernel: the runtime's is behind this one. */
static void calls_it(int sig, siginfo_t *info, void *uc)
{
    found.sa_sigaction(sig, info, uc);
    calls++; /* behind it: it shall not be a jump */
}

static void not_held(void *arg)
{
    (void)arg;
    CHECK(!held_now());
}

static void points(void *arg)
{
    (void)arg;
    struct m *mp = getm();
    struct g *gp = getg();
    CHECK(held_now());
    CHECK(getm() == mp && gp->lockedm == NULL && mp->lockedg == NULL);

    clobbers = true;
    errno = 1234;
    CHECK(held_now());
    CHECK_EQ(errno, 1234);
    clobbers = false;

    struct thread *t = libc_enter();
    CHECK(!held_now());
    libc_leave(t);

    loam_on_thread_stack(not_held, NULL);

    if (LOAM_DEBUG_CHECKS) { /* elsewhere nobody counts them */
        mp->thread.nlocks++;
        CHECK(!held_now());
        mp->thread.nlocks--;
    }

    uint64_t before = mp->holds;
    send(mp, mp->p->schedtick - 1); /* a former slice's */
    CHECK_EQ(mp->holds, before);

    mp->hook_g = gp;
    CHECK(!held_now());
    mp->hook_g = NULL;

    /* On the thread's own stack, on which one whose stack grows stands while it ends. */
    struct segment *seg = gp->seg;
    gp->seg = (struct segment *)gp;
    arch_call_on(not_held, NULL, (uintptr_t)mp->g0.sched.sp - 4096);
    gp->seg = seg;

    struct sigaction above = {.sa_sigaction = calls_it, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    CHECK_EQ(sigaction(SIGURG, &above, &found), 0);
    CHECK(!held_now());
    CHECK_EQ(calls, 1);
    CHECK_EQ(sigaction(SIGURG, &found, NULL), 0);
    CHECK(held_now());

    loam_lock_os_thread(); /* stays wired */
    CHECK(held_now());
    CHECK(gp->lockedm == mp);
    loam_unlock_os_thread();
}

/* Takes longer than anybody looks before he sleeps. */
static void take_turns(void *arg)
{
    while (!load((int *)arg)) {
        for (int64_t from = clock_ns(); clock_ns() - from < LOAM_MILLISECOND / 2;)
            ;
        loam_yield();
    }
}

/* Another gets the P meanwhile, and the thread sleeps. */
static void sleeps(void *arg)
{
    static int over;
    struct m *mp = getm();
    AWAIT(m_spare() != NULL);
    go(take_turns, &over);
    clobbers = true;
    for (int i = 0; i < 20; i++) {
        uint64_t before = mp->holds;
        errno = 1234;
        send(mp, mp->p->schedtick);
        CHECK_EQ(errno, 1234);
        CHECK(mp->holds != before);
    }
    clobbers = false;
    store(&over, 1);
    (void)arg;
}

/* ---- At each instruction ----------------------------------------------------------------------------- */

#ifdef __x86_64__

enum { TRAP_FLAG = 0x100 };

static volatile bool stepping;
static struct {
    struct m *mp;
    uintptr_t pc;
    uint64_t holds;
} last;
static int64_t steps_in_runtime, held_outside;

static void check_last(void)
{
    struct m *mp = getm();
    if (last.mp == mp && in_runtime(last.pc) && mp->holds != last.holds)
        FAIL("held in the runtime, at %#lx", (unsigned long)last.pc);
    held_outside += last.mp == mp && mp->holds != last.holds;
}

static void on_step(int sig, siginfo_t *info, void *ucontext)
{
    (void)sig;
    (void)info;
    int saved = errno;
    ucontext_t *uc = ucontext;
    struct m *mp = getm();
    check_last();
    last.pc = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
    last.mp = mp;
    last.holds = mp->holds;
    steps_in_runtime += in_runtime(last.pc);
    if (!stepping)
        uc->uc_mcontext.gregs[REG_EFL] &= ~(long)TRAP_FLAG;
    else if (mp->p != NULL)
        send(mp, mp->p->schedtick); /* it comes here, or where this goes back to */
    errno = saved;
}

static void nothing(void *arg)
{
    (void)arg;
}

static void step_through(void *arg)
{
    (void)arg;
    loam_chan(int) c = loam_chan_make(int, 2);
    int64_t end = steps_in_runtime + times(4000);
    last.mp = NULL;
    stepping = true;
    __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
    while (steps_in_runtime < end) {
        int v;
        (void)loam_try_send(c, 1);
        (void)loam_try_recv(c, &v);
        loam_blocking(nothing, NULL);
        loam_sleep(0);
        loam_yield();
    }
    stepping = false;
    nothing(NULL);
    loam_chan_free(c);
    CHECK(held_outside > 0);
}

static void each_step(bool in_handlers)
{
    struct sigaction a = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO}, former;
    if (!in_handlers) {
        a.sa_flags |= SA_ONSTACK;
        sigaddset(&a.sa_mask, SIGURG);
    }
    CHECK_EQ(sigaction(SIGTRAP, &a, &former), 0);
    held_outside = 0;
    on_goroutine(1, step_through, NULL);
    CHECK_EQ(sigaction(SIGTRAP, &former, NULL), 0);
}

#else

static void each_step(bool in_handlers)
{
    (void)in_handlers;
}

#endif

/* ---- Identities: libc asks each thread by a signal, and waits for its answer ---------------------------- */

static int quit;
static volatile uint64_t counts[16];

static void spin(void *arg)
{
    volatile uint64_t *n = arg;
    while (!load(&quit))
        ++*n;
}

static struct loam_sched_stats stats(void)
{
    struct loam_sched_stats s;
    loam_read_sched_stats(&s);
    return s;
}

static void set_ids(void *arg)
{
    (void)arg;
    CHECK_EQ(setuid(getuid()), 0);
    CHECK_EQ(setegid(getegid()), 0);
}

static void await_turns(int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t before = counts[i];
        AWAIT_THREAD(counts[i] != before);
    }
}

static void ids(void)
{
    enum { LOOPS = 6 };
    store(&quit, 0);
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 1}), 0);
    for (int i = 0; i < LOOPS; i++)
        go(spin, (void *)&counts[i]);
    await_turns(LOOPS);
    for (int i = 0; i < 3; i++) {
        AWAIT_THREAD(stats().held >= LOOPS - 1);
        set_ids(NULL);
        CHECK_EQ(loam_call(set_ids, NULL), 0);
        stopTheWorld(STW_DUMP);
        set_ids(NULL); /* nobody gets a turn meanwhile */
        startTheWorld();
        await_turns(LOOPS); /* each goes on where it was */
    }
    store(&quit, 1);
    CHECK_EQ(loam_stop(-1), 0);
}

/* ---- Hardly any threads ---------------------------------------------------------------------------------- */

static int fds[2], in_call, returned;

static void read_one(void *arg)
{
    char c;
    (void)arg;
    add(&in_call, 1);
    CHECK_EQ(read(fds[0], &c, 1), 1);
}

static void call(void *arg)
{
    loam_blocking(read_one, arg);
    add(&returned, 1);
}

static int begun(void)
{
    int n = 0;
    for (size_t i = 0; i < nelem(counts); i++)
        n += counts[i] != 0;
    return n;
}

static uint64_t sum(void)
{
    uint64_t n = 0;
    for (size_t i = 0; i < nelem(counts); i++)
        n += counts[i];
    return n;
}

/* One thread is left for the loops: nobody could go on in the place of one that is held, except itself. A
 * stop of the world needs no other thread. */
static void few_threads(void)
{
    enum { THREADS = 4, LOOPS = 5 };
    struct loam_config config = {.maxprocs = 1, .max_threads = THREADS};
    store(&quit, 0);
    store(&in_call, 0);
    store(&returned, 0);
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(loam_start(&config), 0);
    for (int i = 0; i < THREADS - 1; i++)
        go(call, NULL);
    AWAIT_THREAD(load(&in_call) == THREADS - 1);
    memset((void *)counts, 0, sizeof counts);
    for (int i = 0; i < LOOPS; i++)
        go(spin, (void *)&counts[i]);
    AWAIT_THREAD(begun() == 1); /* in a torture build any of them */
    stopTheWorld(STW_DUMP);
    uint64_t before = sum();
    startTheWorld();
    AWAIT_THREAD(sum() != before);
    /* As the calls return there are threads again, and loops that are held with them; calls that want one
     * do not end the program. */
    for (int i = 0; i < THREADS - 1; i++) {
        CHECK_EQ(write(fds[1], "x", 1), 1);
        AWAIT_THREAD(begun() >= i + 2);
    }
    AWAIT_THREAD(stats().preemptions > 20);
    store(&quit, 1);
    AWAIT_THREAD(load(&returned) == THREADS - 1);
    CHECK_EQ(loam_stop(-1), 0);
    /* More than half of the threads are busy in calls: there is one yet to take a loop's P with. */
    store(&quit, 0);
    store(&in_call, 0);
    store(&returned, 0);
    CHECK_EQ(loam_start(&config), 0);
    for (int i = 0; i < THREADS - 2; i++)
        go(call, NULL);
    AWAIT_THREAD(load(&in_call) == THREADS - 2);
    memset((void *)counts, 0, sizeof counts);
    for (int i = 0; i < 2; i++)
        go(spin, (void *)&counts[i]);
    await_turns(2);
    await_turns(2);
    store(&quit, 1);
    for (int i = 0; i < THREADS - 2; i++)
        CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(loam_stop(-1), 0);
    close(fds[0]);
    close(fds[1]);
}

/* More calls than there may be threads, and nobody held. */
static void exhausts(void *arg)
{
    struct loam_config config = {.maxprocs = 1, .max_threads = 3};
    CHECK_EQ(loam_start(&config), 0);
    for (int i = 0; i < 5; i++)
        go(call, arg);
    for (;;)
        pause();
}

static struct outcome outcome;

static void too_few_threads(void)
{
    CHECK_EQ(pipe(fds), 0);
    in_child_with(&outcome, exhausts, NULL, 60, NULL);
    if (outcome.exit != 2)
        FAIL("exit %d, signal %d: %s", outcome.exit, outcome.signal, outcome.err);
    CHECK_HAS(outcome.err, "thread exhaustion: the program exceeds the limit of 3 threads");
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    on_goroutine(1, points, NULL);
    on_goroutine(1, sleeps, NULL);
    each_step(false);
    each_step(true);
    ids();
    few_threads();
    too_few_threads();
    return 0;
}
