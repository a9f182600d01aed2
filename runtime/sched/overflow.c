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
static struct fault {
    const int sig;
    struct sigaction former; /* const while ours may be called */
    bool installed;
    bool replaced; /* the program has a handler of its own since, which may call ours */
} faults[] = {{.sig = SIGSEGV}, {.sig = SIGBUS}};

static uint32_t reporting; /* atomic: somebody overflowed already */

static bool in_guard(const struct stack *s, size_t guard, uintptr_t addr)
{
    return addr < s->lo && addr >= s->lo - guard;
}

/* Which stack was overflowed; NULL: none. */
static struct stack *overflowed(struct m *mp, struct g *gp, uintptr_t addr)
{
    if (in_guard(&gp->stack, STACK_GUARD, addr))
        return &gp->stack;
    if (mp->hook_g != NULL && in_guard(&mp->hook_g->stack, STACK_GUARD, addr))
        return &mp->hook_g->stack;
    if ((mp->incall & INCALL_THREAD_STACK) && in_guard(&mp->g0.stack, THREAD_GUARD, addr))
        return &mp->g0.stack;
    return NULL;
}

static _Noreturn void report(struct m *mp, struct g *gp, const struct stack *s, const void *uc)
{
    static char lines[2048];           /* the alternate stack may be the program's, and small */
    if (!cas_acqrel(&reporting, 0, 1)) /* acqrel: elects one, no more */
        for (;;)
            pause();
    bool of_thread = s == &mp->g0.stack;
    struct printer p = {.fd = -1, .cap = sizeof lines - 1, .buf = lines};
    uintptr_t pc, sp, fp;
    arch_ucontext_regs(uc, &pc, &sp, &fp);
    traceback_at_signal(mp, uc);
    mp->curg = gp; /* whose traceback it is to be */
    pr(&p,
       "runtime: %s stack exceeds %zu-byte limit\n"
       "runtime: sp=0x%lx stack=[0x%lx, 0x%lx]\n"
       "runtime: goroutine %lu",
       of_thread ? "thread" : "goroutine", (size_t)(s->hi - s->lo), (unsigned long)sp,
       (unsigned long)s->lo, (unsigned long)s->hi, (unsigned long)gp->goid);
    if (gp->name != NULL)
        pr(&p, " \"%s\"", gp->name);
    pr(&p, " in ");
    traceback_place(&p, pc);
    if (of_thread)
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
        struct stack *s = overflowed(mp, gp, (uintptr_t)info->si_addr);
        if (s != NULL)
            report(mp, s == &mp->g0.stack ? gp : container_of(s, struct g, stack), s, uc);
    }
    for (size_t i = 0; i < nelem(faults); i++)
        if (faults[i].sig == sig)
            os_signal_forward(sig, info, uc, &faults[i].former);
}

void overflow_init(bool handlers)
{
    store_relaxed(&reporting, 0);
    for (size_t i = 0; i < nelem(faults); i++) {
        /* Not a second time above one that replaced ours: that one may call ours, and ours it. */
        struct fault *f = &faults[i];
        if (handlers && !f->replaced)
            f->installed = os_signal_chain(f->sig, on_fault, &f->former) == 0;
    }
}

void overflow_fini(void)
{
    for (size_t i = 0; i < nelem(faults); i++) {
        struct fault *f = &faults[i];
        if (f->installed)
            f->replaced = !os_signal_unchain(f->sig, on_fault, &f->former);
        f->installed = false;
    }
}
