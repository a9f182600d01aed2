/* Stand-in for stackalloc until it is there. */
#include "stack/stackalloc.h"
#include "os/os.h"
#include "lock/lock.h"
#include <errno.h>
static struct mutex l = MUTEX_INIT(stack);
static uintptr_t freelist[STACKALLOC_CLASSES];
static char *chunk;
static size_t left;
static uint64_t mapped;
int stackalloc(struct stackcache *cache, size_t size, struct stack *out)
{
    uint32_t c = 0;
    while (((size_t)STACKALLOC_MIN << c) < size)
        c++;
    if (cache && c < 5 && cache->n[c] > 0) {
        uintptr_t p = cache->lo[c];
        cache->lo[c] = *(uintptr_t *)p;
        cache->n[c]--;
        *out = (struct stack){.lo = p, .hi = p + size, .size_class = c};
        return STACK_FROM_CACHE;
    }
    lock(&l);
    uintptr_t p = freelist[c];
    if (p)
        freelist[c] = *(uintptr_t *)p;
    else if (c < 5) {
        if (left < size) {
            chunk = os_mem_map_small_pages(2 << 20, 2 << 20, "loam stacks");
            left = 2 << 20;
            mapped += left;
        }
        chunk = (char *)align_up((uintptr_t)chunk, size);
        p = (uintptr_t)chunk;
        chunk += size;
        left = (2 << 20) - (p + size) % (2 << 20);
        if (left == (2 << 20)) left = 0;
    } else {
        p = (uintptr_t)os_mem_map(size, "loam stack");
        mapped += size;
    }
    unlock(&l);
    *out = (struct stack){.lo = p, .hi = p + size, .size_class = c};
    return p ? STACK_FROM_POOL : -ENOMEM;
}
void stackfree(struct stackcache *cache, struct stack s)
{
    uint32_t c = s.size_class;
    if (cache && c < 5 && cache->n[c] < 64) {
        *(uintptr_t *)s.lo = cache->lo[c];
        cache->lo[c] = s.lo;
        cache->n[c]++;
        return;
    }
    if (c >= 5) {
        os_mem_unmap((void *)s.lo, (size_t)STACKALLOC_MIN << c);
        return;
    }
    lock(&l);
    *(uintptr_t *)s.lo = freelist[c];
    freelist[c] = s.lo;
    unlock(&l);
}
void stackcache_clear(struct stackcache *cache) { (void)cache; }
uint64_t stackalloc_mapped(void) { return mapped; }
void stackalloc_fini(void) { for (int i = 0; i < 20; i++) freelist[i] = 0; left = 0; }
