/* Slots; see stack.h.
 *
 * Invariant: a slot is in exactly one place: not yet handed out, in use, or on its class's free
 * list. The free list lives in an array beside the slabs, not in the slots, whose memory may be
 * dropped while they are free.
 *
 * Lock: stack_lock (rank stack). Callers keep caches of their own in front (sched's free
 * goroutines), so this is the slow path.
 *
 * Rejected: one map per slot, which ends at vm.max_map_count / 2 stacks; guard pages by mprotect
 * where the kernel has guard markers, because each splits a map in three. */
#include "stack/stack.h"

#include "base/config.h"
#include "base/debugvar.h"
#include "base/throw.h"
#include "lock/lock.h"
#include "os/os.h"

#include <errno.h>
#include <string.h>

enum { CLASSES = 14 /* 256 KB << 0 .. 13: a stack of 1 GB needs 2 GB */, SLAB_SLOTS = 256 };

struct slab {
    struct slab *next;
    char *base;
    size_t bytes;
};

struct free_list {
    uintptr_t *items; /* lowest byte of the slot, guard included, | color in the low bits */
    size_t len, cap, bytes;
};

static struct {
    struct slab *slabs;
    char *fresh; /* the next slot of the newest slab that was never handed out */
    uint32_t fresh_left;
    uint32_t fresh_color;
    struct free_list free;
} classes[CLASSES]; /* stack_lock */
static struct mutex stack_lock = MUTEX_INIT(stack);
static uint64_t mapped; /* stack_lock */
static uint64_t slots;  /* stack_lock: ever handed out */

static size_t class_size(int c)
{
    return (size_t)STACK_SLOT << c;
}

int stack_class(size_t size)
{
    if (size > STACK_MAX)
        return -1;
    int c = 0;
    while (class_size(c) < size + STACK_GUARD + STACK_TOP)
        c++;
    return c;
}

static bool grow_slab(int c)
{
    size_t size = class_size(c);
    uint32_t n = c == 0 ? SLAB_SLOTS : c < 4 ? 16u >> c : 1;
    struct slab *s = os_mem_map(sizeof *s, "loam stack slab");
    char *base = s != NULL ? os_mem_map_small_pages(size * n, STACK_SLOT, "loam stacks") : NULL;
    if (base == NULL) {
        os_mem_unmap(s, sizeof *s);
        return false;
    }
    *s = (struct slab){.next = classes[c].slabs, .base = base, .bytes = size * n};
    classes[c].slabs = s;
    classes[c].fresh = base;
    classes[c].fresh_left = n;
    mapped += size * n;
    return true;
}

static void fill(struct stack *out, char *slot, int c, uint32_t color)
{
    out->lo = (uintptr_t)slot + STACK_GUARD;
    out->hi = (uintptr_t)slot + class_size(c);
    out->size_class = (uint32_t)c;
    out->color = color;
}

int stackalloc(size_t size, struct stack *out)
{
    int c = stack_class(size);
    if (c < 0)
        return error_note(-EINVAL, "a stack of %zu bytes is above the limit of 1 GB", size);
    int err = 0;
    lock(&stack_lock);
    struct free_list *f = &classes[c].free;
    if (f->len > 0) {
        uintptr_t item = f->items[--f->len];
        uintptr_t color = item & 0xfff;
        fill(out, (char *)(item - color), c, (uint32_t)color);
    } else if (classes[c].fresh_left == 0 && !grow_slab(c)) {
        err = error_note(-ENOMEM,
                         "no address space for another stack of %zu KB: %lu are in use, %lu MB "
                         "(ulimit -v, vm.overcommit_memory and vm.max_map_count limit them)",
                         class_size(c) >> 10, (unsigned long)slots, (unsigned long)(mapped >> 20));
    } else {
        char *slot = classes[c].fresh;
        err = os_mem_guard(slot, STACK_GUARD, debug.stackguard != 0);
        if (err != 0) {
            err = error_note(-ENOMEM,
                             "cannot guard stack number %lu: %s (before Linux 6.13 every guard is "
                             "a map of its own: raise vm.max_map_count)",
                             (unsigned long)slots + 1, strerror(-err));
        } else {
            fill(out, slot, c, classes[c].fresh_color++ & 0xfff);
            classes[c].fresh += class_size(c);
            classes[c].fresh_left--;
            slots++;
        }
    }
    unlock(&stack_lock);
    return err;
}

void stackfree(const struct stack *s)
{
    int c = (int)s->size_class;
    lock(&stack_lock);
    struct free_list *f = &classes[c].free;
    if (f->len == f->cap) {
        size_t cap = f->cap != 0 ? f->cap * 2 : 512;
        uintptr_t *items = os_mem_map(cap * sizeof *items, "loam free stacks");
        if (items == NULL) {
            unlock(&stack_lock);
            return; /* the slot is lost to reuse, not to stack_fini */
        }
        if (f->len > 0)
            memcpy(items, f->items, f->len * sizeof *items);
        os_mem_unmap(f->items, f->bytes);
        f->items = items;
        f->cap = cap;
        f->bytes = cap * sizeof *items;
    }
    f->items[f->len++] = (s->lo - STACK_GUARD) | s->color;
    unlock(&stack_lock);
}

void stack_stats(uint64_t *out_mapped, uint64_t *free_slots)
{
    lock(&stack_lock);
    *out_mapped = mapped;
    *free_slots = 0;
    for (int c = 0; c < CLASSES; c++)
        *free_slots += classes[c].free.len;
    unlock(&stack_lock);
}

void stack_fini(void)
{
    for (int c = 0; c < CLASSES; c++) {
        for (struct slab *s = classes[c].slabs, *next; s != NULL; s = next) {
            next = s->next;
            os_mem_unmap(s->base, s->bytes);
            os_mem_unmap(s, sizeof *s);
        }
        os_mem_unmap(classes[c].free.items, classes[c].free.bytes);
    }
    memset(classes, 0, sizeof classes);
    mapped = 0;
    slots = 0;
}
