/* The front of the allocator of stacks: caches, the way to pools and large stacks; see stackalloc.h.
 *
 * A cache is an array per class, used as a stack of stacks: the last one freed is the next one given.
 * Empty, it is half filled (stackcacherefill); full, its colder half goes (stackcacherelease): so whoever
 * goes back and forth over one boundary needs the pool once in half a cache, not each time.
 *
 * Everything past the cache is entered by `enter` and left by `leave`: a thread that is in there and asks
 * again has grown the very stack that the allocator runs on, or got here from a handler. It would find
 * half-made lists and locks that it holds itself.
 *
 * Rejected: large caches for fewer refills: what an idle P holds is of no use to others. */
#define ATOMIC_QUIET 1 /* stackalloc_handed_out and _back say what is ordered */

#include "stack/stackalloc_int.h"

#include "arch/arch.h"
#include "base/atomic.h"
#include "base/debugvar.h"
#include "base/print.h"
#include "base/throw.h"
#include "stack/needs.h"

#include <errno.h>
#include <string.h>

_Static_assert(STACK_MAX == (size_t)STACKALLOC_MIN << (STACKALLOC_CLASSES - 1), "the last class");

/* A cache's part for a class, and how many stacks it holds at most. */
static always_inline uintptr_t *cached(struct stackcache *c, int class)
{
    return c->lo + 2 * STACKCACHE_2K - (2 * STACKCACHE_2K >> class);
}

static always_inline uint32_t cache_max(int class)
{
    return LOAM_TORTURE ? 2 : STACKCACHE_2K >> class;
}
_Static_assert(STACKCACHE_2K >> (STACKALLOC_SMALL - 1) >= 2, "half a cache is one stack at least");

/* ---- On the system stack, once --------------------------------------------------------------------- */

static noinline _Noreturn void entered_again(const char *where, size_t size)
{
    throwf(
        "%s: unexpected recursive stackalloc: %zu bytes are asked for by code that the allocator "
        "itself waits for; it runs on the system stack, which never grows",
        where, size);
}

static void enter(const char *where, size_t size)
{
    struct thread *t = thread_self();
    if (t == NULL)
        return; /* no thread of the runtime: none of its stacks grow */
    if (unlikely(t->in_stackalloc != NULL))
        entered_again(t->in_stackalloc, size);
    t->in_stackalloc = where;
    compiler_barrier(); /* a handler on this thread sees it */
}

static void leave(void)
{
    struct thread *t = thread_self();
    compiler_barrier();
    if (t != NULL)
        t->in_stackalloc = NULL;
}

/* ---- LOAMDEBUG=stacktrace=1 ------------------------------------------------------------------------ */

static void trace(const char *call, size_t size, const char *by, enum stack_source place,
                  unsigned n)
{
    if (debug.stacktrace <= 0)
        return;
    print_fd(2, "STACK %s size=%zu path=%s%s%s batch=%u\n", call, size, by,
             size > stackalloc_class_size(STACKALLOC_SMALL - 1) ? ",large" : ",pool",
             place == STACK_FROM_SYSTEM ? ",system" : "", n);
}

/* ---- Allocation ------------------------------------------------------------------------------------ */

static int out_of_memory(size_t size)
{
    return error_note(-ENOMEM,
                      "no memory for another stack of %zu KB: %lu MB of addresses are taken "
                      "(ulimit -v, vm.overcommit_memory and vm.max_map_count limit them)",
                      size >> 10, (unsigned long)(stackalloc_mapped() >> 20));
}

/* Fills half of a cache; 0: there is no memory for a single one. */
static unsigned stackcacherefill(struct stackcache *c, int class, enum stack_source *source)
{
    enter("stackcacherefill", stackalloc_class_size(class));
    unsigned n = stackpoolalloc(class, cached(c, class), cache_max(class) / 2, source);
    store_relaxed(&c->n[class], n);
    count_owner(&c->refills[class], n > 0);
    leave();
    return n;
}

static uintptr_t take(struct stackcache *c, int class)
{
    uint32_t n = load_relaxed(&c->n[class]) - 1;
    store_relaxed(&c->n[class], n); /* relaxed: others only count */
    return cached(c, class)[n];
}

static uintptr_t try(struct stackcache *c, int class, enum stack_source *source)
{
    size_t size = stackalloc_class_size(class);
    uintptr_t lo = 0;
    unsigned n = 1;
    if (class >= STACKALLOC_SMALL) {
        enter("stackalloc", size);
        lo = stacklargealloc(class, source);
        leave();
    } else if (c != NULL) {
        n = stackcacherefill(c, class, source);
        if (n > 0)
            lo = take(c, class);
    } else {
        enter("stackalloc", size);
        if (stackpoolalloc(class, &lo, 1, source) == 0)
            lo = 0;
        leave();
    }
    if (lo != 0)
        trace("alloc", size,
              c != NULL && class < STACKALLOC_SMALL ? "stackalloc,stackcacherefill" : "stackalloc",
              *source, n);
    return lo;
}

static void hand_out(uintptr_t lo, int class, struct stack *out)
{
    size_t size = stackalloc_usable(class);
    stackalloc_unpoison(lo, size);
    stackalloc_handed_out(lo);
    *out = (struct stack){.lo = lo, .hi = lo + size, .size_class = (uint16_t) class};
}

static noinline int alloc_slow(struct stackcache *c, int class, struct stack *out)
{
    size_t size = stackalloc_class_size(class);
    if (on_goroutine_stack((uintptr_t)__builtin_frame_address(0)))
        throwf(
            "stackalloc: %zu bytes are asked for on a goroutine's stack, not on the system stack",
            size);
    enum stack_source source = STACK_FROM_CACHE;
    uintptr_t lo = try(c, class, &source);
    if (lo == 0) {
        /* what lies free in other sizes will do */
        enter("stackalloc", size);
        stackalloc_reclaim();
        leave();
        lo = try(c, class, &source);
    }
    if (lo == 0)
        return out_of_memory(size);
    hand_out(lo, class, out);
    return (int)source;
}

static noinline _Noreturn void bad_size(size_t size)
{
    throwf("stackalloc: %zu bytes are no power of two from 2 KB to 1 GB", size);
}

int stackalloc(struct stackcache *c, size_t size, struct stack *out)
{
    if (unlikely((size & (size - 1)) != 0 || size < STACKALLOC_MIN || size > STACK_MAX))
        bad_size(size);
    int class = __builtin_ctzl(size) - STACKALLOC_MIN_SHIFT;
    if (unlikely(c == NULL || class >= STACKALLOC_SMALL || load_relaxed(&c->n[class]) == 0))
        return alloc_slow(c, class, out);
    hand_out(take(c, class), class, out);
    return STACK_FROM_CACHE;
}

/* ---- And back -------------------------------------------------------------------------------------- */

static noinline void stackcacherelease(struct stackcache *c, int class)
{
    size_t size = stackalloc_class_size(class);
    uint32_t n = load_relaxed(&c->n[class]), half = cache_max(class) / 2;
    uintptr_t *lo = cached(c, class);
    enter("stackcacherelease", size);
    stackpoolfree(class, lo, half);
    memmove(lo, lo + half, (n - half) * sizeof lo[0]);
    store_relaxed(&c->n[class], n - half);
    count_owner(&c->releases[class], 1);
    leave();
    trace("free", size, "stackfree,stackcacherelease", STACK_FROM_POOL, half);
}

static noinline void free_slow(int class, uintptr_t lo)
{
    size_t size = stackalloc_class_size(class);
    enter("stackfree", size);
    if (class >= STACKALLOC_SMALL)
        stacklargefree(class, lo);
    else
        stackpoolfree(class, &lo, 1);
    leave();
    trace("free", size, "stackfree", STACK_FROM_POOL, 1);
}

/* A second free of one that is still in the cache. One that is in the pool is found there. */
static void check_cached(struct stackcache *c, int class, uintptr_t lo)
{
    for (uint32_t i = 0; i < load_relaxed(&c->n[class]); i++)
        if (cached(c, class)[i] == lo)
            throwf("stackfree: the stack of %zu bytes at %p is free already",
                   stackalloc_class_size(class), (void *)lo);
}

void stackfree_at(struct stackcache *c, uintptr_t lo, uint32_t size_class)
{
    int class = (int)size_class;
    if (unlikely(lo == 0 || size_class >= STACKALLOC_CLASSES))
        throwf("stackfree: %p, of class %u, is no stack", (void *)lo, size_class);
    stackalloc_handed_back(lo);
    stackalloc_poison(lo, stackalloc_usable(class));
    if (unlikely(c == NULL || class >= STACKALLOC_SMALL)) {
        free_slow(class, lo);
        return;
    }
    if (LOAM_DEBUG_CHECKS)
        check_cached(c, class, lo);
    if (unlikely(load_relaxed(&c->n[class]) == cache_max(class)))
        stackcacherelease(c, class);
    uint32_t n = load_relaxed(&c->n[class]);
    cached(c, class)[n] = lo;
    store_relaxed(&c->n[class], n + 1); /* relaxed: others only count */
}

void stackcache_clear(struct stackcache *c)
{
    for (int class = 0; class < STACKALLOC_SMALL; class ++) {
        uint32_t n = load_relaxed(&c->n[class]);
        if (n == 0)
            continue;
        enter("stackcache_clear", stackalloc_class_size(class));
        stackpoolfree(class, cached(c, class), n);
        store_relaxed(&c->n[class], 0);
        leave();
    }
}

/* ---- Memory and figures ---------------------------------------------------------------------------- */

void stackalloc_scavenge(void)
{
    stackpool_scavenge(false);
    stacklarge_scavenge(false);
}

void stackalloc_reclaim(void)
{
    stackpool_scavenge(true);
    stacklarge_scavenge(true);
}

void stackalloc_read_stats(struct stackalloc_stats stats[STACKALLOC_CLASSES])
{
    memset(stats, 0, STACKALLOC_CLASSES * sizeof stats[0]);
    stackpool_read_stats(stats);
    stacklarge_read_stats(stats);
}

void stackcache_add_stats(const struct stackcache *c,
                          struct stackalloc_stats stats[STACKALLOC_CLASSES])
{
    for (int class = 0; class < STACKALLOC_SMALL; class ++) {
        stats[class].cached += load_relaxed(&c->n[class]);
        stats[class].refills += load_relaxed(&c->refills[class]);
        stats[class].releases += load_relaxed(&c->releases[class]);
    }
}

uint64_t stackalloc_mapped(void)
{
    return stackpool_mapped() + stacklarge_mapped();
}

void stackalloc_fini(void)
{
    stackpool_fini();
    stacklarge_fini();
    stackmap_fini();
}
