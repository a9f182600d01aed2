/* Timers that are due at the same moment fire in the order of their making; in a seeded run in an order
 * that the seed chooses. White-box: only the heap shows it. */
#include "time/time_int.h"

#include <loam.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 40 };

/* Takes all timers out of the heap, in their order; true if that is the order of their making. */
static bool in_order(struct loam_timer **made)
{
    bool same = true;
    struct timers *ts = made[0]->ts;
    lock(&ts->lock);
    for (int i = 0; i < N; i++) {
        struct loam_timer *t = (struct loam_timer *)theap_pop(&ts->heap);
        same &= t == made[i];
        t->ts = NULL;
        t->armed = false;
    }
    unlock(&ts->lock);
    return same;
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    const char *debug = getenv("LOAMDEBUG");
    bool seeded = debug != NULL && strstr(debug, "dst=") != NULL;
    struct loam_timer *made[N];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) {
            made[i] = timer_make(TIMER_CHAN);
            if (made[i] == NULL || !timer_insert(timers_here(), made[i], INT64_MAX - 7))
                return 1;
        }
        if (in_order(made) == seeded) { /* by chance once in 40! */
            fprintf(stderr, "%s:%d: in the order of their making: %d, seeded run: %d\n", __FILE__,
                    __LINE__, !seeded, seeded);
            return 1;
        }
        for (int i = 0; i < N; i++)
            loam_timer_free(made[i]);
    }
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
