/* Embryos: goroutines that have not run yet.
 *
 * A goroutine that has not run yet needs no stack: newproc makes an embryo of one cache line, queues
 * it like a G, and whoever takes it off the queue gives it a dead G's stack (gbegin). So a batch of
 * goroutines that run one after the other uses one warm stack, not a cold one each. An embryo is made
 * only while the P has a dead G in reserve for each (embryos_pending < gfree_n): otherwise newproc
 * takes a stack at once, so that "no stack to be had" is an error of the call that asked for a
 * goroutine. Reserves are per P and, since embryos may be stolen, about right: gbegin then takes a
 * stack wherever one is, and as a last resort waits for one. */
#include "sched/gfree_int.h"

#include "os/os.h"
#include "sched/sanitizer.h"

enum { EMBRYO_CHUNK = 4096, EMBRYOS_PER_CHUNK = EMBRYO_CHUNK / GEMBRYO_SIZE - 1 };

struct embryo_chunk {
    struct embryo_chunk *next; /* const once linked */
    char embryos[] __attribute__((aligned(GEMBRYO_SIZE)));
};
static struct embryo_chunk *chunks; /* chunks_lock for writing, release */
static struct mutex chunks_lock = MUTEX_INIT(allg);

static struct g *embryo_at(struct embryo_chunk *c, int i)
{
    return (struct g *)(c->embryos + i * GEMBRYO_SIZE);
}

struct g *embryo_get_slow(struct p *pp)
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
        lock(&chunks_lock);
        c->next = chunks;
        store_release(&chunks, c); /* release: readers without the lock see a whole chunk */
        unlock(&chunks_lock);
    }
    struct g *embryo = pp->embryos;
    pp->embryos = embryo->schedlink;
    pp->embryos_n--;
    return embryo;
}

void embryo_put_slow(struct p *pp)
{
    lock(&sched.lock);
    while (pp->embryos_n > EMBRYOS_LOCAL_MAX / 2) {
        struct g *embryo = pp->embryos;
        pp->embryos = embryo->schedlink;
        pp->embryos_n--;
        embryo->schedlink = sched.embryos;
        store_relaxed(&sched.embryos, embryo);
    }
    unlock(&sched.lock);
}

void embryos_free(void)
{
    for (struct embryo_chunk *c = chunks, *next; c != NULL; c = next) {
        next = c->next;
        os_mem_unmap(c, EMBRYO_CHUNK);
    }
    chunks = NULL;
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
    arch_prepare(&gp->sched, gp->stack.hi, 0, goroutine_entry);
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
