/* The timers of each P: how a timer gets into a heap, out of it, and fires.
 *
 *  1. Each P has a heap. A new timer goes into that of the P at hand (P0's on a foreign thread), so
 *     that Ps do not meet at one lock. pp->timers_when tells the scheduler when the first is due.
 *  2. The scheduler calls timers_run for its own P, and for others when it finds nothing else to do:
 *     a P that computes for long does not hold up its timers.
 *  3. timers_run takes due entries off the heap, a batch under one lock, and fires them with no lock
 *     of the heap held: readies the sleeper, sends on the channel, starts the goroutine.
 *
 * An entry stands for a struct loam_timer, or, tagged by IS_G, for a sleeping goroutine: a sleep is
 * an entry and nothing else, for nobody can call it off.
 *
 * A timer that was taken off but has not fired yet is claimed: t->claims counts firings under way and
 * keeps the memory. A firing does its work with t->lock held, and only if t->seq is still what it was
 * when the entry was taken. So, with ts the heap that t is in:
 *
 *   t->ts is set        by an insertion, with t->lock held (or by t's maker), under ts->lock
 *   t->ts becomes NULL  under ts->lock alone: by firing, by a stop. Once NULL, it stays so for whoever
 *                       holds t->lock, because only its holder inserts
 *   t->seq changes      with t->lock held, after t->ts was seen to be NULL: an entry taken before that
 *                       has the former value and will not fire; one taken later does not exist
 *   t->armed            is true from the insertion until it has fired or was stopped. Written under
 *                       ts->lock while t is in a heap, with t->lock held while it is in none: the
 *                       release of NULL in t->ts passes it on from one to the other
 *
 * Stopping a timer that is in a heap, which is nearly every stop, takes ts->lock alone: a one-shot
 * timer in a heap has no firing under way that still counts, and an empty channel. Any other stop
 * takes t->lock, and thereby waits for a send in progress, changes seq and takes back what was sent.
 * After that no value of the former setting can come: Go 1.23's promise. (Go keeps it by calling from
 * the channel's own code into the timer's: the receiver makes the send happen. Here channels know
 * nothing of timers; theirs is an ordinary one of capacity 1.)
 *
 * Locks: t->lock, then the channel's, or ts->lock. t->lock has no rank, because RANK_timer is below
 * the channels'. ts->lock has RANK_timers; under it nothing is called but the heap.
 *
 * Callers: the scheduler (sched/needs.h), timer.c, ticker.c, sleep.c. */
#include "time/time_int.h"

#include "base/debugvar.h"
#include "base/throw.h"
#include "os/os.h"
#include "sched/needs.h"
#include "sched/sched.h"

#include <errno.h>

enum { IS_G = 1 };

/* For threads without a P. Set when P0 gets its heap, which it keeps until the runtime stops. */
static struct timers *timers0; /* atomic */
static struct timers *all;     /* STW */

struct timers *timers_here(void)
{
    struct m *mp = getm();
    struct p *pp = mp != NULL ? mp->p : NULL;
    /* acquire: whoever sees the heap of P0 sees it made */
    return likely(pp != NULL) ? pp->timers : load_acquire(&timers0);
}

int64_t when_after(int64_t ns)
{
    int64_t now = nanotime(), when;
    if (ns <= 0)
        when = now;
    else if (__builtin_add_overflow(now, ns, &when))
        return WHEN_NEVER;
    return when > 0 ? when : 1; /* 0 means none */
}

/* ---- Under ts->lock ---------------------------------------------------------------------------- */

/* The order of timers that are due at the same time: that of insertion, or, so that seeded runs try
 * all of them, any. */
static always_inline uint32_t next_tie(struct timers *ts)
{
    return unlikely(debug.dst_on) ? choose(UINT32_MAX) : ts->tie++;
}

static always_inline int64_t first_when(const struct timers *ts)
{
    return ts->heap.n != 0 ? ts->heap.entry[0].when : 0;
}

/* What the scheduler is to know: when the first entry is due, and how many there are. */
static always_inline int64_t due_next(struct timers *ts)
{
    /* relaxed: shown in schedtrace */
    store_relaxed(&ts->pp->timers_len, ts->heap.n - ts->heap.dead);
    int64_t when = first_when(ts);
    /* A seeded run, with nothing else to do, jumps to the next timer: it must not jump to the end of
     * time, for there it is a deadlock. A real one waits, as Go does: it can be woken from outside. */
    return unlikely(when == WHEN_NEVER && debug.dst_on) ? 0 : when;
}

/* After entries went or became later. relaxed: a reader that still sees the earlier time looks once
 * too often. */
static always_inline int64_t publish_later(struct timers *ts)
{
    int64_t when = due_next(ts);
    if (when != load_relaxed(&ts->pp->timers_when))
        store_relaxed(&ts->pp->timers_when, when);
    return when;
}

/* After an entry came or moved. True: the sleeping threads must be told, once the lock is released.
 * seqcst: wake_for_timer then looks who sleeps, and whoever goes to sleep says so and then looks at
 * timers_when: one of the two sees the other (sched/proc.c). */
static always_inline bool publish(struct timers *ts)
{
    int64_t when = due_next(ts), former = load_relaxed(&ts->pp->timers_when);
    if (when == former)
        return false;
    if (when == 0 || (when > former && former != 0)) {
        store_relaxed(&ts->pp->timers_when, when);
        return false;
    }
    store_seqcst(&ts->pp->timers_when, when);
    return true;
}

static void slot_moved(uintptr_t ref, uint32_t slot)
{
    if ((ref & IS_G) == 0)
        ((struct loam_timer *)ref)->slot = slot;
}

/* A block that is no longer used, until the lock is released: giving it back takes long. */
struct garbage {
    void *block;
    size_t size;
};

static inline void dispose(struct garbage *old)
{
    if (unlikely(old->block != NULL))
        os_mem_unmap(old->block, old->size);
}

struct resize {
    struct timers *ts;
    uint32_t cap;
    struct garbage *old;
    bool done;
};

static void resize_there(void *p)
{
    struct resize *r = p;
    r->done = theap_resize(&r->ts->heap, r->cap, slot_moved, &r->old->block, &r->old->size);
}

/* Maps memory: a small stack has no room for that. */
static bool resize(struct timers *ts, uint32_t cap, struct garbage *old)
{
    struct resize r = {.ts = ts, .cap = cap, .old = old};
    systemstack(resize_there, &r);
    return r.done;
}

/* A full heap: drops what was struck out if that is a quarter or all that can be done. */
static noinline bool make_room(struct timers *ts, struct garbage *old)
{
    struct theap *h = &ts->heap;
    bool grown = h->dead <= h->n / 4 && h->cap < UINT32_C(1) << 30 && resize(ts, h->cap * 2, old);
    if (!grown && h->dead != 0)
        theap_compact(h);
    return h->n < h->cap;
}

static always_inline bool has_room(struct timers *ts, struct garbage *old)
{
    return likely(ts->heap.n < ts->heap.cap) || make_room(ts, old);
}

/* After a removal. At an eighth, to a quarter of the size, which is then half full: this is rare. */
static noinline void shrink(struct timers *ts, struct garbage *old)
{
    (void)resize(ts, ts->heap.cap / 4, old); /* no memory: later */
}

static always_inline void removed(struct timers *ts, struct garbage *old)
{
    if (unlikely(ts->heap.n < ts->heap.cap / 8 && ts->heap.cap > HEAP_CAP_KEEP))
        shrink(ts, old);
}

static always_inline void verify(struct timers *ts)
{
    if (LOAM_TORTURE && ts->heap.n <= 64) /* larger ones take too long for every operation */
        theap_verify(&ts->heap);
}

/* ---- In and out -------------------------------------------------------------------------------- */

bool timer_insert(struct timers *ts, struct loam_timer *t, int64_t when)
{
    struct garbage old = {0};
    lock(&ts->lock);
    if (unlikely(!has_room(ts, &old))) {
        unlock(&ts->lock);
        return false;
    }
    t->armed = true;
    t->slot = theap_push(&ts->heap, when, next_tie(ts), (uintptr_t)t);
    /* relaxed: whoever acts on it takes the lock first */
    store_relaxed(&t->ts, ts);
    bool earliest = publish(ts);
    verify(ts);
    unlock(&ts->lock);
    if (unlikely(earliest))
        wake_for_timer(when);
    dispose(&old);
    return true;
}

bool timers_insert_g(struct timers *ts, struct g *gp, int64_t when)
{
    struct garbage old = {0};
    lock(&ts->lock);
    if (unlikely(!has_room(ts, &old))) {
        unlock(&ts->lock);
        return false;
    }
    theap_push(&ts->heap, when, next_tie(ts), (uintptr_t)gp | IS_G);
    bool earliest = publish(ts);
    verify(ts);
    unlock(&ts->lock);
    /* gp may run already */
    if (unlikely(earliest))
        wake_for_timer(when);
    dispose(&old);
    return true;
}

bool timer_remove(struct loam_timer *t)
{
    for (;;) {
        /* acquire: see t->armed in the head */
        struct timers *ts = load_acquire(&t->ts);
        if (ts == NULL)
            return false;
        struct garbage old = {0};
        lock(&ts->lock);
        bool there = load_relaxed(&t->ts) == ts; /* else it fired, or was moved: look again */
        if (likely(there)) {
            theap_strike(&ts->heap, t->slot);
            t->armed = false;
            store_release(&t->ts, NULL); /* release: as above */
            removed(ts, &old);
            (void)publish_later(ts);
            verify(ts);
        }
        unlock(&ts->lock);
        dispose(&old);
        if (likely(there))
            return true;
    }
}

bool timer_update(struct timers *ts, struct loam_timer *t, int64_t when)
{
    struct garbage old = {0};
    lock(&ts->lock);
    if (load_relaxed(&t->ts) != ts) {
        unlock(&ts->lock);
        return false;
    }
    theap_strike(&ts->heap, t->slot);
    (void)has_room(ts, &old); /* it has: what was struck out can be dropped */
    t->slot = theap_push(&ts->heap, when, next_tie(ts), (uintptr_t)t);
    bool earlier = publish(ts);
    verify(ts);
    unlock(&ts->lock);
    if (unlikely(earlier))
        wake_for_timer(when);
    dispose(&old);
    return true;
}

/* ---- Firing ------------------------------------------------------------------------------------ */

/* What was taken off a heap: a goroutine, or a claimed timer. */
struct due {
    uintptr_t ref;
    uint32_t seq;
};

/* When a ticker that was due at `when` is due next: no drift, and one tick for all those missed. */
static int64_t next_tick(int64_t when, int64_t period, int64_t now)
{
    int64_t ahead, next;
    if (__builtin_mul_overflow((now - when) / period + 1, period, &ahead) ||
        __builtin_add_overflow(when, ahead, &next))
        return WHEN_NEVER;
    return next;
}

/* Takes the first entry, under ts->lock; false: it was struck out. move: to move it elsewhere, not to
 * fire it. */
static always_inline bool take(struct timers *ts, int64_t now, bool move, struct due *due)
{
    struct theap *h = &ts->heap;
    struct tentry first = h->entry[0];
    due->ref = h->ref[tentry_slot(&first)];
    if (due->ref == 0 || (due->ref & IS_G)) {
        theap_pop(h);
        return due->ref != 0;
    }
    struct loam_timer *t = (struct loam_timer *)due->ref;
    due->seq = load_relaxed(&t->seq); /* see the head */
    /* relaxed: who frees t takes it out of the heap first, under this lock, or sees it gone by an
     * acquire, and then looks */
    add_relaxed(&t->claims, CLAIM);
    if (t->kind == TIMER_TICKER && !move) {
        theap_postpone_first(h, next_tick(first.when, t->period, now), next_tie(ts));
        return true;
    }
    theap_pop(h);
    store_release(&t->ts, NULL); /* release: see timer_remove */
    return true;
}

static always_inline bool is_due(const struct timers *ts, int64_t now)
{
    int64_t when = first_when(ts);
    return when != 0 && when <= now;
}

/* How many timers to fire now: as many as the P at hand lets run ahead of others, at least one. The
 * rest stay in the heap, where they lie by deadline. The scheduler comes back soon, as long as
 * timers_when is in the past. */
static always_inline int fire_limit(void)
{
    uint32_t room = runq_ahead_room(getm()->p);
    return room > 0 ? (int)room : 1;
}

/* Fires a batch; true if something became runnable. */
static always_inline bool fire(const struct due *batch, int n, int64_t now)
{
    bool any = false;
    for (int i = 0; i < n; i++) {
        if ((batch[i].ref & IS_G) == 0) {
            any |= timer_fire((struct loam_timer *)batch[i].ref, batch[i].seq, now);
        } else {
            goready_ahead((struct g *)(batch[i].ref & ~(uintptr_t)IS_G));
            any = true;
        }
    }
    return any;
}

enum { LOOKS_MAX = 4 * RUN_BATCH }; /* entries taken off under one lock, struck out ones too */

int64_t timers_run(struct p *pp, int64_t now, bool *ran)
{
    struct timers *ts = pp->timers;
    struct due batch[RUN_BATCH];
    *ran = false;
    for (int left = fire_limit();;) {
        struct garbage old = {0};
        int n = 0, max = left < RUN_BATCH ? left : RUN_BATCH, looks;
        lock(&ts->lock);
        for (looks = LOOKS_MAX; n < max && looks > 0 && is_due(ts, now); looks--)
            n += take(ts, now, false, &batch[n]);
        removed(ts, &old);
        int64_t next = publish_later(ts);
        verify(ts);
        unlock(&ts->lock);
        dispose(&old);
        *ran |= fire(batch, n, now);
        left -= n;
        if (left <= 0 || (n < max && looks > 0))
            return next;
    }
}

/* ---- Ps come and go ---------------------------------------------------------------------------- */

int timers_init_p(struct p *pp)
{
    if (pp->timers != NULL) /* it was dead: the heap is there, and empty */
        return 0;
    struct timers *ts = os_mem_map(sizeof *ts, "loam timers");
    if (ts == NULL)
        return -ENOMEM;
    if (!theap_init(&ts->heap, HEAP_CAP_MIN)) {
        os_mem_unmap(ts, sizeof *ts);
        return -ENOMEM;
    }
    ts->lock = (struct mutex)MUTEX_INIT(timers);
    ts->pp = pp;
    ts->link = all;
    all = ts;
    pp->timers = ts;
    if (pp->id == 0)
        store_release(&timers0, ts); /* see timers_here */
    return 0;
}

static void spares_free(struct timers *ts)
{
    for (int i = 0; i < 2; i++) {
        while (ts->spare[i] != NULL) {
            struct loam_timer *t = ts->spare[i];
            ts->spare[i] = t->spare;
            timer_dispose(t);
        }
        ts->nspare[i] = 0;
    }
}

static _Noreturn void throw_no_room(const struct timers *to)
{
    throwf("out of memory: no room for the timers of a P that goes, beside %u", to->heap.n);
}

/* Moves a claimed timer. Threads without a P may be at it too, though the world is stopped. */
static void move_timer(struct loam_timer *t, uint32_t seq, int64_t when, struct timers *to)
{
    lock(&t->lock);
    if (load_relaxed(&t->seq) == seq && !timer_insert(to, t, when))
        throw_no_room(to);
    unlock(&t->lock);
    timer_unclaim(t);
}

/* With `to` NULL the runtime stops: what waits for a timer is not resumed any more. */
static void empty(struct timers *ts, struct timers *to)
{
    for (;;) {
        struct garbage old = {0};
        lock(&ts->lock);
        int64_t when = first_when(ts);
        struct due due = {0};
        bool took = when != 0 && take(ts, 0, true, &due);
        removed(ts, &old);
        (void)publish_later(ts);
        unlock(&ts->lock);
        dispose(&old);
        if (when == 0)
            return;
        if (!took)
            continue;
        if ((due.ref & IS_G) == 0 && to != NULL)
            move_timer((struct loam_timer *)due.ref, due.seq, when, to);
        else if ((due.ref & IS_G) == 0)
            timer_unclaim((struct loam_timer *)due.ref);
        else if (to != NULL && !timers_insert_g(to, (struct g *)(due.ref & ~(uintptr_t)IS_G), when))
            throw_no_room(to);
    }
}

static void destroy(struct timers *ts)
{
    struct timers **link = &all;
    while (*link != ts)
        link = &(*link)->link;
    *link = ts->link;
    ts->pp->timers = NULL;
    theap_free(&ts->heap);
    os_mem_unmap(ts, sizeof *ts);
}

void timers_fini_p(struct p *pp, struct p *heir)
{
    if (pp->timers == NULL)
        return;
    empty(pp->timers, heir != NULL ? heir->timers : NULL);
    spares_free(pp->timers);
    /* A thread without a P may be about to lock the heap in which it saw its timer: it stays until
     * the runtime stops. */
    if (heir != NULL)
        return;
    destroy(pp->timers);
    if (pp->id != 0)
        return;
    store_relaxed(&timers0, NULL);
    /* Of Ps that were given up earlier nothing is heard again. relaxed: the world is stopped. */
    for (struct timers *ts = all, *next; ts != NULL; ts = next) {
        next = ts->link;
        if (load_relaxed(&ts->pp->status) == P_dead)
            destroy(ts);
    }
}
