/* Birth of goroutines: newproc and the calls that lead to it.
 *
 * Of the plain form - on a goroutine, no options, no values to inherit - it makes an embryo (embryo.c);
 * otherwise a whole G (gfree.c) with its first context. Either goes to the front of its P's queue. */
#include "sched/gfree_int.h"

#include "os/os.h"
#include "sched/morestack.h"
#include "sched/sanitizer.h"

#include <errno.h>
#include <string.h>

#include <loam.h>

enum { COPY_MAX = 16 << 10 };

void goroutine_entry(void)
{
    struct g *gp = getg();
    sanitizer_begin(gp);
    after_switch();
    sanitizer_acquire(gp); /* what the creator did before */
    gp->fn(gp->arg);
    goexit_current();
}

static uint64_t goid_next(struct p *pp)
{
    if (pp == NULL)
        return add_relaxed(&sched.goidgen, 1); /* unique is all it must be */
    if (pp->goid_next == pp->goid_end) {
        pp->goid_end = add_relaxed(&sched.goidgen, GOID_BATCH) + 1;
        pp->goid_next = pp->goid_end - GOID_BATCH;
    }
    return pp->goid_next++;
}

noinline int not_alive(void)
{
    if (os_forked())
        return error_note(-ECHILD, "the runtime does not live on in a forked child: it may only "
                                   "exec or _exit");
    return error_note(-EINVAL,
                      load_relaxed(&sched.started) != 0
                          ? "the runtime is being started or stopped"
                          : "the runtime is not started: call loam_start or loam_run first");
}

/* A G for newproc's slow way. */
static int whole_g(struct p *pp, size_t stack_size, struct g **out)
{
    struct g *gp;
    if (stack_size == 0 || slot_class(stack_size) == (int)sched.stack_class) {
        stack_size = sched.stack_size;
        gp = gfget_unreserved(pp);
    } else {
        int class = slot_class(stack_size);
        gp = class < 0 ? NULL : gfget_odd(class);
    }
    *out = gp;
    return gp != NULL ? 0 : malg(stack_size, out);
}

static void copy_args(char *to, const char *from, size_t size)
{
#if LOAM_TSAN
    /* memcpy would be a write of the creator's, racing with the stack's former goroutine */
    for (volatile char *v = to; size > 0; size--)
        *v++ = *from++;
#else
    copy_bytes(to, from, size);
#endif
}

static always_inline void born(struct g *gp)
{
    traceev(EV_GoCreate, trace_clock(), gp->goid, gp->parent);
    casgstatus(gp, G_dead, G_runnable);
    sanitizer_release(gp);
}

static always_inline void enqueue_new(struct p *pp, struct g *gp)
{
    born(gp);
    if (likely(pp != NULL)) {
        count_owner(&pp->created, 1);
        if (runqput(pp, gp, true)) {
            wakep_soft();
            return;
        }
    } else {
        add_relaxed(&sched.foreign_created, 1); /* a statistic */
        lock(&sched.lock);
        globrunqput_locked(gp);
        unlock(&sched.lock);
        if (unlikely(debug.dst_on))
            poll_break(); /* the one thread may sleep with its P */
    }
    wakep();
}

/* A G with its first context, not runnable yet. */
static int make(struct p *pp, struct g *parent, const struct newborn *b, struct g **out)
{
    if (unlikely(b->copy_size > COPY_MAX))
        return error_note(-E2BIG, "loam_go_copy: %zu bytes of arguments are above the limit of %d",
                          b->copy_size, (int)COPY_MAX);
    struct g *gp;
    bool small = b->stack_size == 0 && grows(b->code != 0 ? b->code : (uintptr_t)b->fn);
    int err = small ? gsmall_get(pp, b->copy_size, &gp) : whole_g(pp, b->stack_size, &gp);
    if (err != 0)
        return err;
    sanitizer_g_new(gp);
    uintptr_t top = gp->stack.hi;
    gp->arg = b->arg;
    if (b->copy != NULL) {
        top = align_down(top - b->copy_size, 16);
        copy_args((char *)top, b->copy, b->copy_size);
        gp->arg = (void *)top;
    }
    arch_prepare(&gp->sched, top, small ? gp->seg->guard : 0, goroutine_entry);
    gp->fn = b->fn;
    gp->goid = goid_next(pp);
    gp->parent = parent != NULL ? parent->goid : 0;
    gp->gopc = b->callerpc;
    gp->name = b->name;
    gp->waitreason = WAIT_none;
    gp->traceseq = 0;
    if (unlikely(parent != NULL && parent->locals != NULL))
        golocals_inherit(gp, parent);
    *out = gp;
    return 0;
}

static int newproc_alive(struct m *mp, const struct newborn *b)
{
    if (unlikely(b->fn == NULL))
        fatal("go of nil func value");
    struct g *parent = mp != NULL ? mp->curg : NULL;
    if (parent != NULL) {
        preempt_point(mp);
        mp = getm();
    }
    struct p *pp = mp != NULL ? mp->p : NULL;
    struct g *gp;
    int err = make(pp, parent, b, &gp);
    if (err == 0) /* labels were allocated: it may be another P now */
        enqueue_new(mp != NULL ? mp->p : NULL, gp);
    return err;
}

int newproc_with(const struct newborn *b)
{
    struct m *mp = getm();
    if (mp != NULL)
        return sched_alive() ? newproc_alive(mp, b) : not_alive();
    /* the runtime may be stopped meanwhile: see visit_begin */
    if (!visit_begin())
        return not_alive();
    int err = newproc_alive(NULL, b);
    visit_end();
    return err;
}

int newproc(void (*fn)(void *), void *arg, uintptr_t callerpc)
{
    struct m *mp = getm();
    struct g *parent = mp != NULL ? mp->curg : NULL;
    /* TSan must see a goroutine begin where it was started: no embryos there. */
    if (likely(parent != NULL && parent->locals == NULL && fn != NULL && !grows((uintptr_t)fn) &&
               sched_alive()) &&
        !LOAM_TSAN) {
        preempt_point(mp);
        struct p *pp = getm()->p;
        if (likely(pp != NULL && pp->embryos_pending < pp->gfree_n)) {
            struct g *embryo = embryo_get(pp);
            if (likely(embryo != NULL)) {
                embryo->goid = goid_next(pp);
                embryo->fn = fn;
                embryo->arg = arg;
                embryo->parent = parent->goid;
                embryo->gopc = callerpc;
                pp->embryos_pending++;
                enqueue_new(pp, embryo);
                return 0;
            }
        }
    }
    return newproc_with(&(struct newborn){.fn = fn, .arg = arg, .callerpc = callerpc});
}

int newproc_main(struct m *mp, const struct newborn *b, struct g **out)
{
    int err = make(mp->p, NULL, b, out);
    if (err != 0)
        return err;
    born(*out);
    count_owner(&mp->p->created, 1);
    return 0;
}

int loam_go(void (*fn)(void *), void *arg)
{
    return newproc(fn, arg, arch_callerpc());
}

int loam_go_with(const struct loam_go_options *options, void (*fn)(void *), void *arg)
{
    static const struct loam_go_options none;
    const struct loam_go_options *o = options != NULL ? options : &none;
    return newproc_with(&(struct newborn){.fn = fn,
                                          .arg = arg,
                                          .name = o->name,
                                          .stack_size = o->stack_size,
                                          .callerpc = arch_callerpc()});
}

int loam_go_copy(void (*fn)(void *), const void *data, size_t size)
{
    static const char nothing[1];
    return newproc_with(&(struct newborn){.fn = fn,
                                          .copy = data != NULL ? data : nothing,
                                          .copy_size = data != NULL ? size : 0,
                                          .callerpc = arch_callerpc()});
}

void loam_yield(void)
{
    struct m *mp = getm();
    if (mp != NULL && mp->p != NULL) /* on a goroutine, and not in a blocking call */
        gosched();
}

uint64_t loam_goid(void)
{
    struct g *gp = getg();
    return gp != NULL ? gp->goid : 0;
}

void loam_set_name(const char *name)
{
    struct g *gp = getg();
    if (gp != NULL)
        gp->name = name;
}

int64_t loam_num_goroutine(void)
{
    if (!visit_begin())
        return 0;
    int64_t n = goroutines_alive();
    visit_end();
    return n;
}
