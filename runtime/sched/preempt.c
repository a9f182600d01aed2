/* Preemption of code that never calls the runtime: held with its thread. (Code of modules that declare
 * themselves free of their thread goes on on any instead: copied.c, which is asked first.)
 *
 * sysmon and stops of the world ask first by m->preempt, which runtime calls look at. A goroutine that
 * does not answer gets SIGURG, sent to its own thread. The handler gives the P away and puts the thread
 * to sleep where it is, with the goroutine on it, so that whatever the goroutine has of its thread stays
 * right: errno, __thread variables, the locks it owns, the FPU (the kernel restores it), libc half-way
 * through malloc. To the scheduler it is a wired goroutine for that time: it lies runnable in the global
 * queue (heldq, runq.c), whoever takes it off lends its P to its thread (startlockedm), the thread wakes (stoplockedm),
 * returns from the handler, and the goroutine is as free as before. Nothing else is new: a hold is
 * loam_lock_os_thread, loam_yield and loam_unlock_os_thread, put between two instructions.
 *
 * Where it may strike (may_hold). Runtime code must not be cut: it has the address of its P in
 * registers, or a lock. It would have to be on the stack, so one of these is true:
 *  (1) the program counter is in the library's own text: text_first.S and text_last.S enclose it;
 *  (2) the runtime is inside of a function of libc, whose return address is ours. Each such call that
 *      may not be cut lies between libc_enter and libc_leave (arch.h), which count in the M: those of
 *      os/, which are nearly all, and memcpy, memset of a length that is not constant. Two stores.
 *      AddressSanitizer's calls in prologues would be such ones: meson.build turns them off;
 *  (3) it has called a function of the program (loam_once_do, a destructor, ...), or malloc by objalloc.
 *      There it may park, so that nothing of it depends on the P or holds a lock; a cut is no more.
 *  (4) a handler of the program's has cut it, on the goroutine's own stack (signal() asks for no other).
 *      The kernel's frame lies there, with the program counter that it came to.
 * The fast paths pay nothing for it. A frame walk would not do: libc has no frame pointers, its unwind
 * tables cannot be read in a handler, and stale return addresses in the gaps of a stack look like true
 * ones. Where (1), (2) or (4) holds, or the goroutine is not on its own stack (a handler of the program's on
 * an alternate one, g0), nothing is done, and sysmon asks again.
 *
 * Malloc must be cut (3): a thread held inside of it owns the lock of an arena, for which another M may
 * wait with its P. Were that M not to be cut, nobody would have a P for the one who could unlock. The
 * same for any lock of the program's: who waits for it in the kernel loses its P by the same signal.
 * The runtime itself waits for such a lock without a P only; maker.c argues that nobody waits for ever.
 *
 * Async-signal-safety. The handler takes sched.lock, sets notes, moves Gs and Ps: that is safe because
 * the thread was not in the runtime. It allocates nothing, and above all makes no thread, which calls
 * malloc: the P goes to an idle M, which sysmon orders in advance, or to the thread of the goroutine that
 * was held first: an exchange, for which there always is one, if only itself. All signals are blocked in
 * the handler, and stay so while the thread sleeps.
 *
 * How many. A thread for each goroutine that has begun and not ended: loops without end all get their
 * turns, but ten thousand calculations of a few slices each should not be begun together. So where more
 * than HELD_MANY are held, only every TURNS-th P goes to an idle M, which may begin another; the others
 * are exchanged. What waits in queues or for a timer then waits TURNS slices instead of one. Threads are
 * made in advance up to half of max_threads, and one in any case; loops beyond that are exchanged, and
 * those that have not begun wait until others end. With all threads in calls, one of them in a loop and none
 * held, there is nobody who could take a P: the loop keeps it until a thread is free. (A stop of the world
 * takes it all the same.)
 *
 * When. sysmon's rounds end when a slice does that somebody waits for; when a held goroutine goes on is noted
 * exactly (resumed_at), of others sysmon knows what it sees, to half a millisecond at worst. The thread that
 * will get the P is nudged together with the signal: it wakes up and looks for a moment. If the last hold
 * of a thread was brief, it looks before it sleeps. And where findRunnable would come to a held goroutine first
 * (held_is_next_locked) that one's thread is woken, not an idle M that would pass the P on.
 *
 * The stack. It runs on the alternate stack of the thread: on the goroutine's a frame with all vector
 * registers (3.5 KB with AVX-512, 11 KB with AMX) could meet the guard of one that is nearly full. From
 * there it switches to g0, the alternate stack keeps the handler's frames. The kernel takes a stack for
 * unused whose thread is elsewhere, and would run the next handler over them: hence all are blocked, but
 * libc's own two. By these setuid and its like ask every thread and wait for the answers, which may be for
 * ever while the world is stopped. So there is no alternate stack while the thread sleeps (os_handler_sleeps),
 * and they run on g0's; the return from the handler puts it back. SS_AUTODISARM would do it too, but a
 * program's handler on the alternate stack that ends by siglongjmp would leave the thread without one.
 *
 * Orders. The goroutine's context is published like any other's: by the switch's hook, under sched.lock.
 * m->async is written by who sends, before the signal (a system call on both sides). sched.held is a
 * count for pass_on_locked and an answer for a stop, which looks with the world stopped, when nobody can
 * become held.
 *
 * Ends. A thread in a handler cannot be unwound, and what it locked is locked. So a stop of the runtime
 * does not abandon it: it is as if it still ran, -EBUSY after the time is over, and stops for shutdown
 * hold nobody. The end of loam_run with such goroutines is exit(), for which they go on running: one
 * may own the lock of stdout.
 *
 * Off: asyncpreemptoff=1; seeded runs (chance); LOAM_NO_SIGNALS; SIGURG blocked by who starts the
 * runtime; TSan, which runs handlers only where the program calls what it intercepts, at a moment of its
 * own choice, and would see two fibers on one alternate stack.
 *
 * Rejected: a timer for each M (timer_create) in place of sysmon's rounds: two system calls a slice by who makes
 * somebody wait, for what costs sysmon one round; resuming all code on any thread with a copy of the registers
 * (wrong for C, see above); a counter
 * in every public function (a nanosecond each). */
#include "sched/sched_int.h"

#include "os/os.h"
#include "sched/sanitizer.h"
#include "stack/modules.h"

#include <errno.h>
#include <signal.h>

enum { HELD_MANY = 64, TURNS = 8 }; /* see the head */
enum { BRIEF_US = 30 };

/* What an M is asked for by the signal. */
enum { ASYNC_SLICE = 1, ASYNC_STOP = 2 };

/* text_first.S, text_last.S */
extern const char runtime_text_first[], runtime_text_last[];
extern const char runtime_cold_first[], runtime_cold_last[];

static bool on; /* const after init */
static uintptr_t loader_lo,
    loader_hi;                    /* const after init: of the loader's code, where TLS needs it */
static uintptr_t handlers_return; /* const after init: to libc, from every handler */
static os_handler on_sigurg;
static struct os_front front = {.sig = SIGURG, .fn = on_sigurg};

bool in_runtime(uintptr_t pc)
{
    return (pc >= (uintptr_t)runtime_text_first && pc < (uintptr_t)runtime_text_last) ||
           (pc >= (uintptr_t)runtime_cold_first && pc < (uintptr_t)runtime_cold_last) ||
           (pc >= loader_lo && pc < loader_hi);
}

/* (4) of the head: between sp and hi. A word that only looks like it may be left of a frame that is gone:
 * then it must look as if that had cut the runtime too, and costs a delay. */
static no_sanitize bool runtime_cut(uintptr_t sp, uintptr_t hi)
{
    enum { FARTHEST = 256 << 10 }; /* a handler that needs more has no room on most stacks */
    if (hi - sp > FARTHEST)
        hi = sp + FARTHEST;
    bool found = false;
    sanitizer_look_begin();
    for (uintptr_t at = align_up(sp, sizeof(uintptr_t)); at + ARCH_SIGNAL_FRAME <= hi && !found;
         at += sizeof(uintptr_t)) {
        uintptr_t pc;
        found = arch_signal_frame((const uintptr_t *)at, handlers_return, &pc) && in_runtime(pc);
    }
    sanitizer_look_end();
    return found;
}

static bool may_hold(struct m *mp, uint32_t why, uintptr_t pc, uintptr_t sp)
{
    if (in_runtime(pc) || mp->thread.in_libc != 0 || locks_held() != 0 || throwing() ||
        modules_kind(pc) == TEXT_NOPREEMPT)
        return false;
    struct g *gp = mp->curg;
    struct p *pp = mp->p;
    uintptr_t lo, hi;
    if (gp == NULL || pp == NULL || mp->hook_g != NULL || gp->m != mp ||
        load_relaxed(&gp->status) != G_running || (sp >= mp->g0.stack.lo && sp < mp->g0.stack.hi) ||
        !stack_piece(gp, guard_of(mp), sp, &lo, &hi))
        return false;
    /* who stops the world has a P that is not running */
    if (load_relaxed(&pp->status) != P_running)
        return false;
    bool stop = why & ASYNC_STOP && load_relaxed(&sched.gcwaiting);
    bool over = why & ASYNC_SLICE && load_relaxed(&pp->schedtick) == load_relaxed(&mp->async_tick);
    return (stop || over) && !runtime_cut(sp, hi);
}

static uint32_t many(void)
{
    uint32_t half = (uint32_t)sched.maxmcount / 2;
    return half < HELD_MANY ? half : HELD_MANY;
}

/* findRunnable would come to a held goroutine first. */
static bool held_is_next_locked(struct p *pp)
{
    int64_t timer = load_relaxed(&pp->timers_when);
    return turn_of_held_locked() && runqempty(pp) && (timer == 0 || timer > os_nanotime());
}

/* Who gets the P of a held goroutine: the thread of the one that was held first, maybe this one again,
 * where its turn has come, or no M is idle, or many are held; else an idle M, which goes through the
 * queues. */
static struct m *pass_on_locked(struct p *pp)
{
    struct m *next = sched.midle;
    bool exchange = load_relaxed(&sched.held) > many() && ++sched.held_turns % TURNS != 0;
    if (next != NULL && !exchange && !held_is_next_locked(pp)) {
        sched.midle = next->schedlink;
        sched.nmidle--;
        next->nextp = pp;
    } else {
        next = heldqget_locked()->lockedm;
        lend_locked(pp, next);
    }
    return next;
}

/* On g0, which goes on to stoplockedm without a P. */
static void hold_hook(struct m *mp, struct g *gp)
{
    struct m *next = NULL;
    casgstatus(gp, G_running, G_runnable);
    lock(&sched.lock);
    heldqput_locked(gp);
    if (load_relaxed(&sched.gcwaiting))
        stopp_locked(mp);
    else
        next = pass_on_locked(releasep(mp));
    unlock(&sched.lock);
    if (next != NULL)
        notewakeup(&next->park);
    os_handler_sleeps();
}

static void hold(struct m *mp, struct g *gp)
{
    bool wired = gp->lockedm != NULL;
    if (!wired) {
        gp->lockedm = mp;
        mp->lockedg = gp;
    }
    add_seqcst(&sched.held, 1);
    count_owner(&mp->holds, 1);
    store_release(&mp->held, true); /* release: the registers are there */
    traceev(EV_GoStop, trace_clock(), gp->goid, 0);
    uint64_t from = arch_ticks();
    gswitch_to_g0(mp, gp, hold_hook);
    bool brief = arch_ticks() - from < BRIEF_US * sched.ticks_per_us;
    mp->hold_looks = brief ? BRIEF_US : 0; /* mostly the next is as long */
    struct p *pp = mp->p;
    store_relaxed(&pp->resumed_at, os_nanotime());
    store_release(&pp->resumed_tick, load_relaxed(&pp->schedtick)); /* release: resumed_at */
    store_relaxed(&mp->held, false);
    add_seqcst(&sched.held, -1u);
    if (!wired) {
        mp->lockedg = NULL;
        gp->lockedm = NULL;
    }
}

static void on_sigurg(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    /* The sender first: on a foreign thread even a thread-local may need memory. By the mark, not by the
     * request, which an earlier signal may have found already. */
    if (info->si_code != SI_QUEUE || info->si_ptr != &sched) {
        os_front_pass_on(&front, info, uc);
        return;
    }
    struct m *mp = getm();
    uint32_t why = mp != NULL ? xchg_acquire(&mp->async, 0) : 0; /* acquire: async_tick */
    if (why == 0)
        return;
    /* By the kernel, with all signals blocked, not by a handler of the program's that found ours. */
    if ((uintptr_t)__builtin_return_address(0) != handlers_return)
        return;
    uintptr_t pc, sp, fp;
    arch_ucontext_regs(uc, &pc, &sp, &fp);
    if (!may_hold(mp, why, pc, sp))
        return;
    /* of what nobody registered yet: a module may have come */
    if (modules_kind(pc) == TEXT_UNKNOWN)
        maker_look();
    if (may_copy(mp, mp->curg, uc)) {
        arch_inject(uc);
        return;
    }
    mp->sig_pc = pc;
    mp->sig_sp = sp;
    mp->sig_fp = fp;
    mp->sig_guard = guard_of(mp);
    hold(mp, mp->curg);
}

static void ask(struct m *mp, uint32_t why)
{
    os_front_keep(&front);            /* the program may have put another in its place */
    (void)or_acqrel(&mp->async, why); /* release: async_tick */
    (void)os_tgkill_marked(mp->tid, SIGURG, &sched);
}

void preempt_by_signal(struct m *mp, struct p *pp, uint32_t tick)
{
    if (!on || !load_acquire(&mp->alive)) /* acquire: its tid */
        return;
    /* Where nobody could take its P from a held thread, there may still be code to be copied. */
    struct m *next = m_spare();
    if (next == NULL && load_relaxed(&sched.held) == 0 && !modules_migratable())
        return;
    store_relaxed(&mp->async_tick, tick);
    ask(mp, ASYNC_SLICE);
    /* A guess at who will get the P: waking up takes a thread as long as the signal takes. */
    lock(&sched.lock);
    if (held_is_next_locked(pp))
        next = sched.heldq.head->lockedm;
    unlock(&sched.lock);
    if (next != NULL)
        notenudge(&next->park);
}

void preempt_all_by_signal(void)
{
    for (struct m *mp = on ? load_acquire(&allm) : NULL; mp != NULL; mp = mp->alllink) {
        struct p *pp = load_relaxed(&mp->p);
        if (pp != NULL && load_relaxed(&mp->curg) != NULL && load_acquire(&mp->alive) &&
            load_relaxed(&pp->status) == P_running && mp != getm())
            ask(mp, ASYNC_STOP);
    }
}

/* Whether the linker has put the text where the labels say: one function of each end's folder. */
static bool text_is_ours(void)
{
    return in_runtime((uintptr_t)throwf) && in_runtime((uintptr_t)lock_slow) &&
           in_runtime((uintptr_t)getg_or_die) && in_runtime((uintptr_t)nanotime) &&
           in_runtime((uintptr_t)schedule);
}

void preempt_fini(void)
{
    if (on)
        (void)os_front_remove(&front);
    on = false;
    modules_fini();
}

void preempt_init(bool handlers)
{
    on = false;
    if (!handlers || debug.asyncpreemptoff != 0 || debug.dst_on || LOAM_TSAN ||
        sigismember(&sched.mask, SIGURG) == 1)
        return;
    /* Thread-locals of a shared library come from a function of the loader. */
    loader_lo = loader_hi = 0;
    if (LOAM_SHARED && !os_code_around(os_tls_function(), &loader_lo, &loader_hi))
        return;
    if (!text_is_ours() || modules_init((uintptr_t)schedule) != 0)
        return;
    arch_preempt_init();
    (void)copied_init(); /* or nothing is copied */
    on = os_front_install(&front) == 0;
    handlers_return = on ? os_signal_return(SIGURG) : 0;
    if (handlers_return == 0)
        preempt_fini();
}

bool preempt_on(void)
{
    return on;
}
