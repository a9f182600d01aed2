/* Channels outlive the runtime for loam_chan_free alone, also with abandoned goroutines in their queues;
 * and goroutines of the next start use new ones. */
#include "chan_test.h"
#include "waiters.h"

#include <sched.h>

struct scene {
    struct loam_hchan *plain, *by_select;
};

static void receive(void *arg)
{
    loam_chan_recv(arg, NULL);
    FAIL("an abandoned goroutine went on");
}

static void receive_by_select(void *arg)
{
    struct loam_case cases[] = {{arg, NULL, NULL, 0}, {arg, NULL, NULL, 0}};
    loam_select_n(cases, 2, 0);
    FAIL("an abandoned goroutine went on");
}

static void begin(void *arg)
{
    struct scene *s = arg;
    s->plain = loam_chan_new_or_panic(8, 0);
    s->by_select = loam_chan_new_or_panic(8, 1);
    go(receive, s->plain);
    go(receive_by_select, s->by_select);
}

int main(void)
{
    for (int round = 0; round < 3; round++) {
        struct scene s;
        CHECK_EQ(loam_start(NULL), 0);
        CHECK_EQ(loam_call(begin, &s), 0);
        while (receivers(s.plain) != 1 || receivers(s.by_select) != 2)
            sched_yield();
        CHECK_EQ(loam_stop(-1), 0);
        CHECK_EQ(loam_chan_cap(s.by_select), 1);
        if (round == 2)
            CHECK_EQ(loam_start(NULL), 0); /* they are the former runtime's still */
        loam_chan_delete(s.plain);
        loam_chan_delete(s.by_select);
    }
    CHECK_EQ(loam_stop(-1), 0);
    return 0;
}
