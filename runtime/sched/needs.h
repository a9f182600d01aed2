/* What the scheduler needs from the floors above; the linker binds it. This list is the whole
 * coupling upwards. */
#ifndef SCHED_NEEDS_H
#define SCHED_NEEDS_H

#include "base/base.h"

struct p;

/* time/: makes and ends the heap of timers of a P; at its end no timer may be in it (they are moved
 * to `heir` if that is not NULL). Called with the world stopped. */
int timers_init_p(struct p *pp);
void timers_fini_p(struct p *pp, struct p *heir);

/* time/: runs the timers of pp that are due at `now`, whoever owns pp: readies goroutines and starts
 * functions on the calling M's P, never parks. Called on a thread's own stack with a P. Returns
 * when the next one is due, 0: none; *ran: whether one ran. Keeps pp->timers_when up to date. */
int64_t timers_run(struct p *pp, int64_t now, bool *ran);

/* sync/: the world is stopped, and goroutines are about to be abandoned, their stacks still there.
 * Waits for those calls of theirs that run on a thread pool's thread (the arguments mostly lie on the
 * stacks), and makes pools forget those that wait. Pools and the calls of foreign threads go on.
 * -EBUSY after timeout_ns: nothing has changed, and the world may be started again. */
int goroutines_abandon(int64_t timeout_ns);

#endif
