/* What ASan, TSan and Valgrind must be told about stacks and switches. In other builds all of it is
 * empty. LOAM_TSAN is set by the build: the runtime itself is not instrumented then, see
 * base/atomic_tsan.h. A goroutine's memory is reused with its stack, and so is its TSan fiber: gcc 12's runtime
 * dies at 8,128 of them. */
#ifndef SCHED_SANITIZER_H
#define SCHED_SANITIZER_H

#include "base/asan.h"
#include "sched/sched.h"

#if LOAM_ASAN
#include <sanitizer/common_interface_defs.h>
/* What the compiler's own calls use. */
extern int __asan_option_detect_stack_use_after_return;
uintptr_t __asan_stack_malloc_0(size_t size);
void __asan_stack_free_0(uintptr_t frame, size_t size);
#endif
#if LOAM_TSAN
#include <link.h>
#include <sanitizer/tsan_interface.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define LOAM_VALGRIND 1
#else
#define LOAM_VALGRIND 0
#endif

#if LOAM_TSAN
extern char
    sanitizer_world; /* life.c: orders all goroutines before who stops the runtime, and nothing else */
#endif

static always_inline void sanitizer_before(struct g *from, struct g *to, bool from_dies)
{
    (void)from;
    (void)to;
    (void)from_dies;
#if LOAM_ASAN
    struct thread *t = libc_enter(); /* to be held in it would be a switch within it */
    __sanitizer_start_switch_fiber(from_dies ? NULL : &from->fake_stack, (const void *)to->stack.lo,
                                   to->stack.hi - to->stack.lo);
    libc_leave(t);
#endif
#if LOAM_TSAN
    __tsan_release(&sanitizer_world);
    /* no synchronisation by the switch itself: it would hide races between goroutines */
    __tsan_switch_to_fiber(to->fiber, __tsan_switch_to_fiber_no_sync);
#endif
}

/* On the side of `self`, that goes on after a switch. */
static always_inline void sanitizer_after(struct g *self)
{
    (void)self;
#if LOAM_ASAN
    struct thread *t = libc_enter();
    __sanitizer_finish_switch_fiber(self->fake_stack, NULL, NULL);
    libc_leave(t);
#endif
}

static inline void sanitizer_release(void *p);
static inline void sanitizer_acquire(void *p);

/* On the side of a goroutine that begins. With detect_stack_use_after_return ASan makes a second stack for it
 * when code of the program first wants memory from there (the runtime never does: meson.build). If the signal
 * cut it half-way, the switch would save 1, ASan's mark for that, and put it back as if it were a stack: a
 * handler of the program's that came then would use it. So it is made here, where nothing cuts. */
static always_inline void sanitizer_begin(struct g *self)
{
    sanitizer_after(self);
#if LOAM_ASAN
    enum { FRAME = 64 };
    struct thread *t = libc_enter();
    uintptr_t frame =
        __asan_option_detect_stack_use_after_return != 0 ? __asan_stack_malloc_0(FRAME) : 0;
    if (frame != 0)
        __asan_stack_free_0(frame, FRAME);
    libc_leave(t);
#endif
}

/* Around a call of gp's on the stack of g0, and back. To ASan they are switches. To TSan it stays the
 * same goroutine: what the call does is its doing. Only the memory of the stack is used by one goroutine
 * after the other, which nothing but the thread orders. */
static always_inline void sanitizer_call_begin(struct g *gp, struct g *g0)
{
    if (LOAM_ASAN)
        sanitizer_before(gp, g0, false);
    sanitizer_acquire(g0);
}

static always_inline void sanitizer_call_return(struct g *gp, struct g *g0)
{
    if (LOAM_ASAN)
        sanitizer_before(g0, gp, false);
}

static always_inline void sanitizer_call_end(struct g *gp, struct g *g0)
{
    sanitizer_after(gp);
    sanitizer_release(g0);
}

static inline void sanitizer_g_new(struct g *gp)
{
    (void)gp;
#if LOAM_TSAN
    if (gp->fiber == NULL)
        gp->fiber = __tsan_create_fiber(0);
#endif
#if LOAM_VALGRIND
    if (gp->valgrind_id == 0)
        gp->valgrind_id = 1 + VALGRIND_STACK_REGISTER(gp->stack.lo, gp->stack.hi);
#endif
#if LOAM_ASAN
    gp->fake_stack = NULL;
    /* frames that a Goexit left behind */
    struct thread *t = libc_enter();
    __asan_unpoison_memory_region((void *)gp->stack.lo, gp->stack.hi - gp->stack.lo);
    libc_leave(t);
#endif
}

/* Between the two all of a stack is read, whatever is written there and what is not. */
static inline void sanitizer_look_begin(void)
{
#if LOAM_VALGRIND
    VALGRIND_DISABLE_ERROR_REPORTING;
#endif
}

static inline void sanitizer_look_end(void)
{
#if LOAM_VALGRIND
    VALGRIND_ENABLE_ERROR_REPORTING;
#endif
}

/* Whether sanitizer_g_free has anything to do. */
static inline bool sanitizer_g_any(void)
{
#if LOAM_VALGRIND
    return LOAM_TSAN || LOAM_ASAN || RUNNING_ON_VALGRIND;
#else
    return LOAM_TSAN || LOAM_ASAN;
#endif
}

static inline void sanitizer_g_free(struct g *gp)
{
    (void)gp;
#if LOAM_ASAN
    /* marks of abandoned frames would outlive the map, and meet what comes to lie there next */
    __asan_unpoison_memory_region((void *)gp->stack.lo, gp->stack.hi - gp->stack.lo);
#endif
#if LOAM_TSAN
    if (gp->fiber != NULL)
        __tsan_destroy_fiber(gp->fiber);
    gp->fiber = NULL;
#endif
#if LOAM_VALGRIND
    if (gp->valgrind_id != 0)
        VALGRIND_STACK_DEREGISTER(gp->valgrind_id - 1);
    gp->valgrind_id = 0;
#endif
}

#if LOAM_TSAN
void AnnotateBenignRaceSized(const char *file, int line, const volatile void *mem, size_t size,
                             const char *why);

static inline int sanitizer_thread_locals(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    for (int i = 0; info->dlpi_tls_data != NULL && i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS)
            AnnotateBenignRaceSized(__FILE__, __LINE__, info->dlpi_tls_data,
                                    info->dlpi_phdr[i].p_memsz, "of a thread");
    return 0;
}
#endif

/* On a thread of the runtime, before it runs goroutines. */
static inline void sanitizer_g0_new(struct g *g0)
{
    (void)g0;
#if LOAM_TSAN
    g0->fiber = __tsan_get_current_fiber();
    /* Goroutines that use errno, or another variable of the thread that they are on, one after the
     * other, do not race: the thread orders them. To TSan they are threads that nothing orders. Of
     * gcc's, those from 13 on ignore this. */
    (void)dl_iterate_phdr(sanitizer_thread_locals, NULL);
#endif
}

/* Around a hook of a switch: what it touches for the goroutine that left is no access of the one on
 * whose stack it runs. */
#if LOAM_TSAN
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
#endif

static always_inline void sanitizer_hook_begin(void)
{
#if LOAM_TSAN
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
#endif
}

static always_inline void sanitizer_hook_end(void)
{
#if LOAM_TSAN
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
#endif
}

/* Edges that a sanitizer cannot see: a goroutine's start happens after its creation, everything
 * that follows a stop of the world happens after what others did before it. */
static inline void sanitizer_release(void *p)
{
    (void)p;
#if LOAM_TSAN
    __tsan_release(p);
#endif
}

static inline void sanitizer_acquire(void *p)
{
    (void)p;
#if LOAM_TSAN
    __tsan_acquire(p);
#endif
}

#endif
