/* Tickers: no drift, one tick for all that were missed, stop, reset; and nothing else. */
#include "timetest.h"

#include <signal.h>

/* Real time is only about right on a busy machine; virtual time is exact to the cost of a look. */
#define PERIOD (seeded() ? 100 * LOAM_MICROSECOND : 2 * LOAM_MILLISECOND)
enum { FIRING = 20000 /* ns: from due to sent, in virtual time */ };

static void wait_ticks(struct loam_ticker *t, int64_t begin, int from, int to)
{
    for (int i = from; i <= to; i++) {
        int64_t sent = loam_recv(loam_ticker_chan(t));
        CHECK(sent >= begin + i * PERIOD);
        if (seeded())
            CHECK(sent < begin + i * PERIOD + FIRING);
    }
}

/* The n-th tick is due n periods after the beginning, however late the others were. */
static void no_drift(void)
{
    int64_t begin = loam_now();
    struct loam_ticker *t = loam_ticker_new(PERIOD);
    wait_ticks(t, begin, 1, seeded() ? 3000 : 25); /* 10 ns lost at each are too many */
    loam_ticker_free(t);
}

static void slow_receiver(void)
{
    int64_t begin = loam_now();
    struct loam_ticker *t = loam_ticker_new(PERIOD);
    loam_sleep(10 * PERIOD + PERIOD / 2);
    int64_t first = loam_recv(loam_ticker_chan(t)); /* the others were dropped, not this one */
    CHECK(first >= begin + PERIOD);
    if (seeded())
        CHECK(first < begin + PERIOD + FIRING);
    int64_t next = loam_recv(loam_ticker_chan(t));
    CHECK(next >= begin + 10 * PERIOD);
    if (seeded()) { /* on time again */
        CHECK(next >= begin + 11 * PERIOD && next < begin + 11 * PERIOD + FIRING);
        wait_ticks(t, begin, 12, 14);
    }
    loam_ticker_free(t);
}

static void stop_and_reset(void)
{
    struct loam_ticker *t = loam_ticker_new(PERIOD);
    (void)loam_recv(loam_ticker_chan(t));
    while (loam_len(loam_ticker_chan(t)) == 0)
        loam_sleep(PERIOD);
    loam_ticker_stop(t); /* takes back the one that was sent */
    CHECK(!loam_try_recv(loam_ticker_chan(t), NULL));
    loam_sleep(3 * PERIOD);
    CHECK(!loam_try_recv(loam_ticker_chan(t), NULL));
    loam_ticker_stop(t);
    int64_t begin = loam_now();
    loam_ticker_reset(t, 3 * PERIOD);
    for (int i = 1; i <= 3; i++)
        CHECK(loam_recv(loam_ticker_chan(t)) >= begin + i * 3 * PERIOD);
    while (loam_len(loam_ticker_chan(t)) == 0)
        loam_sleep(PERIOD);
    begin = loam_now();
    loam_ticker_reset(t, PERIOD); /* while one is there */
    wait_ticks(t, begin, 1, 3);
    loam_ticker_reset(t, INT64_MAX);
    CHECK(!loam_try_recv(loam_ticker_chan(t), NULL));
    loam_ticker_free(t);
}

/* Two tickers and a timer beside each other. */
static void together(void)
{
    int64_t begin = loam_now();
    struct loam_ticker *a = loam_ticker_new(PERIOD), *b = loam_ticker_new(3 * PERIOD);
    struct loam_timer *end = loam_timer_new(30 * PERIOD + PERIOD / 2);
    int na = 0, nb = 0;
    for (bool over = false; !over;) {
        switch (loam_select(loam_on_recv(loam_ticker_chan(a), NULL),
                            loam_on_recv(loam_ticker_chan(b), NULL),
                            loam_on_recv(loam_timer_chan(end), NULL))) {
        case 0:
            na++;
            break;
        case 1:
            nb++;
            break;
        default:
            over = true;
        }
    }
    int64_t periods = (loam_now() - begin) / PERIOD;
    CHECK(na <= periods && nb <= periods / 3);
    if (seeded()) {
        CHECK_EQ(na, 30);
        CHECK_EQ(nb, 10);
    }
    loam_ticker_free(a);
    loam_ticker_free(b);
    loam_timer_free(end);
}

/* Every period a tick: one that is tiny does not hold up the rest. */
static void tiny(void)
{
    struct loam_ticker *t = loam_ticker_new(1);
    for (int i = 0; i < 1000; i++)
        (void)loam_recv(loam_ticker_chan(t));
    loam_sleep(LOAM_MILLISECOND);
    loam_ticker_free(t);
}

/* clang-format off */
static const struct test tests[] = {
    {"no drift", no_drift},
    {"slow receiver", slow_receiver},
    {"stop and reset", stop_and_reset},
    {"together", together},
    {"tiny", tiny},
    {NULL, NULL},
};
/* clang-format on */

/* ---- Stopped by a signal, as a whole process ----------------------------------------------------- */

/* The process is stopped for 300 ms: when it goes on there is one tick for all of them, and those
 * that come later are due at multiples of the period. */
static void suspended(void)
{
    int64_t begin = loam_now();
    struct loam_ticker *t = loam_ticker_new(10 * LOAM_MILLISECOND);
    pid_t helper = fork(); /* may only exec or _exit: it is the shell that waits */
    if (helper == 0) {
        char pid[64];
        snprintf(pid, sizeof pid, "sleep 0.3; kill -CONT %d", (int)getppid());
        execl("/bin/sh", "sh", "-c", pid, (char *)NULL);
        _exit(127);
    }
    kill(getpid(), SIGSTOP);
    int64_t late = loam_now() - begin;
    CHECK(late > 250 * LOAM_MILLISECOND);
    int ticks = 0;
    for (struct loam_timer *end = loam_timer_new(95 * LOAM_MILLISECOND);;) {
        if (loam_select(loam_on_recv(loam_ticker_chan(t), NULL),
                        loam_on_recv(loam_timer_chan(end), NULL)) == 1) {
            loam_timer_free(end);
            break;
        }
        ticks++;
    }
    /* the one missed, and one for every period that this loop took, however late it was */
    CHECK(ticks >= 1 && ticks <= 2 + (loam_now() - begin - late) / (10 * LOAM_MILLISECOND));
    loam_ticker_free(t);
    CHECK_EQ(waitpid(helper, NULL, 0), helper);
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    if (!seeded())
        suspended();
    return run_tests(tests);
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
