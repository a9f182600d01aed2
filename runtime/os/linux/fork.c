/* How a forked child is told from its parent: a page that the kernel clears in the child.
 *
 * The page is part of the library's zero-initialised data, so that it may be read at any time, also
 * while another thread starts or stops the runtime. It has the page to itself.
 *
 * Rejected: pthread_atfork handlers, which cannot be taken back; comparing getpid(), a system call. */
#include "os/os.h"

#include "base/atomic.h"

#include <errno.h>
#include <sys/mman.h>

union os_fork_page os_fork_page __attribute__((aligned(sizeof(union os_fork_page))));

static uint32_t guard_on; /* atomic: copied to the child */

void os_fork_guard(bool on)
{
    int saved = errno;
    if (on) {
        /* Fails before Linux 4.14: a forked child is then not told apart. */
        (void)madvise(&os_fork_page, sizeof os_fork_page, MADV_WIPEONFORK);
        store_relaxed(&os_fork_page.guarded, 1);
        store_release(&guard_on, 1); /* release: whoever sees it sees `guarded` */
    } else {
        store_relaxed(&guard_on, 0);
        /* `guarded` stays: a thread that has just seen guard_on must not take itself for a child */
        (void)madvise(&os_fork_page, sizeof os_fork_page, MADV_KEEPONFORK);
    }
    errno = saved;
}

bool os_forked(void)
{
    return load_acquire(&guard_on) != 0 && load_relaxed(&os_fork_page.guarded) == 0;
}
