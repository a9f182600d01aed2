/* Memory from Linux. Maps are private, anonymous and MAP_NORESERVE: a goroutine's stack is 256 KB of
 * addresses and a page or two of memory. */
#include "os/os.h"

#include "arch/arch.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

static void *map(size_t size, const char *name)
{
    struct thread *t = libc_enter();
    int saved = errno;
    /* Not by libc's name: TSan takes that for a write of all of it by the goroutine at hand, which
     * would race with whoever uses the memory next. */
    long at = syscall(SYS_mmap, NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    void *p = NULL;
    if (at != -1) {
        p = (void *)at;
        /* fails on kernels without the option, which costs nothing but the name */
        (void)prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, size, name);
    }
    errno = saved;
    libc_leave(t);
    return p;
}

void *os_mem_map(size_t size, const char *name)
{
    return map(size, name);
}

void os_mem_unmap(void *p, size_t size)
{
    struct thread *t = libc_enter();
    int saved = errno;
    /* Whole pages, as the kernel does: TSan forgets what was written to them, and of the last one
     * only so. */
    if (p != NULL)
        (void)munmap(p, align_up(size, (size_t)getpagesize()));
    errno = saved;
    libc_leave(t);
}

void *os_mem_map_small_pages(size_t size, size_t align, const char *name)
{
    char *p = map(size + align, name);
    if (p == NULL)
        return NULL;
    struct thread *t = libc_enter();
    int saved = errno;
    char *aligned = (char *)align_up((uintptr_t)p, align);
    if (aligned > p)
        (void)munmap(p, (size_t)(aligned - p));
    (void)munmap(aligned + size, (size_t)(p + align - aligned));
    /* A huge page would commit 2 MB for the 4 KB that a goroutine touches. EINVAL: the kernel has
     * no huge pages. */
    (void)madvise(aligned, size, MADV_NOHUGEPAGE);
    errno = saved;
    libc_leave(t);
    return aligned;
}

int os_mem_guard(void *p, size_t size, bool force_mprotect)
{
    struct thread *t = libc_enter();
    int saved = errno;
    int err = 0;
    /* Markers in the page table: they split no map, so there is no limit on their number. */
    if (force_mprotect || madvise(p, size, MADV_GUARD_INSTALL) != 0)
        err = mprotect(p, size, PROT_NONE) != 0 ? -errno : 0;
    errno = saved;
    libc_leave(t);
    return err;
}

void *os_mem_map_wiped_on_fork(size_t size)
{
    void *p = map(size, "loam fork guard");
    struct thread *t = libc_enter();
    int saved = errno;
    if (p != NULL && madvise(p, size, MADV_WIPEONFORK) != 0) {
        /* before Linux 4.14: a forked child is then not told apart */
    }
    errno = saved;
    libc_leave(t);
    return p;
}
