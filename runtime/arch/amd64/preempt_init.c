/* What preempt.S saves: all state that the CPU has and the system saves, but
 *  - the rights of protection keys, which are the thread's;
 *  - the tiles of AMX, 8 KB for which a program has to ask the system.
 * What is in use and not saved is seen in the frame of the signal: arch_context_saved says no. Without xsave,
 * on CPUs older than 2008, nothing is saved, and says no as well. */
#include "arch/arch.h"

#include <cpuid.h>
#include <string.h>

enum {
    X87 = 1 << 0,
    PROTECTION_KEYS = 1 << 9,
    AMX_CONFIG = 1 << 17,
    AMX_TILES = 1 << 18,
    XSTATE_BV = 512,   /* in an area of xsave: which parts are not as at the start */
    LEGACY_SIZE = 512, /* before it */
    HEADER_SIZE = 64,
    SOFTWARE_BYTES = 464, /* in the kernel's frame: what it saved */
    SOFTWARE_MAGIC = 0x46505853,
    MXCSR = 24,
    MXCSR_FLAGS = 0x3f,
    RED_ZONE = 128,
    WORDS = 17 * 8, /* return address, rbp, flags, 14 registers */
};

/* For preempt.S; const after init. */
uint32_t arch_xsave_mask __attribute__((visibility("hidden")));
uint32_t arch_xsave_size __attribute__((visibility("hidden")));
uint8_t arch_clean_state[LEGACY_SIZE + HEADER_SIZE]
    __attribute__((visibility("hidden"), aligned(64)));

/* Of an area in the standard form, with the parts of mask. */
static uint32_t size_of(uint32_t mask)
{
    uint32_t size = LEGACY_SIZE + HEADER_SIZE;
    for (unsigned i = 2; i < 32; i++) {
        unsigned bytes, offset, c, d;
        if ((mask >> i & 1) == 0)
            continue;
        __cpuid_count(0xd, i, bytes, offset, c, d);
        if (offset + bytes > size)
            size = offset + bytes;
    }
    return size;
}

/* The control words of the calling thread, which others inherit, all registers empty, no flags. */
static void make_clean(void)
{
    uint16_t control;
    uint32_t mxcsr;
    uint64_t parts = X87;
    __asm__ volatile("fnstcw %0\n\tstmxcsr %1" : "=m"(control), "=m"(mxcsr));
    mxcsr &= ~(uint32_t)MXCSR_FLAGS;
    memset(arch_clean_state, 0, sizeof arch_clean_state);
    memcpy(arch_clean_state, &control, sizeof control);
    memcpy(arch_clean_state + MXCSR, &mxcsr, sizeof mxcsr);
    memcpy(arch_clean_state + XSTATE_BV, &parts, sizeof parts);
}

void arch_preempt_init(void)
{
    unsigned a, b, c, d, lo, hi;
    arch_xsave_mask = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0)
        return;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    lo &= ~(unsigned)(PROTECTION_KEYS | AMX_CONFIG | AMX_TILES);
    arch_xsave_size = size_of(lo);
    make_clean();
    arch_xsave_mask = lo;
}

bool arch_context_saved(const void *uc)
{
    const uint8_t *area = (const uint8_t *)((const ucontext_t *)uc)->uc_mcontext.fpregs;
    uint32_t magic = 0;
    uint64_t parts = 0;
    if (area != NULL && arch_xsave_mask != 0) {
        memcpy(&magic, area + SOFTWARE_BYTES, sizeof magic);
        memcpy(&parts, area + XSTATE_BV, sizeof parts);
    }
    return magic == SOFTWARE_MAGIC && (parts & ~(uint64_t)(arch_xsave_mask | PROTECTION_KEYS)) == 0;
}

size_t arch_context_room(void)
{
    return RED_ZONE + WORDS + arch_xsave_size + 64; /* 64: alignment */
}

void arch_ucontext_all(const void *uc, uintptr_t reg[ARCH_DWARF_REGS])
{
    static const int order[ARCH_DWARF_REGS] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                                               REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                               REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
    const mcontext_t *mc = &((const ucontext_t *)uc)->uc_mcontext;
    for (int i = 0; i < ARCH_DWARF_REGS; i++)
        reg[i] = (uintptr_t)mc->gregs[order[i]];
}

void arch_inject(void *uc)
{
    greg_t *gregs = ((ucontext_t *)uc)->uc_mcontext.gregs;
    uintptr_t *sp = (uintptr_t *)((uintptr_t)gregs[REG_RSP] - RED_ZONE);
    *--sp = (uintptr_t)gregs[REG_RIP];
    gregs[REG_RSP] = (greg_t)sp;
    gregs[REG_RIP] = (greg_t)arch_async_preempt;
}
