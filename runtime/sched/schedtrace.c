/* What LOAMDEBUG=schedtrace, scheddetail and schedstates print, in Go's forms, and the figures of
 * loam_read_sched_stats and loam_read_stack_stats. */
#include "sched/sched_int.h"

#include "base/print.h"
#include "os/os.h"

#include <loam/debug.h>

static int64_t first_line; /* sysmon */

void schedtrace_init(void)
{
    first_line = 0;
}

static int count_threads(int *idle, int *spinning)
{
    *idle = sched.nmidle;
    *spinning = (int)load_relaxed(&sched.nmspinning);
    return threads_owned();
}

int64_t goroutines_alive(void)
{
    /* Ends before beginnings, and in that order (acquire): one that ends meanwhile is counted as
     * alive, never as less than none. */
    int len = ps_len();
    uint64_t n = 0;
    for (int i = 0; i < len; i++)
        n -= load_acquire(&allp[i]->ended);
    n += load_acquire(&sched.foreign_created);
    for (int i = 0; i < len; i++)
        n += load_acquire(&allp[i]->created);
    return (int64_t)n;
}

/* Goroutines per state, counted while they are listed, so that the sum is the length of the list. */
struct states {
    struct printer *p;
    bool list;
    uint64_t n[16];
};

static void look_at_embryo(const struct g *embryo, void *arg)
{
    struct states *s = arg;
    s->n[G_runnable]++;
    if (s->list)
        pr(s->p, "  G%lu: status=%u() m=nil lockedm=nil\n", (unsigned long)embryo->goid,
           G_runnable);
}

static void look_at_g(const struct g *gp, struct states *s)
{
    uint32_t status = load_relaxed(&gp->status) & 15;
    s->n[status]++;
    if (!s->list)
        return;
    struct m *mp = load_relaxed(&gp->m), *wired = load_relaxed(&gp->lockedm);
    pr(s->p, "  G%lu: status=%u(%s) m=", (unsigned long)gp->goid, status,
       status == G_waiting ? waitreason_text(gp->waitreason) : "");
    if (mp != NULL && (status == G_running || status == G_syscall))
        pr(s->p, "%d", mp->id);
    else
        pr(s->p, "nil");
    if (wired != NULL)
        pr(s->p, " lockedm=%d\n", wired->id);
    else
        pr(s->p, " lockedm=nil\n");
}

static void look_at_gs(struct states *s)
{
    for (struct g *gp = load_acquire(&allg); gp != NULL; gp = load_acquire(&gp->alllink))
        look_at_g(gp, s);
    each_embryo(look_at_embryo, s);
}

static void print_states(const struct states *s, long ms)
{
    static const struct {
        const char *name;
        uint32_t status;
    } states[] = {{"gidle", G_idle},       {"grunnable", G_runnable}, {"grunning", G_running},
                  {"gsyscall", G_syscall}, {"gwaiting", G_waiting},   {"gdead", G_dead}};
    pr(s->p, "GSTATES %ldms:", ms);
    for (size_t i = 0; i < nelem(states); i++)
        pr(s->p, " %s=%lu", states[i].name, (unsigned long)s->n[states[i].status]);
    pr(s->p, "\n");
}

static void print_ps_and_ms(struct printer *p, int procs)
{
    for (int i = 0; i < procs; i++) {
        struct p *pp = allp[i];
        struct m *mp = load_relaxed(&pp->m);
        pr(p, "  P%d: status=%u schedtick=%u syscalltick=%u m=", i, load_relaxed(&pp->status),
           load_relaxed(&pp->schedtick), load_relaxed(&pp->syscalltick));
        if (mp != NULL)
            pr(p, "%d", mp->id);
        else
            pr(p, "nil");
        pr(p, " runqsize=%u gfreecnt=%d timerslen=%u\n", runqlen(pp), pp->gfree_n,
           load_relaxed(&pp->timers_len));
    }
    for (struct m *mp = allm; mp != NULL; mp = mp->alllink) {
        struct p *pp = load_relaxed(&mp->p);
        struct g *gp = load_relaxed(&mp->curg);
        pr(p, "  M%d: p=", mp->id);
        if (pp != NULL)
            pr(p, "%d", pp->id);
        else
            pr(p, "nil");
        pr(p, " curg=");
        if (gp != NULL)
            pr(p, "%lu", (unsigned long)gp->goid);
        else
            pr(p, "nil");
        pr(p,
           " mallocing=0 throwing=0 preemptoff= locks=%d dying=%d spinning=%s blocked=%s lockedg=",
           mp->thread.nlocks, mp->thread.dying, mp->spinning ? "true" : "false",
           mp->blocked ? "true" : "false");
        struct g *wired = load_relaxed(&mp->lockedg);
        if (wired != NULL)
            pr(p, "%lu\n", (unsigned long)wired->goid);
        else
            pr(p, "nil\n");
    }
}

void schedtrace(bool detail)
{
    struct printer p = {.fd = -1, .grow = printer_grow}; /* who reads may take its time */
    lock(&sched.lock); /* nothing comes or goes meanwhile; Ps and Gs run on */
    int64_t now = nanotime();
    if (first_line == 0)
        first_line = now;
    long ms = (long)((now - first_line) / 1000000);
    int idle, spinning, procs = load_relaxed(&gomaxprocs);
    int threads = count_threads(&idle, &spinning);
    pr(&p,
       "SCHED %ldms: gomaxprocs=%d idleprocs=%u threads=%d spinningthreads=%d needspinning=%d "
       "idlethreads=%d runqueue=%u",
       ms, procs, load_relaxed(&sched.npidle), threads, spinning, sched.needspinning, idle,
       sched.runqsize);
    if (detail) {
        pr(&p, " gcwaiting=%s nmidlelocked=%d stopwait=%d sysmonwait=%s\n",
           load_relaxed(&sched.gcwaiting) ? "true" : "false", sched.nmidlelocked, sched.stopwait,
           load_relaxed(&sched.sysmonwait) ? "true" : "false");
        print_ps_and_ms(&p, procs);
    } else {
        pr(&p, " [");
        for (int i = 0; i < procs; i++)
            pr(&p, " %u", runqlen(allp[i]));
        pr(&p, " ] schedticks=[");
        for (int i = 0; i < procs; i++)
            pr(&p, " %u", load_relaxed(&allp[i]->schedtick));
        pr(&p, " ]\n");
    }
    struct states states = {.p = &p, .list = detail};
    if (detail || debug.schedstates > 0)
        look_at_gs(&states);
    if (debug.schedstates > 0)
        print_states(&states, ms);
    unlock(&sched.lock);
    p.fd = 2;
    p.err = 0; /* what there was memory for */
    pr_flush(&p);
    os_mem_unmap(p.buf, p.cap);
    print_asleep();
}

static void read_stats(struct loam_sched_stats *out)
{
    struct loam_sched_stats s = {0};
    s.goroutines = goroutines_alive();
    s.goroutines_created = load_relaxed(&sched.foreign_created);
    s.handoffs = load_relaxed(&sched.handoffs);
    s.unannounced_sleeps = load_relaxed(&sched.unannounced);
    s.stw = load_relaxed(&sched.stws);
    s.held = (int)load_relaxed(&sched.held);
    s.gomaxprocs = load_relaxed(&gomaxprocs);
    for (int i = 0, n = ps_len(); i < n; i++) {
        s.schedules += load_relaxed(&allp[i]->schedules);
        s.goroutines_created += load_relaxed(&allp[i]->created);
        s.stack_segments += load_relaxed(&allp[i]->segments_made);
        s.stack_segments -= load_relaxed(&allp[i]->segments_freed);
    }
    for (struct m *mp = load_acquire(&allm); mp != NULL; mp = mp->alllink) {
        s.direct_switches += load_relaxed(&mp->direct);
        s.steals += load_relaxed(&mp->steals);
        s.preemptions += load_relaxed(&mp->holds) + load_relaxed(&mp->copies);
        s.preemptions_copied += load_relaxed(&mp->copies);
        s.preemptions_moved += load_relaxed(&mp->moves);
    }
    lock(&sched.lock);
    s.threads = threads_owned();
    unlock(&sched.lock);
    s.stacks_mapped = slots_mapped() + stackalloc_mapped();
    s.stack_segments += load_relaxed(&sched.foreign_segments);
    *out = s;
}

void loam_read_sched_stats(struct loam_sched_stats *out)
{
    *out = (struct loam_sched_stats){0};
    if (visit_begin()) {
        read_stats(out);
        visit_end();
    }
}

static void read_stack_stats(struct loam_stack_class *out, size_t n)
{
    struct stackalloc_stats all[STACKALLOC_CLASSES];
    stackalloc_read_stats(all);
    for (int i = 0, len = ps_len(); i < len; i++)
        stackcache_add_stats(&allp[i]->stackcache, all);
    for (size_t i = 0; i < n && i < STACKALLOC_CLASSES; i++) {
        const struct stackalloc_stats *s = &all[i];
        out[i] = (struct loam_stack_class){
            .size = (size_t)STACKALLOC_MIN << i,
            /* a cache may have got some since the pools were looked at */
            .in_use = s->out > s->cached ? s->out - s->cached : 0,
            .cached = s->cached,
            .pooled = s->pooled,
            .spans = s->spans,
            .system_bytes = s->system_bytes,
            .returned_bytes = s->returned_bytes,
            .refills = s->refills,
            .releases = s->releases,
        };
    }
}

size_t loam_read_stack_stats(struct loam_stack_class *out, size_t n)
{
    for (size_t i = 0; i < n && i < STACKALLOC_CLASSES; i++)
        out[i] = (struct loam_stack_class){.size = (size_t)STACKALLOC_MIN << i};
    if (visit_begin()) {
        read_stack_stats(out, n);
        visit_end();
    }
    return STACKALLOC_CLASSES;
}
