/* Where dead goroutines wait to be used again, and where new ones get their memory.
 *
 * A goroutine's struct g lies at the top of its stack slot, at one of 32 offsets ("colours"): slots
 * are 256 KB apart, so that without it the hot lines of all goroutines would fall into the same sets
 * of the first-level cache. Dead goroutines keep their stack and wait on the free list of their P
 * (last in, first out: the warmest first), beyond GFREE_LOCAL_MAX on a global one. Those with another
 * stack size than the configured one wait on a list of their class.
 *
 * allg lists every G ever made, dead ones too; it only grows until shutdown, so readers need no lock.
 *
 * Rejected: freeing stacks at once (the next goroutine wants one); a separate struct g (a second
 * page-table entry and cache set per goroutine). */
#include "sched/gfree_int.h"

#include "os/os.h"
#include "sched/sanitizer.h"

#include <string.h>

enum { COLORS = 32 };

struct g *allg;

static struct mutex allg_lock = MUTEX_INIT(allg);
static struct g **allg_end = &allg; /* allg_lock */

/* From the global list, and some more for the P. */
struct g *gfget_slow(struct p *pp)
{
    if (load_relaxed(&sched.gfree) == NULL) /* a look without the lock: mostly empty */
        return NULL;
    lock(&sched.lock);
    struct g *gp = sched.gfree;
    if (gp != NULL) {
        struct g *rest = gp->schedlink;
        for (int i = 0; i < GFREE_LOCAL_MAX / 2 && rest != NULL; i++) {
            struct g *more = rest;
            rest = more->schedlink;
            more->schedlink = pp->gfree;
            pp->gfree = more;
            pp->gfree_n++;
        }
        store_relaxed(&sched.gfree, rest);
    }
    unlock(&sched.lock);
    return gp;
}

struct g *gfget_unreserved(struct p *pp)
{
    if (pp != NULL && pp->embryos_pending < pp->gfree_n)
        return gfget(pp);
    lock(&sched.lock);
    struct g *gp = sched.gfree;
    if (gp != NULL)
        store_relaxed(&sched.gfree, gp->schedlink);
    unlock(&sched.lock);
    return gp;
}

struct g *gfget_odd(int size_class)
{
    lock(&sched.lock);
    struct g *gp = sched.gfree_odd[size_class];
    if (gp != NULL)
        sched.gfree_odd[size_class] = gp->schedlink;
    unlock(&sched.lock);
    return gp;
}

void gfput_slow(struct p *pp, struct g *gp)
{
    lock(&sched.lock);
    if (gp->stack.size_class != sched.stack_class) {
        struct g **odd = &sched.gfree_odd[gp->stack.size_class];
        gp->schedlink = *odd;
        *odd = gp;
    } else {
        for (;; gp = pp->gfree, pp->gfree = gp->schedlink, pp->gfree_n--) {
            gp->schedlink = sched.gfree;
            store_relaxed(&sched.gfree, gp);
            if (pp->gfree_n <= GFREE_LOCAL_MAX / 2)
                break;
        }
    }
    unlock(&sched.lock);
}

int malg(size_t stack_size, struct g **out)
{
    struct stack s;
    int err = stackalloc(stack_size, &s);
    if (err != 0)
        return err;
    uintptr_t top = s.hi - (s.color % COLORS) * cacheline;
    struct g *gp = (struct g *)align_down(top - sizeof(struct g), cacheline);
    zero_bytes(gp, sizeof *gp);
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
}
