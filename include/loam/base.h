/* What every public header needs: export marks, attributes, the errno that is safe on goroutines. */
#ifndef LOAM_BASE_H
#define LOAM_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define LOAM_BEGIN_DECLS extern "C" {
#define LOAM_END_DECLS }
#define LOAM_NORETURN __attribute__((noreturn))
#else
#define LOAM_BEGIN_DECLS
#define LOAM_END_DECLS
#define LOAM_NORETURN _Noreturn
#endif

/* Marks what the library exports; everything else is hidden. */
#define LOAM_API __attribute__((visibility("default")))

LOAM_BEGIN_DECLS

/* The address of the calling thread's errno, found anew on every call; errno is defined by it.
 *
 * libc declares its own accessor `const`, so a compiler may keep the address across a call that
 * moves the goroutine to another thread and then read that other thread's errno. loam.h therefore
 * redefines errno through this function. Never switches goroutine. */
LOAM_API int *loam_errno_location(void);

LOAM_END_DECLS

/* errno, safe across calls that may switch goroutine. A goroutine's errno is not saved at a switch:
 * as after any call, read it right after the call that set it. Loam's own functions return -errno
 * and leave errno alone. */
#undef errno
#define errno (*loam_errno_location())

#endif
