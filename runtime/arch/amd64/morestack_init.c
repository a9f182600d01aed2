/* Which vector registers __morestack must keep across C code: what the CPU has and the system saves.
 * Before arch_morestack_init only what every x86-64 has, which is not enough for programs that pass
 * 32-byte vectors. */
#include "arch/arch.h"

#include <cpuid.h>

uint32_t morestack_xsave_mask __attribute__((visibility("hidden")));

void arch_morestack_init(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0)
        return;
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    /* x87, SSE, AVX, and AVX-512 with its masks: what functions take and give back. In this order they
     * lie in the first 2,688 bytes. */
    morestack_xsave_mask = lo & 0xe7;
}
