/* The scheduler's own: its global state and the functions that its files share. */
#ifndef SCHED_SCHED_INT_H
#define SCHED_SCHED_INT_H

/* The scheduler announces to TSan by sanitizer.h what orders goroutines: creation, waking. Its own
 * atomics, run queues above all, would order any two goroutines that share a P and hide their races. */
#define ATOMIC_QUIET 1

#include "base/debugvar.h"
#include "base/throw.h"
#include "sched/sched.h"
#include "trace/trace.h"

struct printer;

/* A queue of Gs by schedlink. */
struct gqueue {
    struct g *head, *tail;
};

/* The lists of dead goroutines: by the class of their slots, and those whose stacks grow. */
enum { GFREE_SMALL = STACK_CLASSES, GFREE_LISTS };

/* Dead goroutines with stacks of one class. */
struct gfreelist {
    struct g *head; /* a look without the lock is relaxed */
    uint32_t n;
    uint32_t low; /* the least n since scavenge looked: that many were of no use */
};

/* What sysmon is asked for. */
struct printer;

enum sysmon_want { SYSMON_RUN, SYSMON_PAUSE, SYSMON_END };

struct schedt {
    struct mutex lock;

    /* ---- sched.lock ---- */
    struct p *pidle;     /* idle Ps */
    struct m *midle;     /* idle Ms */
    int nmidle;          /* how many */
    int nmidlelocked;    /* Ms that wait for their wired goroutine */
    int mcount;          /* Ms alive */
    int mnext;           /* number of the next M */
    int maxmcount;       /* limit on Ms */
    struct gqueue runq;  /* the global queue: those not held by a signal, */
    struct gqueue heldq; /* and those that are: runq.c */
    uint32_t nheldq;     /* in heldq */
    uint64_t runq_taken; /* of runq */
    uint32_t held_turns; /* preempt.c */
    int ordered, coming; /* Ms that the maker is to make, and those on their way */
    bool spare_ordered;  /* one is wanted in advance */
    bool look_ordered;   /* modules may have come */
    int64_t look_last;   /* when that was ordered last (coarse_now) */
    bool maker_asleep, maker_end;
    struct gfreelist gfree[GFREE_LISTS]; /* dead Gs, by the class of their stacks */
    struct g *embryos;                   /* unused embryos; a look without the lock is relaxed */
    struct segment *bigs;                /* big segments that no thread has */
    int32_t stopwait;                    /* Ps that still have to stop */
    bool needspinning;                   /* work was seen, but no P for it: proc.c's head */
    struct m *mdead; /* Ms whose threads ended or are ending: joined when taken again, or at stop */

    /* ---- atomic ---- */
    uint32_t npidle __attribute__((aligned(cacheline))); /* written under sched.lock */
    uint32_t nmspinning;
    uint32_t gcwaiting; /* a stop of the world wants every P; written under sched.lock */
    uint32_t leaving;   /* shutdown: Ms end; written with the world stopped */
    uint32_t runqsize;  /* of runq and heldq; written under sched.lock */
    int64_t lastpoll;   /* 0: an M sleeps until poll_until */
    int64_t poll_until; /* deadline of that M, 0: none */
    uint32_t pollkey;   /* its futex: 1 = wake up */
    uint64_t goidgen;
    uint64_t soft_wake_ticks, soft_wake_gap; /* wakep_soft in proc.c; in arch_ticks */
    int64_t coarse_now;        /* the clock as sysmon last saw it: good to about 10 ms */
    uint64_t foreign_created;  /* goroutines started by foreign threads */
    uint64_t foreign_segments; /* segments made minus freed without a P */
    size_t maxstack;           /* bytes of a stack that grows */
    int32_t external;          /* goroutines that something outside will wake */
    int32_t external_threads;
    uint64_t handoffs, unannounced, stws;
    uint32_t held;                      /* Ms asleep in the handler of preempt.c */
    uint64_t foreign_edges[EDGE_COUNT]; /* transitions taken on foreign threads */
    uint32_t sysmonwait;                /* sysmon sleeps until work comes */
    uint32_t started;                   /* between start and stop, forked children included */
    uint32_t stw_busy;                  /* somebody stops the world */
    uint32_t main_done;                 /* loam_run's function has returned; a futex */
    uint32_t m0_left;                   /* the caller of loam_run has left the scheduler; a futex */

    /* ---- const after init ---- */
    bool stack_torture; /* stacks grow at every call */
    bool run_mode;      /* by loam_run: the end of main and deadlock end the process */
    struct m *m0;       /* the caller of loam_run */
    size_t stack_size;
    uint32_t stack_class;
    bool maxprocs_fixed; /* GOMAXPROCS was set: do not follow the system; atomic */
    int64_t start_time;
    uint64_t ticks_per_us; /* how fast arch_ticks counts; at least 1 */
    sigset_t mask;         /* of Ms: that of the thread that started the runtime */

    struct note stopnote; /* the last P has stopped */
    struct note sysmonnote;
    uintptr_t sysmon_handle;
    int sysmon_tid;
    struct note sysmon_paused, sysmon_resumed;
    struct note maker_note;
    uintptr_t maker_handle; /* const after init, until the end */
    uint32_t sysmon_want;   /* atomic: enum sysmon_want; written under sched.lock */
};

extern struct schedt sched;
extern struct m *allm; /* sched.lock for writing, release; members stay until shutdown */

/* ---- states.c ---- */
void bad_edge(const struct g *gp, uint32_t from, uint32_t to);
void gtrace_print(const struct g *gp, uint32_t from, uint32_t to);
extern bool gtrace_on; /* const after init */

/* The counter's index, folded to a constant where from and to are constants. */
static always_inline int g_edge(uint32_t from, uint32_t to)
{
#define GEDGE(f, t, how, by, where)                                                                \
    if (from == G_##f && to == G_##t)                                                              \
        return EDGE_G_##f##_##t;
#include "sched/states.tbl"
    return -1;
}

static always_inline int p_edge(uint32_t from, uint32_t to)
{
#define PEDGE(f, t, how, by, where)                                                                \
    if (from == P_##f && to == P_##t)                                                              \
        return EDGE_P_##f##_##t;
#include "sched/states.tbl"
    return -1;
}

static always_inline void count_edge(int edge)
{
    struct m *mp = getm();
    if (likely(mp != NULL))
        count_owner(&mp->edges[edge], 1);
    else
        add_relaxed(&sched.foreign_edges[edge], 1); /* a statistic */
}

/* Moves a G along an edge of the table; from and to are constants.
 *
 * All edges of a G are owned: at every moment exactly one thread may change the status - the M that
 * runs it, the creator, or the waker, who took it off the queue that it waited on, under that
 * queue's lock. So it is a plain store: release, so that whoever sees the new status sees what the
 * owner wrote before. Debug builds check ownership by a CAS. */
static always_inline void casgstatus(struct g *gp, uint32_t from, uint32_t to)
{
    int edge = g_edge(from, to);
    if (edge < 0)
        bad_edge(gp, from, to);
    if (LOAM_DEBUG_CHECKS) {
        if (!cas_acqrel(&gp->status, from, to))
            bad_edge(gp, from, to);
    } else {
        store_release(&gp->status, to);
    }
    count_edge(edge);
    if (unlikely(gtrace_on))
        gtrace_print(gp, from, to);
}

/* Moves a P along an edge; false if another was faster (shared edges only). */
static always_inline bool caspstatus(struct p *pp, uint32_t from, uint32_t to)
{
    int edge = p_edge(from, to);
    if (edge < 0)
        throwf("P%d: %u -> %u is not an edge of the automaton", pp->id, from, to);
    /* seqcst: a stop of the world and a blocking call look at each other's flags (syscall.c) */
    if (!cas_seqcst(&pp->status, from, to)) {
        if (from != P_syscall)
            throwf("P%d: status %u, expected %u on the way to %u", pp->id,
                   load_relaxed(&pp->status), from, to);
        return false;
    }
    count_edge(edge);
    return true;
}

/* ---- runq.c ---- */
/* True if gp is now the only one on pp's queues, in runnext. */
bool runqput(struct p *pp, struct g *gp, bool next);
struct g *runqget(struct p *pp, bool *inherit_time);
void runqput_ahead(struct p *pp, struct g *gp);
struct g *runqsteal(struct p *pp, struct p *victim, bool steal_next);
void runqdrain_locked(struct p *pp); /* all to the global queue */
void globrunqput_locked(struct g *gp);
void heldqput_locked(struct g *gp);
struct g *heldqget_locked(void);
bool turn_of_held_locked(void); /* of the two, heldq has the one whose turn it is */
void globrunqputhead_locked(struct g *gp);
struct g *globrunqget_locked(struct p *pp, int max);
uint32_t runqlen(struct p *pp);

/* ---- proc.c ---- */
void schedule(struct m *mp);
bool time_to_look_global(struct p *pp);
bool timers_due(struct p *pp);
void wakep_soft(void);
void checkdead_locked(void);
void poll_break(void);

/* ---- park.c ---- */
void gswitch_to_g0(struct m *mp, struct g *gp, void (*hook)(struct m *, struct g *));
void execute(struct m *mp, struct g *gp, bool inherit_time);
void after_switch(void);
void goexit_switch(struct m *mp, struct g *gp, void (*hook)(struct m *, struct g *));

/* Fatal: `what` was called where the goroutine cannot switch. */
_Noreturn void cannot_switch(const char *what);

/* ---- newproc.c ---- */
void goroutine_entry(void); /* the first function on every goroutine's stack */
/* Makes the main goroutine, runnable, on no queue: 0 or -errno with a noted text. */
int newproc_main(struct m *mp, const struct newborn *b, struct g **out);

/* ---- goexit.c ---- */
_Noreturn void goexit_current(void);
_Noreturn void goexit_by(void (*hook)(struct m *, struct g *)); /* on g0; it calls gdestroy */
void gdestroy(struct m *mp, struct g *gp);

/* ---- gfree.c, embryo.c ---- */
void allg_add(struct g *gp); /* for good */
/* All Gs: a list by alllink, oldest first; both atomic. Walked between allg_hold and _release, by sysmon
 * without. */
extern struct g *allg;
bool allg_hold(void); /* false: not to be had; the walk may then end early */
void allg_release(bool held);
void gs_free(void);                            /* all of them, at shutdown */
void gfree_retire_locked(struct p *pp, int n); /* that many go from a P where others find them */
/* sysmon: at most n dead Gs of a class end for good, their slots go back. Returns how many. *walk, a place in
 * allg, moves on where it is one of them. */
uint32_t gs_bury(uint32_t class, uint32_t n, struct g **walk);
struct g *gbegin(struct m *mp, struct g *embryo, bool may_map); /* NULL: no stack for it now */
static always_inline bool is_embryo(const struct g *gp)
{
    return gp->sched.sp == 0;
}
/* Every embryo that waits for its first run. */
void each_embryo(void (*fn)(const struct g *embryo, void *arg), void *arg);

/* ---- m.c ---- */
struct m *m_new(void);
void m_free(struct m *mp);
void m_begin(struct m *mp);
void m_end(struct m *mp, bool own_thread);
int newm_first(void); /* 0 or -errno with a noted text */
int newm_try(struct p *pp, bool spinning);
_Noreturn void newm_failed(int err);
void startm(struct p *pp, bool spinning);
bool stopm(struct m *mp); /* false: leave */
void handoffp(struct p *pp);
void acquirep(struct m *mp, struct p *pp);
struct p *releasep(struct m *mp);
void pidleput_locked(struct p *pp);
struct p *pidleget_locked(void);
bool stoplockedm(struct m *mp); /* false: leave */
bool startlockedm(struct m *mp, struct g *gp);
bool gcstopm(struct m *mp);
void stopp_locked(struct m *mp); /* its P, for a stop of the world */
/* Gives pp, which is idle and in the caller's hand, to the M of a wired goroutine, which the caller then
 * wakes by its note. */
void lend_locked(struct p *pp, struct m *other);

static inline int threads_owned(void) /* sched.lock */
{
    return sched.mcount + (sched.sysmon_handle != 0) + (sched.maker_handle != 0);
}

/* ---- maker.c ---- */
int maker_start(void); /* if there is to be one: 0 or -errno with a noted text */
void maker_stop(void);
bool maker_on(void);
void order_m_locked(void);
void m_arrive(struct m *mp); /* on its thread, which is new */
struct m *m_spare(void);     /* an idle M; NULL: one is ordered, if there may be */
void maker_look(void);       /* modules may have come: it looks for their notes */

/* ---- syscall.c ---- */
const char *incall_text(const struct m *mp); /* which public call it is that binds the goroutine */
bool exitsyscall_try_idle(struct m *mp);

/* ---- stw.c ---- */
/* True if the world stopped, with no M in a blocking call. False: it goes on. timeout < 0: never. */
bool stop_for_shutdown(int64_t timeout_ns);
int procresize_start(int n); /* makes the first Ps: 0 or -errno */
void ps_free(void);
void preempt_all(void);
void maxprocs_follow(int n);

/* ---- preempt.c ---- */
void preempt_init(bool handlers);
void preempt_fini(void);
bool preempt_on(void);
/* mp, which runs with pp, has not answered a request to preempt: takes its P by a signal, if it still runs
 * what it ran when pp's schedtick was `tick`. sysmon */
void preempt_by_signal(struct m *mp, struct p *pp, uint32_t tick);
void preempt_all_by_signal(void); /* the same for a stop of the world, of all that run */
/* Whether it is the library's own code, which is not to be cut. */
bool in_runtime(uintptr_t pc);

/* ---- copied.c ---- */
/* Whether gp, which a signal's handler may hold, can go on on any thread instead. */
bool copied_init(void);    /* false: nothing is ever copied */
void preempt_copied(void); /* park.c; by preempt.S */
bool may_copy(struct m *mp, const struct g *gp, const void *uc);

/* ---- sysmon.c ---- */
int sysmon_start(void);
void sysmon_pause(void); /* returns when it does nothing any more */
void sysmon_resume(void);
void sysmon_stop(void); /* paused or not */
void sysmon_wake(void);

/* ---- scavenge.c ---- */
struct trimmer {
    struct g *at;  /* the next one of allg; NULL: between two walks */
    int64_t spent; /* time, on this walk */
    int64_t next;  /* when the next one is to begin */
};
struct scavenger {
    int64_t last;                 /* when the last round began */
    uint32_t excess[GFREE_LISTS]; /* dead Gs that are of no use */
    bool slots;                   /* some slots' memory is to go back */
    struct trimmer trimmer;
};
/* Takes from a P what it kept and did not use since the last time: by its owner, or, while it is idle, by
 * sysmon. */
void p_scavenge_locked(struct p *pp);
/* sysmon: gives memory back that is of no use, a little each time: true if there is more to do at once. */
bool scavenge(struct scavenger *s, int64_t now);
extern int64_t scavenge_round_ns; /* const but for tests */

/* ---- trim.c ---- */
/* A step of the walk; true: there is more to do at once. sysmon */
bool trim_parked(struct trimmer *t);

/* ---- dst.c ---- */
struct g *dst_find(struct m *mp);
void dst_init(void);
void dst_fini(void);
void dst_put_locked(struct g *gp);
int64_t trace_clock(void); /* virtual time, unmoved: a trace must not change the run */
void dst_tick(void);

/* ---- schedtrace.c ---- */
void schedtrace_init(void);
void schedtrace(bool detail);
void print_asleep(void);
int64_t goroutines_alive(void);

/* ---- locals.c ---- */
void golocals_run_destructors(struct g *gp);
void golocals_free(struct g *gp);
bool golocals_any(void);
void golocals_print_labels(struct printer *p, const struct g *gp);
void golocals_inherit(struct g *gp, struct g *parent);

/* ---- morestack.c ---- */
/* Which piece of a goroutine's stack an address lies in; guard: of the innermost piece. False: none. */
bool stack_piece(const struct g *gp, uintptr_t guard, uintptr_t at, uintptr_t *lo, uintptr_t *hi);
/* Which piece's guard pages it lies in: of a slot, or of a big segment. False: none. */
bool stack_guarded(const struct g *gp, uintptr_t guard, uintptr_t at, uintptr_t *lo, uintptr_t *hi);
/* The guard of the goroutine that runs on this thread, which is mp's. */
static always_inline uintptr_t guard_of(const struct m *mp)
{
    return mp->incall & INCALL_THREAD_STACK ? mp->call_guard : arch_guard();
}

/* ---- traceback.c ---- */
int traceback_init(bool handlers);
void traceback_fini(void);
/* For printers that must not write yet: a larger buffer of mapped memory, the caller unmaps it. */
bool printer_grow(struct printer *p);
extern bool throw_all; /* a fatal error is to print every goroutine */
/* In a handler that is about to end the process: tracebacks of mp's goroutine begin at the signal. */
void traceback_at_signal(struct m *mp, const void *ucontext);
/* "FUNCTION (FILE:LINE)", or what is known. */
void traceback_place(struct printer *p, uintptr_t pc);

/* ---- overflow.c ---- */
enum { THREAD_GUARD = 4096 }; /* below a thread's stack: what comes further down is not it */
void overflow_init(bool handlers);
void overflow_fini(void);

#endif
