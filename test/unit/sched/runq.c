/* The run queues against a model: random operations of one thread on three Ps and the global queue.
 * After each the queues hold what the model holds, in its order; a steal takes half, rounded up, and
 * runnext last; what overflows goes to the global queue; `ahead` goes first, but only so often in a
 * row. What a torture build does at random the model repeats with the same random numbers.
 *
 * Threads against each other: test/litmus/runq.c. */
#include "base/rand.h"
#include "sched/sched_int.h"

#include "schedtest.h"

enum {
    PS = 3,
    STREAK = 16, /* of runq.c: so many of `ahead` in a row while others wait */
    GS = PS * (2 * RUNQ_SIZE + 1) + 2 * RUNQ_SIZE
};

/* ---- The model ------------------------------------------------------------------------------------ */

struct fifo {
    int first, n;
    struct g *items[GS];
};

static struct model_p {
    struct g *next;
    struct fifo runq, ahead;
    int streak;
} model[PS];
static struct fifo global, unused;
static uint32_t model_rand[2];
static int overflows, steals;
static struct m the_m;
static struct p *ps[PS];
static struct g gs[GS];

static void push(struct fifo *f, struct g *gp)
{
    CHECK(f->n < GS);
    f->items[(f->first + f->n++) % GS] = gp;
}

static void push_front(struct fifo *f, struct g *gp)
{
    CHECK(f->n < GS);
    f->first = (f->first + GS - 1) % GS;
    f->items[f->first] = gp;
    f->n++;
}

static struct g *pop(struct fifo *f)
{
    if (f->n == 0)
        return NULL;
    struct g *gp = f->items[f->first];
    f->first = (f->first + 1) % GS;
    f->n--;
    return gp;
}

static bool model_put(struct model_p *p, struct g *gp, bool next)
{
    if (LOAM_TORTURE && next && rand_below(model_rand, 2) == 0)
        next = false;
    if (next) {
        struct g *kicked = p->next;
        p->next = gp;
        if (kicked == NULL)
            return p->runq.n + p->ahead.n == 0;
        gp = kicked;
    }
    if (p->runq.n < RUNQ_SIZE) {
        push(&p->runq, gp);
        return false;
    }
    overflows++;
    struct g *batch[RUNQ_BATCH + 1];
    for (int i = 0; i < RUNQ_BATCH; i++)
        batch[i] = pop(&p->runq);
    batch[RUNQ_BATCH] = gp;
    for (uint32_t i = LOAM_TORTURE ? RUNQ_BATCH - 1 : 0; i > 0; i--) {
        uint32_t j = rand_below(model_rand, i + 1);
        struct g *swap = batch[i];
        batch[i] = batch[j];
        batch[j] = swap;
    }
    for (int i = 0; i <= RUNQ_BATCH; i++)
        push(&global, batch[i]);
    return false;
}

static struct g *model_get(struct model_p *p, bool *inherit)
{
    *inherit = p->next != NULL;
    if (p->next != NULL) {
        struct g *gp = p->next;
        p->next = NULL;
        return gp;
    }
    if (p->ahead.n > 0 && p->streak < STREAK) {
        p->streak++;
        return pop(&p->ahead);
    }
    p->streak = 0;
    return p->runq.n > 0 ? pop(&p->runq) : pop(&p->ahead);
}

static struct g *model_steal(struct model_p *to, struct model_p *from, bool steal_next)
{
    struct fifo *f = from->runq.n > 0 ? &from->runq : &from->ahead;
    if (f->n == 0) {
        struct g *gp = steal_next ? from->next : NULL;
        if (steal_next)
            from->next = NULL;
        return gp;
    }
    steals += f->n > 2;
    int n = (f->n + 1) / 2;
    for (int i = 0; i < n - 1; i++)
        push(&to->runq, pop(f));
    return pop(f); /* the last one it runs at once */
}

static struct g *model_global(struct model_p *p, int max)
{
    if (global.n == 0)
        return NULL;
    int n = global.n / gomaxprocs + 1, room = RUNQ_SIZE - p->runq.n;
    n = n > global.n ? global.n : n;
    n = max > 0 && n > max ? max : n;
    n = n > RUNQ_SIZE / 2 ? RUNQ_SIZE / 2 : n;
    struct g *gp = pop(&global);
    for (int i = 1; i < n && i <= room; i++)
        push(&p->runq, pop(&global));
    return gp;
}

/* ---- The two side by side ------------------------------------------------------------------------- */

static void check_counts(int i)
{
    struct model_p *m = &model[i];
    CHECK_EQ(runqlen(ps[i]), m->runq.n + m->ahead.n);
    CHECK_EQ(runq_ahead_room(ps[i]), RUNQ_SIZE - m->ahead.n);
    CHECK_EQ(runqempty(ps[i]), m->next == NULL && m->runq.n == 0 && m->ahead.n == 0);
    CHECK(ps[i]->runnext == m->next);
    CHECK_EQ(sched.runqsize, global.n);
    CHECK_EQ(model_rand[0], the_m.thread.rand[0]);
    CHECK_EQ(model_rand[1], the_m.thread.rand[1]);
}

static void give_back(struct g *gp)
{
    if (gp != NULL)
        push(&unused, gp);
}

static void put(int i, bool next)
{
    struct g *gp = pop(&unused);
    if (gp != NULL)
        CHECK_EQ(runqput(ps[i], gp, next), model_put(&model[i], gp, next));
}

static void put_ahead(int i)
{
    struct g *gp = pop(&unused);
    if (gp == NULL)
        return;
    runqput_ahead(ps[i], gp);
    if (model[i].ahead.n < RUNQ_SIZE)
        push(&model[i].ahead, gp);
    else
        (void)model_put(&model[i], gp, false);
}

static struct g *get(int i)
{
    bool inherit, want_inherit;
    struct g *gp = runqget(ps[i], &inherit), *want = model_get(&model[i], &want_inherit);
    CHECK(gp == want);
    CHECK(gp == NULL || inherit == want_inherit);
    give_back(gp);
    return gp;
}

static void steal(int i, int victim, bool steal_next)
{
    uint64_t before = the_m.steals;
    int had = model[i].runq.n;
    struct g *gp = runqsteal(ps[i], ps[victim], steal_next);
    CHECK(gp == model_steal(&model[i], &model[victim], steal_next));
    CHECK_EQ(the_m.steals - before, gp != NULL ? model[i].runq.n - had + 1 : 0);
    give_back(gp);
    check_counts(victim);
}

static void get_global(int i, int max)
{
    lock(&sched.lock);
    struct g *gp = globrunqget_locked(ps[i], max);
    unlock(&sched.lock);
    CHECK(gp == model_global(&model[i], max));
    give_back(gp);
}

static void put_global_head(void)
{
    struct g *gp = pop(&unused);
    if (gp == NULL)
        return;
    lock(&sched.lock);
    globrunqputhead_locked(gp);
    unlock(&sched.lock);
    push_front(&global, gp);
}

static void drain(int i)
{
    bool inherit;
    lock(&sched.lock);
    runqdrain_locked(ps[i]);
    unlock(&sched.lock);
    for (struct g *gp; (gp = model_get(&model[i], &inherit)) != NULL;)
        push(&global, gp);
}

/* With one P nobody steals. A thief's queue is empty. */
static void maybe_steal(int i, uint64_t *seed)
{
    if (gomaxprocs == 1)
        return;
    if (runqlen(ps[i]) > 0 && draw(seed, RUNQ_SIZE) != 0)
        return; /* else they would never fill */
    while (model[i].runq.n > 0 || model[i].ahead.n > 0)
        (void)get(i);
    int victim = (i + 1 + (int)draw(seed, 2)) % PS;
    ps[victim]->status = draw(seed, 2) == 0 ? P_running : P_idle;
    steal(i, victim, draw(seed, 2) == 0);
}

static void run_random(int64_t ops, uint64_t seed)
{
    int putting = 1;
    for (int64_t op = 0; op < ops; op++) {
        if (draw(&seed, 8 * RUNQ_SIZE) == 0)
            putting = (int)draw(&seed, 4); /* fills for a while, then empties */
        int i = (int)draw(&seed, PS);
        uint32_t what = draw(&seed, 100);
        if (what < 20 * (uint32_t)putting)
            draw(&seed, 4) == 0 ? put_ahead(i) : put(i, draw(&seed, 3) == 0);
        else if (what < 85)
            (void)get(i);
        else if (what < 90)
            get_global(i, draw(&seed, 2) == 0 ? 0 : 1 + (int)draw(&seed, 5));
        else if (what < 93)
            put_global_head();
        else if (what < 99 || draw(&seed, 64) != 0)
            maybe_steal(i, &seed);
        else
            drain(i);
        check_counts(i);
    }
    for (int i = 0; i < PS; i++)
        while (get(i) != NULL)
            check_counts(i);
    while (global.n > 0)
        get_global(0, 1);
    CHECK_EQ(unused.n, GS);
}

/* ---- One rule at a time --------------------------------------------------------------------------- */

/* In a full queue: exactly so many go, the oldest, and the new one behind them. */
static void overflow(void)
{
    for (int i = 0; i <= RUNQ_SIZE; i++)
        put(0, false);
    check_counts(0);
    CHECK_EQ(sched.runqsize, RUNQ_BATCH + 1);
    CHECK_EQ(runqlen(ps[0]), RUNQ_SIZE - RUNQ_BATCH);
    drain(0);
    CHECK_EQ(sched.runqsize, RUNQ_SIZE + 1);
    CHECK(runqempty(ps[0]));
    while (sched.runqsize > 0)
        get_global(0, 1);
}

/* Whoever is in the ring waits for at most STREAK of those that go ahead, however many come. */
static void bounded_wait(void)
{
    struct g *waits = unused.items[unused.first];
    put(0, false);
    int before = 0;
    for (;; before++) {
        put_ahead(0);
        if (get(0) == waits)
            break;
        CHECK(before <= STREAK);
    }
    CHECK_EQ(before, STREAK);
    while (get(0) != NULL)
        ;
}

int main(void)
{
    thread_set(&the_m.thread);
    the_m.thread.rand[0] = model_rand[0] = 5;
    the_m.thread.rand[1] = model_rand[1] = 7;
    for (int i = 0; i < PS; i++) {
        ps[i] = aligned_alloc(cacheline, align_up(sizeof(struct p), (size_t)cacheline));
        CHECK(ps[i] != NULL);
        memset(ps[i], 0, sizeof *ps[i]);
        ps[i]->id = i;
        /* the indices wrap around soon */
        ps[i]->runq.head = ps[i]->runq.tail = UINT32_MAX - 5 * RUNQ_SIZE + (uint32_t)i;
        ps[i]->ahead.head = ps[i]->ahead.tail = UINT32_MAX - 2 - (uint32_t)i;
    }
    the_m.p = ps[0];
    for (int i = 0; i < GS; i++)
        push(&unused, &gs[i]);
    for (gomaxprocs = 1; gomaxprocs <= PS; gomaxprocs += PS - 1) {
        overflow();
        bounded_wait();
        for (uint64_t seed = 1; seed <= 10; seed++)
            run_random(100000, seed);
    }
    CHECK(overflows > 10 && steals > 100); /* in so many operations there were some */
    thread_set(NULL);
    return 0;
}
