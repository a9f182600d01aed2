/* Atomic operations with the memory order in the name; there is no default order.
 *
 * Rejected: <stdatomic.h>'s types, whose plain use is sequentially consistent without saying so. */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H

#define load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define load_seqcst(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define store_seqcst(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define xchg_acquire(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE)
#define xchg_release(p, v) __atomic_exchange_n((p), (v), __ATOMIC_RELEASE)
#define xchg_acqrel(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
#define xchg_seqcst(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define add_relaxed(p, v) __atomic_add_fetch((p), (v), __ATOMIC_RELAXED)
#define add_acqrel(p, v) __atomic_add_fetch((p), (v), __ATOMIC_ACQ_REL)
#define add_release(p, v) __atomic_add_fetch((p), (v), __ATOMIC_RELEASE)
#define add_seqcst(p, v) __atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST)
#define or_acqrel(p, v) __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL)
#define fence_seqcst() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define compiler_barrier() __asm__ volatile("" ::: "memory")

/* Compare and exchange, strong. `expected` is a value, not a place: callers reload. */
#define cas_order(p, expected, v, ok)                                                              \
    __extension__({                                                                                \
        __typeof__(*(p)) cas_old_ = (expected);                                                    \
        __atomic_compare_exchange_n((p), &cas_old_, (v), false, (ok), __ATOMIC_RELAXED);           \
    })
#define cas_relaxed(p, expected, v) cas_order(p, expected, v, __ATOMIC_RELAXED)
#define cas_acquire(p, expected, v) cas_order(p, expected, v, __ATOMIC_ACQUIRE)
#define cas_release(p, expected, v) cas_order(p, expected, v, __ATOMIC_RELEASE)
#define cas_acqrel(p, expected, v) cas_order(p, expected, v, __ATOMIC_ACQ_REL)
#define cas_seqcst(p, expected, v) cas_order(p, expected, v, __ATOMIC_SEQ_CST)

/* A counter that one thread writes and others only read: no locked instruction. */
#define count_owner(p, n) store_relaxed((p), load_relaxed(p) + (n))

#endif
