/* Timers, as the files of this folder share them. timers.c explains the whole. */
#ifndef TIME_TIME_INT_H
#define TIME_TIME_INT_H

#include "base/atomic.h"
#include "base/base.h"
#include "lock/lock.h"

#include <loam/time.h>

struct p;
struct g;

/* The time that never comes. Timers that are due then are in the heap, but never fire. */
#define WHEN_NEVER INT64_MAX

/* ---- The heap (heap.c): a plain data structure without locks ---------------------------------- */

/* One entry. As a 128-bit number, `when` above, it is its own place in the order. Timers that are
 * due at the same time go by tie; the slot below it makes every entry unique. */
struct tentry {
    uint64_t low; /* tie << 32 | slot */
    int64_t when; /* above 0 */
};

/* A 4-ary heap of entries that keep their slot while they move, so that the holder of a slot can
 * strike its entry out. All of it lies in one block. */
struct theap {
    struct tentry *entry; /* [0..n) the heap; entry[1] begins a cache line */
    uintptr_t *ref;       /* by slot: what the owner put there; 0: struck out, or free */
    uint32_t n, cap;
    uint32_t dead;  /* entries struck out */
    uint32_t fresh; /* slots from here on were never used; the free ones below it are the slots
                             of entry[n..fresh) */
    void *block;
    size_t block_size;
};

/* Room for cap entries in a block that os_mem_map gave. False: no memory. */
bool theap_init(struct theap *h, uint32_t cap);
void theap_free(struct theap *h);
/* Makes a block of cap entries, >= n. When it is smaller the slots are renumbered: moved(ref, slot)
 * hears of each new number. Sets *old and *old_size, for os_mem_unmap once no lock is held. False: no
 * memory, h is as it was. */
bool theap_resize(struct theap *h, uint32_t cap, void (*moved)(uintptr_t ref, uint32_t slot),
                  void **old, size_t *old_size);
/* n < cap; ref is not 0. Returns the slot. */
uint32_t theap_push(struct theap *h, int64_t when, uint32_t tie, uintptr_t ref);
/* Strikes out the entry in a slot. */
void theap_strike(struct theap *h, uint32_t slot);
/* Takes the first entry off, n > 0; returns its ref, 0: it was struck out. */
uintptr_t theap_pop(struct theap *h);
/* Gives the first entry a later time; it keeps its slot. */
void theap_postpone_first(struct theap *h, int64_t when, uint32_t tie);
/* Drops what was struck out. */
void theap_compact(struct theap *h);
/* Dies if an invariant is broken. */
void theap_verify(const struct theap *h);

static inline uint32_t tentry_slot(const struct tentry *e)
{
    return (uint32_t)e->low;
}

/* ---- Timers of a P (timers.c) ------------------------------------------------------------------ */

#if LOAM_TORTURE
enum { HEAP_CAP_MIN = 2, HEAP_CAP_KEEP = 8, RUN_BATCH = 2, SPARE_MAX = 1 };
#elif LOAM_DEBUG_CHECKS
/* No spares: the sanitizers and malloc's checks shall see every use of a freed timer. */
enum { HEAP_CAP_MIN = 160, HEAP_CAP_KEEP = 5000, RUN_BATCH = 16, SPARE_MAX = 0 };
#else
enum {
    HEAP_CAP_MIN = 160,   /* entries: the block is a page */
    HEAP_CAP_KEEP = 5000, /* a block up to this size stays */
    RUN_BATCH = 16,       /* timers taken off a heap under one lock */
    SPARE_MAX = 32,       /* freed timers that a P keeps */
};
#endif

struct timers {
    struct mutex lock;
    uint32_t tie;      /* lock: counts insertions */
    struct p *pp;      /* const: whose timers_when is kept */
    struct theap heap; /* lock */
    /* The owner P's M: freed timers with their channels, and without, for the next ones. */
    struct loam_timer *spare[2] __attribute__((aligned(cacheline)));
    uint32_t nspare[2];
    struct timers *link; /* STW: list of all */
};

enum timer_kind { TIMER_CHAN, TIMER_FUNC, TIMER_TICKER };

/* A timer, a ticker. Who may touch what is explained in timers.c. */
struct loam_timer {
    struct timers *ts; /* atomic: whose heap it is in, or NULL */
    struct mutex lock; /* insertion, delivery, and stops that do not find it in a heap */
    uint32_t slot;     /* ts->lock, while in a heap */
    uint32_t seq;      /* lock for writing: changes when what was taken off a heap shall not fire */
    uint32_t claims;   /* atomic: CLAIM for each firing under way, plus DEAD */
    uint8_t kind;      /* const */
    bool armed;        /* set to fire, and neither fired nor stopped; see timers.c */
    union {
        struct loam_hchan *chan; /* const: not TIMER_FUNC */
        void (*fn)(void *);      /* const: TIMER_FUNC */
    };
    union {
        void *arg; /* const: TIMER_FUNC */
        int64_t
            period; /* TIMER_TICKER. Written with lock held while in no heap, read under ts->lock */
    };
    union {
        uint32_t epoch;           /* const: the runtime_epoch of its making */
        struct loam_timer *spare; /* freed: link of the owner P's list */
    };
};
_Static_assert(sizeof(struct loam_timer) <= 56, "with malloc's word a cache line");

enum { DEAD = 1, CLAIM = 2 };

/* now + ns, at least 1; WHEN_NEVER if that overflows. */
int64_t when_after(int64_t ns);

/* The heap for new timers: the calling M's P's, or P0's. NULL: the runtime is not started. */
struct timers *timers_here(void);

/* Puts a timer that is in no heap into ts. The caller holds t->lock, or alone knows t. False: no
 * memory. */
bool timer_insert(struct timers *ts, struct loam_timer *t, int64_t when);
/* Takes it out of the heap it is in; false: it is in none. */
bool timer_remove(struct loam_timer *t);
/* Sets it anew in ts, if it is there; false: it is not. */
bool timer_update(struct timers *ts, struct loam_timer *t, int64_t when);
/* Puts a parked goroutine to sleep. False: no memory. */
bool timers_insert_g(struct timers *ts, struct g *gp, int64_t when);

/* ---- One timer (timer.c) ------------------------------------------------------------------------ */

/* Does what t is for, unless it was stopped, set anew or freed since seq was read. On a thread's own
 * stack with a P. Gives the claim back; t may be gone afterwards. True: something was started. */
bool timer_fire(struct loam_timer *t, uint32_t seq, int64_t now);
/* Gives a claim back; the last one of a freed timer ends it. */
void timer_unclaim(struct loam_timer *t);
/* Gives a timer's memory back. */
void timer_dispose(struct loam_timer *t);

/* Makes a timer of a kind, not set. NULL: no memory, or the runtime does not run. */
struct loam_timer *timer_make(enum timer_kind kind);
/* Stops, with t->lock held: true if that kept it from firing. */
bool timer_stop_locked(struct loam_timer *t);
/* Inserts into the heap at hand, with t->lock held. Dies without memory. */
void timer_start_locked(struct loam_timer *t, int64_t when);

#endif
