/* Small things that every floor uses. */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define nelem(a) (sizeof(a) / sizeof((a)[0]))
#define noinline __attribute__((__noinline__))
#define always_inline inline __attribute__((always_inline))
/* Not inlined, cloned or reasoned about by the caller's side of the compiler. */
#ifdef __clang__
#define opaque __attribute__((__noinline__))
#else
#define opaque __attribute__((noipa))
#endif
#define cacheline 64
#define align_up(x, a) (((x) + ((a)-1)) & ~((__typeof__(x))(a)-1))
#define align_down(x, a) ((x) & ~((__typeof__(x))(a)-1))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Functions that a sanitizer must not instrument: they run while a stack is being changed. */
#define no_sanitize __attribute__((no_sanitize("address", "thread", "undefined")))

#endif
