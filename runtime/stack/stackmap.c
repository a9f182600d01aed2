/* Maps for stacks that grow, on huge pages as long as those are cheap.
 *
 * A huge page saves 511 faults and as many TLB entries. But the system clears all of it at the first touch:
 * mostly a fifth of a millisecond; in a virtual machine that has told its host of free memory (which it does
 * in blocks of that size) 4 to 50, because the host has to find the memory, while small pages mostly come from
 * what the machine still has. So the first touch of each map is timed. Where it was dear, the next DEAR_BYTES lie
 * on small pages, before huge ones are tried again. A thread that lost its processor meanwhile may be
 * mistaken for dear memory: that costs faults, nothing else.
 *
 * Rejected: small pages always: where memory is at hand, huge ones make a million goroutines start and end
 * faster; asking for them and collapsing them later: a copy, into the same dear memory. */
#define ATOMIC_QUIET 1 /* says nothing about what stacks hold */

#include "stack/stackalloc_int.h"

#include "base/atomic.h"
#include "os/os.h"

enum { HUGE_PAGE = 2 << 20, DEAR_BYTES = 128 << 20 };

int64_t stackmap_dear_ns = 1000000;

static int64_t
    small_left; /* atomic: bytes that are to come on small pages; lost updates do no harm */

char *stackmap(size_t size, size_t touch, const char *name, bool *huge)
{
    int64_t left = load_relaxed(&small_left);
    *huge = left <= 0;
    char *p = os_mem_map_huge_pages(size, HUGE_PAGE, name);
    if (p == NULL)
        return NULL;
    if (!*huge) {
        store_relaxed(&small_left, left - (int64_t)size);
        os_mem_no_huge_pages(p, size);
        return p;
    }
    int64_t begin = os_nanotime();
    *(volatile char *)(p + touch) = 0;
    if (os_nanotime() - begin > stackmap_dear_ns) {
        store_relaxed(&small_left, DEAR_BYTES);
        if (size > HUGE_PAGE)
            os_mem_no_huge_pages(p, size); /* the rest of it, which nobody has touched */
    }
    return p;
}

void stackmap_fini(void)
{
    store_relaxed(&small_left, 0);
}
