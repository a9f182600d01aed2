/* A goroutine that overflows its stack: a fault in the guard below it is reported and ends the process,
 * every other fault goes to the handler that the program had before.
 *
 * The handler runs on the thread's alternate stack. It looks at what only its own thread changes: the
 * goroutine that runs there. In the middle of a direct switch that is the next one already, while the
 * former one's stack is still in use: hook_g.
 *
 * What is not seen: one access that jumps over the guard, from a frame larger than it whose lowest part
 * is touched first. -fstack-clash-protection, which `loam build` passes, makes the compiler touch every
 * page on the way. And the stack of a foreign thread, which is the program's.
 *
 * In builds with AddressSanitizer and ThreadSanitizer it is the same: they allow handlers of the program,
 * and theirs, which is the former one, gets all other faults. */
#include "sched/sched_int.h"

#include "base/print.h"
#include "os/os.h"

#include <unistd.h>

/* Which handlers there were. They stay readable after a stop: a handler of the program that came after
 * ours may still call it. */
#define FAULT(number)                                                                              \
    {                                                                                              \
        .front = {.sig = number, .fn = on_fault, .as_theirs = true }                               \
    }
static os_handler on_fault;
static struct fault {
    struct os_front front;
    bool installed;
    bool replaced; /* the program has a handler of its own since, which may call ours */
} faults[] = {FAULT(SIGSEGV), FAULT(SIGBUS)};

static uint32_t reporting; /* atomic: somebody overflowed already */

/* A stack that was overflowed. */
struct overflowed {
    struct g *gp; /* who runs on it */
    uintptr_t lo, hi;
    bool of_thread;
};

static bool find(struct m *mp, struct g *gp, uintptr_t addr, struct overflowed *o)
{
    *o = (struct overflowed){.gp = gp};
    if (stack_guarded(gp, guard_of(mp), addr, &o->lo, &o->hi))
        return true;
    if (mp->hook_g != NULL && stack_guarded(mp->hook_g, 0, addr, &o->lo, &o->hi)) {
        o->gp = mp->hook_g;
        return true;
    }
    o->lo = mp->g0.stack.lo;
    o->hi = mp->g0.stack.hi;
    o->of_thread = true;
    return (mp->incall & INCALL_THREAD_STACK) && addr < o->lo && addr >= o->lo - THREAD_GUARD;
}

static _Noreturn void report(struct m *mp, const struct overflowed *o, const void *uc)
{
    static char lines[2048];           /* the alternate stack may be the program's, and small */
    if (!cas_acqrel(&reporting, 0, 1)) /* acqrel: elects one, no more */
        for (;;)
            pause();
    const struct g *gp = o->gp;
    struct printer p = {.fd = -1, .cap = sizeof lines - 1, .buf = lines};
    uintptr_t pc, sp, fp;
    arch_ucontext_regs(uc, &pc, &sp, &fp);
    traceback_at_signal(mp, uc);
    arch_set_guard(0); /* from here on nothing goes back to its stack */
    mp->curg = o->gp;  /* whose traceback it is to be */
    pr(&p,
       "runtime: %s stack exceeds %zu-byte limit\n"
       "runtime: sp=0x%lx stack=[0x%lx, 0x%lx]\n"
       "runtime: goroutine %lu",
       o->of_thread ? "thread" : "goroutine", (size_t)(o->hi - o->lo), (unsigned long)sp,
       (unsigned long)o->lo, (unsigned long)o->hi, (unsigned long)gp->goid);
    if (gp->name != NULL)
        pr(&p, " \"%s\"", gp->name);
    pr(&p, " in ");
    traceback_place(&p, pc);
    if (o->of_thread)
        pr(&p,
           "\nruntime: it is in loam_on_thread_stack; `ulimit -s` sets the size of such stacks\n");
    else
        pr(&p, "\nruntime: give it more by stack_size (of loam_go_with, of struct loam_config for "
               "all), or "
               "use loam_on_thread_stack\n");
    lines[p.len] = '\0';
    fatal_after(lines, "stack overflow");
}

static void on_fault(int sig, siginfo_t *info, void *uc)
{
    struct m *mp = getm();
    struct g *gp = mp != NULL ? mp->curg : NULL;
    if (gp != NULL && os_signal_is_fault(info)) {
        struct overflowed o;
        if (find(mp, gp, (uintptr_t)info->si_addr, &o))
            report(mp, &o, uc);
    }
    for (size_t i = 0; i < nelem(faults); i++)
        if (faults[i].front.sig == sig)
            os_front_pass_on(&faults[i].front, info, uc);
}

void overflow_init(bool handlers)
{
    store_relaxed(&reporting, 0);
    for (size_t i = 0; i < nelem(faults); i++) {
        /* Not a second time above one that replaced ours: that one may call ours, and ours it. */
        struct fault *f = &faults[i];
        if (handlers && !f->replaced)
            f->installed = os_front_install(&f->front) == 0;
    }
}

void overflow_fini(void)
{
    for (size_t i = 0; i < nelem(faults); i++) {
        struct fault *f = &faults[i];
        if (f->installed)
            f->replaced = !os_front_remove(&f->front);
        f->installed = false;
    }
}
