/* Slots; see stack.h.
 *
 * Lock: stack_lock (rank stack). The scheduler keeps dead goroutines with their stacks, so this is the
 * slow path.
 *
 * Guards are markers in the page table (Linux 6.13), installed when a slot is first handed out. Where
 * the kernel has none, or refuses them because the memory is locked, a slab is mapped slot by slot
 * instead (os_mem_map_slots): a map each, so that vm.max_map_count, 65,530 as kernels come, ends it at
 * 65,000 stacks, with an error. No stack is handed out without a guard.
 *
 * Rejected: guards by mprotect, each of which splits a map in three: an end at 32,753 stacks; holes
 * between stacks as guards, which any later map may fill; maps that grow down, which the kernel lets
 * grow into each other; userfaultfd, which sandboxes refuse; stacks without guards on request, with a
 * canary that is looked at when one parks: nobody needs them, and they find damage when it is done. */
#include "stack/stack.h"

#include "base/config.h"
#include "base/debugvar.h"
#include "base/throw.h"
#include "lock/lock.h"
#include "os/os.h"

#include <errno.h>
#include <string.h>

enum { CLASSES = STACK_CLASSES, SLAB_SLOTS = 256 };
_Static_assert(STACK_SLACK < STACK_GUARD, "no call of the library steps over a guard");
_Static_assert(STACK_SLACK < STACK_DEFAULT / 2, "the smallest stack is mostly the program's");

typedef uint64_t slot_set[SLAB_SLOTS / 64];

/* stack_lock, but for what is const. */
struct slab {
    struct slab *next;
    char *base;
    size_t bytes;
    bool guarded;    /* const: each slot has its guard already */
    uint32_t number; /* const; see struct stack */
    int class;       /* const */
    uint32_t slots;  /* const */
    uint32_t nback;
    slot_set back;  /* slots that came back, for whoever wants one */
    slot_set dirty; /* of these: may have memory */
    slot_set bare;  /* of these: without a guard, since the whole slab was given back */
    struct slab *next_back, *next_dirty; /* slabs with such slots; themselves: not on the list */
};

static struct {
    struct slab *slabs;
    char *fresh; /* the next slot of the newest slab that was never handed out */
    uint32_t fresh_left;
    uint32_t fresh_color;
    struct slab *back;           /* slabs with slots that came back; some may have none any more */
} classes[CLASSES];              /* stack_lock */
static struct slab *dirty_slabs; /* stack_lock */
static struct mutex stack_lock = MUTEX_INIT(stack);
static bool no_markers; /* stack_lock: the kernel refused one */
static uint64_t mapped; /* stack_lock */
static uint64_t slots;  /* stack_lock: handed out */

/* Slabs lie in pages, to be found by number, from 1 on; small, for they stay when the stacks have gone. */
enum { PAGE_BYTES = 16 << 10, PAGE_SLABS = PAGE_BYTES / sizeof(struct slab), PAGES = 2048 };
static struct slab *slab_pages[PAGES]; /* stack_lock */
static uint32_t nslabs; /* stack_lock: how many, the first, which is none, with them */

static size_t class_size(int c)
{
    return (size_t)STACK_SLOT << c;
}

int slot_class(size_t size)
{
    if (size > STACK_MAX)
        return -1;
    int c = 0;
    while (class_size(c) < size + STACK_GUARD + STACK_TOP)
        c++;
    return c;
}

static char *map_slots(size_t size, uint32_t n, bool guarded)
{
    if (guarded)
        return os_mem_map_slots(size, n, STACK_GUARD, STACK_SLOT, "loam stacks");
    return os_mem_map_small_pages(size * n, STACK_SLOT, "loam stacks");
}

static struct slab *slab_at(uint32_t number)
{
    return &slab_pages[number / PAGE_SLABS][number % PAGE_SLABS];
}

/* The next one, which counts once it has slots; NULL: no memory. */
static struct slab *next_slab(void)
{
    uint32_t number = nslabs > 0 ? nslabs : 1, page = number / PAGE_SLABS;
    if (page >= PAGES)
        return NULL;
    if (slab_pages[page] == NULL)
        slab_pages[page] = os_mem_map(PAGE_BYTES, "loam stack slabs");
    return slab_pages[page] != NULL ? slab_at(number) : NULL;
}

static bool grow_slab(int c)
{
    size_t size = class_size(c);
    bool guarded = no_markers || debug.stackguard != 0;
    struct slab *s = next_slab();
    char *base = NULL;
    uint32_t n = c == 0 ? SLAB_SLOTS : c < 4 ? 16u >> c : 1;
    if (s != NULL) /* where addresses are scarce, fewer at a time */
        while ((base = map_slots(size, n, guarded)) == NULL && n > 1)
            n /= 2;
    if (base == NULL)
        return false;
    uint32_t number = nslabs > 0 ? nslabs : 1;
    nslabs = number + 1;
    *s = (struct slab){.next = classes[c].slabs,
                       .base = base,
                       .bytes = size * n,
                       .number = number,
                       .class = c,
                       .slots = n,
                       .guarded = guarded,
                       .next_back = s,
                       .next_dirty = s};
    classes[c].slabs = s;
    classes[c].fresh = base;
    classes[c].fresh_left = n;
    mapped += size * n;
    return true;
}

/* The next slot, guarded; NULL: none to be had. */
static char *take_slot(int c)
{
    for (;;) {
        if (classes[c].fresh_left == 0 && !grow_slab(c))
            return NULL;
        char *slot = classes[c].fresh;
        if (classes[c].slabs->guarded || os_mem_guard(slot, STACK_GUARD) == 0) {
            classes[c].fresh += class_size(c);
            classes[c].fresh_left--;
            return slot;
        }
        /* once more, with a slab that needs none; the rest of this one is left */
        no_markers = true;
        classes[c].fresh_left = 0;
    }
}

static int no_slot(int c)
{
    bool by_maps = no_markers || debug.stackguard != 0;
    return error_note(-ENOMEM,
                      "no address space for another stack of %zu KB: %lu are in use, %lu MB "
                      "(ulimit -v, vm.overcommit_memory and vm.max_map_count limit them%s)",
                      class_size(c) >> 10, (unsigned long)slots, (unsigned long)(mapped >> 20),
                      by_maps ? "; each is a map of its own, as always before Linux 6.13" : "");
}

/* ---- Slots that came back ---------------------------------------------------------------------- */

static bool has(const slot_set set, uint32_t i)
{
    return (set[i / 64] >> (i % 64) & 1) != 0;
}

static void include(slot_set set, uint32_t i)
{
    set[i / 64] |= UINT64_C(1) << (i % 64);
}

static void exclude(slot_set set, uint32_t i)
{
    set[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

static void put_back(struct slab *s, uint32_t i)
{
    include(s->back, i);
    s->nback++;
    if (s->next_back == s) {
        s->next_back = classes[s->class].back;
        classes[s->class].back = s;
    }
}

/* Takes one that came back; false: there is none. A slab of which one cannot be guarded again, because the
 * program has locked its memory since, is left until another of its slots comes back: take_slot knows what
 * else to do. */
static bool take_back(int c, struct stack *out)
{
    for (struct slab *s; (s = classes[c].back) != NULL; s->next_back = s) {
        for (uint32_t i = 0; s->nback > 0 && i < s->slots; i++) {
            if (!has(s->back, i))
                continue;
            uintptr_t slot = (uintptr_t)s->base + i * class_size(c);
            if (has(s->bare, i)) {
                if (os_mem_guard((void *)slot, STACK_GUARD) != 0)
                    break;
                exclude(s->bare, i);
            }
            exclude(s->back, i);
            exclude(s->dirty, i);
            s->nback--;
            slots++;
            *out = (struct stack){.lo = slot + STACK_GUARD,
                                  .hi = slot + class_size(c),
                                  .size_class = (uint16_t)c,
                                  .color = (uint16_t)i,
                                  .slab = s->number};
            return true;
        }
        classes[c].back = s->next_back;
    }
    return false;
}

void slot_free(struct stack st)
{
    lock(&stack_lock);
    struct slab *s = slab_at(st.slab);
    uint32_t i = (uint32_t)((st.lo - (uintptr_t)s->base) / class_size(s->class));
    if (s->class != st.size_class || i >= s->slots || has(s->back, i))
        throwf("slot_free: %p is no slot that is in use", (void *)st.lo);
    put_back(s, i);
    include(s->dirty, i);
    if (s->next_dirty == s) {
        s->next_dirty = dirty_slabs;
        dirty_slabs = s;
    }
    slots--;
    unlock(&stack_lock);
}

/* Those slots of s are taken: nobody else looks at them. True: their guards are gone too. */
static bool give_back(struct slab *s, const slot_set which, uint32_t n)
{
    if (n == s->slots && !s->guarded && os_mem_renew(s->base, s->bytes, "loam stacks"))
        return true;
    size_t size = class_size(s->class);
    for (uint32_t i = 0; i < s->slots; i++) {
        uint32_t first = i;
        while (i < s->slots && has(which, i))
            i++;
        if (i > first) /* guards stay */
            os_mem_give_back(s->base + first * size, (i - first) * size);
    }
    return false;
}

bool slots_give_back(void)
{
    slot_set which = {0};
    uint32_t n = 0;
    lock(&stack_lock);
    struct slab *s = dirty_slabs;
    if (s == NULL) {
        unlock(&stack_lock);
        return false;
    }
    dirty_slabs = s->next_dirty;
    s->next_dirty = s;
    for (uint32_t i = 0; i < s->slots; i++)
        if (has(s->dirty, i)) {
            exclude(s->dirty, i);
            exclude(s->back, i);
            include(which, i);
            s->nback--;
            n++;
        }
    unlock(&stack_lock);
    bool bare = give_back(s, which, n);
    lock(&stack_lock);
    for (uint32_t i = 0; i < s->slots; i++)
        if (has(which, i)) {
            put_back(s, i);
            if (bare)
                include(s->bare, i);
        }
    bool more = dirty_slabs != NULL;
    unlock(&stack_lock);
    return more;
}

/* ---- Handing out --------------------------------------------------------------------------------- */

int slot_alloc(size_t size, struct stack *out)
{
    int c = slot_class(size);
    if (c < 0)
        return error_note(-EINVAL, "a stack of %zu bytes is above the limit of 1 GB", size);
    lock(&stack_lock);
    int err = 0;
    if (!take_back(c, out)) {
        char *slot = take_slot(c);
        if (slot == NULL) {
            err = no_slot(c);
        } else {
            *out = (struct stack){.lo = (uintptr_t)slot + STACK_GUARD,
                                  .hi = (uintptr_t)slot + class_size(c),
                                  .size_class = (uint16_t)c,
                                  .color = (uint16_t)classes[c].fresh_color++,
                                  .slab = classes[c].slabs->number};
            slots++;
        }
    }
    unlock(&stack_lock);
    return err;
}

uint64_t slots_mapped(void)
{
    lock(&stack_lock);
    uint64_t bytes = mapped;
    unlock(&stack_lock);
    return bytes;
}

void slots_fini(void)
{
    for (int c = 0; c < CLASSES; c++) {
        for (struct slab *s = classes[c].slabs, *next; s != NULL; s = next) {
            next = s->next;
            os_mem_unmap(s->base, s->bytes);
        }
    }
    memset(classes, 0, sizeof classes);
    no_markers = false;
    for (int i = 0; i < PAGES; i++) {
        os_mem_unmap(slab_pages[i], PAGE_BYTES);
        slab_pages[i] = NULL;
    }
    nslabs = 0;
    dirty_slabs = NULL;
    mapped = 0;
    slots = 0;
}
