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

struct slab {
    struct slab *next;
    char *base;
    size_t bytes;
    bool guarded; /* each slot has its guard already */
};

static struct {
    struct slab *slabs;
    char *fresh; /* the next slot of the newest slab that was never handed out */
    uint32_t fresh_left;
    uint32_t fresh_color;
} classes[CLASSES]; /* stack_lock */
static struct mutex stack_lock = MUTEX_INIT(stack);
static bool no_markers; /* stack_lock: the kernel refused one */
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

static char *map_slots(size_t size, uint32_t n, bool guarded)
{
    if (guarded)
        return os_mem_map_slots(size, n, STACK_GUARD, STACK_SLOT, "loam stacks");
    return os_mem_map_small_pages(size * n, STACK_SLOT, "loam stacks");
}

static bool grow_slab(int c)
{
    size_t size = class_size(c);
    bool guarded = no_markers || debug.stackguard != 0;
    struct slab *s = os_mem_map(sizeof *s, "loam stack slab");
    char *base = NULL;
    uint32_t n = c == 0 ? SLAB_SLOTS : c < 4 ? 16u >> c : 1;
    if (s != NULL) /* where addresses are scarce, fewer at a time */
        while ((base = map_slots(size, n, guarded)) == NULL && n > 1)
            n /= 2;
    if (base == NULL) {
        os_mem_unmap(s, sizeof *s);
        return false;
    }
    *s = (struct slab){
        .next = classes[c].slabs, .base = base, .bytes = size * n, .guarded = guarded};
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

int stackalloc(size_t size, struct stack *out)
{
    int c = stack_class(size);
    if (c < 0)
        return error_note(-EINVAL, "a stack of %zu bytes is above the limit of 1 GB", size);
    int err = 0;
    lock(&stack_lock);
    char *slot = take_slot(c);
    if (slot == NULL) {
        err = no_slot(c);
    } else {
        *out = (struct stack){.lo = (uintptr_t)slot + STACK_GUARD,
                              .hi = (uintptr_t)slot + class_size(c),
                              .size_class = (uint32_t)c,
                              .color = classes[c].fresh_color++};
        slots++;
    }
    unlock(&stack_lock);
    return err;
}

uint64_t stack_mapped(void)
{
    lock(&stack_lock);
    uint64_t bytes = mapped;
    unlock(&stack_lock);
    return bytes;
}

void stack_fini(void)
{
    for (int c = 0; c < CLASSES; c++) {
        for (struct slab *s = classes[c].slabs, *next; s != NULL; s = next) {
            next = s->next;
            os_mem_unmap(s->base, s->bytes);
            os_mem_unmap(s, sizeof *s);
        }
    }
    memset(classes, 0, sizeof classes);
    no_markers = false;
    mapped = 0;
    slots = 0;
}
