/* Atomic operations with the memory order in the name; there is no default order.
 *
 * Rejected: <stdatomic.h>'s types, whose plain use is sequentially consistent without saying so. */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H

/* ATOMIC_QUIET: a folder whose atomics order no user's data but by edges that it announces itself. */
#if LOAM_TSAN && !defined(ATOMIC_QUIET)
#include "base/atomic_tsan.h"
#else
#define atomic_load_(p, order) __atomic_load_n((p), __ATOMIC_##order)
#define atomic_store_(p, v, order) __atomic_store_n((p), (v), __ATOMIC_##order)
#define atomic_xchg_(p, v, order) __atomic_exchange_n((p), (v), __ATOMIC_##order)
#define atomic_add_(p, v, order) __atomic_fetch_add((p), (v), __ATOMIC_##order)
#define atomic_or_(p, v, order) __atomic_fetch_or((p), (v), __ATOMIC_##order)
#define atomic_and_(p, v, order) __atomic_fetch_and((p), (v), __ATOMIC_##order)
#define atomic_fence_(order) __atomic_thread_fence(__ATOMIC_##order)
#define atomic_cas_(p, expected, v, order)                                                         \
    __extension__({                                                                                \
        __typeof__(*(p)) cas_old_ = (expected);                                                    \
        __atomic_compare_exchange_n((p), &cas_old_, (v), false, __ATOMIC_##order,                  \
                                    __ATOMIC_RELAXED);                                             \
    })
#endif

#define load_relaxed(p) atomic_load_(p, RELAXED)
#define load_acquire(p) atomic_load_(p, ACQUIRE)
#define load_seqcst(p) atomic_load_(p, SEQ_CST)
#define store_relaxed(p, v) atomic_store_(p, v, RELAXED)
#define store_release(p, v) atomic_store_(p, v, RELEASE)
#define store_seqcst(p, v) atomic_store_(p, v, SEQ_CST)
#define xchg_acquire(p, v) atomic_xchg_(p, v, ACQUIRE)
#define xchg_release(p, v) atomic_xchg_(p, v, RELEASE)
#define xchg_acqrel(p, v) atomic_xchg_(p, v, ACQ_REL)
#define xchg_seqcst(p, v) atomic_xchg_(p, v, SEQ_CST)
/* The sum after the addition. */
#define add_relaxed(p, v) (__extension__({ atomic_add_(p, v, RELAXED) + (v); }))
#define add_acqrel(p, v) (__extension__({ atomic_add_(p, v, ACQ_REL) + (v); }))
#define add_release(p, v) (__extension__({ atomic_add_(p, v, RELEASE) + (v); }))
#define add_seqcst(p, v) (__extension__({ atomic_add_(p, v, SEQ_CST) + (v); }))
/* The value before. */
#define or_acqrel(p, v) atomic_or_(p, v, ACQ_REL)
#define or_relaxed(p, v) ((void)atomic_or_(p, v, RELAXED))
#define and_relaxed(p, v) ((void)atomic_and_(p, v, RELAXED))
#define fence_seqcst() atomic_fence_(SEQ_CST)
#define compiler_barrier() __asm__ volatile("" ::: "memory")

/* Compare and exchange, strong. `expected` is a value, not a place: callers reload. */
#define cas_relaxed(p, expected, v) atomic_cas_(p, expected, v, RELAXED)
#define cas_acquire(p, expected, v) atomic_cas_(p, expected, v, ACQUIRE)
#define cas_release(p, expected, v) atomic_cas_(p, expected, v, RELEASE)
#define cas_acqrel(p, expected, v) atomic_cas_(p, expected, v, ACQ_REL)
#define cas_seqcst(p, expected, v) atomic_cas_(p, expected, v, SEQ_CST)

/* A counter that one thread writes and others only read: no locked instruction. */
#define count_owner(p, n) store_relaxed((p), load_relaxed(p) + (n))

#endif
