/* Names, checks and counters of the automata of G and P; the table is states.tbl. */
#include "sched/sched_int.h"

#include "base/print.h"

#include <loam/debug.h>

bool gtrace_on;

static const char *const waits[] = {
#define WAIT(name, text) text,
#include "sched/waitreasons.tbl"
#undef WAIT
};

static const struct {
    const char *automaton, *from, *to, *by, *where;
} edges[] = {
#define GEDGE(f, t, how, b, w) {"G", #f, #t, b, w},
#include "sched/states.tbl"
#define PEDGE(f, t, how, b, w) {"P", #f, #t, b, w},
#include "sched/states.tbl"
};
_Static_assert(nelem(edges) == EDGE_COUNT, "one row per edge");

const char *waitreason_text(enum waitreason r)
{
    return (unsigned)r < WAIT_COUNT ? waits[r] : "unknown wait reason";
}

const char *gstatus_text(uint32_t status)
{
    switch (status) {
#define GSTATE(name, number, text)                                                                 \
    case number:                                                                                   \
        return #name;
#include "sched/states.tbl"
    }
    return "???";
}

noinline void bad_edge(const struct g *gp, uint32_t from, uint32_t to)
{
    uint32_t now = load_relaxed(&gp->status);
    throwf("casgstatus: goroutine %lu is %s; %s -> %s %s", (unsigned long)gp->goid,
           gstatus_text(now), gstatus_text(from), gstatus_text(to),
           g_edge(from, to) < 0 ? "is not an edge of the automaton" : "was expected");
}

struct transition {
    const struct g *gp;
    uint32_t from, to;
};

static void print_transition(void *arg)
{
    const struct transition *edge = arg;
    const struct g *gp = edge->gp;
    uint32_t from = edge->from, to = edge->to;
    struct m *mp = getm();
    struct thread *t = libc_enter();
    /* reading the virtual clock moves it: a line more must not make another run */
    int64_t ns = (debug.dst_on ? trace_clock() : nanotime()) - sched.start_time;
    PRINTER(p, 2);
    pr(&p, "GTRACE %ld.%06ldms: g=%lu %s->%s", (long)(ns / 1000000), (long)(ns % 1000000),
       (unsigned long)gp->goid, gstatus_text(from), gstatus_text(to));
    if (mp != NULL && mp->p != NULL)
        pr(&p, " p=%d", mp->p->id);
    else
        pr(&p, " p=nil");
    if (mp != NULL)
        pr(&p, " m=%d", mp->id);
    else
        pr(&p, " m=nil");
    if (to == G_waiting)
        pr(&p, " reason=%s", waitreason_text(gp->waitreason));
    pr(&p, "\n");
    pr_flush(&p);
    libc_leave(t);
}

noinline void gtrace_print(const struct g *gp, uint32_t from, uint32_t to)
{
    if ((uint64_t)debug.gtrace == gp->goid)
        systemstack(print_transition, &(struct transition){gp, from, to});
}

size_t loam_read_edges(struct loam_edge *out, size_t n)
{
    bool alive = visit_begin();
    for (size_t i = 0; i < n && i < EDGE_COUNT; i++) {
        uint64_t count = alive ? load_relaxed(&sched.foreign_edges[i]) : 0;
        for (struct m *mp = alive ? load_acquire(&allm) : NULL; mp != NULL; mp = mp->alllink)
            count += load_relaxed(&mp->edges[i]); /* a statistic: the owner goes on counting */
        out[i] = (struct loam_edge){edges[i].automaton, edges[i].from,  edges[i].to,
                                    edges[i].by,        edges[i].where, count};
    }
    if (alive)
        visit_end();
    return EDGE_COUNT;
}
