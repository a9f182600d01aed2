/* What the parts of stackalloc share: its pools, its large stacks, its memory as sanitizers see it. */
#ifndef STACK_STACKALLOC_INT_H
#define STACK_STACKALLOC_INT_H

#include "base/asan.h"
#include "base/list.h"
#include "stack/stackalloc.h"

#if LOAM_TSAN
#include <sanitizer/tsan_interface.h>
#endif

static always_inline size_t stackalloc_class_size(int class)
{
    return (size_t)STACKALLOC_MIN << class;
}

/* Without what the allocator keeps at the top of a large one. */
static always_inline size_t stackalloc_usable(int class)
{
    return stackalloc_class_size(class) - (class < STACKALLOC_SMALL ? 0 : STACKALLOC_LARGE_TOP);
}

/* ---- stackpool.c: classes below STACKALLOC_SMALL -------------------------------------------------- */

/* Takes up to n stacks; fewer only where there is no memory. *source: the farthest place that was gone
 * to, never set to a nearer one. */
unsigned stackpoolalloc(int class, uintptr_t *lo, unsigned n, enum stack_source *source);
void stackpoolfree(int class, const uintptr_t *lo, unsigned n);
/* all: not only what lay unused since the last call. */
void stackpool_scavenge(bool all);
void stackpool_read_stats(struct stackalloc_stats *stats);
uint64_t stackpool_mapped(void);
void stackpool_fini(void);

/* ---- stacklarge.c: the classes above ------------------------------------------------------------- */

/* 0: no memory. */
uintptr_t stacklargealloc(int class, enum stack_source *source);
void stacklargefree(int class, uintptr_t lo);
void stacklarge_scavenge(bool all);
void stacklarge_read_stats(struct stackalloc_stats *stats);
uint64_t stacklarge_mapped(void);
void stacklarge_fini(void);

/* ---- stackmap.c ------------------------------------------------------------------------------------ */

/* A map aligned to a huge page, of which the byte at `touch` is touched; NULL: no memory. *huge: not all of
 * it is on small pages. */
char *stackmap(size_t size, size_t touch, const char *name, bool *huge);
void stackmap_fini(void);
extern int64_t stackmap_dear_ns; /* const but for tests: a huge page that takes longer is dear */

/* ---- Sanitizers ------------------------------------------------------------------------------------ */

static always_inline void stackalloc_poison(uintptr_t lo, size_t size)
{
    (void)lo;
    (void)size;
#if LOAM_ASAN
    __asan_poison_memory_region((void *)lo, size);
#endif
}

static always_inline void stackalloc_unpoison(uintptr_t lo, size_t size)
{
    (void)lo;
    (void)size;
#if LOAM_ASAN
    __asan_unpoison_memory_region((void *)lo, size);
#endif
}

/* What former users did comes before what the next one does. Per span, which may have been cut up in
 * another way. */
static always_inline void stackalloc_handed_back(uintptr_t lo)
{
    (void)lo;
#if LOAM_TSAN
    __tsan_release((void *)align_down(lo, (uintptr_t)STACKALLOC_MIN << (STACKALLOC_SMALL - 1)));
#endif
}

static always_inline void stackalloc_handed_out(uintptr_t lo)
{
    (void)lo;
#if LOAM_TSAN
    __tsan_acquire((void *)align_down(lo, (uintptr_t)STACKALLOC_MIN << (STACKALLOC_SMALL - 1)));
#endif
}

#endif
