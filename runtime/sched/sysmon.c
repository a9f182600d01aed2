/* sysmon: a thread without M and P that looks after those that run.
 *
 * Every 20 us, doubling to 1 ms while it finds nothing to do, it
 *  - retakes Ps from blocking calls that last longer than one of its rounds, if there is work for
 *    them (immediately otherwise not: the call mostly returns soon and finds its P);
 *  - asks goroutines that run for longer than their slice into the scheduler: 10 ms, or 1 ms while
 *    another waits on the same P. The request is a flag that runtime calls look at; who does not look
 *    for 100 us while another waits gets a signal (preempt.c). A round ends early for either, and for a
 *    timer that will then want the P; with nobody waiting there are no more rounds than else;
 *  - starts a thread for timers that are due while all Ps run something long;
 *  - counts threads that sleep in the kernel with a P without having said so;
 *  - follows CPU affinity and the cgroup's quota, once a second;
 *  - gives memory back that nobody uses (scavenge.c);
 *  - prints schedtrace.
 * While every P is idle it sleeps until one is taken off the idle list.
 *
 * A stop of the runtime needs it out of the way, for it stops the world and starts threads itself; but
 * a stop may be given up, and a thread that was ended could then not be had again. So it is paused
 * first, and ended once the stop is certain. */
#include "sched/sched_int.h"

#include "base/print.h"
#include "os/os.h"

#include <errno.h>
#include <string.h>

enum {
    SLEEP_MIN_US = 20,
    SLEEP_MAX_US = 1000,          /* Go: 10 ms; but see wakep_soft in proc.c, and the 1 ms slice */
    SLICE_NS = 10000000,          /* as in Go */
    SLICE_CONTENDED_NS = 1000000, /* with someone waiting */
    FLAG_AHEAD_NS = 100000,       /* so long before the signal the flag is set */
    ASK_AGAIN_NS = 500000         /* a signal costs its receiver 4 us */
};

void sysmon_wake(void)
{
    /* release: sysmon sees the work; the CAS elects the one that sets the note */
    if (load_relaxed(&sched.sysmonwait) && cas_release(&sched.sysmonwait, 1, 0))
        notewakeup(&sched.sysmonnote);
}

static void sleep_while_idle(void)
{
    lock(&sched.lock);
    bool idle = (load_relaxed(&sched.gcwaiting) ||
                 (load_relaxed(&sched.npidle) == (uint32_t)load_relaxed(&gomaxprocs) &&
                  sched.runqsize == 0)) && /* else a P was left for us to see: preempt.c */
                load_relaxed(&sched.sysmon_want) == SYSMON_RUN; /* set under the lock: not missed */
    if (idle) {
        noteclear(&sched.sysmonnote);
        store_relaxed(&sched.sysmonwait, 1);
    }
    unlock(&sched.lock);
    if (!idle)
        return;
    if (!notetsleep(&sched.sysmonnote, INT64_C(1000000000))) {
        /* if somebody was faster, the note is on its way: let it arrive before it is cleared */
        if (!cas_acquire(&sched.sysmonwait, 1, 0))
            notesleep(&sched.sysmonnote);
        /* A thread of the program that could have woken somebody, or one of ours that ended with its
         * wired goroutine, may have been there when the last M went to sleep, and be gone now. */
        lock(&sched.lock);
        checkdead_locked();
        unlock(&sched.lock);
    }
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Returns when there will be something to do; INT64_MAX: not before it is seen in the next round. */
static int64_t look_at_running(struct p *pp, int64_t now)
{
    uint32_t tick = load_relaxed(&pp->schedtick);
    if (pp->seen.schedtick != tick) {
        /* The slice began since the last round. Of a loop that was held it is known when: acquire. */
        bool exact = load_acquire(&pp->resumed_tick) == tick;
        pp->seen.schedtick = tick;
        pp->seen.schedwhen = exact ? load_relaxed(&pp->resumed_at) : now;
        pp->seen.asleep = false;
    }
    int64_t ran = now - pp->seen.schedwhen;
    int64_t timer = load_relaxed(&pp->timers_when);
    bool contended =
        !runqempty(pp) || load_relaxed(&sched.runqsize) > 0 || (timer != 0 && timer <= now);
    int64_t flag = pp->seen.schedwhen + SLICE_CONTENDED_NS - FLAG_AHEAD_NS;
    if (contended ? now < flag : ran < SLICE_NS)
        return contended ? flag : timer != 0 ? later(flag, timer) : INT64_MAX;
    struct m *mp = load_relaxed(&pp->m);
    if (mp == NULL)
        return INT64_MAX;
    /* A goroutine that did not see the request calls nothing of the runtime, or sleeps in the kernel. If
     * somebody wants its P, that is taken by a signal. */
    int64_t next = INT64_MAX;
    if (!(load_relaxed(&mp->preempt) & PREEMPT_SLICE)) {
        pp->seen.flagwhen = now;
        or_relaxed(&mp->preempt, PREEMPT_SLICE);
    }
    if (contended) {
        next =
            later(later(flag, pp->seen.flagwhen) + FLAG_AHEAD_NS, pp->seen.askwhen + ASK_AGAIN_NS);
        if (now >= next) {
            pp->seen.askwhen = now;
            preempt_by_signal(mp, pp, tick);
            next = now + ASK_AGAIN_NS;
        }
    }
    /* once a slice: a look at /proc costs 20 us */
    if (ran >= SLICE_NS && now - pp->seen.lookwhen >= SLICE_NS && !pp->seen.asleep &&
        load_relaxed(&mp->curg) != NULL && !load_relaxed(&mp->sig_caught)) {
        pp->seen.lookwhen = now;
        char state = os_thread_state(mp->tid);
        if ((state == 'S' || state == 'D') && load_relaxed(&pp->schedtick) == tick) {
            pp->seen.asleep = true;
            add_relaxed(&sched.unannounced, 1); /* a statistic */
        }
    }
    return next;
}

/* True if it took the P. */
static bool look_at_syscall(struct p *pp, int64_t now)
{
    uint32_t tick = load_relaxed(&pp->syscalltick);
    if (pp->seen.syscalltick != tick) {
        pp->seen.syscalltick = tick;
        pp->seen.syscallwhen = now;
        return false;
    }
    /* With no work and others idle or looking it may stay; after 10 ms it goes all the same, so that
     * sysmon can sleep. */
    if (runqempty(pp) && load_relaxed(&sched.nmspinning) + load_relaxed(&sched.npidle) > 0 &&
        now - pp->seen.syscallwhen < SLICE_NS)
        return false;
    if (!caspstatus(pp, P_syscall, P_idle))
        return false;
    add_relaxed(&sched.handoffs, 1); /* a statistic */
    handoffp(pp);
    return true;
}

/* *next: when there will be something to do, at the latest. */
static bool retake(int64_t now, int64_t *next)
{
    bool any = false;
    *next = INT64_MAX;
    for (int i = 0, n = ps_len(); i < n; i++) {
        struct p *pp = allp[i];
        uint32_t status = load_acquire(&pp->status);
        if (status == P_running || status == P_syscall) {
            int64_t when = look_at_running(pp, now);
            *next = when < *next ? when : *next;
        }
        if (load_relaxed(&sched.npidle) != 0 &&
            (!runqempty(pp) || load_relaxed(&sched.runqsize) != 0))
            wakep(); /* wakep_soft may have left it to us */
        if (status == P_syscall)
            any |= look_at_syscall(pp, now);
    }
    return any;
}

/* Timers that are overdue although no thread sleeps for them: all Ps run something long. */
static void look_at_timers(int64_t now)
{
    if (load_relaxed(&sched.lastpoll) == 0)
        return;
    for (int i = 0, n = ps_len(); i < n; i++) {
        int64_t when = load_relaxed(&allp[i]->timers_when);
        if (when != 0 && when < now) {
            wakep();
            return;
        }
    }
}

void print_asleep(void)
{
    for (int i = 0, n = ps_len(); i < n; i++) {
        struct p *pp = allp[i];
        struct m *mp = pp->seen.asleep ? load_relaxed(&pp->m) : NULL;
        struct g *gp = mp != NULL ? load_relaxed(&mp->curg) : NULL;
        if (gp != NULL)
            print_fd(2,
                     "ASLEEP p=%d m=%d g=%lu name=%s: in the kernel for %ldms without "
                     "loam_blocking\n",
                     i, mp->id, (unsigned long)gp->goid, gp->name != NULL ? gp->name : "-",
                     (long)((os_nanotime() - pp->seen.schedwhen) / 1000000));
    }
}

/* Asked to get out of the way. False: for good. */
static bool paused(void)
{
    while (load_acquire(&sched.sysmon_want) == SYSMON_PAUSE) {
        notewakeup(&sched.sysmon_paused);
        notesleep(&sched.sysmon_resumed);
        /* by who sleeps: the next pause may come before it wakes */
        noteclear(&sched.sysmon_resumed);
    }
    return load_acquire(&sched.sysmon_want) == SYSMON_RUN;
}

/* How long to sleep in us: shorter than a round if something is to be done before its end. */
static unsigned nap(unsigned us, int64_t ns)
{
    if (ns >= us * INT64_C(1000))
        return us;
    return ns > SLEEP_MIN_US * 1000 ? (unsigned)(ns / 1000) : SLEEP_MIN_US;
}

static void sysmon(void *arg)
{
    (void)arg;
    sched.sysmon_tid = os_gettid();
    unsigned us = SLEEP_MIN_US, idle_rounds = 0;
    int64_t last_trace = 0, last_follow = os_nanotime(), next = INT64_MAX, now = last_follow;
    struct scavenger scavenger = {.last = last_follow};
    bool scavenging = false;
    while (load_relaxed(&sched.sysmon_want) == SYSMON_RUN || paused()) {
        if (idle_rounds == 0)
            us = SLEEP_MIN_US;
        else if (idle_rounds > 50)
            us *= 2;
        if (us > SLEEP_MAX_US)
            us = SLEEP_MAX_US;
        os_usleep(nap(us, next - now));
        now = os_nanotime();
        next = INT64_MAX;
        store_relaxed(&sched.coarse_now, now);
        if (debug.schedtrace <= 0 && !scavenging &&
            (load_relaxed(&sched.gcwaiting) ||
             load_relaxed(&sched.npidle) == (uint32_t)load_relaxed(&gomaxprocs))) {
            sleep_while_idle();
            now = os_nanotime();
            store_relaxed(&sched.coarse_now, now);
            idle_rounds = 0;
            us = SLEEP_MIN_US;
        }
        if (load_relaxed(&sched.sysmon_want) != SYSMON_RUN)
            continue;
        if (!load_relaxed(&sched.gcwaiting)) {
            if (retake(now, &next))
                idle_rounds = 0;
            else
                idle_rounds++;
            look_at_timers(now);
            scavenging = scavenge(&scavenger, now);
            if (scavenging)
                idle_rounds = 0;
            if (!load_relaxed(&sched.maxprocs_fixed) && now - last_follow > 1000000000) {
                last_follow = now;
                int n = os_cpu_count();
                if (n > 0 && n != load_relaxed(&gomaxprocs) && n <= MAX_PROCS)
                    maxprocs_follow(n);
            }
        }
        if (debug.schedtrace > 0 && (now - last_trace) / 1000000 >= debug.schedtrace) {
            last_trace = now;
            schedtrace(debug.scheddetail > 0);
        }
    }
}

int sysmon_start(void)
{
    if (debug.dst_on)
        return 0; /* one thread, virtual time: nothing to watch */
    sigset_t all;
    sigfillset(&all);
    store_relaxed(&sched.sysmon_want, SYSMON_RUN);
    int err = os_thread_start(sysmon, NULL, "loam-sysmon", 0, &all, &sched.sysmon_handle);
    if (err != 0)
        return error_note(err, "cannot start the monitor thread: %s", strerror(-err));
    return 0;
}

static void want(enum sysmon_want w)
{
    lock(&sched.lock);
    store_release(&sched.sysmon_want, w);
    unlock(&sched.lock);
    sysmon_wake();
}

void sysmon_pause(void)
{
    if (sched.sysmon_handle == 0)
        return;
    want(SYSMON_PAUSE);
    notesleep(&sched.sysmon_paused);
    noteclear(&sched.sysmon_paused);
}

void sysmon_resume(void)
{
    if (sched.sysmon_handle == 0)
        return;
    want(SYSMON_RUN);
    notewakeup(&sched.sysmon_resumed);
}

void sysmon_stop(void)
{
    if (sched.sysmon_handle == 0)
        return;
    bool is_paused = load_relaxed(&sched.sysmon_want) == SYSMON_PAUSE;
    want(SYSMON_END);
    if (is_paused)
        notewakeup(&sched.sysmon_resumed);
    os_thread_join(sched.sysmon_handle);
    sched.sysmon_handle = 0;
}
