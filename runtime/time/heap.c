/* The heap of timers: a 4-ary heap whose entries can be found again by a slot number.
 *
 * An entry is 16 bytes, {when, tie, slot}, and the four children of a node are one cache line: a
 * descent reads one line per level and nothing else. What the entry stands for lies in ref[slot], and
 * where the entry is in pos[slot]: a moving entry writes 4 bytes in a dense table, not into the timer
 * or the goroutine that it stands for, whose memory is cold (the timers of a million connections, a
 * hundred thousand sleepers' stacks).
 *
 * Knowing the place, a stop removes its entry at once. The last entry takes the place; it is a late
 * one, so it mostly stays near the bottom: O(1) on average, O(log n) at worst. No garbage is left
 * for anybody to collect, and what was stopped may be freed.
 *
 * Free slots need no list: the numbers of those below `fresh` lie in entry[n..fresh), in the order
 * in which removals left them there. Above `fresh` nothing was ever written, so that a fresh block
 * is committed only as far as it is used.
 *
 * Invariants (theap_verify): no entry comes before its parent; pos[slot of entry[i]] == i for i < n;
 * the slots of entry[0..fresh) are 0..fresh-1, each once.
 *
 * No locks; timers.c holds the owner's. 
 *
 * Rejected: pointers in the entries with the index in the timer (a cache miss per level that an entry
 * moves); stopping by a mark, and removing later, as Go does (a stop is as fast, but what is marked
 * must not be freed, resets need a second order beside the heap, and now and then a cleaning holds the
 * lock for as long as the heap is large); timing wheels (fast while nothing fires, but entries of a
 * bucket have no order, and finer buckets mean more cascades: ticks of 1 ns want a heap at the end
 * anyway); pairing heaps (pointers everywhere). */
#include "time/time_int.h"

#include "base/throw.h"
#include "os/os.h"

#include <string.h>

enum { ARITY = 4 };

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

/* Stores e at index i. */
static always_inline void place(struct theap *h, uint32_t i, struct tentry e)
{
    h->entry[i] = e;
    h->pos[tentry_slot(&e)] = i;
}

/* ---- The block --------------------------------------------------------------------------------- */

/* entry[0] lies 48 bytes into the block, so that entry[1..4], [5..8], ... are each a cache line. */
enum { ENTRY_OFFSET = cacheline - sizeof(struct tentry) };

static bool block_map(struct theap *h, uint32_t cap)
{
    size_t entries = align_up(ENTRY_OFFSET + cap * sizeof(struct tentry), (size_t)cacheline);
    size_t refs = cap * sizeof(uintptr_t);
    size_t size = align_up(entries + refs + cap * sizeof(uint32_t), (size_t)4096);
    char *block = os_mem_map(size, "loam timers");
    if (block == NULL)
        return false;
    h->block = block;
    h->block_size = size;
    h->entry = (struct tentry *)(block + ENTRY_OFFSET);
    h->ref = (uintptr_t *)(block + entries);
    h->pos = (uint32_t *)(block + entries + refs);
    h->cap = cap;
    return true;
}

bool theap_init(struct theap *h, uint32_t cap)
{
    h->n = h->fresh = 0;
    return block_map(h, cap);
}

void theap_free(struct theap *h)
{
    os_mem_unmap(h->block, h->block_size);
    memset(h, 0, sizeof *h);
}

bool theap_resize(struct theap *h, uint32_t cap, void (*moved)(uintptr_t ref, uint32_t slot),
                  void **old, size_t *old_size)
{
    struct theap to = {.n = h->n};
    if (!block_map(&to, cap))
        return false;
    if (cap > h->cap) {
        to.fresh = h->fresh;
        memcpy(to.entry, h->entry, h->fresh * sizeof *h->entry);
        memcpy(to.ref, h->ref, h->fresh * sizeof *h->ref);
        memcpy(to.pos, h->pos, h->fresh * sizeof *h->pos);
    } else {
        /* the numbers in use may be too high for the new tables: in the order of the entries */
        to.fresh = h->n;
        for (uint32_t i = 0; i < h->n; i++) {
            struct tentry e = h->entry[i];
            to.ref[i] = h->ref[tentry_slot(&e)];
            e.low = (e.low & ~(uint64_t)UINT32_MAX) | i;
            place(&to, i, e);
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
        place(h, i, h->entry[parent]);
        i = parent;
    }
    place(h, i, e);
}

/* The index of the first of i's children, which has some: c is the leftmost. */
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
static void sift_down(struct theap *h, uint32_t i, struct tentry e)
{
    for (;;) {
        uint32_t c = i * ARITY + 1;
        if (c >= h->n)
            break;
        c = first_child(h, c);
        if (!before(h->entry[c], e))
            break;
        place(h, i, h->entry[c]);
        i = c;
    }
    place(h, i, e);
}

/* The same where e is known to belong near the bottom: down without looking at it, then up. */
static void sift_to_bottom(struct theap *h, uint32_t i, struct tentry e)
{
    for (;;) {
        uint32_t c = i * ARITY + 1;
        if (c >= h->n)
            break;
        c = first_child(h, c);
        place(h, i, h->entry[c]);
        i = c;
    }
    sift_up(h, i, e);
}

static always_inline void sift(struct theap *h, uint32_t i, struct tentry e)
{
    if (i > 0 && before(e, h->entry[(i - 1) / ARITY]))
        sift_up(h, i, e);
    else
        sift_down(h, i, e);
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

void theap_update(struct theap *h, uint32_t slot, int64_t when, uint32_t tie)
{
    sift(h, h->pos[slot], (struct tentry){(uint64_t)tie << 32 | slot, when});
}

void theap_remove(struct theap *h, uint32_t slot)
{
    uint32_t i = h->pos[slot];
    struct tentry last = h->entry[--h->n];
    h->entry[h->n].low = slot;
    if (i != h->n)
        sift(h, i, last);
}

void theap_pop(struct theap *h)
{
    uint32_t slot = tentry_slot(&h->entry[0]);
    struct tentry last = h->entry[--h->n];
    h->entry[h->n].low = slot;
    if (h->n != 0)
        sift_to_bottom(h, 0, last);
}

void theap_verify(const struct theap *h)
{
    if (h->n > h->fresh || h->fresh > h->cap)
        throwf("timers: %u entries, %u slots, room for %u", h->n, h->fresh, h->cap);
    for (uint32_t i = 0; i < h->n; i++) {
        uint32_t slot = tentry_slot(&h->entry[i]);
        if (slot >= h->fresh || h->pos[slot] != i)
            throwf("timers: the entry at %u has slot %u, which is not there", i, slot);
        if (i > 0 && before(h->entry[i], h->entry[(i - 1) / ARITY]))
            throwf("timers: the entry at %u is due before its parent", i);
        if (h->entry[i].when <= 0)
            throwf("timers: the entry at %u has no time", i);
    }
    /* Free slots: each below fresh, and no slot twice. Their pos is free for marks, but the heap is
     * const here; what a slot that occurs twice does is caught by the first check above, because one
     * of its two places is wrong, unless both are free ones. */
    for (uint32_t i = h->n; i < h->fresh; i++) {
        uint32_t slot = tentry_slot(&h->entry[i]);
        if (slot >= h->fresh)
            throwf("timers: the free slot %u does not exist", slot);
        if (h->pos[slot] < h->n && tentry_slot(&h->entry[h->pos[slot]]) == slot)
            throwf("timers: slot %u is free and in use", slot);
    }
}
