/* Once: the first call runs the function under a mutex, later ones see a flag.
 *
 * The flag is set after the function has returned, not before: a call that returns means that the
 * function has ended, so those that come meanwhile wait on the mutex (a compare-and-swap in front
 * would let the loser return too early). A function that calls loam_once_do on its own once waits
 * for itself on the mutex: nobody but it could unlock, so when nothing else can run the program ends
 * with Go's deadlock report, whose traceback shows both calls. */
#include "sync/sync_int.h"

void loam_once_do_slow(struct loam_once *o, void (*fn)(void *), void *arg)
{
    getg_or_die("loam_once_do");
    mutex_lock(&o->mutex);
    if (o->done == 0) { /* written under the mutex */
        if (fn == NULL)
            panic_text("runtime error: invalid memory address or nil pointer dereference");
        fn(arg);
        store_release(&o->done, 1); /* release: whoever sees it sees what fn did */
    }
    mutex_unlock(&o->mutex);
}
