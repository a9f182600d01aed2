/* Thread pools: their threads, making and freeing pools, and the shutdown of the runtime.
 *
 * A pool's threads are its own: the runtime neither counts nor stops them, and to its functions
 * they are foreign threads. They take no signals except those that a fault of their own raises,
 * which a handler of the program may want to see; blocked, they would kill the process past it.
 *
 * Freeing goes in two stages, each of which waits: no new calls, queued ones are taken back, until
 * every caller is out of the pool; then the threads end. A caller's last act is to give back the
 * pool's lock, so the freer takes it once more before the memory goes.
 *
 * A pool outlives loam_stop, and foreign threads may go on to use it. What it knows of goroutines
 * is taken out by goroutines_abandon: a running call of a goroutine is like any other blocking call
 * and is waited for, because fn's argument mostly lies on the goroutine's stack; a waiting one is
 * just forgotten.
 *
 * Locks: pools_lock, before every pool's; loam_pool.lock. */
#include "sync/pool_int.h"

#include "base/debugvar.h"
#include "base/print.h"
#include "base/throw.h"
#include "mem/mem.h"
#include "os/affinity.h"
#include "os/os.h"
#include "sched/needs.h"

#include <string.h>

enum { THREADS_MAX = 4096, QUEUE_PER_THREAD = 64, PAGE = 4096 };

/* Taken before any pool's lock, and never with another lock held: no rank is needed to see that. */
static struct mutex pools_lock = MUTEX_INIT(none);
static struct ring pools = {&pools, &pools}; /* pools_lock */

/* ---- Threads --------------------------------------------------------------------------------- */

static void run(struct pool_call *c)
{
    errno = c->saved_errno;
    c->fn(c->arg);
    c->saved_errno = errno;
}

/* With the lock, which is given back meanwhile; NULL: the thread is to end. */
static struct pool_call *wait_for_call(struct loam_pool *p, struct pool_worker *w)
{
    struct pool_call *c;
    while ((c = pool_next_locked(p, w)) == NULL && !p->ending) {
        w->idle = true;
        w->next_idle = p->idle;
        p->idle = w;
        unlock(&p->lock);
        notesleep(&w->wake);
        noteclear(&w->wake);
        lock(&p->lock);
    }
    return c;
}

static void worker_main(void *arg)
{
    struct pool_worker *w = arg;
    struct loam_pool *p = w->pool;
    notesleep(&w->wake); /* until all threads are there, with their CPUs */
    noteclear(&w->wake);
    if (p->aborted)
        return;
    if (p->thread_start != NULL)
        p->thread_start(p->arg);
    external_threads(1); /* from here to thread_end it wakes only those who wait for their calls */
    lock(&p->lock);
    for (struct pool_call *c; (c = wait_for_call(p, w)) != NULL;) {
        unlock(&p->lock);
        run(c);
        lock(&p->lock);
        bool on_goroutine = c->on_goroutine;
        p->running -= !c->inner;
        p->done += !c->inner;
        c->state = CALL_OVER;
        w->call = NULL;
        unlock(&p->lock);
        (void)parker_wake(&c->pk, PARKER_CODE); /* without the lock: it may be a slow one */
        lock(&p->lock);
        p->goroutines_running -= on_goroutine; /* now the scheduler has it */
    }
    unlock(&p->lock);
    external_threads(-1);
    if (p->thread_end != NULL)
        p->thread_end(p->arg);
    lock(&p->lock);
    p->alive--;
    pool_tell_freer_locked(p);
    unlock(&p->lock);
}

/* NAME-I, of which NAME is cut if it must be. */
static void thread_name(char name[16], const char *base, int i)
{
    char number[12];
    print_buf(number, sizeof number, "-%d", i);
    size_t room = 15 - strlen(number), len = strnlen(base, room);
    memcpy(name, base, len);
    memcpy(name + len, number, strlen(number) + 1);
}

static int worker_start(struct loam_pool *p, int i, const struct loam_pool_config *config)
{
    struct pool_worker *w = &p->workers[i];
    char name[16];
    thread_name(name, config->name != NULL ? config->name : "pool", i);
    sigset_t mask;
    sigfillset(&mask);
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    for (size_t k = 0; k < nelem(faults); k++)
        sigdelset(&mask, faults[k]);
    w->pool = p;
    int err = os_thread_start(worker_main, w, name, config->stack_size, &mask, &w->handle);
    if (err == 0) {
        p->alive++; /* nobody else looks before all are there */
        if (config->cpus != NULL)
            err = os_thread_set_cpus(w->handle, config->cpus, config->ncpus);
    }
    return err;
}

static void join_all(struct loam_pool *p)
{
    for (int i = 0; i < p->threads; i++)
        if (p->workers[i].handle != 0)
            os_thread_join(p->workers[i].handle);
}

/* ---- Making ---------------------------------------------------------------------------------- */

static bool config_ok(const struct loam_pool_config *c)
{
    return c->threads >= 0 && c->threads <= THREADS_MAX && c->queue >= 0 &&
           (c->cpus != NULL ? c->ncpus > 0 : c->ncpus == 0);
}

static struct loam_pool *pool_alloc(int threads)
{
    struct loam_pool *p =
        objalloc(sizeof *p + (size_t)threads * sizeof(struct pool_worker), OBJ_POOL);
    if (p == NULL)
        return NULL;
    p->here = os_mem_map_wiped_on_fork(PAGE);
    if (p->here == NULL) {
        objfree(p, OBJ_POOL);
        return NULL;
    }
    store_relaxed(p->here, 1);
    p->threads = threads;
    p->lock = (struct mutex)MUTEX_INIT(pool);
    ring_init(&p->queue);
    ring_init(&p->gate);
    ring_init(&p->all);
    return p;
}

static void pool_dealloc(struct loam_pool *p)
{
    os_mem_unmap(p->here, PAGE);
    objfree(p, OBJ_POOL);
}

int loam_pool_new(struct loam_pool **out, const struct loam_pool_config *config)
{
    static const struct loam_pool_config none;
    if (config == NULL)
        config = &none;
    if (!config_ok(config))
        return -EINVAL;
    struct loam_pool *p = pool_alloc(config->threads > 0 ? config->threads : 1);
    if (p == NULL)
        return -ENOMEM;
    p->queue_max = config->queue > 0 ? config->queue : QUEUE_PER_THREAD * p->threads;
    p->thread_start = config->thread_start;
    p->thread_end = config->thread_end;
    p->arg = config->arg;
    int err = 0;
    /* As a blocking call, if it can be one: libc may wait for what only a goroutine that needs a P lets go
     * (sched/maker.c). */
    bool blocking = getg() != NULL && getm()->incall == 0 && !debug.dst_on;
    if (blocking)
        entersyscall();
    for (int i = 0; i < p->threads && err == 0; i++)
        err = worker_start(p, i, config);
    if (blocking)
        exitsyscall();
    p->aborted = err != 0;
    for (int i = 0; i < p->threads; i++)
        if (p->workers[i].handle != 0)
            notewakeup(&p->workers[i].wake);
    if (err != 0) {
        join_all(p);
        pool_dealloc(p);
        return err;
    }
    lock(&pools_lock);
    ring_add_tail(&pools, &p->all);
    unlock(&pools_lock);
    *out = p;
    return 0;
}

/* ---- Freeing --------------------------------------------------------------------------------- */

static bool stage_over_locked(const struct loam_pool *p)
{
    return p->ending ? p->alive == 0 : p->callers == 0;
}

void pool_tell_freer_locked(struct loam_pool *p)
{
    if (p->freer == NULL || !stage_over_locked(p))
        return;
    struct parker *pk = p->freer;
    p->freer = NULL;
    (void)parker_wake(pk, PARKER_CODE);
}

/* With the lock, which it gives back meanwhile. */
static void wait_stage(struct loam_pool *p, struct g *gp)
{
    while (!stage_over_locked(p)) {
        struct parker pk;
        parker_init(&pk, gp);
        p->freer = &pk;
        p->freer_on_goroutine = gp != NULL;
        unlock(&p->lock);
        if (gp != NULL)
            external_begin();
        (void)parker_wait(&pk, WAIT_pool_call, -1);
        if (gp != NULL)
            external_end();
        lock(&p->lock);
    }
}

void loam_pool_free(struct loam_pool *p)
{
    if (p == NULL)
        return;
    if (!pool_is_here(p)) {
        pool_dealloc(p); /* in a forked child only the memory is left */
        return;
    }
    struct g *gp = getg();
    int saved = errno;
    lock(&p->lock);
    p->closing = true;
    struct ring *r;
    while ((r = p->queue.next) != &p->queue || (r = p->gate.next) != &p->gate)
        pool_take_back_locked(p, container_of(r, struct pool_call, link), -ESHUTDOWN);
    wait_stage(p, gp);
    p->ending = true;
    for (struct pool_worker *w; (w = p->idle) != NULL;) {
        p->idle = w->next_idle;
        w->idle = false;
        notewakeup(&w->wake);
    }
    /* In a seeded run nothing else may happen while the kernel ends the threads. */
    wait_stage(p, debug.dst_on ? NULL : gp);
    unlock(&p->lock);

    lock(&pools_lock);
    ring_remove(&p->all);
    unlock(&pools_lock);
    if (gp != NULL)
        entersyscall(); /* the threads are about to be gone, but the kernel may take its time */
    join_all(p);
    if (gp != NULL)
        exitsyscall();
    pool_dealloc(p);
    errno = saved; /* of the thread that we are on now */
}

/* ---- The runtime stops ----------------------------------------------------------------------- */

/* From here on calls of goroutines are not begun; true: some run still. */
static bool hold_goroutines(struct loam_pool *p)
{
    lock(&p->lock);
    p->stopping = true;
    bool run = p->goroutines_running > 0;
    unlock(&p->lock);
    return run;
}

static void release_goroutines(struct loam_pool *p)
{
    lock(&p->lock);
    p->stopping = false;
    pool_dispatch_locked(p);
    unlock(&p->lock);
}

static void forget(struct ring *queue, struct loam_pool *p)
{
    for (struct ring *r = queue->next, *next; r != queue; r = next) {
        next = r->next;
        struct pool_call *c = container_of(r, struct pool_call, link);
        if (c->on_goroutine) {
            ring_remove(r);
            c->state = CALL_OVER; /* its context may call it off still */
            p->waiting--;
        }
    }
}

static void forget_goroutines(struct loam_pool *p)
{
    lock(&p->lock);
    forget(&p->queue, p);
    forget(&p->gate, p);
    p->running -= p->past_gate;
    p->past_gate = 0;
    p->callers -= p->goroutine_callers;
    p->goroutine_callers = 0;
    if (p->freer != NULL && p->freer_on_goroutine)
        p->freer = NULL; /* it was not freed: another may try */
    pool_tell_freer_locked(p);
    unlock(&p->lock);
}

/* The pool that the list goes on with; NULL: none. */
static struct loam_pool *pool_after(const struct ring *r)
{
    return r->next != &pools ? container_of(r->next, struct loam_pool, all) : NULL;
}

/* With pools_lock. */
static bool hold_all(void)
{
    bool run = false;
    for (struct loam_pool *p = pool_after(&pools); p != NULL; p = pool_after(&p->all))
        run |= hold_goroutines(p);
    return run;
}

int goroutines_abandon(int64_t timeout_ns)
{
    int64_t begin = os_nanotime();
    bool busy;
    lock(&pools_lock);
    while ((busy = hold_all()) && os_nanotime() - begin < timeout_ns) {
        unlock(&pools_lock); /* what runs may make and free pools */
        os_usleep(200);
        lock(&pools_lock);
    }
    for (struct loam_pool *p = pool_after(&pools); p != NULL; p = pool_after(&p->all)) {
        if (!busy)
            forget_goroutines(p);
        release_goroutines(p);
    }
    unlock(&pools_lock);
    return busy ? -EBUSY : 0;
}
