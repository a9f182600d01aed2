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

#ifdef LOOKS
/* A constructor runs with the loader's lock, for which the other thread's look waits. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void (*look)(void);

static void *look_there(void *unused)
{
    (void)unused;
    look();
    return NULL;
}

__attribute__((constructor)) static void looks(void)
{
    pthread_t t;
    *(void **)&look = dlsym(RTLD_DEFAULT, "loam_modules_look");
    if (look == NULL || pthread_create(&t, NULL, look_there, NULL) != 0)
        abort();
    usleep(50000); /* it is there, mostly */
    look();
    pthread_detach(t);
}
#endif
