/* Mutex and note over futexes; see lock.h. */
#include "lock/lock.h"

#include "base/throw.h"
#include "os/os.h"

enum { SPIN_ACTIVE = 40, SPIN_PASSIVE = 2 };

void lock_slow(struct mutex *l)
{
    /* The holder is in a short critical section on another CPU, mostly: a look every few cycles
     * for about a microsecond is cheaper than sleeping. */
    for (int i = 0; i < SPIN_ACTIVE; i++) {
        if (load_relaxed(&l->key) == 0 && cas_acquire(&l->key, 0, 1))
            return;
        for (int k = 0; k < 4; k++)
            arch_pause();
    }
    for (int i = 0; i < SPIN_PASSIVE; i++) {
        if (load_relaxed(&l->key) == 0 && cas_acquire(&l->key, 0, 1))
            return;
        os_yield();
    }
    /* In a forked child the thread that holds it does not exist. */
    if (os_forked())
        throw(
            "a lock of the runtime was held when this child was forked: it may only exec or _exit");
    /* acquire for the case that it was free. From here on the word stays 2 until we have it: we
     * cannot know whether others sleep. */
    while (xchg_acquire(&l->key, 2) != 0)
        os_futex_wait(&l->key, 2, -1);
}

void unlock_slow(struct mutex *l, uint32_t was)
{
    if (was == 0)
        throw("unlock: the mutex was not locked");
    os_futex_wake(&l->key, 1);
}

#if LOAM_DEBUG_CHECKS

static const struct {
    const char *name;
    int several;
} ranks[] = {
#define RANK(name, text, several) {#name, several},
#include "lock/ranks.tbl"
#undef RANK
};

void lock_rank_check(struct mutex *l)
{
    struct thread *t = thread_self();
    if (t == NULL || l->rank == RANK_none)
        return;
    if (t->nlocks > 0 && t->nlocks <= (int)nelem(t->held)) {
        uint32_t top = t->held[t->nlocks - 1].rank;
        const void *top_lock = t->held[t->nlocks - 1].lock;
        bool ok =
            l->rank > top || (l->rank == top && ranks[top].several && (const void *)l > top_lock);
        if (!ok && t->dying == 0) {
            t->dying = 1;
            throwf("lock order: %s taken while holding %s", ranks[l->rank].name, ranks[top].name);
        }
    }
    if (t->nlocks < (int)nelem(t->held)) {
        t->held[t->nlocks].rank = l->rank;
        t->held[t->nlocks].lock = l;
    }
    t->nlocks++;
}

void lock_rank_release(struct mutex *l)
{
    struct thread *t = thread_self();
    if (t == NULL || l->rank == RANK_none || t->nlocks == 0)
        return;
    /* a select's mutexes may be given back in any order, and all of a long one may not fit */
    int n = t->nlocks <= (int)nelem(t->held) ? t->nlocks : (int)nelem(t->held);
    for (int i = n - 1; i >= 0; i--) {
        if (t->held[i].lock != l)
            continue;
        for (; i + 1 < n; i++)
            t->held[i] = t->held[i + 1];
        break;
    }
    t->nlocks--;
}

int locks_held(void)
{
    struct thread *t = thread_self();
    return t != NULL ? t->nlocks : 0;
}

#else

int locks_held(void)
{
    return 0;
}

#endif

void notewakeup(struct note *n)
{
    /* release: what the waker wrote is seen by the sleeper. seqcst is not needed: the futex call
     * orders itself against the sleeper's. */
    if (xchg_release(&n->key, 1) != 0)
        throw("notewakeup: double wakeup");
    os_futex_wake(&n->key, 1);
}

bool notetsleep(struct note *n, int64_t ns)
{
    if (ns < 0) {
        notesleep(n);
        return true;
    }
    int64_t deadline = os_deadline(ns);
    while (load_acquire(&n->key) == 0) { /* acquire: pairs with notewakeup */
        if (ns <= 0)
            return false;
        os_futex_wait(&n->key, 0, ns);
        ns = deadline - os_nanotime();
    }
    return true;
}

void notesleep(struct note *n)
{
    while (load_acquire(&n->key) == 0) /* acquire: pairs with notewakeup */
        os_futex_wait(&n->key, 0, -1);
}

void notesleep_looking(struct note *n, uint64_t before, uint64_t nudged)
{
    for (uint64_t ticks = before;; ticks = nudged) {
        uint64_t from = ticks != 0 ? arch_ticks() : 0;
        for (;;) {
            if (load_acquire(&n->key) != 0) /* acquire: pairs with notewakeup */
                return;
            if (ticks == 0 || arch_ticks() - from >= ticks)
                break;
            arch_pause();
        }
        os_futex_wait(&n->key, 0, -1);
    }
}

void notenudge(struct note *n)
{
    os_futex_wake(&n->key, 1);
}

void noteclear(struct note *n)
{
    store_relaxed(&n->key, 0); /* by the sleeper, who publishes the note anew afterwards */
}
