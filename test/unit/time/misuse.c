/* Misuse ends the program with Go's text and status 2. Deadlock is found though stopped timers are
 * still about. */
#include "timetest.h"

static void new_ticker(void)
{
    (void)loam_ticker_new(0);
}

static void new_ticker_negative(void)
{
    (void)loam_ticker_new(-1);
}

static void ticker_reset(void)
{
    loam_ticker_reset(loam_ticker_new(LOAM_SECOND), 0);
}

static void after_nil(void)
{
    (void)loam_after_func(LOAM_SECOND, NULL, NULL);
}

#if !LOAM_TSAN
static void nothing(void *arg)
{
    (void)arg;
}

/* As many as make the heap leave them where they are, in any order. */
static void stopped_timers(void)
{
    enum { N = 1000 };
    struct loam_timer *t[N];
    for (int i = 0; i < N; i++)
        t[i] = loam_after_func((1 + i * 7919 % N) * LOAM_SECOND, nothing, NULL);
    for (int i = 0; i < N; i++)
        CHECK(loam_timer_stop(t[i]));
    loam_chan(int) c = loam_chan_make(int, 0);
    (void)loam_recv(c);
}

static void stopped_ticker(void)
{
    struct loam_ticker *t = loam_ticker_new(LOAM_MILLISECOND);
    (void)loam_recv(loam_ticker_chan(t));
    loam_ticker_stop(t);
    (void)loam_recv(loam_ticker_chan(t));
}

#endif

static const struct {
    const char *mode;
    void (*fn)(void);
    const char *text;
} ways[] = {
#if !LOAM_TSAN /* which has a thread of its own, that might wake somebody */
    {"stopped_timers", stopped_timers, "all goroutines are asleep - deadlock!"},
    {"stopped_ticker", stopped_ticker, "all goroutines are asleep - deadlock!"},
#endif
    {"new_ticker", new_ticker, "panic: non-positive interval for NewTicker"},
    {"new_ticker_negative", new_ticker_negative, "panic: non-positive interval for NewTicker"},
    {"ticker_reset", ticker_reset, "panic: non-positive interval for Ticker.Reset"},
    {"after_nil", after_nil, "go of nil func value"},
};

static int run(int argc, char **argv)
{
    if (argc == 1) {
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
            expect_end(ways[i].mode, 2, ways[i].text);
        return 0;
    }
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (strcmp(argv[1], ways[i].mode) == 0)
            ways[i].fn();
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
