/* Stop and free against fire: timers are ended at any moment, by goroutines and by threads of the
 * program, on another P than the one that fires them. A sanitizer sees what is used too late; the
 * counts see functions that run after a successful stop, or not at all. */
#include "../../unit/time/timetest.h"

enum { MAKERS = 4, ENDERS = 3 };

struct job {
    struct loam_timer *t;
    int runs;
    struct job *next;
};

static loam_chan(struct job *) queue;
static loam_chan(struct loam_ticker *) tickers;
static int makers_left, enders_left, prevented;
static struct loam_mutex late_lock;
static struct job *late; /* late_lock: stopped too late, so the function runs or will */

static void ran(void *arg)
{
    add(&((struct job *)arg)->runs, 1);
}

static void make(void *arg)
{
    uint64_t r = (uint64_t)(intptr_t)arg;
    for (int i = times(20000); i > 0; i--) {
        struct job *j = calloc(1, sizeof *j);
        j->t = loam_after_func(rnd(&r, 3000), ran, j);
        loam_send(queue, j);
        /* one with a channel: freed here, fired wherever */
        struct loam_timer *t = loam_timer_new(rnd(&r, 2000));
        if (rnd(&r, 2) == 0)
            loam_yield();
        loam_timer_free(t);
        if (rnd(&r, 8) == 0)
            loam_send(tickers, loam_ticker_new(1 + rnd(&r, 500)));
    }
    if (add(&makers_left, -1) == 0) {
        loam_close(queue);
        loam_close(tickers);
    }
}

/* A function that was prevented does not run; one that was not runs once. Freed at once. */
static void end(struct job *j)
{
    bool was_prevented = loam_timer_stop(j->t);
    loam_timer_free(j->t);
    if (was_prevented) {
        add(&prevented, 1);
        CHECK_EQ(get(&j->runs), 0);
    }
    j->t = (void *)(uintptr_t)was_prevented;
    loam_mutex_lock(&late_lock);
    j->next = late;
    late = j;
    loam_mutex_unlock(&late_lock);
}

static void end_jobs(void *arg)
{
    uint64_t r = (uint64_t)(intptr_t)arg;
    for (struct job *j; loam_recv_ok(queue, &j);) {
        if (rnd(&r, 4) == 0)
            loam_sleep(rnd(&r, 2000));
        end(j);
    }
    add(&enders_left, -1);
}

static void end_tickers(void *arg)
{
    uint64_t r = (uint64_t)(intptr_t)arg;
    for (struct loam_ticker *t; loam_recv_ok(tickers, &t);) {
        if (rnd(&r, 2) == 0)
            (void)loam_recv(loam_ticker_chan(t));
        if (rnd(&r, 2) == 0)
            loam_ticker_stop(t);
        loam_ticker_free(t);
    }
    add(&enders_left, -1);
}

/* A thread of the program takes part: it cannot wait on a channel, so it polls. */
static void *thread_end_jobs(void *arg)
{
    (void)arg;
    struct job *j;
    struct loam_timer *own = loam_timer_new(1000);
    for (int r; (r = loam_chan_try_recv(loam_chan_raw(queue), &j)) != 0;) {
        if (r == 1) {
            bool was_prevented = loam_timer_stop(j->t);
            loam_timer_free(j->t);
            if (was_prevented)
                CHECK_EQ(get(&j->runs), 0);
            j->t = NULL; /* counted by nobody, and not freed: it may still run */
        } else {
            loam_timer_reset(own, 500);
            usleep(20);
        }
    }
    loam_timer_free(own);
    return NULL;
}

static void storm(void)
{
    queue = loam_chan_make(struct job *, 64);
    tickers = loam_chan_make(struct loam_ticker *, 8);
    makers_left = MAKERS;
    enders_left = ENDERS + 2;
    for (int i = 0; i < MAKERS; i++)
        start(make, (void *)(intptr_t)(i + 1));
    for (int i = 0; i < ENDERS; i++)
        start(end_jobs, (void *)(intptr_t)(i + 100));
    for (int i = 0; i < 2; i++)
        start(end_tickers, (void *)(intptr_t)(i + 200));
    pthread_t thread;
    if (!seeded())
        CHECK_EQ(pthread_create(&thread, NULL, thread_end_jobs, NULL), 0);
    while (get(&enders_left) > 0)
        loam_sleep(LOAM_MILLISECOND);
    if (!seeded())
        pthread_join(thread, NULL);
    for (struct job *j = late, *next; j != NULL; j = next) {
        next = j->next;
        int want = j->t == NULL;
        while (get(&j->runs) < want)
            loam_sleep(10000);
        CHECK_EQ(get(&j->runs), want);
        free(j);
    }
    late = NULL;
    loam_chan_free(queue);
    loam_chan_free(tickers);
}

/* clang-format off */
static const struct test tests[] = {
    {"storm", storm},
    {NULL, NULL},
};
/* clang-format on */

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return run_tests(tests);
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
