/* The runtime's own mutex and its one-shot event, for threads, not goroutines.
 *
 * mutex: three states in a futex word (Drepper, "Futexes are tricky", 2011): 0 free, 1 taken,
 * 2 taken and somebody may sleep. Whoever is on a goroutine keeps it to its thread while it holds
 * one: nothing here or under it switches goroutine.
 *
 * note: 0 cleared, 1 set; one sleeper. notewakeup happens before notesleep's return.
 *
 * Ranks (ranks.tbl) are checked in debug builds: a mutex taken out of order is a throw that names
 * both, before it is a deadlock. */
#ifndef LOCK_LOCK_H
#define LOCK_LOCK_H

#include "arch/arch.h"
#include "base/atomic.h"
#include "base/base.h"

enum rank {
#define RANK(name, text, several) RANK_##name,
#include "lock/ranks.tbl"
#undef RANK
};

struct mutex {
    uint32_t key;  /* atomic */
    uint32_t rank; /* const after init; zero memory is an unranked mutex */
};

struct note {
    uint32_t key; /* atomic */
};

#define MUTEX_INIT(r)                                                                              \
    {                                                                                              \
        0, RANK_##r                                                                                \
    }

void lock_slow(struct mutex *l);
void unlock_slow(struct mutex *l, uint32_t was);
void lock_rank_check(struct mutex *l);
void lock_rank_release(struct mutex *l);
/* The mutexes that this thread holds (debug builds; 0 otherwise). */
int locks_held(void);

static always_inline void lock(struct mutex *l)
{
#if LOAM_DEBUG_CHECKS
    lock_rank_check(l);
#endif
    /* acquire: sees what the former holder wrote */
    if (unlikely(!cas_acquire(&l->key, 0, 1)))
        lock_slow(l);
}

static always_inline bool trylock(struct mutex *l)
{
    bool ok = load_relaxed(&l->key) == 0 && cas_acquire(&l->key, 0, 1);
#if LOAM_DEBUG_CHECKS
    if (ok)
        lock_rank_check(l);
#endif
    return ok;
}

static always_inline void unlock(struct mutex *l)
{
#if LOAM_DEBUG_CHECKS
    lock_rank_release(l);
#endif
    /* release: the next holder sees what this one wrote */
    uint32_t was = xchg_release(&l->key, 0);
    if (unlikely(was != 1))
        unlock_slow(l, was);
}

void notewakeup(struct note *n);
void notesleep(struct note *n);
/* notesleep that looks for so many ticks (arch_ticks) before it sleeps, and whenever it was nudged. */
void notesleep_looking(struct note *n, uint64_t before, uint64_t nudged);
/* The note will be set in a moment: who sleeps in notesleep_looking may wake up meanwhile. */
void notenudge(struct note *n);
/* Sleeps at most ns (< 0: for ever); true if the note was set. */
bool notetsleep(struct note *n, int64_t ns);
void noteclear(struct note *n);

#endif
