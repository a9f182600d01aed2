/* Waitgroup: counter and waiters in one word, so that one operation decides who reaches zero and
 * whether anybody sleeps.
 *
 * A waiter counts itself in the word and queues in one hold of sema.lock, while the counter is above
 * zero. So whoever brings the counter to zero and reads waiters finds all of them in the queue once
 * it has the lock; nobody can join meanwhile, for the counter is zero. It sets the word to 0, takes
 * the queue, gives the lock back, and only then wakes them: a waitgroup on the stack of the goroutine
 * that waits for it may end with wait's return (sema.h, the rule of the last touch).
 *
 * Orders: add is acq_rel in the header: all dones form one chain, which the waiter's acquire ends.
 * Locks: sema.lock. Rejected: Go's semaphore, to which the last done must still come after waiters
 * could have passed. */
#include "sync/sync_int.h"

static int32_t counter_of(uint64_t state)
{
    return (int32_t)(state >> 32);
}

static uint32_t waiters_of(uint64_t state)
{
    return (uint32_t)state;
}

void loam_waitgroup_add_slow(struct loam_waitgroup *wg, int delta, uint64_t state)
{
    static const char concurrent[] = "sync: WaitGroup misuse: Add called concurrently with Wait";
    int32_t counter = counter_of(state);
    uint32_t waiters = waiters_of(state);
    if (counter < 0)
        panic_text("sync: negative WaitGroup counter");
    if (waiters != 0 && delta > 0 && counter == (int32_t)delta)
        panic_text(concurrent);
    if (counter > 0 || waiters == 0)
        return;
    struct mutex *l = sema_mutex(&wg->sema);
    lock(l);
    if (load_relaxed(&wg->state) != state) { /* nobody else may change it now */
        unlock(l);
        panic_text(concurrent);
    }
    store_release(&wg->state, 0); /* release: to a wait that comes now and finds zero */
    struct sudog *list = sema_pop_all(&wg->sema);
    unlock(l);
    sema_ready_list(list);
}

void loam_waitgroup_wait(struct loam_waitgroup *wg)
{
    sync_point();
    if (counter_of(load_acquire(&wg->state)) == 0) /* acquire: what was done before each done */
        return;
    struct g *gp = getg_or_die("loam_waitgroup_wait");
    preempt_point(getm());

    struct mutex *l = sema_mutex(&wg->sema);
    lock(l);
    for (;;) {
        uint64_t state = load_acquire(&wg->state); /* acquire: as above */
        if (counter_of(state) == 0) {
            unlock(l);
            return;
        }
        /* relaxed: whoever reaches zero does so later in the word's order, and sees it */
        if (cas_relaxed(&wg->state, state, state + 1))
            break;
    }
    struct sudog sg = {.g = gp, .c = wg};
    sema_push(&wg->sema, &sg);
    goparkunlock(l, WAIT_waitgroup_wait);
    if (load_relaxed(&wg->state) != 0) /* relaxed: goready orders what came before it */
        panic_text("sync: WaitGroup is reused before previous Wait has returned");
}

/* What loam_waitgroup_go hands to its goroutine, by value. */
struct task {
    struct loam_waitgroup *wg;
    void (*fn)(void *);
    void *arg;
};

static void add(struct loam_waitgroup *wg, int delta)
{
    uint64_t state = add_acqrel(&wg->state, (uint64_t)(int64_t)delta << 32); /* as in the header */
    if (state != 0)
        loam_waitgroup_add_slow(wg, delta, state);
}

/* The copy lies on the goroutine's own stack; that of the waitgroup may end with this. */
static void end_task(void *copy)
{
    struct task *task = copy;
    add(task->wg, -1);
}

static void run_task(void *copy)
{
    struct task *task = copy;
    struct g *gp = getg();
    gp->at_goexit = end_task; /* it gets this copy, the goroutine's argument */
    task->fn(task->arg);
    gp->at_goexit = NULL;
    end_task(copy);
}

int loam_waitgroup_go(struct loam_waitgroup *wg, void (*fn)(void *), void *arg)
{
    if (fn == NULL)
        fatal("go of nil func value");
    struct task task = {wg, fn, arg};
    add(wg, 1);
    int err = newproc_with(&(struct newborn){.fn = run_task,
                                             .code = (uintptr_t)fn,
                                             .copy = &task,
                                             .copy_size = sizeof task,
                                             .callerpc = arch_callerpc()});
    if (err != 0)
        add(wg, -1);
    return err;
}
