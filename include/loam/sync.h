/* Mutual exclusion and waiting among goroutines.
 *
 * The types are values: zero is ready to use, as in Go, they hold no resource and need no free; do
 * not copy one in use. They park goroutines, not threads. A foreign thread may call what does not
 * park (unlock, try_lock, signal, broadcast, done, add, release, try_acquire). */
#ifndef LOAM_SYNC_H
#define LOAM_SYNC_H

#include <loam/base.h>

LOAM_BEGIN_DECLS

/* A queue of parked goroutines with a count: what the types below wait on. Private. */
struct loam_sema {
    uint32_t count;   /* atomic */
    uint32_t waiters; /* atomic */
    uint32_t lock;    /* a runtime mutex */
    uint32_t pad;
    void *head, *tail; /* lock */
};

/* Go's sync.Mutex: waiters queue first in, first out; one that waited over 1 ms gets the mutex
 * handed over (starvation mode). Not recursive, not owned: another goroutine may unlock. */
struct loam_mutex {
    uint32_t state; /* atomic: locked 1, woken 2, starving 4, waiters from bit 3 */
    uint32_t pad;
    struct loam_sema sema;
};

/* The path of loam_mutex_lock when the mutex is taken. */
LOAM_API void loam_mutex_lock_slow(struct loam_mutex *m);
/* The path of loam_mutex_unlock when somebody waits; state is what is left of the word. */
LOAM_API void loam_mutex_unlock_slow(struct loam_mutex *m, uint32_t state);

/* Locks; parks while another holds it. */
static inline void loam_mutex_lock(struct loam_mutex *m)
{
    uint32_t unlocked = 0;
    /* acquire: what the former holder wrote before its release is seen */
    if (!__builtin_expect(__atomic_compare_exchange_n(&m->state, &unlocked, 1, false,
                                                      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED),
                          1))
        loam_mutex_lock_slow(m);
}

/* Unlocks. Unlocked already: Go's fatal error "sync: unlock of unlocked mutex". */
static inline void loam_mutex_unlock(struct loam_mutex *m)
{
    /* release: the next holder sees what this one wrote */
    uint32_t left = __atomic_sub_fetch(&m->state, 1, __ATOMIC_RELEASE);
    if (__builtin_expect(left != 0, 0))
        loam_mutex_unlock_slow(m, left);
}

/* Locks if that needs no waiting. */
LOAM_API bool loam_mutex_try_lock(struct loam_mutex *m);

/* Go's sync.RWMutex: many readers or one writer; a waiting writer holds new readers off. */
struct loam_rwmutex {
    struct loam_mutex w;
    struct loam_sema writer, reader;
    int32_t reader_count; /* atomic: readers; minus 1<<30 while a writer waits or holds */
    int32_t reader_wait;  /* atomic: readers that the writer still waits for */
};

LOAM_API void loam_rwmutex_lock(struct loam_rwmutex *rw);
LOAM_API bool loam_rwmutex_try_lock(struct loam_rwmutex *rw);
/* Misuse: "sync: Unlock of unlocked RWMutex". */
LOAM_API void loam_rwmutex_unlock(struct loam_rwmutex *rw);
/* The path of loam_rwmutex_rlock when a writer waits or holds. */
LOAM_API void loam_rwmutex_rlock_slow(struct loam_rwmutex *rw);
/* The path of loam_rwmutex_runlock when a writer waits or holds, or on misuse. */
LOAM_API void loam_rwmutex_runlock_slow(struct loam_rwmutex *rw, int32_t count);
LOAM_API bool loam_rwmutex_try_rlock(struct loam_rwmutex *rw);

/* Locks for reading; parks while a writer waits or holds. */
static inline void loam_rwmutex_rlock(struct loam_rwmutex *rw)
{
    /* acquire: sees what the last writer wrote */
    if (__builtin_expect(__atomic_add_fetch(&rw->reader_count, 1, __ATOMIC_ACQUIRE) < 0, 0))
        loam_rwmutex_rlock_slow(rw);
}

/* Undoes one rlock. Misuse: "sync: RUnlock of unlocked RWMutex". */
static inline void loam_rwmutex_runlock(struct loam_rwmutex *rw)
{
    /* release: the next writer sees that this reader is done */
    int32_t count = __atomic_sub_fetch(&rw->reader_count, 1, __ATOMIC_RELEASE);
    if (__builtin_expect(count < 0, 0))
        loam_rwmutex_runlock_slow(rw, count);
}

/* Go's sync.Cond, used with a mutex that the caller holds. */
struct loam_cond {
    struct loam_sema sema;
    uint32_t wait, notify; /* atomic; sema.lock: tickets given, tickets served */
};

/* Unlocks m, parks until woken, locks m again. No spurious wake-ups, yet test the condition in a
 * loop: it may have changed before m was locked. */
LOAM_API void loam_cond_wait(struct loam_cond *c, struct loam_mutex *m);
/* Wakes the goroutine that waits longest, if any. */
LOAM_API void loam_cond_signal(struct loam_cond *c);
/* Wakes all that wait. */
LOAM_API void loam_cond_broadcast(struct loam_cond *c);

/* Go's sync.WaitGroup: waits until a counter is zero. */
struct loam_waitgroup {
    uint64_t state; /* atomic: counter in the high half, waiters in the low */
    struct loam_sema sema;
};

/* The path of add when the counter reaches zero with waiters, or on misuse. */
LOAM_API void loam_waitgroup_add_slow(struct loam_waitgroup *wg, int64_t delta, uint64_t state);

/* Adds delta, which may be negative; at zero all waiters go on. Misuse: "sync: negative WaitGroup
 * counter", "sync: WaitGroup misuse: Add called concurrently with Wait". */
static inline void loam_waitgroup_add(struct loam_waitgroup *wg, int delta)
{
    /* acq_rel: whoever sees zero sees everything done before each done() */
    uint64_t state = __atomic_add_fetch(&wg->state, (uint64_t)(int64_t)delta << 32, __ATOMIC_ACQ_REL);
    if (__builtin_expect((int32_t)(state >> 32) <= 0 || (uint32_t)state != 0, 0))
        loam_waitgroup_add_slow(wg, delta, state);
}

/* Adds -1. */
static inline void loam_waitgroup_done(struct loam_waitgroup *wg)
{
    loam_waitgroup_add(wg, -1);
}

/* Parks until the counter is zero. */
LOAM_API void loam_waitgroup_wait(struct loam_waitgroup *wg);

/* Adds 1, starts fn(arg), and done when it ends: Go 1.25's WaitGroup.Go. Errors as of loam_go, with
 * the counter as before. */
LOAM_API int loam_waitgroup_go(struct loam_waitgroup *wg, void (*fn)(void *), void *arg);

/* Go's sync.Once. */
struct loam_once {
    uint32_t done; /* atomic */
    struct loam_mutex mutex;
};

/* Runs fn(arg) if this is the first call on o; returns when that first call has ended. */
LOAM_API void loam_once_do(struct loam_once *o, void (*fn)(void *), void *arg);

/* A weighted semaphore, first come, first served (golang.org/x/sync/semaphore). Set it up with
 * loam_semaphore_init before use. */
struct loam_semaphore {
    int64_t size, used; /* lock */
    uint32_t lock;      /* a runtime mutex */
    uint32_t pad;
    void *head, *tail; /* lock */
};

struct loam_context;

/* Gives it size units. Errors: -EINVAL size < 0. */
LOAM_API int loam_semaphore_init(struct loam_semaphore *s, int64_t size);
/* Takes n units; parks until they are free or ctx (may be NULL) is done. Errors: -ECANCELED,
 * -ETIMEDOUT from ctx; -EINVAL n < 0; n above the size waits for ctx. */
LOAM_API int loam_semaphore_acquire(struct loam_semaphore *s, int64_t n, struct loam_context *ctx);
/* Takes n units if that needs no waiting. */
LOAM_API bool loam_semaphore_try_acquire(struct loam_semaphore *s, int64_t n);
/* Gives n units back. Misuse: panic "semaphore: released more than held". */
LOAM_API void loam_semaphore_release(struct loam_semaphore *s, int64_t n);

/* A cache of objects of one kind, per processor: Go's sync.Pool. (loam_pool is a pool of threads.) */
struct loam_objpool;

/* Makes one; get calls make(arg) when it is empty (NULL make: get returns NULL), discard(obj, arg)
 * gets what is dropped (may be NULL). NULL: no memory. */
LOAM_API struct loam_objpool *loam_objpool_new(void *(*make)(void *arg),
                                               void (*discard)(void *obj, void *arg), void *arg);
LOAM_API void *loam_objpool_get(struct loam_objpool *p);
/* Gives an object to whoever asks next. NULL obj is ignored. */
LOAM_API void loam_objpool_put(struct loam_objpool *p, void *obj);
/* Discards all objects and the pool, which nobody may use any more. */
LOAM_API void loam_objpool_free(struct loam_objpool *p);

LOAM_END_DECLS

#endif
