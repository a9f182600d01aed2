/* The clock, and sleeping.
 *
 * A sleeping goroutine is an entry in its P's heap (timers.c). The entry is made by gopark's hook, when
 * the goroutine's context is saved: made earlier, a short sleep could be over, and the goroutine
 * resumed elsewhere, while it still runs here. */
#include "time/time_int.h"

#include "base/debugvar.h"
#include "lock/lock.h"
#include "os/os.h"
#include "sched/sched.h"

int64_t loam_now(void)
{
    return unlikely(debug.dst_on) ? nanotime() : os_nanotime_open();
}

struct sleep {
    int64_t when;
    bool asleep; /* false: there was no memory */
};

static bool sleep_publish(struct g *gp, void *arg)
{
    struct sleep *s = arg; /* on gp's stack: not to be touched once gp may be resumed */
    s->asleep = true;
    if (timers_insert_g(timers_here(), gp, s->when))
        return true;
    s->asleep = false;
    return false;
}

/* On a thread that runs no goroutine now: by the clock of the system, also in seeded runs. */
static void thread_sleep(int64_t ns)
{
    enum { DAY_S = 24 * 60 * 60 };
    struct note never = {0};
    int64_t end, now = os_nanotime();
    if (__builtin_add_overflow(now, ns, &end))
        end = INT64_MAX;
    /* by days: any deadline can be computed then */
    for (; now < end; now = os_nanotime())
        (void)notetsleep(&never, end - now < DAY_S * LOAM_SECOND ? end - now : DAY_S * LOAM_SECOND);
}

void loam_sleep(int64_t ns)
{
    if (ns <= 0)
        return;
    struct m *mp = getm();
    if (mp == NULL || mp->curg == NULL || mp->p == NULL) {
        thread_sleep(ns);
        return;
    }
    struct sleep s = {.when = when_after(ns)};
    preempt_point(mp);
    for (;;) {
        gopark(sleep_publish, &s, WAIT_sleep);
        if (likely(s.asleep) || nanotime() >= s.when)
            return;
        gosched(); /* a sleep cannot fail: it is awake meanwhile */
    }
}
