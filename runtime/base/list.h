/* Lists whose members leave from anywhere, without knowing the list's head. The owner of the list owns the
 * links of all its members. Zero memory is an empty list, and a member of none. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/base.h"

/* In whatever is listed. */
struct member {
    struct member *next;
    struct member **from; /* what points to this one; NULL: it is on no list */
};

/* The struct of that type whose member `field` is m, which is not NULL. */
#define member_of(m, type, field) ((type *)((char *)(m)-offsetof(type, field)))

/* In front. */
static always_inline void list_add(struct member **list, struct member *m)
{
    m->next = *list;
    m->from = list;
    if (m->next != NULL)
        m->next->from = &m->next;
    *list = m;
}

static always_inline void list_remove(struct member *m)
{
    *m->from = m->next;
    if (m->next != NULL)
        m->next->from = m->from;
    m->from = NULL;
}

static always_inline bool listed(const struct member *m)
{
    return m->from != NULL;
}

#endif
