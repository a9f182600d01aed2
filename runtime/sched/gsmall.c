/* Gs whose stacks grow.
 *
 * Their struct g is not on the stack, as with slots, but on a cache line of its own: the first segment is
 * 2 KB, of which a goroutine shall have as much as possible. A dead one keeps its first segment while it
 * is on its P's list; what does not fit there goes to a global list without it. No embryos: such a
 * goroutine is as cheap as one.
 *
 * Dead ones that nobody needed for a round of sysmon's end like those on slots (gfree.c). Their memory is
 * in chunks of 64 KB, and those in regions of 16 MB, which stay mapped until the runtime stops: whoever
 * found a G while it lived may look at it ever after. A chunk whose Gs have all ended so gives its memory back
 * and reads as zero. One that is partly in use comes first when there is a new G, then one that gave its
 * memory back, then one that was never used.
 *
 * Rejected: what a region has to know in its chunks' own memory, of which a page each would stay.
 *
 * Lock: sched.lock for the global list, memory_lock for chunks. */
#include "sched/gfree_int.h"
#include "sched/morestack.h"

#include "base/list.h"
#include "os/os.h"
#include "sched/sanitizer.h"

#include <errno.h>
#include <string.h>

enum {
    CHUNK = 64 << 10,
    REGION = 16 << 20,
    REGION_CHUNKS = REGION / CHUNK - 1, /* the region itself lies where the first would be */
    G_SIZE = align_up(sizeof(struct g), (size_t)cacheline),
    CHUNK_GS = CHUNK / G_SIZE,
};

/* All fields: memory_lock. */
struct chunk {
    struct member roomy; /* on the list of those that have room */
    struct g *dead;      /* had its time, by schedlink */
    uint32_t begun;      /* of how many Gs the memory was used since it was given back */
    uint32_t in_use;
};

struct region {
    struct region *next;
    uint32_t begun; /* chunks */
    struct chunk chunks[REGION_CHUNKS];
};

static struct mutex memory_lock = MUTEX_INIT(allg);
static struct region *regions;        /* memory_lock; the first has chunks that were never used */
static struct member *partly, *empty; /* memory_lock */

static struct chunk *new_chunk(void)
{
    struct region *r = regions;
    if (r == NULL || r->begun == REGION_CHUNKS) {
        r = os_mem_map_small_pages(REGION, REGION, "loam goroutines");
        if (r == NULL)
            return NULL;
        r->next = regions;
        regions = r;
    }
    return &r->chunks[r->begun++];
}

static struct region *region_of(const void *p)
{
    return (struct region *)align_down((uintptr_t)p, (uintptr_t)REGION);
}

static char *memory_of(struct chunk *c)
{
    struct region *r = region_of(c);
    return (char *)r + (size_t)(c - r->chunks + 1) * CHUNK;
}

static struct chunk *chunk_of(const struct g *gp)
{
    struct region *r = region_of(gp);
    return &r->chunks[((uintptr_t)gp - (uintptr_t)r) / CHUNK - 1];
}

/* Zeroed memory; NULL: there is none. On the system stack. */
static struct g *new_g(void)
{
    lock(&memory_lock);
    struct member *roomy = partly != NULL ? partly : empty;
    struct chunk *c = roomy != NULL ? member_of(roomy, struct chunk, roomy) : new_chunk();
    if (roomy != NULL)
        list_remove(roomy);
    if (c == NULL) {
        unlock(&memory_lock);
        return NULL;
    }
    struct g *gp = c->dead;
    if (gp != NULL)
        c->dead = gp->schedlink;
    else
        gp = (struct g *)(memory_of(c) + (size_t)c->begun++ * G_SIZE);
    if (++c->in_use < CHUNK_GS)
        list_add(&partly, &c->roomy);
    unlock(&memory_lock);
    zero_bytes(gp, sizeof *gp); /* memory that is locked is not zero when it was given back */
    return gp;
}

void gsmall_bury(struct g *gp)
{
    lock(&memory_lock);
    struct chunk *c = chunk_of(gp);
    gp->schedlink = c->dead;
    c->dead = gp;
    c->in_use--;
    if (!listed(&c->roomy))
        list_add(&partly, &c->roomy);
    if (c->in_use == 0) {
        list_remove(&c->roomy);
        os_mem_give_back(memory_of(c), CHUNK);
        c->dead = NULL;
        c->begun = 0;
        list_add(&empty, &c->roomy);
    }
    unlock(&memory_lock);
}

/* ---- Dead ones that wait --------------------------------------------------------------------------- */

static struct g *take_dead(struct p *pp)
{
    struct g *gp = NULL;
    if (pp != NULL && (gp = pp->gsmall) != NULL) {
        pp->gsmall = gp->schedlink;
        if (--pp->gsmall_n < pp->gsmall_low)
            pp->gsmall_low = pp->gsmall_n;
        return gp;
    }
    /* a look without the lock: mostly empty */
    if (load_relaxed(&sched.gfree[GFREE_SMALL].head) == NULL)
        return NULL;
    lock(&sched.lock);
    gp = gfree_get_locked(GFREE_SMALL);
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
    gfree_put_locked(GFREE_SMALL, gp);
    unlock(&sched.lock);
}

void gsmall_retire_locked(struct p *pp, int n)
{
    for (; n > 0 && pp->gsmall_n > 0; n--) {
        struct g *gp = pp->gsmall;
        pp->gsmall = gp->schedlink;
        pp->gsmall_n--;
        stackfree(&pp->stackcache, gp->stack);
        count_owner(&pp->segments_freed, 1);
        gp->seg = NULL;
        gfree_put_locked(GFREE_SMALL, gp);
    }
    pp->gsmall_low = pp->gsmall_n;
}

/* ---- Births and deaths ----------------------------------------------------------------------------- */

struct make {
    size_t size;
    struct segment *seg;
};

static void make_segment(void *p)
{
    struct make *m = p;
    int source;
    m->seg = segment_new(getm(), m->size, &source);
}

static void make_g(void *p)
{
    *(struct g **)p = new_g();
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
    if (gp == NULL) {
        systemstack(make_g, &gp);
        if (gp == NULL)
            return error_note(-ENOMEM, "no memory for another goroutine");
        casgstatus(gp, G_idle, G_dead);
        allg_add(gp);
    }
    int err = give_segment(gp, room);
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
    for (struct region *r = regions, *next; r != NULL; r = next) {
        next = r->next;
        os_mem_unmap(r, REGION);
    }
    regions = NULL;
    partly = empty = NULL;
}
