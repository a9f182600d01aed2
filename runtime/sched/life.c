/* Start and stop of the scheduler; M0; the guard against forked children. See life.h.
 *
 * Stopping: the world is stopped (no goroutine runs, none is in a blocking call), goroutines are
 * abandoned where they parked (goroutines_abandon), then every thread is told to leave and joined,
 * then all memory goes.
 *
 * fork: "alive" lies on the page that the kernel clears in children (os/os.h); the Ms are cleared
 * too, so that the thread that called fork finds itself on no goroutine.
 *
 * Foreign threads may start goroutines while another stops the runtime: they count themselves as
 * visitors, then look at "alive"; the stop clears "alive", then waits until nobody visits. */
#include "sched/life.h"

#include "base/print.h"
#include "os/os.h"
#include "sched/morestack.h"
#include "sched/needs.h"
#include "sched/sanitizer.h"
#include "sched/sched_int.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { M0_LEAVE_MS = 500 };

static uint32_t visitors; /* atomic: foreign threads in the scheduler */
static uint32_t epoch;    /* atomic: see runtime_epoch */

void visit_hold(void)
{
    if (getm() == NULL) /* else the stop halts us, or does not take place */
        add_seqcst(&visitors, 1);
}

void visit_end(void)
{
    if (getm() == NULL)
        add_release(&visitors, -1u); /* release: what we did is done when the stop sees it */
}

bool visit_begin(void)
{
    /* First without counting: threads that call again and again would keep a stop waiting which has
     * begun. acquire: the stop's, what came before it */
    if (load_acquire(&os_fork_page.alive) == 0)
        return false;
    visit_hold();
    /* seqcst, both: the stop stores alive and then loads visitors. One sees the other. */
    if (load_seqcst(&os_fork_page.alive) != 0)
        return true;
    visit_end();
    return false;
}

uint32_t runtime_epoch(void)
{
    /* relaxed: changes while the world is stopped; whoever sees the runtime started again
     * synchronised with that */
    return load_relaxed(&epoch);
}

bool sched_started(void)
{
    return load_relaxed(&sched.started) != 0;
}

struct g *getg_or_die(const char *what)
{
    struct g *gp = getg();
    if (unlikely(os_forked()))
        throwf("%s: called in a forked child, which may only exec or _exit", what);
    if (unlikely(gp == NULL))
        throwf("%s: called on a thread that runs no goroutine; use loam_call, or loam_go with "
               "loam_run or loam_start before",
               what);
    return gp;
}

static void free_all(void)
{
    overflow_fini(); /* first, these three: their handlers look at what is freed here */
    preempt_fini();
    traceback_fini();
    gs_free();
    ps_free();
    for (struct m *mp = allm, *next; mp != NULL; mp = next) {
        next = mp->alllink;
        m_free(mp);
    }
    allm = NULL;
    slots_fini();
    stackalloc_fini();
    dst_fini();
    trace_fini();
    memset(&sched, 0, sizeof sched);
    sched.lock.rank = RANK_sched;
    os_fork_guard(false);
}

/* Taken over the start itself, which lasts long enough: good to a few percent, which will do. */
static uint64_t measure_ticks(uint64_t ticks, int64_t ns)
{
    ticks = arch_ticks() - ticks;
    ns = os_nanotime() - ns;
    uint64_t per_us = ns > 0 ? ticks * 1000 / (uint64_t)ns : 0;
    return per_us > 0 ? per_us : 1;
}

/* From here on others may start goroutines. */
static void go_live(void)
{
    store_release(&os_fork_page.alive, 1); /* release: visitors see the whole runtime */
}

int sched_start(const struct life_config *config)
{
    uint64_t ticks = arch_ticks();
    int64_t now = os_nanotime();
    memset(&sched, 0, sizeof sched);
    sched.lock.rank = RANK_sched;
    sched.run_mode = config->run_mode;
    sched.stack_size = config->stack_size != 0 ? config->stack_size : STACK_DEFAULT;
    sched.stack_class = (uint32_t)slot_class(sched.stack_size);
    sched.maxmcount = config->max_threads;
    sched.maxstack = STACK_LIMIT;
    sched.stack_torture = debug.stackgrow != 0;
    arch_morestack_init();
    sched.start_time = 0;
    store_relaxed(&sched.lastpoll, 1);
    gtrace_on = debug.gtrace != 0;
    schedtrace_init();
    dst_init();
    sched.start_time = nanotime();
    store_relaxed(&sched.coarse_now, sched.start_time);
    pthread_sigmask(SIG_SETMASK, NULL, &sched.mask);

    int n = config->maxprocs;
    sched.maxprocs_fixed = n > 0;
    if (n <= 0)
        n = os_cpu_count();
    if (n <= 0)
        n = 1; /* unknown at the moment: sysmon will see */
    if (n > MAX_PROCS)
        n = MAX_PROCS;
    if (debug.dst_on)
        n = 1;

    os_fork_guard(true);
    int err = trace_init();
    if (err != 0)
        goto fail;
    err = traceback_init(config->handlers);
    if (err != 0) {
        error_note(err, "cannot read the program's own symbols: %s", strerror(-err));
        goto fail;
    }
    overflow_init(config->handlers);
    err = procresize_start(n);
    if (err != 0) {
        error_note(err, "no memory for %d processors", n);
        goto fail;
    }
    preempt_init(config->handlers);
    if (stacks_grow())
        splitsignal_start();
    err = maker_start();
    if (err == 0)
        err = sysmon_start();
    if (err == 0 && !config->run_mode)
        err = newm_first();
    if (err != 0)
        goto fail;
    sched.ticks_per_us = measure_ticks(ticks, now);
    store_release(&sched.started, 1);
    if (!config->run_mode) /* else once there is a main goroutine */
        go_live();
    return 0;
fail:
    sysmon_stop();
    maker_stop();
    free_all();
    return err;
}

/* The threads leave: the world is stopped, none is in a call. */
static void end_threads(void)
{
    store_seqcst(&sched.leaving, 1);
    lock(&sched.lock);
    while (sched.midle != NULL) {
        struct m *mp = sched.midle;
        sched.midle = mp->schedlink;
        sched.nmidle--;
        notewakeup(&mp->park);
    }
    for (struct m *mp = allm; mp != NULL; mp = mp->alllink)
        if (mp->idlelocked) {
            mp->idlelocked = false;
            notewakeup(&mp->park);
        }
    unlock(&sched.lock);
    poll_break();
    for (struct m *mp = allm; mp != NULL; mp = mp->alllink)
        if (mp->handle != 0)
            os_thread_join(mp->handle);
}

/* Stops the world, and what goroutines have going on outside of it. False: all goes on as before. */
static bool stop_goroutines(int64_t timeout_ns)
{
    /* The world goes on between two looks: a pool's call may wait for a goroutine, or for a stop of its
     * own; what runs may wait in the kernel for a lock of one that preempt.c holds, which only sysmon
     * gets going again. With more patience each time: where there is always a call that runs, the next
     * must be kept from beginning for as long as one takes. */
    enum { PATIENCE_MIN_NS = 1000000, PATIENCE_MAX_NS = 1000000000, PAUSE_MAX_NS = 50000000 };
    int64_t deadline = os_deadline(timeout_ns);
    for (int64_t patience = PATIENCE_MIN_NS;; patience *= 2) {
        int64_t left = deadline - os_nanotime();
        if (stop_for_shutdown(left < 0 ? 0 : left < patience ? left : patience)) {
            left = deadline - os_nanotime();
            if (goroutines_abandon(left < patience ? left : patience) == 0)
                return true;
            startTheWorld();
        }
        if (os_nanotime() >= deadline)
            return false;
        sysmon_resume();
        os_usleep((unsigned)(patience < PAUSE_MAX_NS ? patience : PAUSE_MAX_NS) / 1000);
        sysmon_pause();
        if (patience >= PATIENCE_MAX_NS)
            patience = PATIENCE_MAX_NS / 2;
    }
}

#if LOAM_TSAN
char sanitizer_world;
#endif

int sched_halt(int64_t timeout_ns)
{
    sysmon_pause();
    if (!stop_goroutines(timeout_ns)) {
        sysmon_resume();
        return error_note(-EBUSY, "a goroutine still runs, or is in a blocking call or a running "
                                  "call of a thread pool");
    }
#if LOAM_TSAN
    sanitizer_acquire(&sanitizer_world); /* what goroutines did is over */
#endif
    add_relaxed(&epoch, 1);               /* see runtime_epoch */
    store_seqcst(&os_fork_page.alive, 0); /* see visit_begin */
    while (load_seqcst(&visitors) != 0)
        os_usleep(20);
    return 0;
}

void sched_end(void)
{
    sysmon_stop();
    maker_stop(); /* no thread comes after this */
    end_threads();
    free_all();
}

/* ---- The program's main goroutine --------------------------------------------------------------- */

static int main_result;

/* On g0 of mp: the main goroutine has ended. Gets M0 out of the scheduler, or ends the process if M0
 * is stuck. */
static void m0_leave(struct m *mp)
{
    struct m *m0 = sched.m0;
    store_seqcst(&sched.main_done, 1);
    if (debug.dst_on) {
        /* before M0, which stops the world, may go on beside this thread; nobody runs any more */
        lock(&sched.lock);
        pidleput_locked(releasep(mp));
        unlock(&sched.lock);
    }
    if (mp == m0) {
        store_relaxed(&mp->leave, 1);
        return;
    }
    lock(&sched.lock);
    store_relaxed(&m0->leave, 1);
    /* Held by a signal it cannot leave: it goes on when its goroutine gets a P, until that calls us. */
    bool parked = m0->idlelocked && !load_relaxed(&m0->held);
    if (parked) {
        m0->idlelocked = false;
        sched.nmidlelocked--;
    }
    for (struct m **link = &sched.midle; *link != NULL; link = &(*link)->schedlink)
        if (*link == m0) {
            *link = m0->schedlink;
            sched.nmidle--;
            parked = true;
            break;
        }
    unlock(&sched.lock);
    if (parked)
        notewakeup(&m0->park);
    else if (!debug.dst_on)
        handoffp(releasep(mp)); /* M0's goroutine may need it, and those that exit() waits for */
    or_relaxed(&m0->preempt, PREEMPT_SLICE);
    poll_break();
    int64_t deadline = os_nanotime() + M0_LEAVE_MS * INT64_C(1000000);
    while (!load_acquire(&sched.m0_left)) {
        int64_t left = deadline - os_nanotime();
        if (left <= 0)
            exit(main_result); /* M0 runs a goroutine that never calls the runtime */
        os_futex_wait(&sched.m0_left, 0, left < 1000000 ? left : 1000000);
        or_relaxed(&m0->preempt, PREEMPT_SLICE);
    }
}

struct main_args {
    int (*fn)(int, char **);
    int argc;
    char **argv;
};

static void main_hook(struct m *mp, struct g *gp)
{
    gp->lockedm = NULL;
    gp->locked = 0;
    mp->lockedg = NULL;
    gdestroy(mp, gp);
    m0_leave(mp);
}

static void main_entry(void *p)
{
    struct main_args *a = p;
    main_result = a->fn(a->argc, a->argv);
    sanitizer_release(&main_result); /* the caller of loam_run goes on after this */
    goexit_by(main_hook);
}

int sched_run_main(int (*fn)(int, char **), int argc, char **argv, int *result)
{
    struct m *mp = m_new();
    if (mp == NULL)
        return error_note(-ENOMEM, "no memory for the main thread's structure");
    sched.m0 = mp;
    main_result = 0;
    m_begin(mp);
    /* The main goroutine begins on this thread, where it may wire itself: no queue shows it to
     * another, and nobody makes a goroutine before it. A P is there but while sysmon changes their
     * number. */
    while (!exitsyscall_try_idle(mp))
        os_usleep(50);
    struct main_args a = {fn, argc, argv};
    struct newborn b = {.fn = main_entry,
                        .copy = &a,
                        .copy_size = sizeof a,
                        .callerpc = (uintptr_t)fn,
                        .code = (uintptr_t)fn};
    if (!grows(b.code))
        b.stack_size = STACK_MAIN;
    struct g *gp;
    int err = newproc_main(mp, &b, &gp);
    if (err == 0) {
        go_live();
        execute(mp, gp, false);
        schedule(mp);
        *result = main_result;
    } else {
        lock(&sched.lock); /* a stop waits for every P */
        pidleput_locked(releasep(mp));
        unlock(&sched.lock);
    }
    sanitizer_acquire(&main_result);
    m_end(mp, false);
    lock(&sched.lock);
    sched.mcount--;
    unlock(&sched.lock);
    store_release(&sched.m0_left, 1);
    os_futex_wake(&sched.m0_left, 1);
    return err;
}
