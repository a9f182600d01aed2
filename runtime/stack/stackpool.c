/* The pools of small stacks; see stackalloc.h.
 *
 *   chunk   2 MB of addresses, aligned, on a huge page unless those are dear (stackmap.c): 64 places of 32 KB. The first holds the chunk's own
 *           figures, so that a stack's span is found by its address; the rest of it is a gap that nobody
 *           uses below the lowest stack
 *   span    one place while it belongs to a class: 16 stacks of 2 KB, ... 1 of 32 KB, with a bit for each
 *           free one
 *
 * A span that becomes wholly free goes back to its chunk at once, for any class. What lies free in chunks
 * for a whole round of scavenging goes back to the system: the whole chunk if no span is in use, else the
 * pages of its free spans, which splits a huge page: a chunk with one live stack is not to cost 2 MB.
 *
 * Locks, in this order: scavenging (one thread at a time; only that one unmaps chunks, so it may walk the
 * list of all chunks without the lock); a class's (its spans with free stacks, their bits); the chunks'.
 *
 * Rejected: free lists through the free stacks, as in Go: every allocation and every batch would touch
 * memory that is cold, in torn-down pages, or poisoned, and a stray write would break them; a search for
 * the fullest span: the last one that got a stack back is warm. */
#define ATOMIC_QUIET 1 /* stackalloc_handed_out and _back say what is ordered */

#include "stack/stackalloc_int.h"

#include "base/throw.h"
#include "lock/lock.h"
#include "os/os.h"

#include <string.h>

enum { CHUNK = 2 << 20, SPAN = 32 << 10, SPANS = CHUNK / SPAN };
#define ALL_SPANS (~UINT64_C(1)) /* all but the first place */

struct span {
    struct member partial; /* class lock: spans of the class with a free stack */
    uint32_t free;         /* class lock: a bit for each free stack */
    uint16_t used;         /* class lock: belongs to a class */
    uint16_t class;        /* the last one; whoever has the span */
};

struct chunk {
    struct member all;   /* chunk_lock: all chunks; its next also read by who scavenges */
    struct member roomy; /* chunk_lock: those with a free place */
    bool huge;           /* const: on a huge page */
    /* chunk_lock: bits of places. */
    uint64_t free;  /* not in use */
    uint64_t dirty; /* may have memory of the system's */
    uint64_t idle;  /* free and dirty since the last round */
    struct span spans[SPANS];
};
_Static_assert(sizeof(struct chunk) <= SPAN, "the first place holds it");
_Static_assert(STACKALLOC_MIN << (STACKALLOC_SMALL - 1) == SPAN, "the largest class is a span");

static struct pool {
    struct mutex lock;
    struct member *partial; /* spans with a free stack, the warmest first */
    uint64_t out, pooled, spans;
} __attribute__((aligned(cacheline)))
pools[STACKALLOC_SMALL] = {[0 ... STACKALLOC_SMALL - 1] = {.lock = MUTEX_INIT(stackpool)}};

static struct mutex scavenge_lock = MUTEX_INIT(stackscavenge);
static struct mutex chunk_lock = MUTEX_INIT(stackchunk);
static struct member *chunks, *free_chunks;       /* chunk_lock */
static uint64_t mapped;                           /* chunk_lock: chunks */
static uint64_t system_bytes[STACKALLOC_SMALL];   /* chunk_lock */
static uint64_t returned_bytes[STACKALLOC_SMALL]; /* chunk_lock */

/* ---- Chunks --------------------------------------------------------------------------------------- */

static struct chunk *chunk_of(uintptr_t address)
{
    return (struct chunk *)align_down(address, (uintptr_t)CHUNK);
}

static uintptr_t place(struct chunk *c, int i)
{
    return (uintptr_t)c + (uintptr_t)i * SPAN;
}

static void take_places(struct chunk *c, uint64_t which)
{
    c->free &= ~which;
    c->idle &= ~which;
    if (c->free == 0)
        list_remove(&c->roomy);
}

static void put_places(struct chunk *c, uint64_t which)
{
    if (c->free == 0)
        list_add(&free_chunks, &c->roomy);
    c->free |= which;
}

static struct chunk *chunk_new(void)
{
    bool huge;
    struct chunk *c = (struct chunk *)stackmap(CHUNK, 0, "loam small stacks", &huge);
    if (c == NULL)
        return NULL;
    c->huge = huge;
    stackalloc_poison(place(c, 1), CHUNK - SPAN);
    list_add(&chunks, &c->all);
    put_places(c, ALL_SPANS);
    mapped += CHUNK;
    return c;
}

/* A span for a class, all its stacks free; NULL: no memory. Under the class's lock. */
static struct span *span_get(int class, enum stack_source *source)
{
    lock(&chunk_lock);
    struct chunk *c =
        free_chunks != NULL ? member_of(free_chunks, struct chunk, roomy) : chunk_new();
    struct span *s = NULL;
    bool fresh = false;
    if (c != NULL) {
        uint64_t warm = c->free & c->dirty;
        int i = __builtin_ctzll(warm != 0 ? warm : c->free);
        uint64_t bit = UINT64_C(1) << i;
        if (!(c->dirty & bit)) {
            c->dirty |= bit;
            system_bytes[class] += SPAN;
            *source = STACK_FROM_SYSTEM;
            fresh = true;
        }
        take_places(c, bit);
        s = &c->spans[i];
        s->class = (uint16_t) class;
    }
    unlock(&chunk_lock);
    if (fresh && !c->huge) /* it will be used from end to end */
        os_mem_populate((void *)place(c, (int)(s - c->spans)), SPAN);
    return s;
}

static void span_put(struct span *s)
{
    struct chunk *c = chunk_of((uintptr_t)s);
    lock(&chunk_lock);
    put_places(c, UINT64_C(1) << (s - c->spans));
    unlock(&chunk_lock);
}

/* ---- Pools ---------------------------------------------------------------------------------------- */

static uint32_t all_free(int class)
{
    return (UINT32_C(1) << (SPAN / stackalloc_class_size(class))) - 1;
}

unsigned stackpoolalloc(int class, uintptr_t *lo, unsigned n, enum stack_source *source)
{
    struct pool *p = &pools[class];
    size_t size = stackalloc_class_size(class);
    unsigned got = 0;
    if (*source < STACK_FROM_POOL)
        *source = STACK_FROM_POOL;
    lock(&p->lock);
    while (got < n) {
        struct span *s = p->partial != NULL ? member_of(p->partial, struct span, partial) : NULL;
        if (s == NULL) {
            s = span_get(class, source);
            if (s == NULL)
                break;
            s->used = 1;
            s->free = all_free(class);
            list_add(&p->partial, &s->partial);
            p->spans++;
            p->pooled += SPAN / size;
        }
        struct chunk *c = chunk_of((uintptr_t)s);
        uintptr_t base = place(c, (int)(s - c->spans));
        for (; s->free != 0 && got < n; s->free &= s->free - 1)
            lo[got++] = base + (uintptr_t)__builtin_ctz(s->free) * size;
        if (s->free == 0)
            list_remove(&s->partial);
    }
    p->out += got;
    p->pooled -= got;
    unlock(&p->lock);
    return got;
}

static noinline _Noreturn void bad_free(uintptr_t lo, size_t size, const char *why)
{
    throwf("stackfree: the stack of %zu bytes at %p %s", size, (void *)lo, why);
}

void stackpoolfree(int class, const uintptr_t *lo, unsigned n)
{
    struct pool *p = &pools[class];
    size_t size = stackalloc_class_size(class);
    lock(&p->lock);
    for (unsigned i = 0; i < n; i++) {
        struct chunk *c = chunk_of(lo[i]);
        struct span *s = &c->spans[(lo[i] - (uintptr_t)c) / SPAN];
        if (s->class != class || lo[i] % size != 0)
            bad_free(lo[i], size, "is none of that size");
        uint32_t bit = UINT32_C(1) << (lo[i] % SPAN / size);
        if (!s->used || (s->free & bit) != 0)
            bad_free(lo[i], size, "is free already");
        if (s->free == 0)
            list_add(&p->partial, &s->partial);
        s->free |= bit;
        if (s->free != all_free(class))
            continue;
        list_remove(&s->partial);
        s->used = 0;
        p->spans--;
        p->pooled -= SPAN / size;
        span_put(s);
    }
    p->out -= n;
    p->pooled += n;
    unlock(&p->lock);
}

/* ---- Back to the system --------------------------------------------------------------------------- */

static void count_returned(struct chunk *c, uint64_t which)
{
    for (uint64_t left = which; left != 0; left &= left - 1)
        returned_bytes[c->spans[__builtin_ctzll(left)].class] += SPAN;
}

static void chunk_unmap(struct chunk *c)
{
    stackalloc_unpoison((uintptr_t)c,
                        CHUNK); /* the marks would meet what comes to lie there next */
    os_mem_unmap(c, CHUNK);
}

/* Those places are taken: nobody else looks at them. */
static void give_pages_back(struct chunk *c, uint64_t which)
{
    while (which != 0) {
        int first = __builtin_ctzll(which), end = first;
        while (end < SPANS && (which >> end & 1) != 0)
            which &= ~(UINT64_C(1) << end++);
        os_mem_give_back((void *)place(c, first), (size_t)(end - first) * SPAN);
    }
}

/* Under chunk_lock, which is given up meanwhile. True: the chunk is off all lists and to be unmapped. */
static bool scavenge_chunk(struct chunk *c, bool all)
{
    uint64_t which = c->free & c->dirty & (all ? ALL_SPANS : c->idle);
    if (c->free == ALL_SPANS && which == c->dirty) {
        count_returned(c, which);
        list_remove(&c->roomy);
        list_remove(&c->all);
        mapped -= CHUNK;
        return true;
    }
    if (which != 0) {
        take_places(c, which);
        unlock(&chunk_lock);
        give_pages_back(c, which);
        lock(&chunk_lock);
        count_returned(c, which);
        c->dirty &= ~which;
        put_places(c, which);
    }
    c->idle = c->free & c->dirty;
    return false;
}

void stackpool_scavenge(bool all)
{
    lock(&scavenge_lock);
    lock(&chunk_lock);
    for (struct member *m = chunks, *next; m != NULL; m = next) {
        struct chunk *c = member_of(m, struct chunk, all);
        bool unmap = scavenge_chunk(c, all);
        next = m->next;
        unlock(&chunk_lock); /* for each: others get their turn */
        if (unmap)
            chunk_unmap(c);
        lock(&chunk_lock);
    }
    unlock(&chunk_lock);
    unlock(&scavenge_lock);
}

void stackpool_read_stats(struct stackalloc_stats *stats)
{
    for (int i = 0; i < STACKALLOC_SMALL; i++) {
        struct pool *p = &pools[i];
        lock(&p->lock);
        stats[i].out = p->out;
        stats[i].pooled = p->pooled;
        stats[i].spans = p->spans;
        unlock(&p->lock);
    }
    lock(&chunk_lock);
    for (int i = 0; i < STACKALLOC_SMALL; i++) {
        stats[i].system_bytes = system_bytes[i];
        stats[i].returned_bytes = returned_bytes[i];
    }
    unlock(&chunk_lock);
}

uint64_t stackpool_mapped(void)
{
    lock(&chunk_lock);
    uint64_t bytes = mapped;
    unlock(&chunk_lock);
    return bytes;
}

void stackpool_fini(void)
{
    for (struct member *m = chunks, *next; m != NULL; m = next) {
        next = m->next;
        chunk_unmap(member_of(m, struct chunk, all));
    }
    chunks = free_chunks = NULL;
    for (int i = 0; i < STACKALLOC_SMALL; i++) {
        pools[i].partial = NULL;
        pools[i].out = pools[i].pooled = pools[i].spans = 0;
    }
    memset(system_bytes, 0, sizeof system_bytes);
    memset(returned_bytes, 0, sizeof returned_bytes);
    mapped = 0;
}
