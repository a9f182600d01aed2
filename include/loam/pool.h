/* Pools of dedicated threads, for libraries that block or that own their thread (a database client,
 * a model runtime). The pool's threads never run goroutines and keep their thread-locals; signals
 * are blocked on them, but for those that a fault in fn raises.
 *
 * A pool belongs to the program, not to the runtime: it may be made and used by foreign threads
 * before loam_start and after loam_stop. loam_stop waits for running calls of goroutines (-EBUSY)
 * and abandons waiting ones with their goroutines. Goroutines go on between its attempts, so that a fn
 * may wait for one.
 *
 * In a seeded run (LOAMDEBUG=dst) a goroutine's call is run on a thread of the pool while
 * everything else stands still: there fn must not wait for a goroutine. */
#ifndef LOAM_POOL_H
#define LOAM_POOL_H

#include <loam/base.h>
#include <loam/context.h>

LOAM_BEGIN_DECLS

/* A pool of threads; made by loam_pool_new. */
struct loam_pool;

/* How to make a pool. Zero every field that you do not set. */
struct loam_pool_config {
    const char *name;  /* threads are called NAME-0, NAME-1, ... (cut to 15 bytes); NULL: "pool" */
    int threads;       /* 1 to 4096; 0: 1 */
    int queue;         /* most calls that wait; 0: 64 times the threads */
    size_t stack_size; /* bytes; 0: the system's default */
    const int *cpus;   /* CPUs that the threads may run on; NULL: as the caller of loam_pool_new */
    int ncpus;         /* how many are in cpus */
    void (*thread_start)(void *arg); /* runs first on each thread; may be NULL */
    void (*thread_end)(void *arg);   /* runs last on each thread; may be NULL */
    void *arg;
};

/* Makes a pool, with its threads. config may be NULL; what it points to is not needed afterwards.
 *
 * The program owns it: loam_pool_free. Errors: -EINVAL a field of config is out of range, or this
 * process may not use the CPUs; -EAGAIN no thread to be had; -ENOMEM no memory. */
LOAM_API int loam_pool_new(struct loam_pool **out, const struct loam_pool_config *config);

/* Runs fn(arg) on a thread of the pool; parks (a foreign thread blocks) until it has ended.
 *
 * ctx may be NULL. Waits for a place in the queue while it is full. A call that still waits when
 * ctx is done is taken back; one that runs is waited for. fn begins with the caller's errno, and
 * leaves its own to the caller, as if it had been called in place. Errors: -ECANCELED, -ETIMEDOUT
 * taken back; -EINVAL fn is NULL; -ESHUTDOWN the pool is being freed; -ECHILD called in a forked
 * child. */
LOAM_API int loam_pool_call(struct loam_pool *p, void (*fn)(void *), void *arg,
                            struct loam_context *ctx);

/* Runs fn(arg) on a thread of the pool unless the queue is full: loam_pool_call that never waits
 * for a place. Errors as of loam_pool_call; -EAGAIN the queue is full. */
LOAM_API int loam_pool_try_call(struct loam_pool *p, void (*fn)(void *), void *arg,
                                struct loam_context *ctx);

/* What a pool does at this moment; read by loam_pool_read_stats. */
struct loam_pool_stats {
    int threads;         /* of the pool */
    int running;         /* calls that a thread runs */
    int waiting;         /* calls in the queue */
    uint64_t done;       /* calls that have ended */
    uint64_t taken_back; /* calls that waited, and did not run */
};

/* Reads what a pool does at this moment. From any thread. */
LOAM_API void loam_pool_read_stats(struct loam_pool *p, struct loam_pool_stats *stats);

/* Ends a pool: refuses new calls, takes waiting ones back (-ESHUTDOWN), waits for running ones,
 * ends the threads, frees. NULL is allowed. Parks; a foreign thread blocks. Not from the pool's own
 * fn. */
LOAM_API void loam_pool_free(struct loam_pool *p);

LOAM_END_DECLS

#endif
