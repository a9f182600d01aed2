/* x86-64; see arch/arch.h for what each name means. */
#ifndef ARCH_CPU_H
#define ARCH_CPU_H

#include "arch/segment.h"
#include "base/base.h"
#include "base/thread.h"

#include <ucontext.h>

struct gobuf {
    uintptr_t sp; /* at ARCH_SAVED_WORDS saved registers, then the return address */
};

enum {
    ARCH_SAVED_WORDS = 7,
    ARCH_SAVED_RBP = 0, /* indices among them */
    ARCH_SAVED_RBX = 5,
    ARCH_SAVED_GUARD = 6,
};
_Static_assert(offsetof(struct gobuf, sp) == 0, "switch.S");
_Static_assert(offsetof(struct thread, g0) == 16 && offsetof(struct thread, bigs) == 24 &&
                   offsetof(struct thread, nbigs) == 32,
               "morestack.S");
_Static_assert(offsetof(struct segment, guard) == 0 && offsetof(struct segment, next) == 8 &&
                   offsetof(struct segment, prev) == 16 && offsetof(struct segment, hi) == 24 &&
                   offsetof(struct segment, kind) == 32 && offsetof(struct segment, blocks) == 48 &&
                   offsetof(struct segment, link) == 56 && SEGMENT_BIG == 1,
               "morestack.S");

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

static inline void arch_prepare(struct gobuf *buf, uintptr_t hi, uintptr_t guard,
                                void (*entry)(void))
{
    uintptr_t *sp = (uintptr_t *)align_down(hi, 16);
    *--sp = 0; /* a zero return address above the first frame: walks end here */
    *--sp = 0;
    *--sp = (uintptr_t)arch_entry;
    for (int i = 0; i < ARCH_SAVED_WORDS; i++)
        *--sp = 0;
    sp[ARCH_SAVED_RBX] = (uintptr_t)entry; /* see switch.S */
    sp[ARCH_SAVED_GUARD] = guard;
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

static inline uintptr_t arch_gobuf_guard(const struct gobuf *buf)
{
    return ((const uintptr_t *)buf->sp)[ARCH_SAVED_GUARD];
}

/* The guard of the stack that the calling thread is on; 0: it has none. */
static always_inline uintptr_t arch_guard(void)
{
    uintptr_t guard;
    __asm__ volatile("movq %%fs:0x70, %0" : "=r"(guard));
    return guard;
}

static always_inline void arch_set_guard(uintptr_t guard)
{
    __asm__ volatile("movq %0, %%fs:0x70" : : "r"(guard));
}

static inline no_sanitize void arch_frame_next(uintptr_t fp, uintptr_t *pc, uintptr_t *next)
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

/* Whether the frame that the kernel makes for a handler lies at `at`: the handler's return address, which
 * is `ret`, then the context, whose program counter goes into *pc. */
static always_inline bool arch_signal_frame(const uintptr_t *at, uintptr_t ret, uintptr_t *pc)
{
    if (at[0] != ret)
        return false;
    *pc = at[1 + (offsetof(ucontext_t, uc_mcontext) + offsetof(mcontext_t, gregs)) / sizeof *at +
             REG_RIP];
    return true;
}
enum {
    ARCH_SIGNAL_FRAME =
        sizeof(uintptr_t) + offsetof(ucontext_t, uc_mcontext) + sizeof(mcontext_t), /* bytes */
};

enum {
    ARCH_DWARF_REGS = 17, /* rax rdx rcx rbx rsi rdi rbp rsp r8-r15, the return address */
    ARCH_DWARF_SP = 7,
    ARCH_DWARF_KEPT = 1 << 3 | 1 << 6 | 0xf << 12, /* rbx rbp r12-r15 */
};

void arch_preempt_init(void);
bool arch_context_saved(const void *uc);
size_t arch_context_room(void);
void arch_ucontext_all(const void *uc, uintptr_t reg[ARCH_DWARF_REGS]);
void arch_inject(void *uc);
void arch_async_preempt(void); /* not to be called */
extern const uintptr_t arch_async_pc;

/* Calls fn(arg), on a big segment if the stack is a small one. Only where the library is linked
 * statically are there small ones. */
#if LOAM_SHARED
static inline void arch_call_big(void (*fn)(void *), void *arg)
{
    fn(arg);
}
#else
void arch_call_big(void (*fn)(void *), void *arg);
#endif
/* The first and the last address of code that checks its stack. */
extern const uintptr_t morestack_text_lo, morestack_text_hi;
/* Return addresses in __morestack: of a function that goes on on the next segment (its frame's own
 * return address then lies in that function's first instructions), and on a big one. */
extern const uintptr_t morestack_grow_pc, morestack_big_pc;
/* Which parts of the vector state morestack.S saves before it calls C code. */
void arch_morestack_init(void);

/* Where the function that this is written in goes back to; its caller, if that called it on a big
 * segment. */
static always_inline uintptr_t arch_callerpc(void)
{
    uintptr_t pc = (uintptr_t)__builtin_return_address(0);
    if (unlikely(pc == morestack_big_pc))
        pc = (*(uintptr_t **)__builtin_frame_address(0))[1]; /* __morestack's frame */
    return pc;
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
