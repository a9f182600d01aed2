/* The heap of timers: a 4-ary heap whose entries can be struck out by a slot number.
 *
 * An entry is 16 bytes, {when, tie, slot}, and the four children of a node are one cache line: a
 * descent reads and writes one line per level and nothing else. What the entry stands for lies in
 * ref[slot]. The memory of what the entries stand for, which is cold (the timers of a million
 * connections, a hundred thousand sleepers' stacks), is not touched while they move.
 *
 * Most timers are stopped before they fire. A stop strikes the entry out: it clears ref[slot] and
 * leaves the entry where it is, which keeps the order. Nothing refers to what was stopped any more; it
 * may be freed. Struck out entries go
 *
 *  - when they are seen at the end of the array, or, in a small heap, at its front;
 *  - all at once when none is left alive: the usual end of a burst;
 *  - when they are more than half of all: theap_compact drops them in one pass over the array and puts
 *    the rest in order, 5 ns an entry, which a stop then has cost on top of its own. With a million
 *    live timers on one P that pass holds the lock for some milliseconds, after every half million
 *    stops; with ten thousand for some tens of microseconds.
 *
 * So at most half of the entries are garbage. A front that is struck out only makes the scheduler look
 * too early, once.
 *
 * Free slots need no list: the numbers of those below `fresh` lie in entry[n..fresh), in the order in
 * which entries went. Above `fresh` nothing was ever written, so that a fresh block is committed only
 * as far as it is used.
 *
 * Invariants (theap_verify): no entry comes before its parent; the slots of entry[0..fresh) are
 * 0..fresh-1, each once; `dead` is the number of entries whose ref is 0, and at most half of n.
 *
 * No locks; timers.c holds the owner's.
 *
 * Rejected: pointers in the entries and the place in the timer (a cache miss per level that an entry
 * moves). Removing at once, by a table of places: measured 40 ns a stop against 22 with a million timers, 38 against 14 with a thousand, because timers are
 * stopped about in the order of their making, so the last entry takes a place near the top and sinks
 * all the way (it was simpler to prove free of pauses). Timing wheels: fast while nothing fires, but
 * entries of a bucket have no order, and finer buckets mean more cascades; ticks of 1 ns want a heap
 * at the end anyway. Pairing heaps: pointers everywhere. */
#include "time/time_int.h"

#include "base/throw.h"
#include "os/os.h"

#include <string.h>

enum {
    ARITY = 4,
    SMALL = 64 /* three levels: taking off a front that was struck out is cheap */
};

typedef unsigned __int128 key128;

/* The place in the order. `when` is positive, so that its unsigned order is the signed one. */
static always_inline key128 key(struct tentry e)
{
    return (key128)(uint64_t)e.when << 64 | e.low;
}

static always_inline bool before(struct tentry a, struct tentry b)
{
    return key(a) < key(b);
}

/* ---- The block --------------------------------------------------------------------------------- */

/* entry[0] lies 48 bytes into the block, so that entry[1..4], [5..8], ... are each a cache line. */
enum { ENTRY_OFFSET = cacheline - sizeof(struct tentry) };

static bool block_map(struct theap *h, uint32_t cap)
{
    size_t entries = align_up(ENTRY_OFFSET + cap * sizeof(struct tentry), (size_t)cacheline);
    size_t size = align_up(entries + cap * sizeof(uintptr_t), (size_t)4096);
    char *block = os_mem_map(size, "loam timers");
    if (block == NULL)
        return false;
    h->block = block;
    h->block_size = size;
    h->entry = (struct tentry *)(block + ENTRY_OFFSET);
    h->ref = (uintptr_t *)(block + entries);
    h->cap = cap;
    return true;
}

bool theap_init(struct theap *h, uint32_t cap)
{
    h->n = h->fresh = h->dead = 0;
    return block_map(h, cap);
}

void theap_free(struct theap *h)
{
    os_mem_unmap(h->block, h->block_size);
    zero_bytes(h, sizeof *h);
}

bool theap_resize(struct theap *h, uint32_t cap, void (*moved)(uintptr_t ref, uint32_t slot),
                  void **old, size_t *old_size)
{
    struct theap to = {.n = h->n, .dead = h->dead};
    if (!block_map(&to, cap))
        return false;
    if (cap > h->cap) {
        to.fresh = h->fresh;
        copy_bytes(to.entry, h->entry, h->fresh * sizeof *h->entry);
        copy_bytes(to.ref, h->ref, h->fresh * sizeof *h->ref);
    } else {
        /* the numbers in use may be too high for the new table: in the order of the entries */
        to.fresh = h->n;
        for (uint32_t i = 0; i < h->n; i++) {
            struct tentry e = h->entry[i];
            to.ref[i] = h->ref[tentry_slot(&e)];
            e.low = (e.low & ~(uint64_t)UINT32_MAX) | i;
            to.entry[i] = e;
            if (to.ref[i] != 0)
                moved(to.ref[i], i);
        }
    }
    *old = h->block;
    *old_size = h->block_size;
    *h = to;
    return true;
}

/* ---- Order ------------------------------------------------------------------------------------- */

/* Puts e at the free index i or above it. */
static always_inline void sift_up(struct theap *h, uint32_t i, struct tentry e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / ARITY;
        if (!before(e, h->entry[parent]))
            break;
        h->entry[i] = h->entry[parent];
        i = parent;
    }
    h->entry[i] = e;
}

/* The index of the first in order of the children from c on; there is at least one. */
static always_inline uint32_t first_child(const struct theap *h, uint32_t c)
{
    const struct tentry *e = &h->entry[c];
    if (likely(c + ARITY <= h->n)) {
        /* two pairs, then their winners: shorter than one after the other */
        uint32_t a = before(e[1], e[0]), b = 2 + (uint32_t)before(e[3], e[2]);
        return c + (before(e[b], e[a]) ? b : a);
    }
    uint32_t best = 0;
    for (uint32_t j = 1; c + j < h->n; j++)
        if (before(e[j], e[best]))
            best = j;
    return c + best;
}

/* Puts e at the free index i or below it. */
static always_inline void sift_down(struct theap *h, uint32_t i, struct tentry e)
{
    for (;;) {
        uint32_t c = i * ARITY + 1;
        if (c >= h->n)
            break;
        c = first_child(h, c);
        if (!before(h->entry[c], e))
            break;
        h->entry[i] = h->entry[c];
        i = c;
    }
    h->entry[i] = e;
}

/* The same where e was last in the array, so that it belongs near the bottom: down without looking at
 * it, then up. */
static void sift_to_bottom(struct theap *h, struct tentry e)
{
    uint32_t i = 0;
    for (;;) {
        uint32_t c = i * ARITY + 1;
        if (c >= h->n)
            break;
        c = first_child(h, c);
        h->entry[i] = h->entry[c];
        i = c;
    }
    sift_up(h, i, e);
}

/* ---- Struck out entries ------------------------------------------------------------------------ */

static always_inline bool is_dead(const struct theap *h, uint32_t i)
{
    return h->ref[tentry_slot(&h->entry[i])] == 0;
}

static always_inline void trim(struct theap *h)
{
    while (h->n > 0 && is_dead(h, h->n - 1)) {
        h->n--; /* the slot is where free ones are */
        h->dead--;
    }
}

/* Takes the first entry off; the array's end is not trimmed. */
static always_inline void drop_first(struct theap *h)
{
    uint32_t slot = tentry_slot(&h->entry[0]);
    struct tentry last = h->entry[--h->n];
    h->entry[h->n].low = slot;
    h->ref[slot] = 0;
    if (h->n != 0)
        sift_to_bottom(h, last);
}

noinline void theap_compact(struct theap *h)
{
    /* The living keep their order, which is nearly sorted and stays so; the dead end up behind. */
    uint32_t to = 0;
    for (uint32_t i = 0; i < h->n; i++) {
        if (is_dead(h, i))
            continue;
        struct tentry e = h->entry[to];
        h->entry[to++] = h->entry[i];
        h->entry[i] = e;
    }
    h->n = to;
    h->dead = 0;
    for (uint32_t i = h->n > 1 ? (h->n - 2) / ARITY + 1 : 0; i-- > 0;)
        sift_down(h, i, h->entry[i]);
}

/* ---- Operations -------------------------------------------------------------------------------- */

uint32_t theap_push(struct theap *h, int64_t when, uint32_t tie, uintptr_t ref)
{
    uint32_t i = h->n++;
    uint32_t slot = i < h->fresh ? tentry_slot(&h->entry[i]) : h->fresh++;
    h->ref[slot] = ref;
    sift_up(h, i, (struct tentry){(uint64_t)tie << 32 | slot, when});
    return slot;
}

void theap_strike(struct theap *h, uint32_t slot)
{
    h->ref[slot] = 0;
    h->dead++;
    if (h->dead == h->n) {
        h->n = h->fresh = h->dead = 0;
        return;
    }
    trim(h);
    if (h->n <= SMALL) {
        while (is_dead(h, 0)) {
            h->dead--;
            drop_first(h);
            trim(h);
        }
    }
    if (unlikely(h->dead > h->n / 2))
        theap_compact(h);
}

uintptr_t theap_pop(struct theap *h)
{
    uintptr_t ref = h->ref[tentry_slot(&h->entry[0])];
    h->dead -= ref == 0;
    drop_first(h);
    trim(h);
    if (unlikely(h->dead > h->n / 2))
        theap_compact(h);
    return ref;
}

void theap_postpone_first(struct theap *h, int64_t when, uint32_t tie)
{
    sift_down(h, 0, (struct tentry){(uint64_t)tie << 32 | tentry_slot(&h->entry[0]), when});
}

void theap_verify(const struct theap *h)
{
    if (h->n > h->fresh || h->fresh > h->cap || h->dead > h->n / 2)
        throwf("timers: %u entries, %u of them struck out, %u slots, room for %u", h->n, h->dead,
               h->fresh, h->cap);
    uint32_t dead = 0;
    uint64_t slots = 0;
    for (uint32_t i = 0; i < h->fresh; i++) {
        uint32_t slot = tentry_slot(&h->entry[i]);
        if (slot >= h->fresh)
            throwf("timers: the entry at %u has slot %u of %u", i, slot, h->fresh);
        slots += (uint64_t)slot * slot + slot;
        if (i >= h->n)
            continue;
        dead += h->ref[slot] == 0;
        if (h->entry[i].when <= 0 || (i > 0 && before(h->entry[i], h->entry[(i - 1) / ARITY])))
            throwf("timers: the entry at %u is out of order", i);
    }
    /* The sum of k*k + k for the numbers 0..fresh-1: another multiset is not likely to have it. */
    uint64_t f = h->fresh;
    if (f > 0 && slots != (f - 1) * f * (f + 1) / 3)
        throw("timers: a slot occurs twice");
    if (dead != h->dead)
        throwf("timers: %u entries are struck out, not %u", dead, h->dead);
}
