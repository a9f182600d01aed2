/* Tickers: timers that stay in the heap and are set ahead when they fire (next_tick in timers.c).
 *
 * The next tick is counted from when this one was due, not from when it was sent: no drift. Ticks that
 * were missed, because no thread came to the heap or the process was stopped, become one. The channel
 * holds one tick; while the receiver has not taken it others are dropped.
 *
 * Unlike a timer a ticker may be in a heap while a firing is under way, so every stop takes the
 * ticker's lock. */
#include "time/time_int.h"

#include "base/throw.h"
#include "sched/sched.h"

struct loam_ticker {
    struct loam_timer t;
};

struct loam_ticker *loam_ticker_new(int64_t ns)
{
    if (ns <= 0)
        panic_text("non-positive interval for NewTicker");
    struct loam_timer *t = timer_make(TIMER_TICKER);
    if (t == NULL)
        return NULL;
    t->period = ns;
    struct timers *ts = timers_here();
    if (ts == NULL || !timer_insert(ts, t, when_after(ns))) {
        timer_dispose(t);
        return NULL;
    }
    return (struct loam_ticker *)t;
}

loam_chan(int64_t) loam_ticker_chan(struct loam_ticker *t)
{
    return loam_timer_chan(&t->t);
}

void loam_ticker_stop(struct loam_ticker *t)
{
    lock(&t->t.lock);
    (void)timer_stop_locked(&t->t);
    unlock(&t->t.lock);
}

void loam_ticker_reset(struct loam_ticker *t, int64_t ns)
{
    if (ns <= 0)
        panic_text("non-positive interval for Ticker.Reset");
    lock(&t->t.lock);
    (void)timer_stop_locked(&t->t);
    t->t.period = ns;
    timer_start_locked(&t->t, when_after(ns));
    unlock(&t->t.lock);
}

void loam_ticker_free(struct loam_ticker *t)
{
    loam_timer_free((struct loam_timer *)t);
}
