/* White box: how many goroutines wait on a channel. */
#ifndef CHAN_WAITERS_H
#define CHAN_WAITERS_H

#include "chan/chan_int.h"

static inline int count_waiters(struct waitq *q)
{
    int n = 0;
    const struct sudog *before = NULL;
    for (struct sudog *sg = q->first; sg != NULL; sg = sg->next) {
        if (sg->prev != before)
            throw("a queue's prev links are wrong");
        before = sg;
        n++;
    }
    if (q->last != before)
        throw("a queue's last is wrong");
    return n;
}

static inline int receivers(struct loam_hchan *c)
{
    chan_lock(c);
    int n = count_waiters(&c->recvq);
    chan_unlock(c);
    return n;
}

static inline int senders(struct loam_hchan *c)
{
    chan_lock(c);
    int n = count_waiters(&c->sendq);
    chan_unlock(c);
    return n;
}

#endif
