/* Timers across the ends of the runtime: what is left is good for freeing, and nothing fires; threads
 * of the program make and free timers meanwhile. GOMAXPROCS: timers of a P that goes are not lost. */
#include "timetest.h"

enum { N = 300 };

static struct loam_timer *timers[N];
static struct loam_ticker *ticker;
static int fired;

static void count(void *arg)
{
    (void)arg;
    add(&fired, 1);
}

static void sleeps(void *arg)
{
    loam_sleep((intptr_t)arg);
    add(&fired, 1);
}

static void leave_some(void *arg)
{
    (void)arg;
    for (int i = 0; i < N; i++) {
        if (i % 2 == 0)
            timers[i] = loam_timer_new(LOAM_SECOND * (1 + i * 31 % N));
        else
            timers[i] = loam_after_func(LOAM_SECOND * (1 + i * 31 % N), count, NULL);
        CHECK(timers[i] != NULL);
    }
    ticker = loam_ticker_new(LOAM_SECOND);
    for (int i = 0; i < 50; i++)
        start(sleeps, (void *)(intptr_t)LOAM_SECOND);
    loam_sleep(LOAM_MILLISECOND);
}

static void restart(void)
{
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 1 + round}), 0);
        CHECK_EQ(loam_call(leave_some, NULL), 0);
        loam_gomaxprocs(1); /* those of the others move */
        CHECK_EQ(loam_stop(5 * LOAM_SECOND), 0);
        for (int i = 0; i < N; i++)
            loam_timer_free(timers[i]);
        loam_ticker_free(ticker);
        CHECK_EQ(fired, 0);
    }
}

static void wait_for_ever(void *arg)
{
    (void)loam_recv(loam_timer_chan(arg));
    abort();
}

static void leave_waiter(void *arg)
{
    struct loam_timer **t = arg;
    *t = loam_timer_new(3600 * LOAM_SECOND);
    start(wait_for_ever, *t);
    loam_sleep(LOAM_MILLISECOND);
}

/* The next timer must not get the channel that somebody waited on before. */
static void free_and_make(void *arg)
{
    loam_timer_free(*(struct loam_timer **)arg);
    struct loam_timer *t = loam_timer_new(LOAM_MILLISECOND);
    CHECK(loam_recv(loam_timer_chan(t)) > 0);
    loam_timer_free(t);
}

static void free_after_restart(void)
{
    struct loam_config config = {.maxprocs = 1};
    struct loam_timer *t;
    CHECK_EQ(loam_start(&config), 0);
    CHECK_EQ(loam_call(leave_waiter, &t), 0);
    CHECK_EQ(loam_stop(-1), 0);
    CHECK_EQ(loam_start(&config), 0);
    CHECK_EQ(loam_call(free_and_make, &t), 0);
    CHECK_EQ(loam_stop(-1), 0);
}

/* ---- GOMAXPROCS ------------------------------------------------------------------------------------ */

static struct loam_waitgroup made;
static int done;

/* Each makes its timers on whatever P it runs. */
static void maker(void *arg)
{
    int i = (int)(intptr_t)arg;
    struct loam_timer *t = loam_timer_new((i % 20 + 1) * LOAM_MILLISECOND);
    struct loam_ticker *k = loam_ticker_new((i % 5 + 1) * LOAM_MILLISECOND);
    CHECK(loam_after_func((i % 30 + 1) * LOAM_MILLISECOND, count, NULL) != NULL);
    loam_waitgroup_done(&made);
    (void)loam_recv(loam_timer_chan(t));
    for (int n = 0; n < 5; n++)
        (void)loam_recv(loam_ticker_chan(k));
    loam_sleep(LOAM_MILLISECOND);
    CHECK(!loam_timer_stop(t));
    loam_timer_free(t);
    loam_ticker_free(k);
    add(&done, 1);
}

static void fewer_and_more(void *arg)
{
    (void)arg;
    fired = 0;
    loam_gomaxprocs(8);
    loam_waitgroup_add(&made, N);
    for (int i = 0; i < N; i++)
        start(maker, (void *)(intptr_t)i);
    loam_waitgroup_wait(&made);
    for (int n = 7; get(&done) < N; n = n == 1 ? 8 : n - 1) {
        loam_gomaxprocs(n);
        loam_sleep(2 * LOAM_MILLISECOND);
    }
    while (get(&fired) < N)
        loam_sleep(LOAM_MILLISECOND);
    CHECK_EQ(fired, N);
}

int main(void)
{
    restart();
    free_after_restart();
    CHECK_EQ(loam_start(NULL), 0);
    CHECK_EQ(loam_call(fewer_and_more, NULL), 0);
    CHECK_EQ(loam_stop(5 * LOAM_SECOND), 0);
    return 0;
}
