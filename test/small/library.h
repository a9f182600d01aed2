/* A library that was not compiled with split stacks, as others write them: it installs signal handlers
 * and jumps out of callbacks. */
#ifndef LIBRARY_H
#define LIBRARY_H

#include <stddef.h>
#include <stdint.h>

struct library {
    /* Installs, raises and removes a signal's handler by one of the ways that there are; true if it ran, on the
     * alternate stack, and what the calls returned was right. */
    int ways;
    int (*signals)(int way);
    /* The same after it took the alternate stack away. */
    int (*without_altstack)(void);
    /* A signal whose handler it installed by sigaction: its flags as the kernel has them. */
    unsigned long (*flags_of)(int sig);
    /* Calls fn, which may leave by fail; then again, which may not. True if what the stack grows by is as before
     * the first. By setjmp, or by the compiler's own. */
    int (*attempt)(void (*fn)(void *), void (*again)(void *), void *arg);
    void (*fail)(void);
    int (*attempt_builtin)(void (*fn)(void *), void (*again)(void *), void *arg);
    void (*fail_builtin)(void);
    /* Leaves room that pthread_cleanup_push has, and no more, to sigsetjmp; true if it stayed within. */
    int (*cleanup_buffer)(void);
    /* Calls fn on a stack of the library's own, in the middle of an array. */
    void (*elsewhere)(void (*fn)(void));
    /* Puts a handler of its own in front of a signal's, and that one back. True if it could. */
    int (*restores)(int sig);
    /* Uses so much stack. */
    long (*use)(size_t bytes);
};
extern const struct library library;

/* What functions compare their stack pointer with: of the segment that they are on. */
static inline uintptr_t library_guard(void)
{
    uintptr_t g;
    __asm__ volatile("movq %%fs:0x70, %0" : "=r"(g));
    return g;
}

#endif
