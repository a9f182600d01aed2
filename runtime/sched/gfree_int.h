/* Dead goroutines that wait to be used again, and embryos: the ways that newproc and the end of a
 * goroutine take all the time. gfree.c and embryo.c explain both. */
#ifndef SCHED_GFREE_INT_H
#define SCHED_GFREE_INT_H

#include "sched/sched_int.h"

/* ---- Dead goroutines (gfree.c) ----------------------------------------------------------------- */

/* Makes a dead G with a stack of at least that size: 0 or -errno with a noted text. */
int malg(size_t stack_size, struct g **out);

/* The lists that all Ps share; sched.lock. The class is that of their stacks' slots, or GFREE_SMALL. */
void gfree_put_locked(uint32_t class, struct g *gp);
struct g *gfree_get_locked(uint32_t class);

struct g *gfget_slow(struct p *pp);
void gfput_slow(struct p *pp, struct g *gp);
/* A dead G that no embryo relies on; NULL: none. pp may be NULL. */
struct g *gfget_unreserved(struct p *pp);
/* One of another stack size than the configured one; NULL: none. */
struct g *gfget_odd(int size_class);

/* A dead G of the configured stack size; NULL: none. */
static always_inline struct g *gfget(struct p *pp)
{
    struct g *gp = pp->gfree;
    if (unlikely(gp == NULL))
        return gfget_slow(pp);
    pp->gfree = gp->schedlink;
    if (--pp->gfree_n < pp->gfree_low)
        pp->gfree_low = pp->gfree_n;
    return gp;
}

static always_inline void gfput(struct p *pp, struct g *gp)
{
    if (unlikely(gp->stack.size_class != sched.stack_class || pp->gfree_n >= GFREE_LOCAL_MAX)) {
        gfput_slow(pp, gp);
        return;
    }
    gp->schedlink = pp->gfree;
    pp->gfree = gp;
    pp->gfree_n++;
}

/* ---- Embryos (embryo.c) -------------------------------------------------------------------------- */

enum { EMBRYOS_LOCAL_MAX = 1024 };

struct g *embryo_get_slow(struct p *pp);
void embryo_put_slow(struct p *pp);
void embryos_free(void);

/* NULL: no memory. */
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
    if (unlikely(++pp->embryos_n > EMBRYOS_LOCAL_MAX))
        embryo_put_slow(pp);
}

#endif
