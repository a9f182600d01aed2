/* The heap of timers against a list that is searched from end to end, under random operations; its
 * invariants are verified after each. */
#include "time/time_int.h"

#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: seed %u, step %ld: %s\n", __FILE__, __LINE__, seed, step,      \
                    #cond);                                                                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum { MOST = 3000 };

struct item {
    int64_t when;
    uint32_t tie, slot;
    bool alive;
};

static struct item items[MOST]; /* ref - 1 is the index */
static int alive;
static uint32_t next_tie;
static unsigned seed;
static long step;
static struct theap heap;

static uint64_t rnd(void)
{
    static uint64_t s = 88172645463325252u;
    if (step == 0)
        s = 88172645463325252u + seed * 7919u;
    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    return s;
}

/* Times as programs have them: mostly rising, all over the place, or few. */
static int64_t pick_when(void)
{
    switch (seed % 3) {
    case 0:
        return (int64_t)(step + 1 + (long)(rnd() % 50));
    case 1:
        return (int64_t)(1 + (rnd() >> 1) % (uint64_t)INT64_MAX);
    default:
        return (int64_t)(1 + rnd() % 5);
    }
}

static struct item *first_item(void)
{
    struct item *best = NULL;
    for (struct item *i = items; i < items + MOST; i++)
        if (i->alive &&
            (best == NULL || i->when < best->when || (i->when == best->when && i->tie < best->tie)))
            best = i;
    return best;
}

static struct item *any_item(bool is_alive)
{
    for (unsigned i = rnd() % MOST, n = 0; n < MOST; n++, i = (i + 1) % MOST)
        if (items[i].alive == is_alive)
            return &items[i];
    return NULL;
}

static void moved(uintptr_t ref, uint32_t slot)
{
    CHECK(ref >= 1 && ref <= MOST && items[ref - 1].alive);
    items[ref - 1].slot = slot;
}

static void resize(uint32_t cap)
{
    void *old;
    size_t size;
    CHECK(theap_resize(&heap, cap, moved, &old, &size));
    os_mem_unmap(old, size);
    CHECK(heap.cap == cap);
}

static void push(void)
{
    struct item *i = any_item(false);
    if (i == NULL)
        return;
    if (heap.n == heap.cap)
        resize(heap.cap * 2);
    *i = (struct item){.when = pick_when(), .tie = next_tie++, .alive = true};
    i->slot = theap_push(&heap, i->when, i->tie, (uintptr_t)(i - items) + 1);
    alive++;
}

static void strike(struct item *i)
{
    if (i == NULL)
        return;
    i->alive = false;
    alive--;
    theap_strike(&heap, i->slot);
}

/* Takes off the first one that is alive; what came before it was struck out. */
static void pop(void)
{
    struct item *want = first_item();
    uintptr_t ref = 0;
    while (ref == 0 && heap.n > 0) {
        CHECK(want == NULL || heap.entry[0].when <= want->when);
        ref = theap_pop(&heap);
    }
    CHECK((ref == 0) == (want == NULL));
    if (want == NULL)
        return;
    CHECK(ref == (uintptr_t)(want - items) + 1);
    want->alive = false;
    alive--;
}

static void postpone(void)
{
    if (heap.n == 0)
        return;
    uintptr_t ref = heap.ref[tentry_slot(&heap.entry[0])];
    int64_t when = heap.entry[0].when;
    if (ref == 0 || when > INT64_MAX - 100)
        return;
    struct item *i = &items[ref - 1];
    i->when = when + (int64_t)(rnd() % 100);
    i->tie = next_tie++;
    theap_postpone_first(&heap, i->when, i->tie);
}

/* What timers do: in waves, so that the heap grows, shrinks and runs empty. */
static void operate(void)
{
    unsigned growing = (step / 1500) % 3; /* 0: grows, 1: stays, 2: shrinks */
    unsigned r = rnd() % 100;
    if (r < (growing == 0 ? 70 : growing == 1 ? 45 : 20))
        push();
    else if (r < 75)
        strike(seed % 2 != 0 ? any_item(true) : first_item());
    else if (r < 90)
        pop();
    else if (r < 97)
        postpone();
    else if (rnd() % 8 == 0 && heap.cap > 2 * heap.n + 8)
        resize(heap.n + 4);
}

static void run(void)
{
    memset(items, 0, sizeof items);
    alive = 0;
    next_tie = 0;
    CHECK(theap_init(&heap, 2));
    for (step = 0; step < 9000; step++) {
        operate();
        theap_verify(&heap);
        CHECK(heap.n - heap.dead == (uint32_t)alive);
        CHECK(alive != 0 || heap.n == 0);
    }
    while (alive > 0)
        pop();
    CHECK(heap.n == 0 && heap.dead == 0);
    theap_free(&heap);
}

/* Timers that are due at the same time come in the order of their making. */
static void ties(void)
{
    enum { N = 500 };
    CHECK(theap_init(&heap, N));
    for (uint32_t i = 0; i < N; i++)
        theap_push(&heap, 7 + (i & 1), i, i + 1);
    for (uint32_t i = 0; i < N; i++)
        CHECK(theap_pop(&heap) == (i < N / 2 ? 2 * i + 1 : 2 * (i - N / 2) + 2));
    theap_free(&heap);
}

/* A burst of stops leaves nothing behind: no entry, and slots from 0 on again. */
static void burst(void)
{
    enum { N = 1000 };
    uint32_t slot[N];
    CHECK(theap_init(&heap, N));
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < N; i++)
            slot[i] = theap_push(&heap, 1 + (int64_t)i, i, i + 1);
        for (uint32_t i = 0; i < N; i++) {
            theap_strike(&heap, slot[i]);
            CHECK(heap.n <= 2 * (N - 1 - i));
        }
        CHECK(heap.n == 0 && heap.fresh == 0);
    }
    theap_free(&heap);
}

int main(void)
{
    ties();
    burst();
    for (seed = 1; seed <= 24; seed++)
        run();
    return 0;
}
