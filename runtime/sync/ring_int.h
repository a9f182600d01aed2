/* Circular lists whose links lie in their members: O(1) to add, take out and join whole lists.
 *
 * A head is a link too, so that a member is taken out without knowing its list. No lock: whoever
 * owns the list says which. */
#ifndef SYNC_RING_INT_H
#define SYNC_RING_INT_H

#include "base/base.h"

struct ring {
    struct ring *next, *prev;
};

static inline void ring_init(struct ring *head)
{
    head->next = head->prev = head;
}

static inline bool ring_empty(const struct ring *head)
{
    return head->next == head;
}

static inline void ring_add_tail(struct ring *head, struct ring *r)
{
    r->next = head;
    r->prev = head->prev;
    head->prev->next = r;
    head->prev = r;
}

static inline void ring_remove(struct ring *r)
{
    r->prev->next = r->next;
    r->next->prev = r->prev;
    r->next = r->prev = r;
}

/* The first member, taken out; NULL: none. */
static inline struct ring *ring_pop(struct ring *head)
{
    struct ring *r = head->next;
    if (r == head)
        return NULL;
    ring_remove(r);
    return r;
}

/* Moves all members of `from` behind those of `to`. */
static inline void ring_join(struct ring *to, struct ring *from)
{
    if (ring_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    ring_init(from);
}

#endif
