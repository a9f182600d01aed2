/* x86-64; see arch/arch.h for what each name means. */
#ifndef ARCH_CPU_H
#define ARCH_CPU_H

#include "base/base.h"
#include "base/thread.h"

#include <ucontext.h>

struct gobuf {
    uintptr_t sp; /* at ARCH_SAVED_WORDS saved registers, then the return address */
};

enum { ARCH_SAVED_WORDS = 6, ARCH_SAVED_RBP = 0 /* index of rbp among them */ };
_Static_assert(offsetof(struct gobuf, sp) == 0, "switch.S");

void arch_switch(struct gobuf *from, struct gobuf *to);
void arch_entry(void); /* the first frame of every context; not to be called */
void arch_call_on(void (*fn)(void *), void *arg, uintptr_t sp);

#if LOAM_SHARED
/* A shared library may be loaded late, when no initial-exec space is left. Not inlined, so that no
 * caller keeps the thread-local's address. */
struct thread *thread_self(void);
void thread_set(struct thread *t);
#else
/* By assembly, because a compiler may keep the address of a thread-local in a register or on the
 * stack across a switch; the offset loaded here is the same on every thread. volatile: read anew
 * each time. */
extern __thread struct thread *loam_thread_self_tls;
static always_inline struct thread *thread_self(void)
{
    struct thread *t;
    __asm__ volatile("movq loam_thread_self_tls@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0"
                     : "=r"(t));
    return t;
}
static always_inline void thread_set(struct thread *t)
{
    uintptr_t offset;
    __asm__ volatile("movq loam_thread_self_tls@gottpoff(%%rip), %0\n\tmovq %1, %%fs:(%0)"
                     : "=&r"(offset)
                     : "r"(t)
                     : "memory");
}
#endif

static inline void arch_prepare(struct gobuf *buf, uintptr_t hi, void (*entry)(void))
{
    uintptr_t *sp = (uintptr_t *)align_down(hi, 16);
    *--sp = 0; /* a zero return address above the first frame: walks end here */
    *--sp = 0;
    *--sp = (uintptr_t)arch_entry;
    for (int i = 0; i < ARCH_SAVED_WORDS; i++)
        *--sp = 0;
    sp[ARCH_SAVED_WORDS - 1] = (uintptr_t)entry; /* rbx: see switch.S */
    buf->sp = (uintptr_t)sp;
}

static inline uintptr_t arch_gobuf_pc(const struct gobuf *buf)
{
    return ((const uintptr_t *)buf->sp)[ARCH_SAVED_WORDS];
}

static inline uintptr_t arch_gobuf_fp(const struct gobuf *buf)
{
    return ((const uintptr_t *)buf->sp)[ARCH_SAVED_RBP];
}

static inline void arch_frame_next(uintptr_t fp, uintptr_t *pc, uintptr_t *next)
{
    *next = ((const uintptr_t *)fp)[0];
    *pc = ((const uintptr_t *)fp)[1];
}

static inline void arch_ucontext_regs(const void *uc, uintptr_t *pc, uintptr_t *sp, uintptr_t *fp)
{
    const mcontext_t *mc = &((const ucontext_t *)uc)->uc_mcontext;
    *pc = (uintptr_t)mc->gregs[REG_RIP];
    *sp = (uintptr_t)mc->gregs[REG_RSP];
    *fp = (uintptr_t)mc->gregs[REG_RBP];
}

static inline void arch_pause(void)
{
    __builtin_ia32_pause();
}

static inline uint64_t arch_ticks(void)
{
    return __builtin_ia32_rdtsc();
}

#endif
