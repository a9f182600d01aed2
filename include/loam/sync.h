/* Mutual exclusion and waiting among goroutines.
 *
 * The types are values: zero is ready to use, as in Go, they hold no resource and need no free; do
 * not copy one in use. They park goroutines, not threads. A foreign thread may call what does not
 * park (unlock, try_lock, signal, broadcast, done, add, release, try_acquire).
 *
 * A goroutine whose turn is over gives way in loam_semaphore_acquire, loam_cond_wait and
 * loam_waitgroup_go, and wherever it must wait; not in locking and unlocking what is free, nor in what
 * foreign threads may call. One that polls under a mutex calls loam_yield between.
 *
 * An object may be freed, or go out of scope with the function that has it on its stack, as soon as
 * every call that uses it has returned, and also while a call to loam_mutex_unlock,
 * loam_waitgroup_done, loam_cond_signal, loam_cond_broadcast or loam_semaphore_release by another
 * goroutine has yet to return, if what that call does has been seen: the mutex was locked after it,
 * the waitgroup's wait has returned, the waiter was woken, the units were acquired. */
#ifndef LOAM_SYNC_H
#define LOAM_SYNC_H

#include <loam/base.h>

LOAM_BEGIN_DECLS

/* For tests: code compiled with LOAM_SYNC_POINTS calls this at the begin of every inline operation
 * below; in torture builds and in seeded runs the calling goroutine may be made to yield there. */
LOAM_API void loam_sync_point(void);
#ifdef LOAM_SYNC_POINTS
#define LOAM_SYNC_POINT_() loam_sync_point()
#else
#define LOAM_SYNC_POINT_() ((void)0)
#endif

/* A queue of parked goroutines and a count of wake-ups to come: what the types below wait on.
 * Private. */
struct loam_sema {
    uint32_t lock, rank; /* a runtime mutex */
    uint32_t count;      /* lock */
    uint32_t pad;
    void *head, *tail; /* lock */
};

/* Go's sync.Mutex: waiters queue first in, first out; one that waited over 1 ms gets the mutex
 * handed over (starvation mode). Not recursive, not owned: another goroutine may unlock. */
struct loam_mutex {
    uint32_t state; /* atomic: locked 1, held 2, woken 4, starving 8, waiters from bit 4 */
    uint32_t pad;
    struct loam_sema sema;
};

/* The path of loam_mutex_lock when the mutex is taken or somebody waits for it. */
LOAM_API void loam_mutex_lock_slow(struct loam_mutex *m);
/* The path of loam_mutex_unlock when somebody waits, or on misuse; state is what is left of the
 * word. */
LOAM_API void loam_mutex_unlock_slow(struct loam_mutex *m, uint32_t state);

/* Locks the mutex; parks while another holds it. */
static inline void loam_mutex_lock(struct loam_mutex *m)
{
    uint32_t unlocked = 0;
    LOAM_SYNC_POINT_();
    /* acquire: what the former holder wrote before its release is seen */
    if (!__builtin_expect(__atomic_compare_exchange_n(&m->state, &unlocked, 1, false,
                                                      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED),
                          1))
        loam_mutex_lock_slow(m);
}

/* Unlocks the mutex. In starvation mode it yields to the goroutine that it hands the mutex to.
 *
 * Unlocked already: Go's fatal error "sync: unlock of unlocked mutex". */
static inline void loam_mutex_unlock(struct loam_mutex *m)
{
    LOAM_SYNC_POINT_();
    /* release: the next holder sees what this one wrote. If something is left, "held" is among it:
     * the mutex is still ours, so that whoever is to be woken is found before another may have taken
     * and freed it. */
    uint32_t left = __atomic_sub_fetch(&m->state, 1, __ATOMIC_RELEASE);
    if (__builtin_expect(left != 0, 0))
        loam_mutex_unlock_slow(m, left);
}

/* Locks the mutex if that needs no waiting: true if it did. */
LOAM_API bool loam_mutex_try_lock(struct loam_mutex *m);

/* Go's sync.RWMutex: many readers or one writer; a waiting writer holds new readers off, so that a
 * reader that locks it again for reading may wait for itself. */
struct loam_rwmutex {
    struct loam_mutex w; /* held by the writer that waits or holds */
    struct loam_sema writer, reader;
    int32_t reader_count; /* atomic: readers; minus 1<<30 while a writer waits or holds */
    int32_t reader_wait;  /* atomic: readers that the writer still waits for */
};

/* Locks for writing; parks until no other writer and no reader holds it. */
LOAM_API void loam_rwmutex_lock(struct loam_rwmutex *rw);
/* Locks for writing if that needs no waiting: true if it did. */
LOAM_API bool loam_rwmutex_try_lock(struct loam_rwmutex *rw);
/* Undoes one loam_rwmutex_lock. Misuse: Go's fatal error "sync: Unlock of unlocked RWMutex". */
LOAM_API void loam_rwmutex_unlock(struct loam_rwmutex *rw);
/* The path of loam_rwmutex_rlock when a writer waits or holds. */
LOAM_API void loam_rwmutex_rlock_slow(struct loam_rwmutex *rw);
/* The path of loam_rwmutex_runlock when a writer waits or holds, or on misuse. */
LOAM_API void loam_rwmutex_runlock_slow(struct loam_rwmutex *rw, int32_t count);
/* Locks for reading if that needs no waiting: true if it did. */
LOAM_API bool loam_rwmutex_try_rlock(struct loam_rwmutex *rw);

/* Locks for reading; parks while a writer waits or holds. */
static inline void loam_rwmutex_rlock(struct loam_rwmutex *rw)
{
    LOAM_SYNC_POINT_();
    /* acquire: sees what the last writer wrote */
    if (__builtin_expect(__atomic_add_fetch(&rw->reader_count, 1, __ATOMIC_ACQUIRE) < 0, 0))
        loam_rwmutex_rlock_slow(rw);
}

/* Undoes one loam_rwmutex_rlock. Misuse: Go's fatal error "sync: RUnlock of unlocked RWMutex". */
static inline void loam_rwmutex_runlock(struct loam_rwmutex *rw)
{
    LOAM_SYNC_POINT_();
    /* release: the next writer's acquire comes after all that this reader read */
    int32_t count = __atomic_sub_fetch(&rw->reader_count, 1, __ATOMIC_RELEASE);
    if (__builtin_expect(count < 0, 0))
        loam_rwmutex_runlock_slow(rw, count);
}

/* Go's sync.Cond: goroutines wait for a condition that others change under a mutex, and signal. */
struct loam_cond {
    struct loam_sema sema;
    uint32_t wait, notify; /* atomic: tickets given; tickets served, written under sema.lock */
};

/* Unlocks m, parks until woken, locks m again. No spurious wake-ups, yet test the condition in a
 * loop: it may have changed before m was locked. */
LOAM_API void loam_cond_wait(struct loam_cond *c, struct loam_mutex *m);
/* Wakes the goroutine that waits longest, if any. The mutex need not be held. */
LOAM_API void loam_cond_signal(struct loam_cond *c);
/* Wakes all goroutines that wait. The mutex need not be held. */
LOAM_API void loam_cond_broadcast(struct loam_cond *c);

/* Go's sync.WaitGroup: waits until a counter is zero. */
struct loam_waitgroup {
    uint64_t state; /* atomic: counter in the high half, waiters in the low */
    struct loam_sema sema;
};

/* The path of add and done when the counter reaches zero with waiters, and on misuse. */
LOAM_API void loam_waitgroup_add_slow(struct loam_waitgroup *wg, int delta, uint64_t state);

/* Adds delta, which may be negative, to the counter; at zero all waiters go on. Misuse: Go's panics "sync: negative
 * WaitGroup counter", "sync: WaitGroup misuse: Add called concurrently with Wait". */
static inline void loam_waitgroup_add(struct loam_waitgroup *wg, int delta)
{
    LOAM_SYNC_POINT_();
    /* acq_rel: whoever sees zero sees everything done before each done() */
    uint64_t state =
        __atomic_add_fetch(&wg->state, (uint64_t)(int64_t)delta << 32, __ATOMIC_ACQ_REL);
    /* Nothing more to do at zero without waiters, and above zero, if nobody waits or this is no
     * addition that ought to have come before the wait. */
    if (__builtin_expect(
            state != 0 && ((int32_t)(state >> 32) <= 0 || (delta > 0 && (uint32_t)state != 0)), 0))
        loam_waitgroup_add_slow(wg, delta, state);
}

/* Counts one down: loam_waitgroup_add(wg, -1). */
static inline void loam_waitgroup_done(struct loam_waitgroup *wg)
{
    loam_waitgroup_add(wg, -1);
}

/* Parks until the counter is zero. Misuse: Go's panic "sync: WaitGroup is reused before previous Wait
 * has returned". */
LOAM_API void loam_waitgroup_wait(struct loam_waitgroup *wg);

/* Starts fn(arg) on a goroutine that is waited for until it returns: Go 1.25's WaitGroup.Go.
 *
 * Adds 1, starts it, and counts one down when it returns or ends by loam_goexit. If it cannot be
 * started the counter is as before. NULL fn is Go's fatal error "go of nil func value". Errors as of
 * loam_go. */
LOAM_API int loam_waitgroup_go(struct loam_waitgroup *wg, void (*fn)(void *), void *arg);

/* Go's sync.Once: something that is done once, however many ask for it. */
struct loam_once {
    uint32_t done; /* atomic */
    uint32_t pad;
    struct loam_mutex mutex;
};

/* The path of loam_once_do until the first call has ended. */
LOAM_API void loam_once_do_slow(struct loam_once *o, void (*fn)(void *), void *arg);

/* Runs fn(arg) if this is the first call on o; returns when that first call has ended.
 *
 * Parks while another goroutine runs it. fn must return, not call loam_goexit; if it calls
 * loam_once_do on the same o it waits for itself, which is reported as a deadlock. NULL fn on the
 * first call is Go's panic of a nil dereference. */
static inline void loam_once_do(struct loam_once *o, void (*fn)(void *), void *arg)
{
    LOAM_SYNC_POINT_();
    /* acquire: what fn did is seen */
    if (__builtin_expect(__atomic_load_n(&o->done, __ATOMIC_ACQUIRE) == 0, 0))
        loam_once_do_slow(o, fn, arg);
}

/* A weighted semaphore, first come, first served (golang.org/x/sync/semaphore). Set it up with
 * loam_semaphore_init before use. */
struct loam_semaphore {
    int64_t size, used;  /* lock */
    uint32_t lock, rank; /* a runtime mutex */
    void *head, *tail;   /* lock */
};

struct loam_context;

/* Sets a semaphore up with size units, all of them free. Errors: -EINVAL size < 0. */
LOAM_API int loam_semaphore_init(struct loam_semaphore *s, int64_t size);
/* Takes n units; parks until they are free or ctx (may be NULL) is done.
 *
 * Whoever asks first is served first, even if what the next one asks for is there. If ctx is done
 * already it fails even if they are free. When it fails it holds nothing. n above the size waits for
 * ctx. Errors: -ECANCELED, -ETIMEDOUT from ctx; -EINVAL n < 0. */
LOAM_API int loam_semaphore_acquire(struct loam_semaphore *s, int64_t n, struct loam_context *ctx);
/* Takes n units if that needs no waiting: true if it did. */
LOAM_API bool loam_semaphore_try_acquire(struct loam_semaphore *s, int64_t n);
/* Gives n units back, to whoever waits longest. More than are held, or n < 0: panic "semaphore: released more than held". */
LOAM_API void loam_semaphore_release(struct loam_semaphore *s, int64_t n);

/* A cache of objects of one kind, per processor: Go's sync.Pool. (loam_pool is a pool of threads.)
 *
 * All its functions may be called from any thread. What is put is kept until it is got or the pool
 * is freed. */
struct loam_objpool;

/* Makes a cache of objects. NULL: no memory.
 *
 * loam_objpool_get calls make(arg) when the cache is empty (NULL make: it returns NULL); discard(obj,
 * arg) gets what is dropped (may be NULL). The program owns it: loam_objpool_free. */
LOAM_API struct loam_objpool *loam_objpool_new(void *(*make)(void *arg),
                                               void (*discard)(void *obj, void *arg), void *arg);
/* Takes an object that was put, the last one of this processor if there is one; else a new one. */
LOAM_API void *loam_objpool_get(struct loam_objpool *p);
/* Puts an object into the cache, for whoever asks next. NULL obj is ignored. Without memory to note it, it is
 * discarded. */
LOAM_API void loam_objpool_put(struct loam_objpool *p, void *obj);
/* Discards all objects and the pool, which nobody may use any more. NULL is allowed. */
LOAM_API void loam_objpool_free(struct loam_objpool *p);

LOAM_END_DECLS

#endif
