/* Pools of dedicated threads, for libraries that block or that own their thread (a database client,
 * a model runtime). The pool's threads never run goroutines and keep their thread-locals. */
#ifndef LOAM_POOL_H
#define LOAM_POOL_H

#include <loam/base.h>
#include <loam/context.h>

LOAM_BEGIN_DECLS

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

/* Makes a pool, with its threads. Errors: -EINVAL, -EAGAIN no thread to be had, -ENOMEM. */
LOAM_API int loam_pool_new(struct loam_pool **out, const struct loam_pool_config *config);

/* Runs fn(arg) on a thread of the pool; parks (a foreign thread blocks) until it has ended.
 *
 * ctx may be NULL. Waits for a place in the queue while it is full. A call that still waits when ctx
 * is done is taken back and returns -ECANCELED or -ETIMEDOUT; one that runs is waited for. -EINVAL
 * fn is NULL; -ESHUTDOWN the pool is being freed. */
LOAM_API int loam_pool_call(struct loam_pool *p, void (*fn)(void *), void *arg,
                            struct loam_context *ctx);

/* The same, but -EAGAIN instead of waiting for a place in a full queue. */
LOAM_API int loam_pool_try_call(struct loam_pool *p, void (*fn)(void *), void *arg,
                                struct loam_context *ctx);

/* What a pool does at this moment. */
struct loam_pool_stats {
    int threads, running, waiting;
    uint64_t done, taken_back;
};
LOAM_API void loam_pool_read_stats(struct loam_pool *p, struct loam_pool_stats *stats);

/* Refuses new calls, takes waiting ones back (-ESHUTDOWN), waits for running ones (parks; a foreign
 * thread blocks), ends the threads, frees. NULL is allowed. */
LOAM_API void loam_pool_free(struct loam_pool *p);

LOAM_END_DECLS

#endif
