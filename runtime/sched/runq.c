/* Run queues: one per P, lock-free, and a global one.
 *
 * A P's queue is a ring with one producer, the owner M, and many consumers. The owner writes
 * runqtail, everybody advances runqhead by CAS; a slot is written only while it is outside
 * [head, tail). In front of the ring stands runnext: the goroutine that the running one made ready
 * last, which runs next and inherits the rest of its time slice, so that a pair that talks to each
 * other stays on one P. Thieves take it last. A second ring, `ahead`, holds those that a timer woke:
 * they run before the ring, so that they are on time behind a thousand that wait for their first
 * run, but no more than AHEAD_STREAK in a row while others wait.
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
 * A goroutine kicked out of runnext into the ring needs no seqcst store of its own: it is in the ring
 * before runnext, which the exchange published, is taken again, by the owner too, with release; so a
 * sleeper that finds runnext empty sees the ring as it was before.
 *
 * Rejected: a Chase-Lev deque (LIFO for the owner): Go programs expect FIFO fairness. */
#include "sched/sched_int.h"

enum { AHEAD_STREAK = 16 };

/* With one P nobody steals, and whoever looks at the queues of a P that it does not own has stopped
 * the world: plain stores do, and no thread sleeps that would have to be woken. */
static always_inline bool one_p(void)
{
    return load_relaxed(&gomaxprocs) == 1;
}

/* ---- One ring ------------------------------------------------------------------------------------ */

static always_inline uint32_t ring_len(struct runq *r)
{
    uint32_t h = load_relaxed(&r->head), t = load_relaxed(&r->tail);
    return t - h <= RUNQ_SIZE ? t - h : 0; /* read at different moments */
}

/* By the owner. False: full. published: something that the waker's look comes after is visible. */
static always_inline bool ring_put(struct runq *r, struct g *gp, bool published)
{
    uint32_t h = load_acquire(&r->head); /* (2) above */
    uint32_t t = load_relaxed(&r->tail); /* ours */
    if (unlikely(t - h >= RUNQ_SIZE))
        return false;
    store_relaxed(&r->slots[t % RUNQ_SIZE], gp);
    if (published)
        store_release(&r->tail, t + 1); /* (1) above */
    else
        store_seqcst(&r->tail, t + 1); /* (1) and (3) above */
    return true;
}

/* By the owner. */
static always_inline struct g *ring_get(struct runq *r, bool alone)
{
    for (;;) {
        uint32_t h = load_acquire(&r->head); /* against other consumers */
        uint32_t t = load_relaxed(&r->tail); /* ours */
        if (t == h)
            return NULL;
        struct g *gp = load_relaxed(&r->slots[h % RUNQ_SIZE]);
        bool ours = true;
        if (alone)
            store_relaxed(&r->head, h + 1);
        else
            ours = cas_acqrel(&r->head, h, h + 1); /* (2) above */
        if (ours)
            return gp;
    }
}

/* By a thief: takes half of r into the ring `to` of its own P, from to's tail on, not yet visible
 * there. Returns how many. */
static uint32_t ring_grab(struct runq *r, struct runq *to)
{
    uint32_t tail = load_relaxed(&to->tail); /* ours */
    for (;;) {
        uint32_t h = load_acquire(&r->head); /* against other consumers */
        uint32_t t = load_acquire(&r->tail); /* (1) above */
        uint32_t n = t - h;
        n = n - n / 2;
        if (n == 0)
            return 0;
        if (n > RUNQ_SIZE / 2) /* h and t were read at different moments */
            continue;
        for (uint32_t i = 0; i < n; i++) {
            struct g *gp = load_relaxed(&r->slots[(h + i) % RUNQ_SIZE]);
            store_relaxed(&to->slots[(tail + i) % RUNQ_SIZE], gp);
        }
        if (cas_acqrel(&r->head, h, h + n)) /* (2) above */
            return n;
    }
}

/* ---- The queues of a P ------------------------------------------------------------------------------ */

/* A part of the full ring goes to the global queue, with gp behind it. False: it is not full now. Once it
 * is out of the ring its slots stay as they are: only the owner, who is here, writes to them. */
static noinline bool runqputslow(struct p *pp, struct g *gp)
{
    struct runq *r = &pp->runq;
    uint32_t h = load_acquire(&r->head); /* (2) above */
    if (load_relaxed(&r->tail) - h < RUNQ_SIZE)
        return false;
    if (!cas_release(&r->head, h, h + RUNQ_BATCH)) /* release: (2) above */
        return false;
    if (LOAM_TORTURE)
        for (uint32_t i = RUNQ_BATCH - 1; i > 0; i--) {
            struct g **one = &r->slots[(h + i) % RUNQ_SIZE];
            struct g **other = &r->slots[(h + choose(i + 1)) % RUNQ_SIZE];
            struct g *swap = load_relaxed(one);
            store_relaxed(one, load_relaxed(other));
            store_relaxed(other, swap);
        }
    lock(&sched.lock);
    for (uint32_t i = 0; i < RUNQ_BATCH; i++)
        globrunqput_locked(load_relaxed(&r->slots[(h + i) % RUNQ_SIZE]));
    globrunqput_locked(gp);
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
            return ring_len(&pp->runq) + ring_len(&pp->ahead) == 0;
        published = true;
    }
    while (unlikely(!ring_put(&pp->runq, gp, published)))
        if (runqputslow(pp, gp))
            break;
    return false;
}

void runqput_ahead(struct p *pp, struct g *gp)
{
    if (unlikely(debug.dst_on) || !ring_put(&pp->ahead, gp, false))
        (void)runqput(pp, gp, false);
}

struct g *runqget(struct p *pp, bool *inherit_time)
{
    struct g *gp = load_relaxed(&pp->runnext);
    bool alone = one_p();
    if (gp != NULL) {
        bool ours = true;
        /* acquire: what made it runnable may have happened on a thread that we have not seen yet.
         * Only a thief can win against us, and then there is no runnext. */
        if (alone)
            store_relaxed(&pp->runnext, NULL);
        else
            ours = cas_acqrel(&pp->runnext, gp, NULL); /* release: (3), see the head */
        if (ours) {
            *inherit_time = true;
            return gp;
        }
    }
    *inherit_time = false;
    if (unlikely(load_relaxed(&pp->ahead.head) != load_relaxed(&pp->ahead.tail)) &&
        pp->ahead_streak < AHEAD_STREAK) {
        gp = ring_get(&pp->ahead, alone);
        if (gp != NULL) {
            pp->ahead_streak++;
            return gp;
        }
    }
    pp->ahead_streak = 0;
    gp = ring_get(&pp->runq, alone);
    if (likely(gp != NULL))
        return gp;
    gp = ring_get(&pp->ahead, alone);
    if (gp == NULL)
        pp->embryos_pending =
            0; /* what was made here and is not here any more, others have begun */
    return gp;
}

uint32_t runqlen(struct p *pp)
{
    return ring_len(&pp->runq) + ring_len(&pp->ahead);
}

uint32_t runq_ahead_room(struct p *pp)
{
    return RUNQ_SIZE - ring_len(&pp->ahead);
}

bool runqempty(struct p *pp)
{
    /* The owner may move runnext into the ring between our looks: only a consistent set counts.
     * seqcst: (3) above. */
    for (;;) {
        uint32_t h = load_seqcst(&pp->runq.head);
        uint32_t t = load_seqcst(&pp->runq.tail);
        uint32_t ahead_h = load_seqcst(&pp->ahead.head);
        uint32_t ahead_t = load_seqcst(&pp->ahead.tail);
        struct g *next = load_seqcst(&pp->runnext);
        if (t == load_seqcst(&pp->runq.tail))
            return h == t && ahead_h == ahead_t && next == NULL;
    }
}

/* By a thief: the victim's runnext. */
static struct g *runnext_steal(struct p *victim)
{
    struct g *next = load_relaxed(&victim->runnext);
    if (next == NULL)
        return NULL;
    if (load_relaxed(&victim->status) == P_running && !LOAM_TORTURE) {
        /* It was made ready a moment ago and mostly runs in less time than moving it to another
         * cache takes: leave it to an owner that keeps on switching. */
        uint64_t before = load_relaxed(&victim->schedules);
        for (int i = 0; i < 60; i++)
            arch_pause();
        if (load_relaxed(&victim->schedules) != before)
            return NULL;
    }
    return cas_acqrel(&victim->runnext, next, NULL) ? next : NULL; /* acquire as in runqget */
}

struct g *runqsteal(struct p *pp, struct p *victim, bool steal_next)
{
    uint32_t n = ring_grab(&victim->runq, &pp->runq);
    if (n == 0)
        n = ring_grab(&victim->ahead, &pp->runq);
    struct g *gp;
    if (n == 0) {
        gp = steal_next ? runnext_steal(victim) : NULL;
        if (gp == NULL)
            return NULL;
        n = 1;
    } else {
        uint32_t t = load_relaxed(&pp->runq.tail);
        gp = load_relaxed(&pp->runq.slots[(t + n - 1) % RUNQ_SIZE]); /* it runs at once */
        if (n > 1)
            store_release(&pp->runq.tail, t + n - 1); /* (1); leaving spinning we call wakep */
    }
    count_owner(&getm()->steals, n);
    return gp;
}

/* ---- The global queue: sched.lock ------------------------------------------------------------ */

static void put(struct gqueue *q, struct g *gp)
{
    gp->schedlink = NULL;
    if (q->tail != NULL)
        q->tail->schedlink = gp;
    else
        q->head = gp;
    q->tail = gp;
    store_seqcst(&sched.runqsize, sched.runqsize + 1); /* (3) above */
}

void globrunqput_locked(struct g *gp)
{
    if (unlikely(debug.dst_on))
        dst_put_locked(gp);
    else
        put(&sched.runq, gp);
}

void globrunqputhead_locked(struct g *gp)
{
    gp->schedlink = sched.runq.head;
    sched.runq.head = gp;
    if (sched.runq.tail == NULL)
        sched.runq.tail = gp;
    store_seqcst(&sched.runqsize, sched.runqsize + 1);
}

static struct g *pop(struct gqueue *q)
{
    struct g *gp = q->head;
    q->head = gp->schedlink;
    if (q->head == NULL)
        q->tail = NULL;
    gp->schedlink = NULL;
    store_relaxed(&sched.runqsize, sched.runqsize - 1);
    return gp;
}

static struct g *globrunqpop(void)
{
    sched.runq_taken++;
    return pop(&sched.runq);
}

/* Goroutines that a signal holds with their threads wait in a queue of their own, from which one can be
 * taken where only such a one will do (maker.c, preempt.c); never in a P's. Else the two are one queue: a
 * held one has its turn when those before it are taken. */
void heldqput_locked(struct g *gp)
{
    gp->lockedm->held_turn = sched.runq_taken + (sched.runqsize - sched.nheldq);
    put(&sched.heldq, gp);
    sched.nheldq++;
}

struct g *heldqget_locked(void)
{
    if (sched.heldq.head == NULL)
        return NULL;
    sched.nheldq--;
    return pop(&sched.heldq);
}

bool turn_of_held_locked(void)
{
    return sched.heldq.head != NULL &&
           (sched.runq.head == NULL || sched.runq_taken >= sched.heldq.head->lockedm->held_turn);
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
    if (turn_of_held_locked())
        return heldqget_locked();
    struct g *gp = globrunqpop();
    uint32_t room = RUNQ_SIZE - ring_len(&pp->runq);
    for (uint32_t i = 1; i < n && i <= room && !turn_of_held_locked(); i++)
        (void)ring_put(&pp->runq, globrunqpop(), true); /* it was visible before */
    return gp;
}

void runqdrain_locked(struct p *pp)
{
    bool inherit;
    for (struct g *gp; (gp = runqget(pp, &inherit)) != NULL;)
        globrunqput_locked(gp);
}
