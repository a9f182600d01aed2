/* Sleeping and waking for the types of sync/; see sema.h.
 *
 * A sudog lies on the stack of the goroutine that waits, for as long as it waits: nothing is
 * allocated. */
#include "sync/sema.h"

void semacquire(struct loam_sema *s, enum waitreason reason)
{
    struct mutex *l = sema_mutex(s);
    lock(l);
    if (s->count > 0) {
        s->count--;
        unlock(l);
        return;
    }
    struct sudog sg = {.g = getg()};
    sema_push(s, &sg);
    goparkunlock(l, reason);
}

void sema_ready_list(struct sudog *list)
{
    if (list == NULL)
        return;
    if (list->next == NULL) {
        goready(list->g);
        return;
    }
    while (list != NULL) {
        struct sudog *next = list->next; /* the sudog ends when its goroutine runs */
        goready_tail(list->g);
        list = next;
    }
}

void semrelease(struct loam_sema *s, uint32_t n)
{
    struct mutex *l = sema_mutex(s);
    struct sudog *list = NULL, **end = &list;
    lock(l);
    for (; n > 0 && s->head != NULL; n--) {
        *end = sema_pop(s);
        end = &(*end)->next;
    }
    *end = NULL;
    s->count += n;
    unlock(l);
    sema_ready_list(list);
}
