/* What the runtime needs of a CPU. arch_cpu.h is the file of that name in the folder of the CPU
 * that the build chose; it provides:
 *
 *   struct gobuf                      a saved context, sp first
 *   thread_self(), thread_set(t)      the thread-local pointer to struct thread, by value: the
 *                                     address of a thread-local must never be kept across a switch,
 *                                     because the goroutine may go on on another thread
 *   arch_switch(from, to)             saves the callee-saved registers and the stack pointer in
 *                                     *from, goes on in *to. The floating-point environment is the
 *                                     thread's and stays
 *   arch_prepare(buf, hi, guard, entry)  makes a context that calls entry() on an empty stack below hi;
 *                                     entry must not return. A frame walk ends there
 *   arch_gobuf_pc, arch_gobuf_fp      where a saved context will go on, and its frame pointer
 *   arch_gobuf_guard, arch_guard()    the guard of a stack that grows (arch/segment.h), of a saved
 *                                     context and of the calling thread; 0: of one that does not
 *   arch_call_big(fn, arg)            calls fn(arg) where foreign code may run
 *   morestack_text_lo, _hi            where code lies that checks its stack; equal: there is none
 *   arch_callerpc()                   the return address of the function that this is written in
 *   morestack_grow_pc, _big_pc        return addresses between two segments, for tracebacks
 *   arch_morestack_init()             at start
 *   arch_frame_next(fp, &pc, &next)   one step of a frame-pointer walk
 *   arch_ucontext_regs(uc, ...)       pc, sp, fp of a signal context
 *   arch_signal_frame(at, ret, &pc)   whether a handler's frame lies there, and what it interrupted
 *   ARCH_SIGNAL_FRAME                 how many bytes of it that looks at
 *   ARCH_DWARF_REGS, _SP, _KEPT       registers by their numbers in DWARF: how many, the stack pointer,
 *                                     a mask of those that functions keep
 *   arch_preempt_init()               at start, before the next four
 *   arch_context_saved(uc)            whether all that an interrupted context has in registers is what
 *                                     arch_async_preempt saves
 *   arch_context_room()               bytes that it takes of the stack, below the stack pointer
 *   arch_ucontext_all(uc, reg)        all registers of a signal context
 *   arch_inject(uc)                   makes the context go on in arch_async_preempt, which saves it,
 *                                     calls preempt_copied with clean registers, and goes back
 *   arch_async_pc                     the return address of that call
 *   arch_call_on(fn, arg, sp)         calls fn(arg) on another stack, below sp. A frame walk goes on
 *                                     from there to the caller's stack
 *   arch_pause()                      a hint in spin loops
 *   arch_ticks()                      a cheap counter that rises about evenly (for gating clock
 *                                     reads, never for times)
 */
#ifndef ARCH_ARCH_H
#define ARCH_ARCH_H

#include "base/atomic.h"
#include "base/base.h"
#include "base/thread.h"

#include "arch_cpu.h"

#include <string.h>

/* Which frames of a walk are plausible: inside [lo, hi), aligned, and rising. */
static inline bool arch_frame_ok(uintptr_t fp, uintptr_t lo, uintptr_t hi)
{
    return fp >= lo && fp + 2 * sizeof(uintptr_t) <= hi && (fp & (sizeof(uintptr_t) - 1)) == 0;
}

/* The runtime's own calls into libc that must not be preempted lie between these two, on one thread: it
 * may have its P at hand, or a lock. Only a handler of the same thread looks at the count, so that the
 * compiler's order is all that matters. Not for malloc, nor for functions of the program: see
 * sched/preempt.c. */
static always_inline struct thread *libc_enter(void)
{
    struct thread *t = thread_self();
    if (t != NULL)
        store_relaxed(&t->in_libc, t->in_libc + 1);
    compiler_barrier();
    return t;
}

static always_inline void libc_leave(struct thread *t)
{
    compiler_barrier();
    if (t != NULL)
        store_relaxed(&t->in_libc, t->in_libc - 1);
}

/* memcpy and memset of any length, for callers that have a lock or their P at hand. */
static always_inline void copy_bytes(void *to, const void *from, size_t size)
{
    struct thread *t = libc_enter();
    memcpy(to, from, size);
    libc_leave(t);
}

static always_inline void zero_bytes(void *p, size_t size)
{
    struct thread *t = libc_enter();
    memset(p, 0, size);
    libc_leave(t);
}

#endif
