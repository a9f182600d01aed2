/* Clock, sleep, timers, tickers. All durations and times are nanoseconds in an int64_t.
 *
 * Timers follow Go 1.23: after loam_timer_stop or loam_timer_reset has returned, no value of the
 * former setting is received any more, so nobody needs to drain the channel. */
#ifndef LOAM_TIME_H
#define LOAM_TIME_H

#include <loam/base.h>
#include <loam/chan.h>

LOAM_BEGIN_DECLS

/* Units: loam_sleep(5 * LOAM_MILLISECOND). */
#define LOAM_MICROSECOND INT64_C(1000)
#define LOAM_MILLISECOND INT64_C(1000000)
#define LOAM_SECOND INT64_C(1000000000)

/* The monotonic clock, from an arbitrary start; virtual under LOAMDEBUG=dst. From any thread. */
LOAM_API int64_t loam_now(void);

/* Parks for at least ns; returns at once if ns <= 0. On a foreign thread, and inside of
 * loam_blocking, it blocks the thread. */
LOAM_API void loam_sleep(int64_t ns);

/* A timer fires once: sends the time on its channel, or starts a function on a goroutine. */
struct loam_timer;

/* Makes a timer that sends loam_now() on its channel after ns: Go's time.NewTimer.
 *
 * The program owns it: loam_timer_free. NULL: no memory, or the runtime is not started. */
LOAM_API struct loam_timer *loam_timer_new(int64_t ns);

/* Makes a timer that starts fn(arg) on a goroutine of its own after ns: Go's time.AfterFunc. It has
 * no channel. NULL: no memory, or the runtime is not started. NULL fn is Go's fatal error "go of nil
 * func value". When no goroutine can be started fn waits until one can. */
LOAM_API struct loam_timer *loam_after_func(int64_t ns, void (*fn)(void *), void *arg);

/* The timer's channel, owned by the timer; NULL for one of loam_after_func.
 *
 * It holds one value, which loam_len shows from when the timer fires until it is received or taken
 * back by stop or reset. (In Go, where the value is sent when somebody looks, len and cap are 0.) */
LOAM_API loam_chan(int64_t) loam_timer_chan(struct loam_timer *t);

/* Stops a timer: true if that kept it from firing (for one with a channel: also if the value was sent
 * but not received). A function already started is not waited for. */
LOAM_API bool loam_timer_stop(struct loam_timer *t);

/* Sets a timer to fire after ns from now; returns what loam_timer_stop would have. */
LOAM_API bool loam_timer_reset(struct loam_timer *t, int64_t ns);

/* Stops and frees a timer, with its channel, on which nobody may wait. NULL is allowed. */
LOAM_API void loam_timer_free(struct loam_timer *t);

/* A ticker fires every so often: sends the time on its channel, dropping ticks for a slow receiver. */
struct loam_ticker;

/* Makes a ticker with a period of ns: Go's time.NewTicker. NULL: no memory, or the runtime is not
 * started. ns <= 0 is Go's panic "non-positive interval for NewTicker". */
LOAM_API struct loam_ticker *loam_ticker_new(int64_t ns);

/* The ticker's channel, owned by the ticker. */
LOAM_API loam_chan(int64_t) loam_ticker_chan(struct loam_ticker *t);

/* Stops a ticker: no more ticks, also none that was sent and not received. */
LOAM_API void loam_ticker_stop(struct loam_ticker *t);

/* Gives a ticker the period ns; the first tick comes after ns. ns <= 0 panics as Go does. */
LOAM_API void loam_ticker_reset(struct loam_ticker *t, int64_t ns);

/* Stops and frees a ticker, with its channel, on which nobody may wait. NULL is allowed. */
LOAM_API void loam_ticker_free(struct loam_ticker *t);

LOAM_END_DECLS

#endif
