/* A shared object with functions that spin; FLAGS: of its note. */
#include "module.h"

#include <loam/module.h>

LOAM_MODULE(FLAGS)

LOAM_MODULE_TEXT void spin(void *stop)
{
    while (__atomic_load_n((int *)stop, __ATOMIC_ACQUIRE) == 0)
        ;
}

/* How many turns another goroutine had meanwhile. */
LOAM_NOPREEMPT void spin_alone(void *p)
{
    struct alone *a = p;
    int64_t before = __atomic_load_n(a->turns, __ATOMIC_ACQUIRE);
    while (__atomic_load_n(&a->stop, __ATOMIC_ACQUIRE) == 0)
        ;
    a->meanwhile = __atomic_load_n(a->turns, __ATOMIC_ACQUIRE) - before;
}
