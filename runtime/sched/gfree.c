/* Where dead goroutines wait to be used again, and where new ones get their memory.
 *
 * A goroutine's struct g lies at the top of its stack slot, at one of 32 offsets ("colours"): slots
 * are 256 KB apart, so that without it the hot lines of all goroutines would fall into the same sets
 * of the first-level cache. Dead goroutines keep their stack and wait on the free list of their P
 * (last in, first out: the warmest first), beyond GFREE_LOCAL_MAX on the global one of their stack's class,
 * and so do those with another stack size than the configured one.
 *
 * Dead ones that nobody needed for a round of sysmon's (scavenge.c) end for good: gs_bury takes them off
 * allg and gives their slots back, whose memory, struct g with it, then becomes zero; those whose stacks
 * grow wait in the same lists and end the same way, see gsmall.c. Nobody may hold on
 * to a G that is dead, but may look at one that he found while it lived: the addresses stay.
 *
 * allg lists every G, dead ones too. Readers need no lock to find it whole, at its end and in its middle;
 * but one that stands on a G while that is buried would find no next one, hence allg_hold.
 *
 * Rejected: freeing stacks at once (the next goroutine wants one); a separate struct g (a second
 * page-table entry and cache set per goroutine). */
#include "sched/gfree_int.h"

#include "os/os.h"
#include "sched/morestack.h"
#include "sched/sanitizer.h"
#include "stack/needs.h"

#include <string.h>

enum { COLORS = 32 };

struct g *allg;

static struct mutex allg_lock = MUTEX_INIT(allg);
static struct g **allg_end = &allg; /* allg_lock */
static struct mutex walk_lock;      /* unranked: whoever dies with locks held walks allg too */

/* ---- Lists of dead ones: sched.lock ------------------------------------------------------------- */

void gfree_put_locked(uint32_t class, struct g *gp)
{
    struct gfreelist *l = &sched.gfree[class];
    gp->schedlink = l->head;
    store_relaxed(&l->head, gp);
    l->n++;
}

struct g *gfree_get_locked(uint32_t class)
{
    struct gfreelist *l = &sched.gfree[class];
    struct g *gp = l->head;
    if (gp == NULL)
        return NULL;
    store_relaxed(&l->head, gp->schedlink);
    l->n--;
    if (l->low > l->n)
        l->low = l->n;
    return gp;
}

/* From the global list, and some more for the P. */
struct g *gfget_slow(struct p *pp)
{
    if (load_relaxed(&sched.gfree[sched.stack_class].head) == NULL) /* mostly empty */
        return NULL;
    lock(&sched.lock);
    struct g *gp = gfree_get_locked(sched.stack_class), *more = NULL;
    for (int i = 0; i < GFREE_LOCAL_MAX / 2 && (more = gfree_get_locked(sched.stack_class)) != NULL;
         i++) {
        more->schedlink = pp->gfree;
        pp->gfree = more;
        pp->gfree_n++;
    }
    unlock(&sched.lock);
    return gp;
}

struct g *gfget_unreserved(struct p *pp)
{
    if (pp != NULL && pp->embryos_pending < pp->gfree_n)
        return gfget(pp);
    lock(&sched.lock);
    struct g *gp = gfree_get_locked(sched.stack_class);
    unlock(&sched.lock);
    return gp;
}

struct g *gfget_odd(int size_class)
{
    lock(&sched.lock);
    struct g *gp = gfree_get_locked((uint32_t)size_class);
    unlock(&sched.lock);
    return gp;
}

void gfput_slow(struct p *pp, struct g *gp)
{
    lock(&sched.lock);
    if (gp->stack.size_class != sched.stack_class) {
        gfree_put_locked(gp->stack.size_class, gp);
    } else {
        for (;; gp = pp->gfree, pp->gfree = gp->schedlink, pp->gfree_n--) {
            gfree_put_locked(gp->stack.size_class, gp);
            if (pp->gfree_n <= GFREE_LOCAL_MAX / 2)
                break;
        }
    }
    unlock(&sched.lock);
}

void gfree_retire_locked(struct p *pp, int n)
{
    for (; n > 0 && pp->gfree_n > 0; n--) {
        struct g *gp = pp->gfree;
        pp->gfree = gp->schedlink;
        pp->gfree_n--;
        gfree_put_locked(gp->stack.size_class, gp);
    }
    pp->gfree_low = pp->gfree_n;
}

/* ---- All of them --------------------------------------------------------------------------------- */

bool allg_hold(void)
{
    /* Not for ever: the holder may be the caller's own thread, interrupted, or gone with a fork. */
    for (int tries = 0; tries < 200; tries++) {
        if (trylock(&walk_lock))
            return true;
        os_usleep(1000);
    }
    return false;
}

void allg_release(bool held)
{
    if (held)
        unlock(&walk_lock);
}

static void allg_remove(struct g *gp)
{
    struct g *next = load_relaxed(&gp->alllink);
    store_release(gp->allfrom, next); /* release: as in malg */
    if (next != NULL)
        next->allfrom = gp->allfrom;
    else
        allg_end = gp->allfrom;
}

uint32_t gs_bury(uint32_t class, uint32_t n, struct g **walk)
{
    if (!trylock(&walk_lock))
        return 0; /* somebody walks allg: another time */
    struct g *dead = NULL;
    uint32_t got = 0;
    lock(&sched.lock);
    for (struct g *gp; got < n && (gp = gfree_get_locked(class)) != NULL; got++) {
        gp->schedlink = dead;
        dead = gp;
    }
    unlock(&sched.lock);
    lock(&allg_lock);
    for (struct g *gp = dead; gp != NULL; gp = gp->schedlink) {
        if (*walk == gp)
            *walk = load_relaxed(&gp->alllink);
        allg_remove(gp);
    }
    unlock(&allg_lock);
    for (struct g *gp = dead, *next; gp != NULL; gp = next) {
        next = gp->schedlink;
        sanitizer_g_free(gp);
        if (class == GFREE_SMALL)
            gsmall_bury(gp);
        else
            slot_free(gp->stack);
    }
    unlock(&walk_lock);
    return got;
}

int malg(size_t stack_size, struct g **out)
{
    struct stack s;
    int err = slot_alloc(stack_size, &s);
    if (err != 0)
        return err;
    uintptr_t top = s.hi - (s.color % COLORS) * cacheline;
    struct g *gp = (struct g *)align_down(top - sizeof(struct g), cacheline);
    zero_bytes(gp, sizeof *gp);
    gp->stack = s;
    gp->stack.hi = (uintptr_t)gp;
    casgstatus(gp, G_idle, G_dead);
    allg_add(gp);
    *out = gp;
    return 0;
}

void allg_add(struct g *gp)
{
    lock(&allg_lock);
    gp->allfrom = allg_end;
    store_release(allg_end, gp); /* release: readers without the lock see a whole G */
    allg_end = &gp->alllink;
    unlock(&allg_lock);
}

bool on_goroutine_stack(uintptr_t sp)
{
    struct g *gp = getg();
    if (gp != NULL && gp->seg != NULL)
        return sp < getm()->g0.stack.lo || sp >= getm()->g0.stack.hi;
    return gp != NULL && sp >= gp->stack.lo && sp < gp->stack.hi;
}

void gs_free(void)
{
    embryos_free();
    /* The memory goes with the stacks. Only what hangs on Gs is freed one by one: a million parked
     * goroutines would cost a fault each. */
    bool walk = golocals_any() || sanitizer_g_any();
    for (struct g *gp = walk ? allg : NULL; gp != NULL; gp = gp->alllink) {
        golocals_free(gp);
        sanitizer_g_free(gp);
    }
    allg = NULL;
    allg_end = &allg;
    gsmall_fini();
}
