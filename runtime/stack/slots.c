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
 * A slab whose slots have all come back, with their memory given to the system, rests: one word of it is
 * kept, by its number, and a page of descriptors of which all rest goes back too. So what a million
 * goroutines leave behind is 31 KB. It is woken when its class needs slots.
 *
 * Rejected: guards by mprotect, each of which splits a map in three: an end at 32,753 stacks; holes
 * between stacks as guards, which any later map may fill; maps that grow down, which the kernel lets
 * grow into each other; userfaultfd, which sandboxes refuse; stacks without guards on request, with a
 * canary that is looked at when one parks: nobody needs them, and they find damage when it is done. */
#include "stack/stack.h"

#include "base/config.h"
#include "base/debugvar.h"
#include "base/list.h"
#include "base/throw.h"
#include "lock/lock.h"
#include "os/os.h"

#include <errno.h>
#include <string.h>

enum { CLASSES = STACK_CLASSES, SLAB_SLOTS = 256 };
_Static_assert(STACK_SLACK < STACK_GUARD, "no call of the library steps over a guard");
_Static_assert(STACK_SLACK < STACK_DEFAULT / 2, "the smallest stack is mostly the program's");

typedef uint64_t slot_set[SLAB_SLOTS / 64];

/* stack_lock, but for what is const. All zero: it rests, or never was. */
struct slab {
    char *base;      /* const */
    bool guarded;    /* const: each slot has its guard already */
    uint8_t class;   /* const */
    uint16_t slots;  /* const */
    uint32_t number; /* const; see struct stack */
    uint32_t nback;
    slot_set back;  /* slots that came back, for whoever wants one */
    slot_set dirty; /* of these: may have memory */
    slot_set bare;  /* of these: without a guard, since the whole slab was given back */
    struct member on_back,
        on_dirty; /* slabs with such slots; some on the former have none any more */
};

static struct {
    struct slab *newest;
    char *fresh; /* its next slot that was never handed out */
    uint32_t fresh_left;
    uint32_t fresh_color;
    struct member *back;           /* slabs */
    uint32_t resting;              /* how many slabs */
} classes[CLASSES];                /* stack_lock */
static struct member *dirty_slabs; /* stack_lock */
static struct mutex stack_lock = MUTEX_INIT(stack);
static bool no_markers; /* stack_lock: the kernel refused one */
static uint64_t mapped; /* stack_lock */
static uint64_t slots;  /* stack_lock: handed out */

/* Slabs lie in pages, to be found by number, from 1 on. */
enum {
    PAGE_BYTES = 16 << 10,
    PAGE_SLABS = PAGE_BYTES / sizeof(struct slab),
    PAGES = 2048,
    SLABS = PAGES * PAGE_SLABS
};
static struct slab *slab_pages[PAGES]; /* stack_lock */
static uint16_t page_awake[PAGES];     /* stack_lock: slabs of that page that do not rest */
static uint32_t nslabs; /* stack_lock: how many, the first, which is none, with them */

/* What is kept of a slab that rests, its base with the rest in the bits below; 0: it does not. */
static uint64_t *resting; /* stack_lock: SLABS of them, mapped with the first slab */
enum { REST_GUARDED = 1, REST_BARE = 2, REST_CLASS_SHIFT = 2, REST_SLOTS_SHIFT = 6 };
_Static_assert(CLASSES <= 1 << (REST_SLOTS_SHIFT - REST_CLASS_SHIFT), "a class has its bits");
_Static_assert((SLAB_SLOTS << 1) << REST_SLOTS_SHIFT <= STACK_SLOT, "below a slab's alignment");

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
    if (resting == NULL)
        resting = os_mem_map(SLABS * sizeof resting[0], "loam stack slabs");
    if (resting == NULL)
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
    *s = (struct slab){.base = base,
                       .number = number,
                       .class = (uint8_t)c,
                       .slots = (uint16_t)n,
                       .guarded = guarded};
    page_awake[number / PAGE_SLABS]++;
    classes[c].newest = s;
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
        if (classes[c].newest->guarded || os_mem_guard(slot, STACK_GUARD) == 0) {
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
    if (!listed(&s->on_back))
        list_add(&classes[s->class].back, &s->on_back);
}

static uint32_t count(const slot_set set)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < SLAB_SLOTS / 64; i++)
        n += (uint32_t)__builtin_popcountll(set[i]);
    return n;
}

static int rest_class(uint64_t word)
{
    return (int)(word >> REST_CLASS_SHIFT) & ((1 << (REST_SLOTS_SHIFT - REST_CLASS_SHIFT)) - 1);
}

/* Lets a slab rest, if it may: all its slots are back, clean, and alike. */
static void rest(struct slab *s)
{
    uint32_t bare = count(s->bare), page = s->number / PAGE_SLABS;
    if (s->nback != s->slots || listed(&s->on_dirty) || (bare != 0 && bare != s->slots))
        return;
    int c = s->class;
    resting[s->number] = (uintptr_t)s->base | (s->guarded ? REST_GUARDED : 0) |
                         (bare != 0 ? REST_BARE : 0) | (uint64_t)c << REST_CLASS_SHIFT |
                         (uint64_t)s->slots << REST_SLOTS_SHIFT;
    classes[c].resting++;
    if (listed(&s->on_back))
        list_remove(&s->on_back);
    memset(s, 0, sizeof *s);
    if (--page_awake[page] == 0)
        os_mem_give_back(slab_pages[page], PAGE_BYTES);
}

/* Ends the rest of one of a class; false: there is none whose slots can be had. */
static bool wake(int c)
{
    uint32_t left = classes[c].resting;
    for (uint32_t number = 1; left > 0 && number < nslabs; number++) {
        uint64_t word = resting[number];
        if (word == 0 || rest_class(word) != c)
            continue;
        left--;
        if ((word & REST_BARE) != 0 && no_markers)
            continue; /* its guards cannot be set again */
        struct slab *s = slab_at(number);
        *s = (struct slab){.base = (char *)align_down(word, (uint64_t)STACK_SLOT),
                           .number = number,
                           .class = (uint8_t)c,
                           .slots = (uint16_t)(word % STACK_SLOT >> REST_SLOTS_SHIFT),
                           .guarded = (word & REST_GUARDED) != 0};
        for (uint32_t i = 0; i < s->slots; i++) {
            put_back(s, i);
            if ((word & REST_BARE) != 0)
                include(s->bare, i);
        }
        resting[number] = 0;
        classes[c].resting--;
        page_awake[number / PAGE_SLABS]++;
        return true;
    }
    return false;
}

/* Takes one that came back; false: there is none. A slab of which one cannot be guarded again, because the
 * program has locked its memory since, is left until another of its slots comes back: take_slot knows what
 * else to do. */
static bool take_back(int c, struct stack *out)
{
    while (classes[c].back != NULL || wake(c)) {
        struct slab *s = member_of(classes[c].back, struct slab, on_back);
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
        list_remove(&s->on_back);
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
    if (!listed(&s->on_dirty))
        list_add(&dirty_slabs, &s->on_dirty);
    slots--;
    unlock(&stack_lock);
}

/* Those slots of s are taken: nobody else looks at them. True: their guards are gone too. */
static bool give_back(struct slab *s, const slot_set which, uint32_t n)
{
    size_t size = class_size(s->class);
    if (n == s->slots && !s->guarded && os_mem_renew(s->base, n * size, "loam stacks"))
        return true;
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
    if (dirty_slabs == NULL) {
        unlock(&stack_lock);
        return false;
    }
    struct slab *s = member_of(dirty_slabs, struct slab, on_dirty);
    list_remove(&s->on_dirty);
    bool whole = s->nback == s->slots; /* then all of it at once, clean ones too */
    for (uint32_t i = 0; i < s->slots; i++)
        if (whole || has(s->dirty, i)) {
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
    rest(s);
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
                                  .slab = classes[c].newest->number};
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

uint64_t slots_bookkeeping(void)
{
    lock(&stack_lock);
    uint64_t bytes = nslabs * sizeof resting[0];
    for (int i = 0; i < PAGES; i++)
        bytes += page_awake[i] > 0 ? PAGE_BYTES : 0;
    unlock(&stack_lock);
    return bytes;
}

void slots_fini(void)
{
    for (uint32_t number = 1; number < nslabs; number++) {
        uint64_t word = resting[number];
        const struct slab *s = slab_at(number);
        if (word != 0)
            os_mem_unmap((void *)align_down(word, (uint64_t)STACK_SLOT),
                         (word % STACK_SLOT >> REST_SLOTS_SHIFT) * class_size(rest_class(word)));
        else
            os_mem_unmap(s->base, s->slots * class_size(s->class));
    }
    os_mem_unmap(resting, SLABS * sizeof resting[0]);
    resting = NULL;
    memset(classes, 0, sizeof classes);
    memset(page_awake, 0, sizeof page_awake);
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
