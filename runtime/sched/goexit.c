/* The end of goroutines.
 *
 * It is done in a hook of the switch to the successor, when the goroutine's stack is no longer in
 * use. One that ends wired to its thread takes the thread with it, as in Go: its state may be
 * anything. */
#include "sched/gfree_int.h"

#include "os/os.h"
#include "sched/morestack.h"

#include <loam.h>

static void free_locals(void *gp)
{
    golocals_free(gp);
}

/* Runs on the successor's side: the goroutine's stack is no longer in use. */
void gdestroy(struct m *mp, struct g *gp)
{
    casgstatus(gp, G_running, G_dead);
    gp->param = NULL;
    gp->name = NULL;
    gp->fn = NULL;
    if (unlikely(gp->locals != NULL))
        systemstack(free_locals, gp);
    if (gp->seg != NULL)
        gsmall_put(mp, gp);
    else
        gfput(mp->p, gp);
    count_owner(&mp->p->ended, 1);
}

static void gdestroy_locked(struct m *mp, struct g *gp)
{
    /* It ended wired: the thread may be in any state, so it ends too, unless it is the caller's. */
    gp->lockedm = NULL;
    gp->locked = 0;
    mp->lockedg = NULL;
    gdestroy(mp, gp);
    if (mp != sched.m0)
        store_relaxed(&mp->leave, 1);
}

static noinline _Noreturn void cannot_end(struct g *gp)
{
    if (gp == NULL)
        (void)getg_or_die("the end of a goroutine");
    fatal("a goroutine ended inside loam_blocking_enter and _leave");
}

static void run_destructors(void *gp)
{
    golocals_run_destructors(gp);
}

_Noreturn void goexit_by(void (*hook)(struct m *, struct g *))
{
    struct m *mp = getm();
    struct g *gp = mp->curg;
    if (unlikely(gp == NULL)) /* a forked child, whose M was wiped */
        cannot_end(gp);
    if (unlikely(gp->locals != NULL)) {
        arch_call_big(run_destructors, gp);
        mp = getm(); /* a destructor may have parked */
    }
    if (unlikely(mp->p == NULL))
        cannot_end(gp);
    traceev(EV_GoDestroy, trace_clock(), gp->goid, 0);
    if (unlikely(hook != NULL))
        gswitch_to_g0(mp, gp, hook);
    else if (unlikely(gp->lockedm != NULL))
        gswitch_to_g0(mp, gp, gdestroy_locked);
    else
        goexit_switch(mp, gp, gdestroy);
    throw("goexit: a dead goroutine was resumed");
}

_Noreturn void goexit_current(void)
{
    goexit_by(NULL);
}

void loam_goexit(void)
{
    struct g *gp = getg_or_die("loam_goexit");
    if (getm()->incall != 0)
        cannot_switch("loam_goexit");
    void (*first)(void *) = gp->at_goexit;
    if (first != NULL) {
        gp->at_goexit = NULL;
        first(gp->arg);
    }
    goexit_current();
}
