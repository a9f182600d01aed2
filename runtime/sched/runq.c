/* Run queues: one per P, lock-free, and a global one.
 *
 * A P's queue is a ring with one producer, the owner M, and many consumers. The owner writes
 * runqtail, everybody advances runqhead by CAS; a slot is written only while it is outside
 * [head, tail). In front of the ring stands runnext: the goroutine that the running one made ready
 * last, which runs next and inherits the rest of its time slice, so that a pair that talks to each
 * other stays on one P. Thieves take it last.
 *
 * Orders. (1) A consumer loads head and tail with acquire and the slot after that; the producer
 * stores the slot, then tail with release: the slot's content is there. (2) A consumer's CAS on head
 * is a release, the producer loads head with acquire before it overwrites a slot: the consumer has
 * read the slot. (3) Making work visible and then looking whether somebody must be woken is a
 * store-load pair: the exchange on runnext and the store to the global queue's size are seqcst, and
 * so are the loads in wakep and in the last look of a thread that goes to sleep (proc.c,
 * findRunnable): in the single order of these operations either the waker sees the sleeper or the
 * sleeper sees the work.
 *
 * A goroutine kicked out of runnext into the ring needs no seqcst store of its own: runnext holds
 * another one at that moment, which the exchange published, and whoever takes that is awake.
 *
 * Rejected: a Chase-Lev deque (LIFO for the owner): Go programs expect FIFO fairness. */
#include "sched/sched_int.h"

/* With one P nobody steals, and whoever looks at the queues of a P that it does not own has stopped
 * the world: plain stores do, and no thread sleeps that would have to be woken. */
static always_inline bool one_p(void)
{
    return load_relaxed(&gomaxprocs) == 1;
}

static bool runqputslow(struct p *pp, struct g *gp, uint32_t h)
{
    /* A part of the ring goes to the global queue, with gp behind it. */
    struct g *batch[RUNQ_BATCH + 1];
    for (uint32_t i = 0; i < RUNQ_BATCH; i++)
        batch[i] = load_relaxed(&pp->runq[(h + i) % RUNQ_SIZE]);
    if (!cas_release(&pp->runqhead, h, h + RUNQ_BATCH)) /* release: (2) above */
        return false;
    batch[RUNQ_BATCH] = gp;
    if (LOAM_TORTURE)
        for (uint32_t i = RUNQ_BATCH; i > 0; i--) {
            uint32_t j = choose(i + 1);
            struct g *swap = batch[i];
            batch[i] = batch[j];
            batch[j] = swap;
        }
    lock(&sched.lock);
    for (uint32_t i = 0; i <= RUNQ_BATCH; i++)
        globrunqput_locked(batch[i]);
    unlock(&sched.lock);
    return true;
}

bool runqput(struct p *pp, struct g *gp, bool next)
{
    if (unlikely(debug.dst_on)) {
        lock(&sched.lock);
        globrunqput_locked(gp);
        unlock(&sched.lock);
        return false;
    }
    if (LOAM_TORTURE && next && choose(2) == 0)
        next = false;
    bool published = one_p();
    if (next) {
        if (published) {
            struct g *kicked = load_relaxed(&pp->runnext);
            store_relaxed(&pp->runnext, gp);
            gp = kicked;
        } else {
            gp = xchg_seqcst(&pp->runnext, gp); /* (3) above */
        }
        if (gp == NULL)
            return load_relaxed(&pp->runqhead) == load_relaxed(&pp->runqtail);
        published = true;
    }
    for (;;) {
        uint32_t h = load_acquire(&pp->runqhead); /* (2) above */
        uint32_t t = load_relaxed(&pp->runqtail); /* ours */
        if (t - h < RUNQ_SIZE) {
            store_relaxed(&pp->runq[t % RUNQ_SIZE], gp);
            if (published)
                store_release(&pp->runqtail, t + 1); /* (1) above */
            else
                store_seqcst(&pp->runqtail, t + 1); /* (1) and (3) above */
            return false;
        }
        if (runqputslow(pp, gp, h))
            return false;
    }
}

struct g *runqget(struct p *pp, bool *inherit_time)
{
    struct g *next = load_relaxed(&pp->runnext);
    /* acquire: what made it runnable may have happened on a thread that we have not seen yet. Only
     * a thief can win against us, and then there is no runnext. */
    bool alone = one_p();
    if (next != NULL) {
        bool ours = true;
        if (alone)
            store_relaxed(&pp->runnext, NULL);
        else
            ours = cas_acquire(&pp->runnext, next, NULL);
        if (ours) {
            *inherit_time = true;
            return next;
        }
    }
    for (;;) {
        uint32_t h = load_acquire(&pp->runqhead);
        uint32_t t = load_relaxed(&pp->runqtail); /* ours */
        if (t == h)
            return NULL;
        struct g *gp = load_relaxed(&pp->runq[h % RUNQ_SIZE]);
        bool ours = true;
        if (alone)
            store_relaxed(&pp->runqhead, h + 1);
        else
            ours = cas_acqrel(&pp->runqhead, h, h + 1); /* (2) above */
        if (ours) {
            *inherit_time = false;
            return gp;
        }
    }
}

uint32_t runqlen(struct p *pp)
{
    uint32_t h = load_relaxed(&pp->runqhead), t = load_relaxed(&pp->runqtail);
    return t - h <= RUNQ_SIZE ? t - h : 0; /* read at different moments */
}

bool runqempty(struct p *pp)
{
    /* The owner may move runnext into the ring between our looks: only a consistent triple counts.
     * seqcst: (3) above. */
    for (;;) {
        uint32_t h = load_seqcst(&pp->runqhead);
        uint32_t t = load_seqcst(&pp->runqtail);
        struct g *next = load_seqcst(&pp->runnext);
        if (t == load_seqcst(&pp->runqtail))
            return h == t && next == NULL;
    }
}

/* Takes half of victim's queue into batch, which is pp's ring from its tail on. */
static uint32_t runqgrab(struct p *victim, struct p *pp, uint32_t tail, bool steal_next)
{
    for (;;) {
        uint32_t h = load_acquire(&victim->runqhead); /* against other consumers */
        uint32_t t = load_acquire(&victim->runqtail); /* (1) above */
        uint32_t n = t - h;
        n = n - n / 2;
        if (n == 0) {
            struct g *next = steal_next ? load_relaxed(&victim->runnext) : NULL;
            if (next == NULL)
                return 0;
            if (load_relaxed(&victim->status) == P_running && !LOAM_TORTURE) {
                /* It was made ready a moment ago and mostly runs in less time than moving it to
                 * another cache takes: leave it to an owner that keeps on switching. */
                uint64_t before = load_relaxed(&victim->schedules);
                for (int i = 0; i < 60; i++)
                    arch_pause();
                if (load_relaxed(&victim->schedules) != before)
                    return 0;
            }
            if (!cas_acqrel(&victim->runnext, next, NULL)) /* acquire as in runqget */
                continue;
            store_relaxed(&pp->runq[tail % RUNQ_SIZE], next);
            return 1;
        }
        if (n > RUNQ_SIZE / 2) /* h and t were read at different moments */
            continue;
        for (uint32_t i = 0; i < n; i++) {
            struct g *gp = load_relaxed(&victim->runq[(h + i) % RUNQ_SIZE]);
            store_relaxed(&pp->runq[(tail + i) % RUNQ_SIZE], gp);
        }
        if (cas_acqrel(&victim->runqhead, h, h + n)) /* (2) above */
            return n;
    }
}

struct g *runqsteal(struct p *pp, struct p *victim, bool steal_next)
{
    uint32_t t = load_relaxed(&pp->runqtail);
    uint32_t n = runqgrab(victim, pp, t, steal_next);
    if (n == 0)
        return NULL;
    struct m *mp = getm();
    count_owner(&mp->steals, n);
    n--; /* the last one runs at once */
    struct g *gp = load_relaxed(&pp->runq[(t + n) % RUNQ_SIZE]);
    if (n > 0)
        store_release(&pp->runqtail, t + n); /* (1) above; we call wakep when we leave spinning */
    return gp;
}

/* ---- The global queue: sched.lock ------------------------------------------------------------ */

void globrunqput_locked(struct g *gp)
{
    if (unlikely(debug.dst_on)) {
        dst_put_locked(gp);
        return;
    }
    gp->schedlink = NULL;
    if (sched.runq.tail != NULL)
        sched.runq.tail->schedlink = gp;
    else
        sched.runq.head = gp;
    sched.runq.tail = gp;
    store_seqcst(&sched.runqsize, sched.runqsize + 1); /* (3) above */
}

void globrunqputhead_locked(struct g *gp)
{
    gp->schedlink = sched.runq.head;
    sched.runq.head = gp;
    if (sched.runq.tail == NULL)
        sched.runq.tail = gp;
    store_seqcst(&sched.runqsize, sched.runqsize + 1);
}

static struct g *globrunqpop(void)
{
    struct g *gp = sched.runq.head;
    sched.runq.head = gp->schedlink;
    if (sched.runq.head == NULL)
        sched.runq.tail = NULL;
    gp->schedlink = NULL;
    store_relaxed(&sched.runqsize, sched.runqsize - 1);
    return gp;
}

struct g *globrunqget_locked(struct p *pp, int max)
{
    uint32_t n = sched.runqsize;
    if (n == 0)
        return NULL;
    n = n / (uint32_t)gomaxprocs + 1; /* a fair share */
    if (n > sched.runqsize)
        n = sched.runqsize;
    if (max > 0 && n > (uint32_t)max)
        n = (uint32_t)max;
    if (n > RUNQ_SIZE / 2)
        n = RUNQ_SIZE / 2;
    struct g *gp = globrunqpop();
    for (uint32_t i = 1; i < n; i++) {
        uint32_t h = load_acquire(&pp->runqhead), t = load_relaxed(&pp->runqtail);
        if (t - h >= RUNQ_SIZE)
            break;
        store_relaxed(&pp->runq[t % RUNQ_SIZE], globrunqpop());
        store_release(&pp->runqtail, t + 1); /* (1) above; it was visible before */
    }
    return gp;
}

void runqdrain_locked(struct p *pp)
{
    bool inherit;
    for (struct g *gp; (gp = runqget(pp, &inherit)) != NULL;)
        globrunqput_locked(gp);
}
