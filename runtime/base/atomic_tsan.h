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

/* As in LLVM's tsan_interface_atomic.h, which gcc does not ship. The orders are C11's. */
typedef char __tsan_atomic8;
typedef int __tsan_atomic32;
typedef long long __tsan_atomic64;
typedef enum {
    __tsan_memory_order_relaxed,
    __tsan_memory_order_consume,
    __tsan_memory_order_acquire,
    __tsan_memory_order_release,
    __tsan_memory_order_acq_rel,
    __tsan_memory_order_seq_cst
} __tsan_memory_order;
#define TSAN_OPS(bits, T)                                                                          \
    T __tsan_atomic##bits##_load(const volatile T *, __tsan_memory_order);                         \
    void __tsan_atomic##bits##_store(volatile T *, T, __tsan_memory_order);                        \
    T __tsan_atomic##bits##_exchange(volatile T *, T, __tsan_memory_order);                        \
    T __tsan_atomic##bits##_fetch_add(volatile T *, T, __tsan_memory_order);                       \
    T __tsan_atomic##bits##_fetch_or(volatile T *, T, __tsan_memory_order);                        \
    T __tsan_atomic##bits##_fetch_and(volatile T *, T, __tsan_memory_order);                       \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile T *, T *, T, __tsan_memory_order,   \
                                                      __tsan_memory_order);
TSAN_OPS(8, __tsan_atomic8)
TSAN_OPS(32, __tsan_atomic32)
TSAN_OPS(64, __tsan_atomic64)
void __tsan_atomic_thread_fence(__tsan_memory_order);

#define tsan_order_RELAXED __tsan_memory_order_relaxed
#define tsan_order_ACQUIRE __tsan_memory_order_acquire
#define tsan_order_RELEASE __tsan_memory_order_release
#define tsan_order_ACQ_REL __tsan_memory_order_acq_rel
#define tsan_order_SEQ_CST __tsan_memory_order_seq_cst

#define tsan_u_(v) ((uintptr_t)(v))
#define tsan_op_(p, op8, op32, op64)                                                               \
    ((__typeof__(*(p)))(sizeof(*(p)) == 8   ? (long long)(op64)                                    \
                        : sizeof(*(p)) == 4 ? (long long)(op32)                                    \
                                            : (long long)(op8)))
#define tsan8_(p) ((volatile __tsan_atomic8 *)(void *)(uintptr_t)(p))
#define tsan32_(p) ((volatile __tsan_atomic32 *)(void *)(uintptr_t)(p))
#define tsan64_(p) ((volatile __tsan_atomic64 *)(void *)(uintptr_t)(p))

#define atomic_load_(p, order)                                                                     \
    tsan_op_(p, __tsan_atomic8_load(tsan8_(p), tsan_order_##order),                                \
             __tsan_atomic32_load(tsan32_(p), tsan_order_##order),                                 \
             __tsan_atomic64_load(tsan64_(p), tsan_order_##order))
#define atomic_store_(p, v, order)                                                                 \
    do {                                                                                           \
        uintptr_t tsan_v_ = tsan_u_(v);                                                            \
        if (sizeof(*(p)) == 8)                                                                     \
            __tsan_atomic64_store(tsan64_(p), (__tsan_atomic64)tsan_v_, tsan_order_##order);       \
        else if (sizeof(*(p)) == 4)                                                                \
            __tsan_atomic32_store(tsan32_(p), (__tsan_atomic32)tsan_v_, tsan_order_##order);       \
        else                                                                                       \
            __tsan_atomic8_store(tsan8_(p), (__tsan_atomic8)tsan_v_, tsan_order_##order);          \
    } while (0)
#define tsan_rmw_(op, p, v, order)                                                                 \
    __extension__({                                                                                \
        uintptr_t tsan_v_ = tsan_u_(v);                                                            \
        tsan_op_(p, __tsan_atomic8_##op(tsan8_(p), (__tsan_atomic8)tsan_v_, tsan_order_##order),   \
                 __tsan_atomic32_##op(tsan32_(p), (__tsan_atomic32)tsan_v_, tsan_order_##order),   \
                 __tsan_atomic64_##op(tsan64_(p), (__tsan_atomic64)tsan_v_, tsan_order_##order));  \
    })
#define atomic_xchg_(p, v, order) tsan_rmw_(exchange, p, v, order)
#define atomic_add_(p, v, order) tsan_rmw_(fetch_add, p, v, order)
#define atomic_or_(p, v, order) tsan_rmw_(fetch_or, p, v, order)
#define atomic_and_(p, v, order) tsan_rmw_(fetch_and, p, v, order)
#define atomic_fence_(order) __tsan_atomic_thread_fence(tsan_order_##order)

static inline bool tsan_cas(void *p, size_t size, uintptr_t expected, uintptr_t v,
                            __tsan_memory_order order)
{
    __tsan_atomic8 old8 = (__tsan_atomic8)expected;
    __tsan_atomic32 old32 = (__tsan_atomic32)expected;
    __tsan_atomic64 old64 = (__tsan_atomic64)expected;
    if (size == 8)
        return __tsan_atomic64_compare_exchange_strong(p, &old64, (__tsan_atomic64)v, order,
                                                       __tsan_memory_order_relaxed);
    if (size == 4)
        return __tsan_atomic32_compare_exchange_strong(p, &old32, (__tsan_atomic32)v, order,
                                                       __tsan_memory_order_relaxed);
    return __tsan_atomic8_compare_exchange_strong(p, &old8, (__tsan_atomic8)v, order,
                                                  __tsan_memory_order_relaxed);
}
#define atomic_cas_(p, expected, v, order)                                                         \
    tsan_cas((void *)(uintptr_t)(p), sizeof(*(p)), tsan_u_(expected), tsan_u_(v),                  \
             tsan_order_##order)

#endif
