/* Slots; see stack.h.
 *
 * Lock: stack_lock (rank stack). The scheduler keeps dead goroutines with their stacks, so this is the
 * slow path.
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

enum { CLASSES = STACK_CLASSES, SLAB_SLOTS = 256 };

struct slab {
    struct slab *next;
    char *base;
    size_t bytes;
};

static struct {
    struct slab *slabs;
    char *fresh; /* the next slot of the newest slab that was never handed out */
    uint32_t fresh_left;
    uint32_t fresh_color;
} classes[CLASSES]; /* stack_lock */
static struct mutex stack_lock = MUTEX_INIT(stack);
static uint64_t mapped; /* stack_lock */
static uint64_t slots;  /* stack_lock: ever handed out */

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

static bool grow_slab(int c)
{
    size_t size = class_size(c);
    struct slab *s = os_mem_map(sizeof *s, "loam stack slab");
    char *base = NULL;
    uint32_t n = c == 0 ? SLAB_SLOTS : c < 4 ? 16u >> c : 1;
    if (s != NULL) /* where addresses are scarce, fewer at a time */
        while ((base = os_mem_map_small_pages(size * n, STACK_SLOT, "loam stacks")) == NULL &&
               n > 1)
            n /= 2;
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

int slot_alloc(size_t size, struct stack *out)
{
    int c = slot_class(size);
    if (c < 0)
        return error_note(-EINVAL, "a stack of %zu bytes is above the limit of 1 GB", size);
    int err = 0;
    lock(&stack_lock);
    if (classes[c].fresh_left == 0 && !grow_slab(c)) {
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
            *out = (struct stack){.lo = (uintptr_t)slot + STACK_GUARD,
                                  .hi = (uintptr_t)slot + class_size(c),
                                  .size_class = (uint32_t)c,
                                  .color = classes[c].fresh_color++};
            classes[c].fresh += class_size(c);
            classes[c].fresh_left--;
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
            os_mem_unmap(s, sizeof *s);
        }
    }
    memset(classes, 0, sizeof classes);
    mapped = 0;
    slots = 0;
}
