/* loam_on_thread_stack: a call on the thread's own stack.
 *
 * While a goroutine runs, g0 of its thread stands where it switched away, in execute: below the stack
 * pointer saved there nothing of its stack is in use, and nobody goes on in it before the goroutine
 * switches. So a function may run there, as long as the goroutine does not switch: while incall says so,
 * every way to a switch ends in cannot_switch. The goroutine keeps its P: other goroutines do not notice.
 *
 * In fn no signal takes the goroutine off its processor (preempt.c), so that a loop of such calls would keep
 * it: this is a place where it gives way.
 *
 * Tracebacks go by the frame pointers from the thread's stack on to the goroutine's (traceback.c).
 *
 * Rejected: a stack of its own for each call, which has to come from somewhere and be given back; giving
 * up the P as loam_blocking does, which costs ten times as much and can be had by calling that first. */
#include "sched/sched_int.h"

#include "sched/sanitizer.h"

#include <loam.h>

struct thread_call {
    void (*fn)(void *);
    void *arg;
    struct m *mp;
};

static void on_thread(void *p)
{
    struct thread_call *c = p;
    sanitizer_after(&c->mp->g0);
    c->fn(c->arg);
    sanitizer_call_return(c->mp->curg, &c->mp->g0);
}

void loam_on_thread_stack(void (*fn)(void *), void *arg)
{
    struct m *mp = getm();
    struct g *gp = mp != NULL ? mp->curg : NULL;
    if (unlikely(gp != NULL && load_relaxed(&mp->preempt) != 0)) {
        int saved = *loam_errno_location();
        preempt_slow(mp);
        mp = getm();
        *loam_errno_location() = saved; /* of the thread that we are on now */
    }
    if (gp == NULL || (mp->incall & INCALL_THREAD_STACK)) {
        fn(arg); /* it is a thread's stack already */
        return;
    }
    struct thread_call c = {fn, arg, mp};
    mp->call_guard = arch_guard();
    mp->incall |= INCALL_THREAD_STACK;
    arch_set_guard(0); /* it is large enough for all */
    sanitizer_call_begin(gp, &mp->g0);
    arch_call_on(on_thread, &c, mp->g0.sched.sp);
    sanitizer_call_end(gp, &mp->g0);
    arch_set_guard(mp->call_guard);
    mp->incall &= (uint8_t)~INCALL_THREAD_STACK;
}
