/* Birth and death of goroutines.
 *
 * A goroutine's struct g lies at the top of its stack slot, at one of 32 offsets ("colours"): slots
 * are 256 KB apart, so that without it the hot lines of all goroutines would fall into the same sets
 * of the first-level cache. Dead goroutines keep their stack and wait on the free list of their P
 * (last in, first out: the warmest first), beyond GFREE_LOCAL_MAX on a global one.
 *
 * Embryos. A goroutine that has not run yet needs no stack: newproc makes an embryo of one cache line,
 * queues it like a G, and whoever takes it off the queue gives it a dead G's stack (gbegin). So a
 * batch of goroutines that run one after the other uses one warm stack, not a cold one each. A
 * embryo is made only while the P has a dead G in reserve for each (embryos_pending < gfree_n):
 * otherwise newproc takes a stack at once, so that "no stack to be had" is an error of the call that
 * asked for a goroutine. Reserves are per P and, since embryos may be stolen, about right: gbegin then takes a stack wherever
 * one is, and as a last resort waits for one.
 *
 * allg lists every G ever made, dead ones too; it only grows until shutdown, so readers need no lock.
 *
 * Rejected: freeing stacks at once (the next goroutine wants one); a separate struct g (a second
 * page-table entry and cache set per goroutine). */
#include "sched/sched_int.h"

#include "os/os.h"
#include "sched/sanitizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <loam.h>

enum { COLORS = 32, COPY_MAX = 16 << 10 };

struct g *allg;
int main_result;

static struct mutex allg_lock = MUTEX_INIT(allg);
static struct g **allg_end = &allg; /* allg_lock */

/* ---- Free lists -------------------------------------------------------------------------------- */

static struct g *gfget(struct p *pp)
{
    struct g *gp = pp != NULL ? pp->gfree : NULL;
    if (likely(gp != NULL)) {
        pp->gfree = gp->schedlink;
        pp->gfree_n--;
        return gp;
    }
    if (load_relaxed(&sched.gfree) == NULL) /* a look without the lock: mostly empty */
        return NULL;
    lock(&sched.lock);
    gp = sched.gfree;
    if (gp != NULL) {
        sched.gfree = gp->schedlink;
        for (int i = 0; pp != NULL && i < GFREE_LOCAL_MAX / 2 && sched.gfree != NULL; i++) {
            struct g *more = sched.gfree;
            sched.gfree = more->schedlink;
            more->schedlink = pp->gfree;
            pp->gfree = more;
            pp->gfree_n++;
        }
    }
    unlock(&sched.lock);
    return gp;
}

/* A dead G that no embryo relies on. */
static struct g *gfget_unreserved(struct p *pp)
{
    if (pp == NULL || pp->embryos_pending < pp->gfree_n)
        return gfget(pp);
    lock(&sched.lock);
    struct g *gp = sched.gfree;
    if (gp != NULL)
        store_relaxed(&sched.gfree, gp->schedlink);
    unlock(&sched.lock);
    return gp;
}

static void gfput(struct p *pp, struct g *gp)
{
    if (unlikely(gp->stack.size_class != (uint32_t)stack_class(sched.stack_size))) {
        /* an odd size: the slot serves whoever asks for that size next, the G is forgotten with it;
         * its memory stays a dead G */
        lock(&sched.lock);
        gp->schedlink = sched.gfree_odd;
        sched.gfree_odd = gp;
        unlock(&sched.lock);
        return;
    }
    gp->schedlink = pp->gfree;
    pp->gfree = gp;
    if (likely(++pp->gfree_n <= GFREE_LOCAL_MAX))
        return;
    lock(&sched.lock);
    while (pp->gfree_n > GFREE_LOCAL_MAX / 2) {
        gp = pp->gfree;
        pp->gfree = gp->schedlink;
        pp->gfree_n--;
        gp->schedlink = sched.gfree;
        store_relaxed(&sched.gfree, gp);
    }
    unlock(&sched.lock);
}

/* A free G of another size than the configured one. */
static struct g *gfget_odd(uint32_t size_class)
{
    lock(&sched.lock);
    struct g **link = &sched.gfree_odd;
    while (*link != NULL && (*link)->stack.size_class != size_class)
        link = &(*link)->schedlink;
    struct g *gp = *link;
    if (gp != NULL)
        *link = gp->schedlink;
    unlock(&sched.lock);
    return gp;
}

static int malg(size_t stack_size, struct g **out)
{
    struct stack s;
    int err = stackalloc(stack_size, &s);
    if (err != 0)
        return err;
    uintptr_t top = s.hi - (s.color % COLORS) * cacheline;
    struct g *gp = (struct g *)align_down(top - sizeof(struct g), cacheline);
    memset(gp, 0, sizeof *gp);
    gp->stack = s;
    gp->stack.hi = (uintptr_t)gp;
    casgstatus(gp, G_idle, G_dead);
    lock(&allg_lock);
    store_release(allg_end, gp); /* release: readers without the lock see a whole G */
    allg_end = &gp->alllink;
    unlock(&allg_lock);
    *out = gp;
    return 0;
}

static void goroutine_entry(void);

/* ---- Embryos --------------------------------------------------------------------------------------- */

enum {
    EMBRYO_CHUNK = 4096,
    EMBRYOS_PER_CHUNK = EMBRYO_CHUNK / GEMBRYO_SIZE - 1,
    EMBRYOS_LOCAL_MAX = 1024
};

struct embryo_chunk {
    struct embryo_chunk *next; /* const once linked */
    char embryos[] __attribute__((aligned(GEMBRYO_SIZE)));
};
static struct embryo_chunk *chunks; /* allg_lock for writing, release */

static struct g *embryo_at(struct embryo_chunk *c, int i)
{
    return (struct g *)(c->embryos + i * GEMBRYO_SIZE);
}

static noinline struct g *embryo_get_slow(struct p *pp)
{
    if (load_relaxed(&sched.embryos) != NULL) {
        lock(&sched.lock);
        for (int i = 0; i < EMBRYOS_LOCAL_MAX / 2 && sched.embryos != NULL; i++) {
            struct g *embryo = sched.embryos;
            store_relaxed(&sched.embryos, embryo->schedlink);
            embryo->schedlink = pp->embryos;
            pp->embryos = embryo;
            pp->embryos_n++;
        }
        unlock(&sched.lock);
    }
    if (pp->embryos == NULL) {
        struct embryo_chunk *c = os_mem_map(EMBRYO_CHUNK, "loam embryos");
        if (c == NULL)
            return NULL;
        for (int i = 0; i < EMBRYOS_PER_CHUNK; i++) {
            struct g *embryo = embryo_at(c, i);
            embryo->status = G_dead;
            embryo->schedlink = pp->embryos;
            pp->embryos = embryo;
            pp->embryos_n++;
        }
        lock(&allg_lock);
        c->next = chunks;
        store_release(&chunks, c); /* release: readers without the lock see a whole chunk */
        unlock(&allg_lock);
    }
    struct g *embryo = pp->embryos;
    pp->embryos = embryo->schedlink;
    pp->embryos_n--;
    return embryo;
}

static always_inline struct g *embryo_get(struct p *pp)
{
    struct g *embryo = pp->embryos;
    if (unlikely(embryo == NULL))
        return embryo_get_slow(pp);
    pp->embryos = embryo->schedlink;
    pp->embryos_n--;
    return embryo;
}

static always_inline void embryo_put(struct p *pp, struct g *embryo)
{
    embryo->schedlink = pp->embryos;
    pp->embryos = embryo;
    if (likely(++pp->embryos_n <= EMBRYOS_LOCAL_MAX))
        return;
    lock(&sched.lock);
    while (pp->embryos_n > EMBRYOS_LOCAL_MAX / 2) {
        embryo = pp->embryos;
        pp->embryos = embryo->schedlink;
        pp->embryos_n--;
        embryo->schedlink = sched.embryos;
        store_relaxed(&sched.embryos, embryo);
    }
    unlock(&sched.lock);
}

void each_embryo(void (*fn)(const struct g *embryo, void *arg), void *arg)
{
    for (struct embryo_chunk *c = load_acquire(&chunks); c != NULL; c = c->next)
        for (int i = 0; i < EMBRYOS_PER_CHUNK; i++)
            if (load_acquire(&embryo_at(c, i)->status) == G_runnable)
                fn(embryo_at(c, i), arg);
}

/* An embryo gets its stack: in real memory no G can be had, so this waits for one to end. */
static uint32_t stack_waits; /* atomic: waits in a row, of all Ms */

static noinline void no_stack(struct g *embryo)
{
    if (add_relaxed(&stack_waits, 1) > 5000)
        throwf("no stack for goroutine %lu: %s", (unsigned long)embryo->goid, error_noted());
    lock(&sched.lock);
    globrunqput_locked(embryo);
    unlock(&sched.lock);
    os_usleep(1000);
}

/* Makes an embryo a whole goroutine, on this M's P. may_map: on g0, where memory may be mapped and time
 * be spent; otherwise NULL means: not here. */
struct g *gbegin(struct m *mp, struct g *embryo, bool may_map)
{
    struct p *pp = mp->p;
    if (unlikely(pp->gfree == NULL && !may_map))
        return NULL;
    struct g *gp = gfget(pp);
    if (unlikely(gp == NULL && malg(sched.stack_size, &gp) != 0)) {
        no_stack(embryo);
        return NULL;
    }
    sanitizer_g_new(gp);
    gp->goid = embryo->goid;
    gp->fn = embryo->fn;
    gp->arg = embryo->arg;
    gp->parent = embryo->parent;
    gp->gopc = embryo->gopc;
    gp->waitreason = WAIT_none;
    gp->traceseq = 0;
    arch_prepare(&gp->sched, gp->stack.hi, goroutine_entry);
    /* one goroutine goes on in another place: no transition. release as in casgstatus */
    store_release(&gp->status, G_runnable);
    store_release(&embryo->status, G_dead);
    if (likely(pp->embryos_pending > 0)) /* it may come from another P */
        pp->embryos_pending--;
    if (unlikely(load_relaxed(&stack_waits) != 0))
        store_relaxed(&stack_waits, 0);
    embryo_put(pp, embryo);
    return gp;
}

void gs_free(void)
{
    for (struct embryo_chunk *c = chunks, *next; c != NULL; c = next) {
        next = c->next;
        os_mem_unmap(c, EMBRYO_CHUNK);
    }
    chunks = NULL;
    /* The memory goes with the stacks. Only what hangs on Gs is freed one by one: a million parked
     * goroutines would cost a fault each. */
    bool walk = golocals_any() || sanitizer_g_any();
    for (struct g *gp = walk ? allg : NULL; gp != NULL; gp = gp->alllink) {
        golocals_free(gp);
        sanitizer_g_free(gp);
    }
    allg = NULL;
    allg_end = &allg;
}

/* ---- Death ------------------------------------------------------------------------------------- */

/* Runs on the successor's side: the goroutine's stack is no longer in use. */
static void gdestroy(struct m *mp, struct g *gp)
{
    casgstatus(gp, G_running, G_dead);
    gp->param = NULL;
    gp->name = NULL;
    gp->fn = NULL;
    if (unlikely(gp->locals != NULL))
        golocals_free(gp);
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

static noinline _Noreturn void ended_in_call(void)
{
    fatal("a goroutine ended inside loam_blocking_enter and _leave");
}

_Noreturn void goexit_current(void)
{
    struct m *mp = getm();
    struct g *gp = mp->curg;
    if (unlikely(gp->locals != NULL)) {
        golocals_run_destructors(gp);
        mp = getm(); /* a destructor may have parked */
    }
    if (unlikely(mp->p == NULL))
        ended_in_call();
    traceev(EV_GoDestroy, trace_clock(), gp->goid, 0);
    if (unlikely(gp->lockedm != NULL))
        gswitch_to_g0(mp, gp, gdestroy_locked);
    else
        goexit_switch(mp, gp, gdestroy);
    throw("goexit: a dead goroutine was resumed");
}

/* ---- Birth ------------------------------------------------------------------------------------- */

/* The first function on every goroutine's stack. */
static void goroutine_entry(void)
{
    struct g *gp = getg();
    sanitizer_after(gp);
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

static noinline int not_alive(void)
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
    if (stack_size == 0 || stack_class(stack_size) == stack_class(sched.stack_size)) {
        stack_size = sched.stack_size;
        gp = gfget_unreserved(pp);
    } else {
        int class = stack_class(stack_size);
        gp = class < 0 ? NULL : gfget_odd((uint32_t) class);
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
    memcpy(to, from, size);
#endif
}

static always_inline void enqueue_new(struct p *pp, struct g *gp)
{
    if (unlikely(!sched.main_started && pp != NULL)) {
        /* the main goroutine: M0 runs it itself, no queue shows it to a thief */
        traceev(EV_GoCreate, trace_clock(), gp->goid, gp->parent);
        casgstatus(gp, G_dead, G_runnable);
        count_owner(&pp->created, 1);
        sched.main_g = gp;
        return;
    }
    traceev(EV_GoCreate, trace_clock(), gp->goid, gp->parent);
    casgstatus(gp, G_dead, G_runnable);
    sanitizer_release(gp);
    if (likely(pp != NULL)) {
        count_owner(&pp->created, 1);
        if (runqput(pp, gp, true)) {
            if (likely(sched.main_started))
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
    if (likely(sched.main_started))
        wakep();
}

static always_inline int newproc_alive(struct m *mp, void (*fn)(void *), void *arg,
                                       const void *copy, size_t copy_size, const char *name,
                                       size_t stack_size, uintptr_t callerpc)
{
    if (unlikely(fn == NULL))
        fatal("go of nil func value");
    struct g *parent = mp != NULL ? mp->curg : NULL;
    if (likely(parent != NULL)) {
        preempt_point(mp);
        mp = getm();
    }
    struct p *pp = mp != NULL ? mp->p : NULL;

    /* TSan must see a goroutine begin where it was started: no embryos there. */
    bool plain = parent != NULL && parent->locals == NULL && copy == NULL && name == NULL &&
                 stack_size == 0 && !LOAM_TSAN;
    if (likely(plain && pp != NULL && pp->embryos_pending < pp->gfree_n)) {
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
    if (unlikely(copy_size > COPY_MAX))
        return error_note(-E2BIG, "loam_go_copy: %zu bytes of arguments are above the limit of %d",
                          copy_size, (int)COPY_MAX);
    struct g *gp;
    int err = whole_g(pp, stack_size, &gp);
    if (err != 0)
        return err;
    sanitizer_g_new(gp);
    uintptr_t top = gp->stack.hi;
    if (copy != NULL) {
        top = align_down(top - copy_size, 16);
        copy_args((char *)top, copy, copy_size);
        arg = (void *)top;
    }
    arch_prepare(&gp->sched, top, goroutine_entry);
    gp->fn = fn;
    gp->arg = arg;
    gp->goid = goid_next(pp);
    gp->parent = parent != NULL ? parent->goid : 0;
    gp->gopc = callerpc;
    gp->name = name;
    gp->waitreason = WAIT_none;
    gp->traceseq = 0;
    if (unlikely(parent != NULL && parent->locals != NULL))
        golocals_inherit(gp, parent);
    enqueue_new(pp, gp);
    return 0;
}

/* The runtime may be stopped meanwhile: see visit_begin. */
static noinline int newproc_foreign(void (*fn)(void *), void *arg, const void *copy,
                                    size_t copy_size, const char *name, size_t stack_size,
                                    uintptr_t callerpc)
{
    int err = visit_begin()
                  ? newproc_alive(NULL, fn, arg, copy, copy_size, name, stack_size, callerpc)
                  : not_alive();
    visit_end();
    return err;
}

int newproc(void (*fn)(void *), void *arg, const void *copy, size_t copy_size, const char *name,
            size_t stack_size, uintptr_t callerpc)
{
    struct m *mp = getm();
    if (unlikely(mp == NULL))
        return newproc_foreign(fn, arg, copy, copy_size, name, stack_size, callerpc);
    if (unlikely(!sched_alive()))
        return not_alive();
    return newproc_alive(mp, fn, arg, copy, copy_size, name, stack_size, callerpc);
}

int loam_go(void (*fn)(void *), void *arg)
{
    return newproc(fn, arg, NULL, 0, NULL, 0, (uintptr_t)__builtin_return_address(0));
}

int loam_go_with(const struct loam_go_options *options, void (*fn)(void *), void *arg)
{
    static const struct loam_go_options none;
    const struct loam_go_options *o = options != NULL ? options : &none;
    return newproc(fn, arg, NULL, 0, o->name, o->stack_size,
                   (uintptr_t)__builtin_return_address(0));
}

int loam_go_copy(void (*fn)(void *), const void *data, size_t size)
{
    static const char nothing[1];
    return newproc(fn, NULL, data != NULL ? data : nothing, data != NULL ? size : 0, NULL, 0,
                   (uintptr_t)__builtin_return_address(0));
}

void loam_goexit(void)
{
    struct g *gp = getg_or_die("loam_goexit");
    if (getm()->incall)
        fatal("loam_goexit was called inside loam_blocking");
    void (*first)(void *) = gp->at_goexit;
    if (first != NULL) {
        gp->at_goexit = NULL;
        first(gp->arg);
    }
    goexit_current();
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
    int64_t n = visit_begin() ? goroutines_alive() : 0;
    visit_end();
    return n;
}

/* ---- The main goroutine --------------------------------------------------------------------------- */

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
    struct m *mp = getm();
    struct g *gp = mp->curg;
    if (gp->locals != NULL) {
        golocals_run_destructors(gp);
        mp = getm();
    }
    if (mp->p == NULL)
        ended_in_call();
    traceev(EV_GoDestroy, trace_clock(), gp->goid, 0);
    gswitch_to_g0(mp, gp, main_hook);
}

int newproc_main(int (*fn)(int, char **), int argc, char **argv)
{
    struct main_args a = {fn, argc, argv};
    return newproc(main_entry, NULL, &a, sizeof a, NULL, STACK_MAIN, (uintptr_t)fn);
}
