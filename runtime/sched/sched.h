/* The scheduler, as the floors above see it: G, M and P, parking and waking, time, choices.
 *
 *   G  a goroutine: a saved context and a stack
 *   M  a thread of the runtime
 *   P  the right to run goroutines, with a queue of runnable ones; GOMAXPROCS many
 *
 * A structure's fields belong to sched/; other folders use what is declared below them, and the few
 * fields marked "for upper floors". */
#ifndef SCHED_SCHED_H
#define SCHED_SCHED_H

#include "arch/arch.h"
#include "base/atomic.h"
#include "base/base.h"
#include "base/config.h"
#include "lock/lock.h"
#include "os/os.h"
#include "stack/stack.h"
#include "stack/stackalloc.h"

enum gstatus {
#define GSTATE(name, number, text) G_##name = number,
#include "sched/states.tbl"
};

enum pstatus {
#define PSTATE(name, number, text) P_##name = number,
#include "sched/states.tbl"
};

enum waitreason {
#define WAIT(name, text) WAIT_##name,
#include "sched/waitreasons.tbl"
#undef WAIT
    WAIT_COUNT
};

/* Indices of the edges, for the counters. */
enum edge {
#define GEDGE(from, to, how, by, where) EDGE_G_##from##_##to,
#include "sched/states.tbl"
#define PEDGE(from, to, how, by, where) EDGE_P_##from##_##to,
#include "sched/states.tbl"
    EDGE_COUNT
};

struct m;
struct p;
struct golocals; /* labels and local values: locals.c */

/* A goroutine. It lies at the top of its own stack's slot, so that a parked goroutine costs one
 * page (of those whose stack grows, gsmall.c, on memory of its own); the memory of a dead one stays a valid
 * struct g, or zero (gfree.c), until the runtime stops.
 *
 * The first cache line is all that there is of a goroutine that waits for its first run: an embryo,
 * told by sched.sp == 0, see embryo.c. */
struct g {
    struct gobuf sched;   /* owner: itself while it switches away; const while parked */
    uint32_t status;      /* atomic; states.tbl */
    uint32_t select_done; /* atomic: for upper floors: 1 once a select was won */
    struct g *schedlink;  /* whoever owns the queue it is on */
    uint64_t goid;        /* const from newproc to goexit */
    void (*fn)(void *);   /* const while alive */
    void *arg;
    uint64_t parent; /* goid of its creator */
    uintptr_t gopc;  /* where it was created */
    /* ---- an embryo ends here ---- */
    struct m *m;        /* owner M: the M that runs it, or NULL */
    void *param;        /* for upper floors: the waker leaves a message, before goready */
    int64_t waitsince;  /* atomic; owner: itself; about when it parked (sched.coarse_now) */
    struct m *lockedm;  /* owner: itself; the M it is wired to */
    uint32_t locked;    /* owner: itself; depth of loam_lock_os_thread */
    uint8_t waitreason; /* owner: itself; enum waitreason */
    bool grown;         /* owner: itself; morestack.c: there may be something to give back */
    uint8_t pad[2];
    uint32_t claim;            /* atomic; claim.c */
    const char *name;          /* owner: itself */
    struct golocals *locals;   /* owner: itself */
    void (*at_goexit)(void *); /* owner: itself; loam_goexit calls it with arg, then forgets it */
    uint64_t traceseq;         /* whoever owns the status */
    int64_t trimmed;     /* sysmon, while it has claimed it: waitsince when it last was; trim.c */
    struct stack stack;  /* const */
    struct segment *seg; /* const while alive: the first segment; NULL: a slot */
    uintptr_t trim_sp;   /* owner: itself */
    size_t alloca_bytes; /* owner: itself: of alloca, beside the segments */
    struct g *alllink;   /* atomic; allg lock for writing: the list of all Gs */
    struct g **allfrom;  /* allg lock: what points to this one there */
    union {
        void *fiber;      /* sanitizers: TSan's fiber */
        void *fake_stack; /* sanitizers: ASan's fake stack while switched away */
    };
    uint32_t valgrind_id;
};
enum { GEMBRYO_SIZE = 64 };
_Static_assert(offsetof(struct g, m) == GEMBRYO_SIZE, "an embryo is the first cache line of a g");

/* A thread of the runtime. */
struct m {
    struct thread thread; /* first: what lower floors know of the thread */
    struct g *curg;       /* owner thread: the goroutine that runs; NULL on g0 */
    struct p *p;          /* owner thread: NULL without a P */
    uint32_t preempt;     /* atomic: somebody wants this thread in the scheduler; PREEMPT_* */
    bool spinning;        /* owner thread: looks for work without having any */
    bool blocked;         /* owner thread: asleep on park */
    uintptr_t call_guard; /* owner thread: in loam_on_thread_stack, of the goroutine's stack */
    uint8_t incall;  /* owner thread: INCALL_*; while it is not 0 the goroutine may not switch */
    uint32_t leave;  /* atomic: it shall leave the scheduler */
    bool idlelocked; /* sched.lock: asleep until its wired goroutine is runnable */
    uint32_t alive;  /* atomic: its thread takes signals */
    uint32_t being_made;  /* atomic: who makes its thread may still store the handle */
    int64_t former_slack; /* const once started: the thread's timer slack before */
    /* What the successor of a switch does for the goroutine that switched away (park.c). */
    void (*hook)(struct m *mp, struct g *prev);
    struct g *hook_g;
    bool (*hook_unlockf)(struct g *, void *);
    void *hook_lock;
    struct g g0;       /* only sched and what sanitizers need: the thread's own stack */
    struct p *nextp;   /* before notewakeup(park): the P that it is to take */
    struct g *nextg;   /* owner thread: off the queue already, for the loop on g0 to run next */
    struct p *oldp;    /* owner thread: the P it had before a blocking call */
    struct g *lockedg; /* the goroutine wired to it; owner: that goroutine */
    struct note park;
    struct m *schedlink; /* sched.lock: list of idle Ms */
    struct m *alllink;   /* sched.lock for writing; const once linked */
    int id, tid;         /* const once started */
    uintptr_t handle;    /* const once started; 0: the caller of loam_run */
    void *altstack;
    size_t altstack_size;
    uint64_t edges[EDGE_COUNT]; /* owner thread writes, all read */
    uint64_t direct;            /* owner thread writes, all read: direct switches */
    uint64_t steals;            /* owner thread writes, all read */
    /* A dump by signal (traceback.c), an overflow: registers at the signal. */
    uintptr_t sig_pc, sig_sp, sig_fp, sig_guard;
    uint32_t sig_caught; /* atomic */
    /* Preemption by signal (preempt.c). The registers above are those of a held goroutine too. */
    uint32_t async;             /* atomic: ASYNC_*, what the signal is to ask for */
    uint32_t async_tick;        /* atomic: only while its P's schedtick is this */
    bool held;                  /* atomic: asleep in the handler with its goroutine */
    uint64_t held_turn;         /* sched.lock: when it is to run again; runq.c */
    uint32_t hold_looks;        /* owner thread: how long to look before it sleeps, in us */
    uint64_t holds;             /* owner thread writes, all read */
    const uint8_t *unwind_last; /* its handler: see unwind_step */
    uint64_t copies;            /* the same: of goroutines whose context was copied (copied.c) */
    uint64_t moves; /* the same: of these, that went on here and had been cut elsewhere */
};
_Static_assert(offsetof(struct m, thread) == 0, "thread_self is the M");

/* Calls that bind a goroutine to its thread: loam_blocking, loam_on_thread_stack; within each other. */
enum { INCALL_BLOCKING = 1, INCALL_THREAD_STACK = 2 };

enum { PREEMPT_SLICE = 1, PREEMPT_STOP = 2, PREEMPT_RANDOM = 4 };

enum { P_LOCAL_SLOTS = 8 };

/* A ring of runnable goroutines: any P may take from its head, only the owner puts at its tail. */
struct runq {
    uint32_t head __attribute__((aligned(cacheline))); /* atomic */
    uint32_t tail;                                     /* atomic; the owner writes */
    struct g *slots[RUNQ_SIZE];                        /* atomic */
};

struct p {
    uint32_t status;       /* atomic; states.tbl */
    int id;                /* const */
    struct m *m;           /* owner M; NULL while idle or in a blocking call */
    struct p *link;        /* sched.lock: list of idle Ps */
    uint32_t schedtick;    /* owner M writes: schedules that began a slice */
    uint32_t syscalltick;  /* owner M writes: blocking calls */
    int64_t resumed_at;    /* atomic: when a held goroutine went on, in the slice with */
    uint32_t resumed_tick; /* atomic: this schedtick */
    struct {               /* sysmon: what it saw last */
        uint32_t schedtick, syscalltick;
        int64_t schedwhen, syscallwhen, lookwhen;
        int64_t flagwhen; /* the M was asked by its flag */
        int64_t askwhen;  /* the signal was sent */
        bool asleep;      /* reported asleep in the kernel */
    } seen;
    uint64_t goid_next, goid_end; /* owner M: goroutine numbers at hand */
    struct g *gfree;              /* owner M: dead goroutines with default stacks */
    int gfree_n;
    int gfree_low;     /* owner M: the least gfree_n since scavenge looked; see struct gfreelist */
    uint32_t scavenge; /* atomic: sysmon asks the owner for p_scavenge_locked */
    struct g *gsmall;  /* owner M: dead goroutines with a first segment */
    int gsmall_n;
    int gsmall_low;    /* as gfree_low */
    struct g *embryos; /* owner M: unused embryos */
    int embryos_n;
    int embryos_pending;                /* owner M: made here minus begun here; may be negative */
    uint64_t traceseq;                  /* owner M */
    uint64_t clock_ticks;               /* owner M: when the clock was last read for timers */
    uint64_t schedules, created, ended; /* owner M writes, all read */
    uint64_t segments_made, segments_freed;                /* owner M writes, all read */
    struct g *runnext __attribute__((aligned(cacheline))); /* atomic: runs before the queues */
    uint32_t ahead_streak; /* owner M: taken from `ahead` in a row */
    struct runq runq, ahead;
    /* For upper floors. time/: its heap, and when its first timer is due (0: none). */
    int64_t timers_when __attribute__((aligned(cacheline))); /* atomic */
    uint32_t timers_len;                                     /* atomic: how many it holds */
    void *timers;                                            /* const after timers_init_p */
    void *local[P_LOCAL_SLOTS];                              /* owner M: see p_local.h */
    struct stackcache stackcache; /* owner M; of an idle P, who holds sched.lock */
};

/* ---- Who runs ------------------------------------------------------------------------------ */

/* The calling thread's M; NULL on a foreign thread. Read anew after whatever may switch. */
static always_inline struct m *getm(void)
{
    return (struct m *)thread_self();
}

/* The calling goroutine; NULL on a foreign thread and on a thread's own stack (g0). It may be kept
 * across a switch. */
static always_inline struct g *getg(void)
{
    struct m *mp = getm();
    return mp != NULL ? mp->curg : NULL;
}

/* The calling goroutine; on a foreign thread a fatal error that names `what` and loam_call. */
struct g *getg_or_die(const char *what);

/* True if the runtime is started and this is not a forked child of it. */
static always_inline bool sched_alive(void)
{
    return likely(load_relaxed(&os_fork_page.alive) != 0);
}

/* How often the runtime was stopped. An object that goroutines wait on notes it when it is made: if
 * it has changed since, those goroutines are gone with their stacks, and only the object's _free
 * may be called, which must not look at them. */
uint32_t runtime_epoch(void);

/* A foreign thread that uses the scheduler's memory says so, and a stop waits for its end: between
 * the two it must not wait for anything. False: not alive, and no visit. On a goroutine visit_begin only
 * says whether the runtime is alive. visit_hold begins a visit also of a runtime that is not: a later one
 * is not stopped before its end. */
bool visit_begin(void);
void visit_hold(void);
void visit_end(void);

/* ---- Parking and waking (park.c) ----------------------------------------------------------- */

/* Parks the calling goroutine until goready. unlockf(gp, lock) runs once its context is saved, on
 * another stack of the same thread, bounded to STACK_SLACK bytes: only then may others wake
 * it. If it returns false the goroutine goes on at once. Returns on any M. */
void gopark(bool (*unlockf)(struct g *, void *), void *lock, enum waitreason reason);

/* gopark that releases a runtime mutex. */
void goparkunlock(struct mutex *l, enum waitreason reason);

/* Makes a parked goroutine runnable; next to run on this P. From any thread; on a foreign one it
 * goes to the global queue. May wake a thread, never switches. */
void goready(struct g *gp);

/* goready that puts it at the tail: for wakers that wake many and go on themselves. */
void goready_tail(struct g *gp);

/* goready for what a clock or the network woke: it runs ahead of those that wait for their turn,
 * within bounds. On g0 or a goroutine, with a P. */
void goready_ahead(struct g *gp);

/* How many more of these this P's queue takes before it lets them wait like others. */
uint32_t runq_ahead_room(struct p *pp);

/* Whether nobody waits on pp's own queues; a hint unless pp's owner asks. */
bool runqempty(struct p *pp);

/* Puts the calling goroutine behind the others of its P; with none waiting, does nothing. */
void gosched(void);

/* A place where a goroutine may be made to yield: on entry of every operation that might park, with
 * no runtime mutex held. Costs a load. */
void preempt_slow(struct m *mp);
static always_inline void preempt_point(struct m *mp)
{
    if (unlikely(load_relaxed(&mp->preempt) != 0))
        preempt_slow(mp);
}

/* A goroutine waiting on something, on its own stack for as long as it waits. */
struct sudog {
    struct g *g;
    struct sudog *next, *prev; /* the queue's lock */
    void *elem;                /* where the value is or goes; the queue's lock */
    void *c;                   /* what it waits on */
    int64_t ticket;            /* free for the owner of the queue */
    uint32_t index;            /* select: the case */
    bool is_select;            /* g->select_done must be won by CAS first */
    bool success;              /* woken by a value, not by a close */
};

/* ---- Starting (newproc.c) ------------------------------------------------------------------ */

/* What a new goroutine is to be. */
struct newborn {
    void (*fn)(void *);
    void *arg;
    const void *copy; /* NULL, or what the argument points to: see loam_go_copy */
    size_t copy_size;
    const char *name;
    size_t stack_size; /* 0: as configured */
    uintptr_t callerpc;
    uintptr_t code; /* 0, or what fn will call: whether its stack may grow */
};

/* Starts a goroutine: 0 or -errno with a noted text. From any thread. */
int newproc(void (*fn)(void *), void *arg, uintptr_t callerpc);
int newproc_with(const struct newborn *b);
/* What they return without a runtime: -errno with a noted text. */
int not_alive(void);

/* ---- Stacks that grow (morestack.c) ------------------------------------------------------------ */

/* Runs fn(arg) on the thread's own stack if the calling goroutine's is one that grows, which has room for
 * little; else here. fn must not park, nor call user code. */
void systemstack(void (*fn)(void *), void *arg);

/* ---- Time and choices (dst.c): the one place for both ---------------------------------------- */

/* The monotonic clock; virtual in a seeded run. */
int64_t nanotime(void);

/* A uniform choice in [0, n), n >= 1: from the seed in a seeded run. */
uint32_t choose(uint32_t n);

/* ---- Waiting for the world outside ----------------------------------------------------------- */

/* Counts goroutines that something outside the scheduler will wake (a thread pool, a foreign thread
 * in loam_call): while there are any, all goroutines asleep is no deadlock. */
void external_begin(void);
void external_end(void);

/* Counts threads of this library that wake goroutines only within external_begin and _end: the
 * process having more threads than known ones is no deadlock either. */
void external_threads(int n);

/* Tells the threads that sleep that a timer became due earlier than they know. `when` in nanotime. */
void wake_for_timer(int64_t when);

/* Says that goroutines were made runnable outside goready. Starts a thread if one is idle. */
void wakep(void);

/* ---- Blocking calls (syscall.c) --------------------------------------------------------------- */

void entersyscall(void);
void exitsyscall(void);

/* ---- Stopping the world (stw.c) --------------------------------------------------------------- */

enum stw_kind { STW_GOMAXPROCS, STW_DUMP, STW_SHUTDOWN, STW_GC };

/* Halts every P and returns on the calling goroutine's M (or foreign thread), the only one that runs
 * afterwards; blocking calls go on but cannot come back. Other stops wait. */
void stopTheWorld(enum stw_kind kind);
void startTheWorld(void);
/* The same with a limit. STW_LATE: some still run. startTheWorld follows, but after STW_NO_TURN: a
 * foreign thread only, another stop goes on. */
enum stw_result { STW_STOPPED, STW_LATE, STW_NO_TURN };
enum stw_result stopTheWorldFor(enum stw_kind kind, int64_t timeout_ns);

/* The Ps: allp[0 .. gomaxprocs-1]. Stable while the caller owns a P or has stopped the world. Others
 * may look at allp[0 .. ps_len()-1], all that were ever made: Ps that were taken out of use stay where
 * they are, with empty queues and no timers. */
extern struct p *allp[MAX_PROCS];
extern int gomaxprocs; /* STW */
extern int ps_made;    /* atomic: STW for writing; only grows, until shutdown */
static inline int ps_len(void)
{
    return load_acquire(&ps_made); /* acquire: each of them is whole */
}

const char *waitreason_text(enum waitreason r);
const char *gstatus_text(uint32_t status);

#endif
