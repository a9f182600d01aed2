/* The condition variable under load: a bounded buffer by signals, a barrier by broadcasts. */
#include "stress.h"

enum { ROOM = 4, PEERS = 5 };

static struct loam_mutex mu;
static struct loam_cond not_full, not_empty;
static int64_t ring[ROOM], nput, ngot, sum; /* mu */
static bool closed;                         /* mu */

static void produce(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int64_t i = times(5000); i > 0; i--) {
        loam_mutex_lock(&mu);
        while (nput - ngot == ROOM)
            loam_cond_wait(&not_full, &mu);
        ring[nput++ % ROOM] = i;
        disturb(&seed);
        loam_mutex_unlock(&mu);
        loam_cond_signal(&not_empty); /* without the mutex: legal */
    }
}

static void consume(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    loam_mutex_lock(&mu);
    for (;;) {
        while (nput == ngot && !closed)
            loam_cond_wait(&not_empty, &mu);
        if (nput == ngot)
            break;
        sum += ring[ngot++ % ROOM];
        loam_cond_signal(&not_full);
        disturb(&seed);
    }
    loam_mutex_unlock(&mu);
}

static void buffer(void)
{
    struct loam_waitgroup producers = {0}, consumers = {0};
    nput = ngot = sum = 0;
    closed = false;
    for (int i = 0; i < PEERS; i++) {
        CHECK_EQ(loam_waitgroup_go(&consumers, consume, (void *)(intptr_t)(i + 50)), 0);
        CHECK_EQ(loam_waitgroup_go(&producers, produce, (void *)(intptr_t)(i + 1)), 0);
    }
    loam_waitgroup_wait(&producers);
    loam_mutex_lock(&mu);
    closed = true;
    loam_cond_broadcast(&not_empty);
    loam_mutex_unlock(&mu);
    loam_waitgroup_wait(&consumers);
    int64_t n = times(5000);
    CHECK_EQ(ngot, PEERS * n);
    CHECK_EQ(sum, PEERS * (n * (n + 1) / 2));
    CHECK(not_full.sema.head == NULL && not_empty.sema.head == NULL);
}

/* Rounds in which all have to arrive before any goes on. */
static int arrived, round_no; /* mu */

static void rounds(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int64_t i = times(1500); i > 0; i--) {
        disturb(&seed);
        loam_mutex_lock(&mu);
        int mine = round_no;
        if (++arrived == PEERS) {
            arrived = 0;
            round_no++;
            loam_cond_broadcast(&not_full);
        }
        while (round_no == mine)
            loam_cond_wait(&not_full, &mu);
        CHECK_EQ(round_no, mine + 1);
        loam_mutex_unlock(&mu);
    }
}

static void barrier(void)
{
    struct loam_waitgroup wg = {0};
    arrived = round_no = 0;
    for (int i = 0; i < PEERS; i++)
        CHECK_EQ(loam_waitgroup_go(&wg, rounds, (void *)(intptr_t)(i + 1)), 0);
    loam_waitgroup_wait(&wg);
    CHECK_EQ(round_no, times(1500));
}

/* A condition variable of one waiter, which frees it when it is woken. */
struct turn {
    struct loam_cond cond;
    bool mine; /* mu */
};

static void chain(void *arg)
{
    struct turn *t = arg;
    loam_mutex_lock(&mu);
    while (!t->mine)
        loam_cond_wait(&t->cond, &mu);
    loam_mutex_unlock(&mu);
    memset(t, 0xa5, sizeof *t);
    free(t);
}

static void ends_with_its_waiter(void)
{
    struct loam_waitgroup wg = {0};
    for (int64_t i = times(3000); i > 0; i--) {
        struct turn *t = calloc(1, sizeof *t);
        CHECK(t != NULL);
        CHECK_EQ(loam_waitgroup_go(&wg, chain, t), 0);
        if (i % 2)
            loam_yield();
        loam_mutex_lock(&mu);
        t->mine = true;
        loam_cond_signal(&t->cond);
        loam_mutex_unlock(&mu);
    }
    loam_waitgroup_wait(&wg);
}

static void all(void)
{
    buffer();
    barrier();
    ends_with_its_waiter();
}

static int stress_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return for_each_procs(all);
}

int main(int argc, char **argv)
{
    return loam_run(stress_main, argc, argv);
}
