/* Condition variable, first in, first out by tickets.
 *
 * A waiter draws a ticket while it holds the mutex (cond.wait counts those given), gives the mutex
 * up, then queues. cond.notify counts the tickets served: signal serves the next one. If its owner
 * has not queued yet, it will see under the lock that its ticket is served and not sleep. So nobody
 * who gave up the mutex before a signal can miss it, and the order is that of the waits, however late
 * each came to the queue. Ticket numbers wrap; fewer than 2^31 wait at once.
 *
 * Without the lock signal and broadcast only look whether anybody waits. relaxed is enough: whoever
 * changed the condition did so holding the mutex; a waiter that saw it unchanged drew its ticket
 * before it gave the mutex up, so that draw happens before this look.
 *
 * The last touch (sema.h): goready comes after the lock was given back. Locks: sema.lock. */
#include "sync/sync_int.h"

static bool served(uint32_t ticket, uint32_t notify)
{
    return (int32_t)(ticket - notify) < 0;
}

void loam_cond_wait(struct loam_cond *c, struct loam_mutex *m)
{
    struct g *gp = getg_or_die("loam_cond_wait");
    /* relaxed: the mutex orders it, see above */
    uint32_t ticket = add_relaxed(&c->wait, 1) - 1;
    mutex_unlock(m);
    preempt_point(getm());

    struct mutex *l = sema_mutex(&c->sema);
    lock(l);
    if (served(ticket, load_relaxed(&c->notify))) { /* written under the lock */
        unlock(l);
    } else {
        struct sudog sg = {.g = gp, .c = c, .ticket = ticket};
        sema_push(&c->sema, &sg);
        goparkunlock(l, WAIT_cond_wait);
    }
    mutex_lock(m);
}

/* Takes the waiter with this ticket off the queue; NULL: it has not queued yet. It is near the front:
 * before it are only those that drew later and queued sooner. */
static struct sudog *take(struct loam_sema *s, uint32_t ticket)
{
    struct sudog *before = NULL;
    for (struct sudog *sg = s->head; sg != NULL; before = sg, sg = sg->next) {
        if (sg->ticket != (int64_t)ticket)
            continue;
        if (before != NULL)
            before->next = sg->next;
        else
            s->head = sg->next;
        if (s->tail == sg)
            s->tail = before;
        return sg;
    }
    return NULL;
}

void loam_cond_signal(struct loam_cond *c)
{
    sync_point();
    if (load_relaxed(&c->wait) == load_relaxed(&c->notify)) /* relaxed: see the head */
        return;
    struct mutex *l = sema_mutex(&c->sema);
    struct sudog *sg = NULL;
    lock(l);
    uint32_t ticket = load_relaxed(&c->notify); /* written under the lock */
    if (ticket != load_relaxed(&c->wait)) {
        store_relaxed(&c->notify, ticket + 1);
        sg = take(&c->sema, ticket);
    }
    unlock(l);
    if (sg != NULL)
        goready(sg->g);
}

void loam_cond_broadcast(struct loam_cond *c)
{
    sync_point();
    if (load_relaxed(&c->wait) == load_relaxed(&c->notify)) /* relaxed: see the head */
        return;
    struct mutex *l = sema_mutex(&c->sema);
    lock(l);
    /* All tickets given so far are served: who has one and has not queued will not sleep. */
    store_relaxed(&c->notify, load_relaxed(&c->wait));
    struct sudog *list = sema_pop_all(&c->sema);
    unlock(l);
    sema_ready_list(list);
}
