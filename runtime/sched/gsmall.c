/* Gs whose stacks grow.
 *
 * Their struct g is not on the stack, as with slots, but on a cache line of its own: the first segment is
 * 2 KB, of which a goroutine shall have as much as possible. A dead one keeps its first segment while it
 * is on its P's list; what does not fit there goes to a global list without it. No embryos: such a
 * goroutine is as cheap as one.
 *
 * Lock: sched.lock for the global list, allg_lock (gfree.c) for memory. */
#include "sched/gfree_int.h"
#include "sched/morestack.h"

#include "os/os.h"
#include "sched/sanitizer.h"

#include <errno.h>
#include <string.h>

enum { CHUNK = 64 << 10, G_SIZE = align_up(sizeof(struct g), (size_t)cacheline) };

struct chunk {
    struct chunk *next;
    uint32_t used; /* bytes */
};
enum { CHUNK_HEADER = cacheline };
static struct chunk *chunks; /* allg's lock */
static struct mutex chunks_lock = MUTEX_INIT(allg);

static struct g *g_memory(void)
{
    struct g *gp = NULL;
    lock(&chunks_lock);
    struct chunk *c = chunks;
    if (c == NULL || c->used + G_SIZE > CHUNK) {
        c = os_mem_map(CHUNK, "loam goroutines");
        if (c != NULL) {
            *c = (struct chunk){.next = chunks, .used = CHUNK_HEADER};
            chunks = c;
        }
    }
    if (c != NULL) {
        gp = (struct g *)((char *)c + c->used);
        c->used += G_SIZE;
    }
    unlock(&chunks_lock);
    return gp;
}

static struct g *take_dead(struct p *pp)
{
    struct g *gp = NULL;
    if (pp != NULL && (gp = pp->gsmall) != NULL) {
        pp->gsmall = gp->schedlink;
        pp->gsmall_n--;
        return gp;
    }
    if (load_relaxed(&sched.gsmall) == NULL) /* a look without the lock: mostly empty */
        return NULL;
    lock(&sched.lock);
    gp = sched.gsmall;
    if (gp != NULL)
        store_relaxed(&sched.gsmall, gp->schedlink);
    unlock(&sched.lock);
    return gp;
}

static void put_dead(struct p *pp, struct g *gp)
{
    if (pp != NULL && pp->gsmall_n < GFREE_LOCAL_MAX) {
        gp->schedlink = pp->gsmall;
        pp->gsmall = gp;
        pp->gsmall_n++;
        return;
    }
    lock(&sched.lock);
    gp->schedlink = sched.gsmall;
    store_relaxed(&sched.gsmall, gp);
    unlock(&sched.lock);
}

struct make {
    size_t size;
    struct segment *seg;
};

static void make_segment(void *p)
{
    struct make *m = p;
    m->seg = segment_new(getm(), m->size);
}

static void free_first(void *p)
{
    struct g *gp = p;
    segment_free(getm(), NULL, gp->seg);
    gp->seg = NULL;
}

/* What the frames of the library above the goroutine's function have at least, with what that may use before
 * it grows. Small arguments, those of loam_waitgroup_go, do not take a larger segment. */
enum { FIRST_FRAMES = 512 };
_Static_assert(ARCH_SEGMENT_GUARD + FIRST_FRAMES <= STACK_FIRST, "most have STACK_FIRST");

/* The G's first segment. */
static int give_segment(struct g *gp, size_t room)
{
    struct make m = {.size = STACK_FIRST};
    while (m.size < ARCH_SEGMENT_GUARD + room + FIRST_FRAMES)
        m.size *= 2;
    if (gp->seg != NULL && gp->seg->used == m.size)
        return 0;
    if (gp->seg != NULL)
        systemstack(free_first, gp);
    systemstack(make_segment, &m);
    if (m.seg == NULL)
        return -ENOMEM;
    if (unlikely(sched.stack_torture))
        m.seg->hi = m.seg->guard + align_up(room, 16) + 256;
    gp->seg = m.seg;
    gp->stack =
        (struct stack){.lo = (uintptr_t)m.seg, .hi = m.seg->hi, .size_class = m.seg->size_class};
    return 0;
}

int gsmall_get(struct p *pp, size_t room, struct g **out)
{
    struct g *gp = take_dead(pp);
    bool fresh = gp == NULL;
    if (fresh) {
        gp = g_memory();
        if (gp == NULL)
            return error_note(-ENOMEM, "no memory for another goroutine");
    }
    int err = give_segment(gp, room);
    if (fresh) {
        casgstatus(gp, G_idle, G_dead);
        allg_add(gp);
    }
    if (err != 0) {
        put_dead(NULL, gp);
        return err;
    }
    *out = gp;
    return 0;
}

static void put_slow(void *arg)
{
    struct g *gp = arg;
    struct m *mp = getm();
    /* It may have ended deep in its stack: what is on the way is big segments, and small ones that
     * hang on the first. */
    for (struct segment *s = segment_of(arch_gobuf_guard(&gp->sched)); s != NULL;) {
        struct segment *prev = s->prev;
        if (s->kind == SEGMENT_BIG)
            big_put(mp, NULL, s);
        s = prev;
    }
    struct p *pp = mp->p;
    gp->alloca_bytes = 0;
    segments_free_next(mp, NULL, gp->seg);
    if (pp->gsmall_n >= GFREE_LOCAL_MAX || gp->seg->used != STACK_FIRST ||
        gp->seg->blocks != NULL) {
        segment_free(mp, NULL, gp->seg);
        gp->seg = NULL;
        put_dead(NULL, gp);
        return;
    }
    gp->grown = false;
    put_dead(pp, gp);
}

/* On the successor's stack, which may have little room. */
void gsmall_put(struct m *mp, struct g *gp)
{
    struct p *pp = mp->p;
    if (likely(!gp->grown && arch_gobuf_guard(&gp->sched) == gp->seg->guard &&
               pp->gsmall_n < GFREE_LOCAL_MAX && gp->seg->used == STACK_FIRST))
        put_dead(pp, gp);
    else
        systemstack(put_slow, gp);
}

void gsmall_fini(void)
{
    for (struct chunk *c = chunks, *next; c != NULL; c = next) {
        next = c->next;
        os_mem_unmap(c, CHUNK);
    }
    chunks = NULL;
}
