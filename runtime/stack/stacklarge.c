/* Stacks of 64 KB to 1 GB, each a map of its own; see stackalloc.h.
 *
 * A freed one is kept, by size, for whoever comes next: a recursion that comes and goes would else map and
 * fault it in each time. At most KEEP_EACH of a size and KEEP_BYTES in all are kept, the rest goes back to
 * the system at once; and at each round of scavenging as many as nobody had use for since the last one,
 * the coldest.
 *
 * The last bytes of a map are ours: they link all of them, so that those which abandoned goroutines were
 * using can be unmapped when the runtime stops. They lie in the page that a stack uses first, so that
 * they cost none of their own.
 *
 * From HUGE on they lie on huge pages (stackmap.c): whoever doubles up to that size will use at least half of it.
 * Smaller ones must not: neighbours are one map to the kernel, which would commit 2 MB for a touch.
 *
 * Lock: large_lock; the system is called without it. */
#define ATOMIC_QUIET 1 /* stackalloc_handed_out and _back say what is ordered */

#include "stack/stackalloc_int.h"

#include "base/throw.h"
#include "lock/lock.h"
#include "os/os.h"

#include <string.h>

enum {
    LARGE = STACKALLOC_CLASSES - STACKALLOC_SMALL,
    KEEP_EACH = LOAM_TORTURE ? 1 : 16,
    KEEP_BYTES = 64 << 20,
    HUGE = 4 << 20,
    PAGE = 4096,
};

/* At the high end of each map; large_lock. */
struct large {
    struct member all;    /* all maps */
    struct large *colder; /* while kept: the next one of its size */
    uint32_t class;       /* const */
    uint32_t in_use;
};
_Static_assert(sizeof(struct large) <= STACKALLOC_LARGE_TOP, "the header promises so much");

static struct {
    struct large *kept; /* the warmest */
    uint32_t n;         /* how many */
    uint32_t low;       /* the least n since the last round: that many were of no use */
    uint64_t out, system_bytes, returned_bytes;
} larges[LARGE];                  /* large_lock */
static struct member *all_larges; /* large_lock */
static uint64_t kept_bytes;       /* large_lock */
static struct mutex large_lock = MUTEX_INIT(stacklarge);

static uintptr_t lo_of(const struct large *l)
{
    return (uintptr_t)l + STACKALLOC_LARGE_TOP - stackalloc_class_size((int)l->class);
}

static struct large *map(int class)
{
    size_t size = stackalloc_class_size(class);
    bool huge;
    char *lo = size >= HUGE ? stackmap(size, size - STACKALLOC_LARGE_TOP, "loam large stack", &huge)
                            : os_mem_map_small_pages(size, PAGE, "loam large stack");
    if (lo == NULL)
        return NULL;
    struct large *l = (struct large *)(lo + size - STACKALLOC_LARGE_TOP);
    l->class = (uint32_t) class;
    return l;
}

static void unmap(struct large *l)
{
    size_t size = stackalloc_class_size((int)l->class);
    uintptr_t lo = lo_of(l);
    stackalloc_unpoison(lo, size); /* the marks would meet what comes to lie there next */
    os_mem_unmap((void *)lo, size);
}

/* It goes back to the system: off the list, and counted. */
static void forget(struct large *l)
{
    list_remove(&l->all);
    larges[l->class - STACKALLOC_SMALL].returned_bytes += stackalloc_class_size((int)l->class);
}

uintptr_t stacklargealloc(int class, enum stack_source *source)
{
    int i = class - STACKALLOC_SMALL;
    size_t size = stackalloc_class_size(class);
    lock(&large_lock);
    struct large *l = larges[i].kept;
    if (l != NULL) {
        larges[i].kept = l->colder;
        if (larges[i].low > --larges[i].n)
            larges[i].low = larges[i].n;
        kept_bytes -= size;
        larges[i].out++;
        l->in_use = 1;
    }
    unlock(&large_lock);
    *source = l != NULL ? STACK_FROM_POOL : STACK_FROM_SYSTEM;
    if (l != NULL)
        return lo_of(l);
    l = map(class);
    if (l == NULL)
        return 0;
    lock(&large_lock);
    list_add(&all_larges, &l->all);
    l->in_use = 1;
    larges[i].out++;
    larges[i].system_bytes += size;
    unlock(&large_lock);
    return lo_of(l);
}

void stacklargefree(int class, uintptr_t lo)
{
    int i = class - STACKALLOC_SMALL;
    size_t size = stackalloc_class_size(class);
    struct large *l = (struct large *)(lo + size - STACKALLOC_LARGE_TOP);
    lock(&large_lock);
    if (l->class != (uint32_t) class || !l->in_use)
        throwf("stackfree: the stack of %zu bytes at %p %s", size, (void *)lo,
               l->class != (uint32_t) class ? "is none of that size" : "is free already");
    l->in_use = 0;
    larges[i].out--;
    bool keep = larges[i].n < KEEP_EACH && kept_bytes + size <= KEEP_BYTES;
    if (keep) {
        l->colder = larges[i].kept;
        larges[i].kept = l;
        larges[i].n++;
        kept_bytes += size;
    } else {
        forget(l);
    }
    unlock(&large_lock);
    if (!keep)
        unmap(l);
}

/* Takes the n coldest of a size off the lists; linked by colder. large_lock. */
static struct large *take_coldest(int i, uint32_t n)
{
    struct large **link = &larges[i].kept;
    for (uint32_t warm = larges[i].n - n; warm > 0; warm--)
        link = &(*link)->colder;
    struct large *cold = *link;
    *link = NULL;
    larges[i].n -= n;
    kept_bytes -= n * stackalloc_class_size(i + STACKALLOC_SMALL);
    for (struct large *l = cold; l != NULL; l = l->colder)
        forget(l);
    return cold;
}

void stacklarge_scavenge(bool all)
{
    for (int i = 0; i < LARGE; i++) {
        lock(&large_lock);
        struct large *cold = take_coldest(i, all ? larges[i].n : larges[i].low);
        larges[i].low = larges[i].n;
        unlock(&large_lock);
        for (struct large *next; cold != NULL; cold = next) {
            next = cold->colder;
            unmap(cold);
        }
    }
}

void stacklarge_read_stats(struct stackalloc_stats *stats)
{
    lock(&large_lock);
    for (int i = 0; i < LARGE; i++) {
        struct stackalloc_stats *s = &stats[i + STACKALLOC_SMALL];
        s->out = larges[i].out;
        s->pooled = larges[i].n;
        s->system_bytes = larges[i].system_bytes;
        s->returned_bytes = larges[i].returned_bytes;
    }
    unlock(&large_lock);
}

uint64_t stacklarge_mapped(void)
{
    uint64_t bytes = 0;
    lock(&large_lock);
    for (int i = 0; i < LARGE; i++)
        bytes += larges[i].system_bytes - larges[i].returned_bytes;
    unlock(&large_lock);
    return bytes;
}

void stacklarge_fini(void)
{
    for (struct member *m = all_larges, *next; m != NULL; m = next) {
        next = m->next;
        unmap(member_of(m, struct large, all));
    }
    all_larges = NULL;
    memset(larges, 0, sizeof larges);
    kept_bytes = 0;
}
