/* Slots that have all come back cost next to nothing: neither memory nor what keeps account of them; and they
 * are handed out again, guarded, zero, at the same addresses. */
#include "stack/stack.h"

#include "../../child.h"

#include <sys/mman.h>

enum { BIG = 700, SMALL = 3 * 256 };

static struct outcome o;
static struct stack stacks[BIG + SMALL];

static size_t size_at(int i)
{
    return i < BIG ? (5 << 20) : 0; /* the big ones are slabs of their own */
}

static void take(int n)
{
    for (int i = 0; i < n; i++) {
        CHECK_EQ(slot_alloc(size_at(i), &stacks[i]), 0);
        CHECK_EQ(*(volatile int *)(stacks[i].hi - 16), 0);
        *(volatile int *)(stacks[i].hi - 16) = i + 1;
    }
    for (int i = 0; i < n; i++) /* none twice */
        CHECK_EQ(*(volatile int *)(stacks[i].hi - 16), i + 1);
}

static void give(int from, int to)
{
    for (int i = from; i < to; i++)
        slot_free(stacks[i]);
    while (slots_give_back())
        continue;
}

static void touch_guard(void *arg)
{
    *(volatile char *)((struct stack *)arg)->lo = 1;
    *(volatile char *)(((struct stack *)arg)->lo - 1) = 1;
}

static void free_twice(void *arg)
{
    slot_free(*(struct stack *)arg);
}

int main(void)
{
    enum { ALL = BIG + SMALL };
    uint64_t before = slots_bookkeeping();
    take(ALL);
    uint64_t mapped = slots_mapped(), most = slots_bookkeeping();
    CHECK(most > before + 64 * BIG);
    give(0, ALL);
    /* of 700 slabs and more a word each */
    CHECK(slots_bookkeeping() <= 16 * BIG);
    in_child(&o, free_twice, &stacks[1]);
    CHECK_OUTCOME(&o, 2, "is no slot that is in use");
    take(ALL);
    CHECK_EQ(slots_mapped(), mapped);
    CHECK_EQ(slots_bookkeeping(), most);
    for (int i = 0; i < ALL; i += BIG - 1) {
        in_child(&o, touch_guard, &stacks[i]);
        CHECK(o.exit != 0); /* by a signal, or by a sanitizer that has caught it */
    }
    /* some of them only, in several rounds: a slab that is partly in use stays as it is */
    for (int i = 0; i < ALL; i += 2)
        slot_free(stacks[i]);
    while (slots_give_back())
        continue;
    for (int i = 1; i < ALL; i += 2) {
        CHECK_EQ(*(volatile int *)(stacks[i].hi - 16), i + 1);
        slot_free(stacks[i]);
    }
    while (slots_give_back())
        continue;
    CHECK(slots_bookkeeping() <= 16 * BIG);
    take(ALL);
    CHECK_EQ(slots_mapped(), mapped);
    give(0, ALL);
    slots_fini();
    CHECK_EQ(slots_mapped(), 0);
    CHECK_EQ(slots_bookkeeping(), 0);
    return 0;
}
