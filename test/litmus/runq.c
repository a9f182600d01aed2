/* The run queue itself, one owner and two thieves on threads that run nothing else: every goroutine
 * put comes out once, whole, whoever takes it. White box; the queue never looks into a g. */
#include "sched/sched_int.h"

#include "litmus.h"

enum { THIEVES = 2, PER_ROUND = 3 * RUNQ_SIZE };

static struct p *ps[1 + THIEVES];
static struct m ms[1 + THIEVES];
static struct g gs[PER_ROUND];
static int taken[PER_ROUND]; /* atomic: how often in this round */
static struct meeting begin = {.parties = 1 + THIEVES}, end = {.parties = 1 + THIEVES};
static int64_t rounds;

static void take(struct g *gp)
{
    CHECK(gp >= gs && gp < gs + PER_ROUND);
    CHECK_EQ(gp->goid, (uint64_t)(gp - gs) + 1); /* what was written before the put is seen */
    CHECK_EQ(add(&taken[gp - gs], 1), 1);
}

static void take_all(struct p *pp)
{
    bool inherit;
    for (struct g *gp; (gp = runqget(pp, &inherit)) != NULL;)
        take(gp);
}

static void *owner(void *arg)
{
    uint64_t seed = 1;
    (void)arg;
    thread_set(&ms[0].thread);
    for (int64_t round = 0; round < rounds; round++) {
        memset(taken, 0, sizeof taken);
        for (int i = 0; i < PER_ROUND; i++)
            gs[i].goid = 0;
        meet(&begin);
        int n = (int)(draw(&seed) % PER_ROUND) + 1;
        uint32_t next = draw(&seed) % 4, get = draw(&seed) % 8;
        for (int i = 0; i < n; i++) {
            gs[i].goid = (uint64_t)i + 1;
            runqput(ps[0], &gs[i], draw(&seed) % 4 < next);
            delay(&seed);
            bool inherit;
            struct g *gp = draw(&seed) % 8 < get ? runqget(ps[0], &inherit) : NULL;
            if (gp != NULL)
                take(gp);
        }
        take_all(ps[0]);
        CHECK(runqempty(ps[0]));
        meet(&end);
        lock(&sched.lock);
        for (struct g *gp; (gp = globrunqget_locked(ps[0], 1)) != NULL;)
            take(gp);
        unlock(&sched.lock);
        for (int i = 0; i < n; i++)
            CHECK_EQ(taken[i], 1);
    }
    return NULL;
}

static void *thief(void *arg)
{
    int me = (int)(intptr_t)arg;
    uint64_t seed = (uint64_t)me + 100;
    thread_set(&ms[me].thread);
    for (int64_t round = 0; round < rounds; round++) {
        meet(&begin);
        for (uint32_t i = draw(&seed) % 60; i > 0; i--) {
            /* From the owner, and from the other thief; only with an empty queue of one's own, as the
             * scheduler does: what is stolen goes there. */
            struct p *victim = ps[draw(&seed) % (1 + THIEVES)];
            bool inherit;
            struct g *gp = runqget(ps[me], &inherit);
            if (gp == NULL && victim != ps[me])
                gp = runqsteal(ps[me], victim, draw(&seed) % 4 == 0);
            if (gp != NULL)
                take(gp);
            delay(&seed);
        }
        /* The other may still steal from us; what it takes it has taken when it comes to the end. */
        take_all(ps[me]);
        meet(&end);
    }
    return NULL;
}

int main(void)
{
    /* Just enough of a scheduler: more than one P, nobody to be woken. */
    gomaxprocs = 1 + THIEVES;
    rounds = times(6000);
    for (int i = 0; i <= THIEVES; i++) {
        ps[i] = aligned_alloc(cacheline, align_up(sizeof(struct p), (size_t)cacheline));
        CHECK(ps[i] != NULL);
        memset(ps[i], 0, sizeof *ps[i]);
        ps[i]->id = i;
        ms[i].p = ps[i];
        ms[i].thread.rand[0] = (uint32_t)i + 1;
    }
    pthread_t threads[1 + THIEVES];
    CHECK_EQ(pthread_create(&threads[0], NULL, owner, NULL), 0);
    for (int i = 1; i <= THIEVES; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, thief, (void *)(intptr_t)i), 0);
    for (int i = 0; i <= THIEVES; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
