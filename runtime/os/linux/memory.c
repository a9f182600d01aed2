/* Memory from Linux. Maps are private and MAP_NORESERVE: a goroutine's stack is 256 KB of addresses and
 * a page or two of memory. They are anonymous, but for slots on kernels without guard markers
 * (os_mem_map_slots). */
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
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u /* Linux 6.3 */
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

enum { MAP_OURS = MAP_PRIVATE | MAP_NORESERVE | MAP_STACK };

/* Not by libc's name: TSan takes that for a write of all of it by the goroutine at hand, which would
 * race with whoever uses the memory next. */
static long sys_mmap(void *at, size_t size, int prot, int flags, int fd)
{
    return syscall(SYS_mmap, at, size, prot, flags, fd, 0);
}

static void *map(size_t size, int prot, const char *name)
{
    struct thread *t = libc_enter();
    int saved = errno;
    long at = sys_mmap(NULL, size, prot, MAP_OURS | MAP_ANONYMOUS, -1);
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
    return map(size, PROT_READ | PROT_WRITE, name);
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

static void *map_aligned(size_t size, size_t align, int prot, const char *name)
{
    char *p = map(size + align, prot, name);
    if (p == NULL)
        return NULL;
    struct thread *t = libc_enter();
    int saved = errno;
    char *aligned = (char *)align_up((uintptr_t)p, align);
    if (aligned > p)
        (void)munmap(p, (size_t)(aligned - p));
    (void)munmap(aligned + size, (size_t)(p + align - aligned));
    errno = saved;
    libc_leave(t);
    return aligned;
}

void *os_mem_map_small_pages(size_t size, size_t align, const char *name)
{
    struct thread *t = libc_enter();
    int saved = errno;
    void *p = map_aligned(size, align, PROT_READ | PROT_WRITE, name);
    /* A huge page would commit 2 MB for the 4 KB that a goroutine touches. EINVAL: the kernel has
     * no huge pages. */
    if (p != NULL)
        (void)madvise(p, size, MADV_NOHUGEPAGE);
    errno = saved;
    libc_leave(t);
    return p;
}

int os_mem_guard(void *p, size_t size)
{
    struct thread *t = libc_enter();
    int saved = errno;
    /* Markers in the page table: they split no map, so there is no limit on their number. */
    int err = madvise(p, size, MADV_GUARD_INSTALL) != 0 ? -errno : 0;
    errno = saved;
    libc_leave(t);
    return err;
}

/* ---- Slots without guard markers ----------------------------------------------------------------
 *
 * A guard that is forbidden memory between two that are not costs two maps a slot: vm.max_map_count
 * would end at 32,765 of them. But what lies behind the end of a mapped file faults too (SIGBUS), and
 * within the same map. So each slot is a private map of an empty file that is as long as a slot is
 * usable, and the map goes on behind the file's end, over the guard of the next slot:
 *
 *     | guard |  usable  : guard |  usable  : guard |  usable  |
 *       none    map 0 ........... map 1 ........... map 2 .....
 *
 * Private: the first write to a page makes an anonymous copy, as in any other stack. The file's own
 * pages, from which they are copied, are shared by all slots of the stretch. Its descriptor is closed
 * at once: a program may close all that it does not know, and then another file would have its number. */

static int empty_file(size_t size, const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, (off_t)size) != 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

void *os_mem_map_slots(size_t size, size_t n, size_t guard, size_t align, const char *name)
{
    struct thread *t = libc_enter();
    int saved = errno;
    char *base = map_aligned(size * n, align, PROT_NONE, name);
    int fd = base != NULL ? empty_file(size - guard, name) : -1;
    bool ok = base != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        char *usable = base + i * size + guard;
        size_t mapped = i + 1 < n ? size : size - guard;
        if (fd >= 0)
            ok = sys_mmap(usable, mapped, PROT_READ | PROT_WRITE, MAP_OURS | MAP_FIXED, fd) != -1;
        else /* no descriptor to be had, or a sandbox refuses it: two maps each */
            ok = mprotect(usable, size - guard, PROT_READ | PROT_WRITE) == 0;
    }
    if (fd >= 0)
        (void)close(fd);
    if (base != NULL && !ok) {
        os_mem_unmap(base, size * n);
        base = NULL;
    }
    errno = saved;
    libc_leave(t);
    return base;
}

void *os_mem_map_wiped_on_fork(size_t size)
{
    struct thread *t = libc_enter();
    int saved = errno;
    void *p = map(size, PROT_READ | PROT_WRITE, "loam fork guard");
    if (p != NULL && madvise(p, size, MADV_WIPEONFORK) != 0) {
        /* before Linux 4.14: a forked child is then not told apart */
    }
    errno = saved;
    libc_leave(t);
    return p;
}

void *os_mem_map_huge_pages(size_t size, size_t align, const char *name)
{
    struct thread *t = libc_enter();
    int saved = errno;
    /* the kernel mostly puts it right below the one before */
    void *p = map(size, PROT_READ | PROT_WRITE, name);
    if (p != NULL && ((uintptr_t)p & (align - 1)) != 0) {
        (void)munmap(p, size);
        p = map_aligned(size, align, PROT_READ | PROT_WRITE, name);
    }
    if (p != NULL)
        (void)madvise(p, size, MADV_HUGEPAGE); /* EINVAL: the kernel has no huge pages */
    errno = saved;
    libc_leave(t);
    return p;
}

static void advise(void *p, size_t size, int advice)
{
    struct thread *t = libc_enter();
    int saved = errno;
    (void)madvise(p, size, advice); /* what fails was no more than a wish */
    errno = saved;
    libc_leave(t);
}

void os_mem_no_huge_pages(void *p, size_t size)
{
    advise(p, size, MADV_NOHUGEPAGE);
}

void os_mem_populate(void *p, size_t size)
{
    advise(p, size, MADV_POPULATE_WRITE);
}

void os_mem_give_back(void *p, size_t size)
{
    advise(p, size, MADV_DONTNEED); /* EINVAL: the program has locked its memory */
}

bool os_mem_renew(void *p, size_t size, const char *name)
{
    struct thread *t = libc_enter();
    int saved = errno;
    bool ok =
        sys_mmap(p, size, PROT_READ | PROT_WRITE, MAP_OURS | MAP_ANONYMOUS | MAP_FIXED, -1) != -1;
    if (ok) {
        (void)prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, size, name);
        (void)madvise(p, size, MADV_NOHUGEPAGE);
    }
    errno = saved;
    libc_leave(t);
    return ok;
}
