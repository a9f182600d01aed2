/* Stacks that grow: what morestack.S asks for on the thread's own stack; see arch/segment.h.
 *
 * A segment is twice as large as the one before. All of a goroutine's segments together, and what
 * alloca got beside them, may have sched.maxstack bytes. Big ones count with all their bytes, used or not: each
 * nesting of foreign code has one. But the last does not count for itself, so that who has little left may
 * still call, and a thread's few at hand are not asked for: a recursion through foreign code ends at the limit
 * or that many nestings behind it.
 *
 * Big segments are slots, which are never unmapped before the runtime stops: a few at each thread,
 * the others under sched.lock.
 *
 * Memory of alloca that did not fit belongs to the segment at hand and remembers the stack pointer: it is
 * free when the stack pointer is above that. This is looked at when alloca asks again, when the segment
 * is left, when the goroutine parks, and when it ends. The VLAs of a loop are one frame's: each takes a mark of 16
 * bytes from it, which goes when the block ends, so that the next round finds the last one's memory free. Who asks
 * deeper than a function stood that has returned finds out by the frame pointers, which all code on small segments
 * keeps.
 *
 * A segment that is not in use stays as the next one, so that a call that crosses into it costs no more than
 * the copy of its arguments; parking gives it back.
 *
 * No lock but sched.lock, for big segments. */
#include "sched/morestack.h"

#include "base/debugvar.h"
#include "base/needs.h"
#include "base/print.h"
#include "os/os.h"
#include "sched/sched_int.h"
#include "stack/needs.h"
#include "stack/stackalloc.h"

#include <string.h>

#include <loam.h>

struct segment_block {
    struct segment_block *next;
    uintptr_t sp;    /* where it was left at */
    uintptr_t frame; /* pointer to the frame that asked */
    uint32_t size_class;
};
enum {
    BLOCK_HEADER = 32,
    FRAME_ROOM = 80, /* return address, alignment of the arguments */
    LARGE_TOP = 64,  /* what the allocator keeps of a large stack */
    ALLOCA_MARK = 16,
};
_Static_assert(sizeof(struct segment_block) <= BLOCK_HEADER, "the block begins behind it");

/* ---- Memory ---------------------------------------------------------------------------------------- */

static struct stackcache *cache_of(struct m *mp)
{
    return mp != NULL && mp->p != NULL ? &mp->p->stackcache : NULL;
}

static void count_segment(struct m *mp, uint64_t allocated, uint64_t freed)
{
    if (mp != NULL && mp->p != NULL) {
        count_owner(&mp->p->segments_made, allocated);
        count_owner(&mp->p->segments_freed, freed);
    } else { /* a statistic */
        add_relaxed(&sched.foreign_segments, allocated - freed);
    }
}

static size_t round_up_power(size_t n)
{
    size_t size = STACK_FIRST;
    while (size < n)
        size *= 2;
    return size;
}

struct segment *segment_new(struct m *mp, size_t size, int *source)
{
    struct stack s;
    *source = stackalloc(cache_of(mp), size, &s);
    if (*source < 0)
        return NULL;
    struct segment *seg = (struct segment *)s.lo;
    *seg = (struct segment){.guard = s.lo + ARCH_SEGMENT_GUARD,
                            .hi = align_down(s.hi, 16),
                            .kind = SEGMENT_SMALL,
                            .size_class = s.size_class,
                            .used = size};
    count_segment(mp, 1, 0);
    return seg;
}

static void free_memory(struct m *mp, void *p, uint32_t size_class)
{
    stackfree(cache_of(mp), (struct stack){.lo = (uintptr_t)p, .size_class = size_class});
}

static void free_block(struct m *mp, struct g *gp, struct segment *seg)
{
    struct segment_block *b = seg->blocks;
    seg->blocks = b->next;
    if (gp != NULL)
        gp->alloca_bytes -= (size_t)STACKALLOC_MIN << b->size_class;
    free_memory(mp, b, b->size_class);
}

/* Those of frames below sp, which are gone. gp: whose they are; NULL: it is dead. */
static void free_blocks(struct m *mp, struct g *gp, struct segment *seg, uintptr_t sp)
{
    while (seg->blocks != NULL && seg->blocks->sp < sp)
        free_block(mp, gp, seg);
}

/* Is the frame that asked for b among the callers of fp? Another function's may lie where it lay: then the
 * stack pointer that b was left at is below what belongs to that. On a big segment foreign code is, which may
 * keep anything in the frame pointer. */
static bool frame_lives(const struct segment *seg, const struct segment_block *b, uintptr_t sp,
                        uintptr_t fp)
{
    if (seg->kind == SEGMENT_BIG)
        return true;
    while (fp < b->frame) {
        if (fp < (uintptr_t)seg || fp % 8 != 0)
            return true; /* no chain: leave it alone */
        uintptr_t caller = *(const uintptr_t *)fp;
        if (caller <= fp)
            return true;
        sp = fp + 16; /* of the caller, before the call */
        fp = caller;
    }
    return fp == b->frame && b->sp >= sp;
}

void segment_free(struct m *mp, struct g *gp, struct segment *seg)
{
    free_blocks(mp, gp, seg, UINTPTR_MAX);
    free_memory(mp, seg, seg->size_class);
    count_segment(mp, 0, 1);
}

void segments_free_next(struct m *mp, struct g *gp, struct segment *seg)
{
    struct segment *next = seg->next;
    seg->next = NULL;
    while (next != NULL) {
        struct segment *s = next;
        next = s->next;
        segment_free(mp, gp, s);
    }
}

/* ---- Growing --------------------------------------------------------------------------------------- */

/* What the calling goroutine's stack has up to seg. */
static size_t in_use(const struct g *gp, const struct segment *seg)
{
    return seg->used + gp->alloca_bytes;
}

static size_t size_of(const struct segment *seg)
{
    return (size_t)STACKALLOC_MIN << seg->size_class;
}

static noinline _Noreturn void overflow(const struct segment *seg)
{
    print_fd(2, "runtime: goroutine stack exceeds %lu-byte limit\nruntime: stack=[0x%lx, 0x%lx]\n",
             (unsigned long)load_relaxed(&sched.maxstack), (unsigned long)seg,
             (unsigned long)seg->hi);
    fatal("stack overflow");
}

static noinline _Noreturn void no_memory(size_t size)
{
    throwf("out of memory: a goroutine's stack of %lu bytes more: %s", (unsigned long)size,
           error_noted());
}

static struct g *growing(struct segment **seg)
{
    struct g *gp = getg();
    uintptr_t guard = arch_guard();
    if (gp == NULL || guard == 0)
        throw("morestack: not on a goroutine");
    *seg = segment_of(guard);
    gp->grown = true;
    return gp;
}

/* LOAMDEBUG=stacktrace=1: what a goroutine got. need: the bytes that were asked for; total: all that it
 * has in use now. */
static void trace_growth(const char *how, const struct g *gp, size_t need, size_t size,
                         enum stack_source source, size_t total)
{
    static const char *const sources[] = {
        [STACK_FROM_CACHE] = "cache", [STACK_FROM_POOL] = "pool", [STACK_FROM_SYSTEM] = "system"};
    if (unlikely(debug.stacktrace > 0))
        print_fd(2, "STACK %s g=%lu need=%zu size=%zu source=%s total=%zu\n", how,
                 (unsigned long)gp->goid, need, size, sources[source], total);
}

static bool stands_on(const struct segment *seg, uintptr_t sp)
{
    return sp >= (uintptr_t)seg && sp < seg->hi;
}

/* The goroutine stands at sp, which is not on the segment of its guard: those behind were left. */
void morestack_found(uintptr_t sp)
{
    struct m *mp = getm();
    struct segment *prev, *s = segment_of(arch_guard()), *here = s;
    while (here != NULL && !stands_on(here, sp))
        here = here->prev;
    if (here == NULL)
        throw("foreign code runs the program on a stack of its own");
    for (; s != here; s = prev) {
        prev = s->prev;
        if (s->kind == SEGMENT_BIG)
            big_put(mp, mp->curg, s);
    }
    arch_set_guard(here->guard);
}

/* The next segment is to hold a frame of so many bytes, with its arguments. */
void morestack_grow(size_t frame, size_t arguments, uintptr_t sp)
{
    struct segment *seg;
    struct m *mp = getm();
    struct g *gp = growing(&seg);
    if (unlikely(!stands_on(seg, sp))) {
        morestack_found(sp);
        gp = growing(&seg);
    }
    segments_free_next(mp, gp, seg); /* too small */
    size_t want = ARCH_SEGMENT_GUARD + FRAME_ROOM + LARGE_TOP + frame + arguments;
    size_t size = STACK_FIRST;
    if (seg->kind == SEGMENT_SMALL && !sched.stack_torture)
        size = 2 * size_of(seg);
    size_t used = in_use(gp, seg), limit = load_relaxed(&sched.maxstack);
    if (want < frame || want > limit || used > limit - want)
        overflow(seg);
    if (size < want)
        size = round_up_power(want);
    while (size > limit - used && size / 2 >= want)
        size /= 2;
    int source;
    struct segment *next = segment_new(mp, size, &source);
    if (next == NULL)
        no_memory(size);
    next->prev = seg;
    next->used += used - gp->alloca_bytes;
    trace_growth("grow", gp, frame + arguments, size, (enum stack_source)source, used + size);
    if (unlikely(sched.stack_torture)) /* so that the next call grows it again */
        next->hi = align_down((uintptr_t)next + want - LARGE_TOP, 16);
    seg->next = next;
}

/* sp, fp: the caller's. */
struct morestack_memory morestack_alloca(size_t size, uintptr_t sp, uintptr_t fp)
{
    struct segment *seg;
    struct m *mp = getm();
    struct g *gp = growing(&seg);
    free_blocks(mp, gp, seg, sp);
    while (seg->blocks != NULL && !frame_lives(seg, seg->blocks, sp, fp))
        free_block(mp, gp, seg);
    size_t used = in_use(gp, seg), limit = load_relaxed(&sched.maxstack);
    if (size > limit || used > limit - size)
        overflow(seg);
    struct stack s;
    size_t bytes = round_up_power(size + BLOCK_HEADER + LARGE_TOP);
    int source = stackalloc(cache_of(mp), bytes, &s);
    if (source < 0)
        no_memory(bytes);
    if (sp >= seg->guard - SEGMENT_FRAME - SEGMENT_MARKS + ALLOCA_MARK)
        sp -= ALLOCA_MARK;
    struct segment_block *b = (struct segment_block *)s.lo;
    *b = (struct segment_block){
        .next = seg->blocks, .sp = sp, .frame = fp, .size_class = s.size_class};
    seg->blocks = b;
    gp->alloca_bytes += bytes;
    trace_growth("alloca", gp, size, bytes, (enum stack_source)source, used + bytes);
    return (struct morestack_memory){(char *)b + BLOCK_HEADER, sp};
}

void morestack_free_blocks(struct segment *seg)
{
    struct m *mp = getm();
    free_blocks(mp, mp->curg, seg, UINTPTR_MAX);
}

static void trim(void *p)
{
    struct segment *seg = p;
    struct m *mp = getm();
    segments_free_next(mp, mp->curg, seg);
    /* what is above the caller is alive; gopark's own frame is below all of it */
    free_blocks(mp, mp->curg, seg, mp->curg->trim_sp);
    mp->curg->grown = seg->blocks != NULL || seg->prev != NULL;
}

noinline void morestack_trim(struct g *gp)
{
    uintptr_t guard = arch_guard();
    if (guard == 0)
        return;
    gp->trim_sp = (uintptr_t)__builtin_frame_address(0);
    systemstack(trim, segment_of(guard));
}

/* ---- Big segments ---------------------------------------------------------------------------------- */

/* One more for this thread. */
void morestack_big_get(void)
{
    struct m *mp = getm();
    if (mp == NULL)
        throw("morestack: not on a thread of the runtime");
    struct segment *seg = segment_of(arch_guard());
    if (in_use(mp->curg, seg) > load_relaxed(&sched.maxstack))
        overflow(seg);
    lock(&sched.lock);
    struct segment *big = sched.bigs;
    if (big != NULL)
        sched.bigs = big->link;
    unlock(&sched.lock);
    if (big == NULL) {
        struct stack s;
        if (slot_alloc(STACK_DEFAULT, &s) != 0)
            throwf("no stack for a call of foreign code: %s", error_noted());
        big = (struct segment *)s.lo;
        *big = (struct segment){.guard = s.lo + ARCH_SEGMENT_GUARD,
                                .hi = align_down(s.hi - (s.color % 32) * cacheline, 16),
                                .kind = SEGMENT_BIG};
    }
    big->link = mp->thread.bigs;
    mp->thread.bigs = big;
    mp->thread.nbigs++;
}

/* The thread has enough of them, or this one has memory to give back, which is counted for this goroutine.
 * Nobody runs on it. */
void morestack_big_put(struct segment *big)
{
    struct m *mp = getm();
    big_put(mp, mp->curg, big);
}

/* A call on this one returns, and the guard is another's: what lies beyond was left by a longjmp. A guard of 0
 * is a signal handler's that was left so; what it had interrupted is lost. */
void morestack_big_left(struct segment *big)
{
    struct m *mp = getm();
    struct segment *prev, *s = arch_guard() != 0 ? segment_of(arch_guard()) : NULL;
    for (; s != NULL && s != big; s = prev) {
        prev = s->prev;
        if (s->kind == SEGMENT_BIG)
            big_put(mp, mp->curg, s);
    }
}

void big_put(struct m *mp, struct g *gp, struct segment *big)
{
    free_blocks(mp, gp, big, UINTPTR_MAX);
    segments_free_next(mp, gp, big);
    lock(&sched.lock);
    big->link = sched.bigs;
    sched.bigs = big;
    unlock(&sched.lock);
}

void bigs_release(struct m *mp)
{
    while (mp->thread.bigs != NULL) {
        struct segment *big = mp->thread.bigs;
        mp->thread.bigs = big->link;
        big_put(mp, NULL, big);
    }
    mp->thread.nbigs = 0;
}

/* ---- The rest -------------------------------------------------------------------------------------- */

/* On a small stack there is room for little; elsewhere a plain call will do. */
static bool stays(const struct m *mp)
{
    uintptr_t sp = (uintptr_t)__builtin_frame_address(0);
    return mp == NULL || mp->curg == NULL || arch_guard() == 0 ||
           (sp >= mp->g0.stack.lo && sp < mp->g0.stack.hi);
}

/* On a slot too where there are small stacks: what is done for them there, goroutines started and ended,
 * calls the allocator, which runs on the system stack only. */
static bool on_slot(const struct m *mp)
{
    struct g *gp = mp != NULL ? mp->curg : NULL;
    return stacks_grow() && gp != NULL && gp->seg == NULL &&
           on_goroutine_stack((uintptr_t)__builtin_frame_address(0));
}

opaque void systemstack(void (*fn)(void *), void *arg)
{
    struct m *mp = getm();
    if (stays(mp) && !on_slot(mp))
        fn(arg);
    else
        arch_call_on(fn, arg, mp->g0.sched.sp);
}

/* The same, in a function of its own: what systemstack is given may throw. */
opaque void throw_systemstack(void (*die)(void *), void *arg)
{
    struct m *mp = getm();
    if (stays(mp))
        die(arg);
    else
        arch_call_on(die, arg, mp->g0.sched.sp);
}

bool stack_piece(const struct g *gp, uintptr_t guard, uintptr_t at, uintptr_t *lo, uintptr_t *hi)
{
    struct m *mp = getm();
    if (gp->seg == NULL) {
        *lo = gp->stack.lo;
        *hi = gp->stack.hi;
        return at >= *lo && at < *hi;
    }
    /* While it dies a goroutine stands on its thread's own stack. */
    if (mp != NULL && mp->curg == gp && at >= mp->g0.stack.lo && at < mp->g0.stack.hi) {
        *lo = mp->g0.stack.lo;
        *hi = mp->g0.stack.hi;
        return true;
    }
    for (const struct segment *s = guard != 0 ? segment_of(guard) : gp->seg; s != NULL;
         s = s->prev) {
        *lo = (uintptr_t)s;
        *hi = s->hi;
        if (at >= *lo && at < *hi)
            return true;
    }
    return false;
}

bool stack_guarded(const struct g *gp, uintptr_t guard, uintptr_t at, uintptr_t *lo, uintptr_t *hi)
{
    *lo = gp->stack.lo;
    *hi = gp->stack.hi;
    if (gp->seg == NULL)
        return at < *lo && at >= *lo - STACK_GUARD;
    for (const struct segment *s = guard != 0 ? segment_of(guard) : NULL; s != NULL; s = s->prev) {
        *lo = (uintptr_t)s;
        *hi = s->hi;
        if (s->kind == SEGMENT_BIG && at < *lo && at >= *lo - STACK_GUARD)
            return true;
    }
    return false;
}

size_t loam_set_max_stack(size_t bytes)
{
    size_t former = load_relaxed(&sched.maxstack);
    if (bytes > 0)
        store_relaxed(&sched.maxstack, bytes); /* who grows meanwhile takes either */
    return former;
}
