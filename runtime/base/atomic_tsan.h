/* Atomic operations of the runtime in a TSan build.
 *
 * There the runtime itself is compiled without instrumentation: a switch is announced to TSan
 * without synchronisation (it would hide the program's races), so that plain accesses of a P's or
 * M's fields by one goroutine after the other on one thread would look like races. But its atomic
 * operations are what orders the program's goroutines, so these are announced, by TSan's own entry
 * points. */
#ifndef BASE_ATOMIC_TSAN_H
#define BASE_ATOMIC_TSAN_H

#include "base/base.h"

/* gcc does not ship LLVM's tsan_interface_atomic.h. These are the types by which gcc knows the
 * functions itself when it instruments; the orders are C11's, as numbered by both compilers. */
#define TSAN_OPS(bits, T)                                                                          \
    T __tsan_atomic##bits##_load(const volatile void *, int);                                      \
    void __tsan_atomic##bits##_store(volatile void *, T, int);                                     \
    T __tsan_atomic##bits##_exchange(volatile void *, T, int);                                     \
    T __tsan_atomic##bits##_fetch_add(volatile void *, T, int);                                    \
    T __tsan_atomic##bits##_fetch_or(volatile void *, T, int);                                     \
    T __tsan_atomic##bits##_fetch_and(volatile void *, T, int);                                    \
    _Bool __tsan_atomic##bits##_compare_exchange_strong(volatile void *, void *, T, int, int);
TSAN_OPS(8, unsigned char)
TSAN_OPS(32, unsigned int)
TSAN_OPS(64, unsigned long)
void __tsan_atomic_thread_fence(int);

#define tsan_u_(v) ((uintptr_t)(v))
#define tsan_p_(p) ((void *)(uintptr_t)(p))
#define tsan_op_(p, op8, op32, op64)                                                               \
    ((__typeof__(*(p)))(sizeof(*(p)) == 8   ? (unsigned long)(op64)                                \
                        : sizeof(*(p)) == 4 ? (unsigned long)(op32)                                \
                                            : (unsigned long)(op8)))

#define atomic_load_(p, order)                                                                     \
    tsan_op_(p, __tsan_atomic8_load(tsan_p_(p), __ATOMIC_##order),                                 \
             __tsan_atomic32_load(tsan_p_(p), __ATOMIC_##order),                                   \
             __tsan_atomic64_load(tsan_p_(p), __ATOMIC_##order))
#define atomic_store_(p, v, order)                                                                 \
    do {                                                                                           \
        uintptr_t tsan_v_ = tsan_u_(v);                                                            \
        if (sizeof(*(p)) == 8)                                                                     \
            __tsan_atomic64_store(tsan_p_(p), tsan_v_, __ATOMIC_##order);                          \
        else if (sizeof(*(p)) == 4)                                                                \
            __tsan_atomic32_store(tsan_p_(p), (unsigned)tsan_v_, __ATOMIC_##order);                \
        else                                                                                       \
            __tsan_atomic8_store(tsan_p_(p), (unsigned char)tsan_v_, __ATOMIC_##order);            \
    } while (0)
#define tsan_rmw_(op, p, v, order)                                                                 \
    __extension__({                                                                                \
        uintptr_t tsan_v_ = tsan_u_(v);                                                            \
        tsan_op_(p, __tsan_atomic8_##op(tsan_p_(p), (unsigned char)tsan_v_, __ATOMIC_##order),     \
                 __tsan_atomic32_##op(tsan_p_(p), (unsigned)tsan_v_, __ATOMIC_##order),            \
                 __tsan_atomic64_##op(tsan_p_(p), tsan_v_, __ATOMIC_##order));                     \
    })
#define atomic_xchg_(p, v, order) tsan_rmw_(exchange, p, v, order)
#define atomic_add_(p, v, order) tsan_rmw_(fetch_add, p, v, order)
#define atomic_or_(p, v, order) tsan_rmw_(fetch_or, p, v, order)
#define atomic_and_(p, v, order) tsan_rmw_(fetch_and, p, v, order)
#define atomic_fence_(order) __tsan_atomic_thread_fence(__ATOMIC_##order)

static inline bool tsan_cas(void *p, size_t size, uintptr_t expected, uintptr_t v, int order)
{
    unsigned char old8 = (unsigned char)expected;
    unsigned int old32 = (unsigned int)expected;
    unsigned long old64 = expected;
    if (size == 8)
        return __tsan_atomic64_compare_exchange_strong(p, &old64, v, order, __ATOMIC_RELAXED);
    if (size == 4)
        return __tsan_atomic32_compare_exchange_strong(p, &old32, (unsigned)v, order,
                                                       __ATOMIC_RELAXED);
    return __tsan_atomic8_compare_exchange_strong(p, &old8, (unsigned char)v, order,
                                                  __ATOMIC_RELAXED);
}
#define atomic_cas_(p, expected, v, order)                                                         \
    tsan_cas(tsan_p_(p), sizeof(*(p)), tsan_u_(expected), tsan_u_(v), __ATOMIC_##order)

#endif
