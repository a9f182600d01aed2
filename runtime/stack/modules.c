/* Finds the notes of modules and keeps the ranges of code that they name; modules.h says for what.
 *
 * A round looks at the loader's list twice. First for shared objects with a note that are not pinned yet:
 * their names are kept, and once the loader's lock is free again, dlopen with RTLD_NODELETE pins each. Then,
 * for those that are pinned, and the program itself, which nobody unloads, the notes are read. An object that
 * was closed between the two is not found, or is not at the place that was pinned.
 *
 * Tables of fixed size in one map; an entry is complete before the count that shows it is stored (release).
 * Only one thread at a time takes a round.
 *
 * Notes are checked in full before anything of them is used: what lies outside of the module's executable
 * segments is no code. A note that was read is remembered by its address, so that its message comes once.
 *
 * Rejected: registration by a constructor (a constructor runs before anyone asked for anything, and in an
 * order of its own); unregistering at dlclose, for which there is no hook: the next module may lie at the
 * same addresses, and be taken for migratable. */
#include "stack/modules.h"

#include "base/atomic.h"
#include "base/print.h"
#include "os/os.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>

#include <loam/module.h>

#pragma weak dlopen /* static programs have none */

enum {
    RANGES_MAX = 256,
    MODULES_MAX = 128,
    NOTES_MAX = 256,
    NAMES_SIZE = 16 << 10, /* of what a round pins; more are pinned by the next one */
};

struct range {
    uintptr_t lo, hi; /* const once shown */
    uint32_t kind;    /* enum text_kind */
};

struct known {
    uintptr_t lo, hi; /* of its executable segments */
    struct unwind_table unwind;
};

struct modules {
    uint32_t range_count, module_count; /* atomic: entries below are complete */
    uint32_t migratable;                /* atomic: there is such a range */
    struct range range[RANGES_MAX];
    struct known module[MODULES_MAX];
    /* Of who takes a round: */
    uintptr_t own;
    unsigned long long changes; /* of the loader's list, when it was last read */
    const void *note[NOTES_MAX];
    uint32_t note_count;
    uintptr_t pinned[MODULES_MAX]; /* load addresses */
    uint32_t pinned_count;
    bool full; /* the message was printed */
};

static struct modules *modules; /* modules_init and modules_fini; const between them */
static uint32_t refreshing;     /* atomic: somebody takes a round */

/* ---- Asked by handlers --------------------------------------------------------------------------- */

bool modules_migratable(void)
{
    return modules != NULL && load_relaxed(&modules->migratable) != 0; /* a hint */
}

enum text_kind modules_kind(uintptr_t pc)
{
    const struct modules *all = modules;
    enum text_kind kind = TEXT_UNKNOWN;
    /* acquire: the entries below the count */
    uint32_t n = all != NULL ? load_acquire(&all->range_count) : 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct range *r = &all->range[i];
        /* of two that hold it the stricter counts */
        if (pc >= r->lo && pc < r->hi && (r->kind == TEXT_NOPREEMPT || kind == TEXT_UNKNOWN))
            kind = (enum text_kind)r->kind;
    }
    return kind;
}

const struct unwind_table *modules_unwind(uintptr_t pc)
{
    const struct modules *all = modules;
    uint32_t n = all != NULL ? load_acquire(&all->module_count) : 0; /* acquire: as above */
    for (uint32_t i = 0; i < n; i++)
        if (pc >= all->module[i].lo && pc < all->module[i].hi)
            return &all->module[i].unwind;
    return NULL;
}

/* ---- One module ------------------------------------------------------------------------------------ */

static const char *name_of(const struct dl_phdr_info *info)
{
    return info->dlpi_name != NULL && info->dlpi_name[0] != '\0' ? info->dlpi_name : "the program";
}

static void ignored(const struct dl_phdr_info *info, const char *why)
{
    print_fd(2, "loam: the module note of %s is ignored: %s\n", name_of(info), why);
}

/* The segment of these flags that [lo, hi) lies in; NULL: none. */
static const ElfW(Phdr) *
    segment(const struct dl_phdr_info *info, uint32_t flags, uintptr_t lo, uintptr_t hi)
{
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + ph->p_vaddr;
        if (ph->p_type == PT_LOAD && (ph->p_flags & flags) == flags && lo >= start && hi >= lo &&
            hi - start <= ph->p_memsz)
            return ph;
    }
    return NULL;
}

static bool is_known(const struct modules *all, const void *note)
{
    for (uint32_t i = 0; i < all->note_count; i++)
        if (all->note[i] == note)
            return true;
    return false;
}

static bool has_room(struct modules *all, const struct dl_phdr_info *info)
{
    bool room = all->range_count + 2 <= RANGES_MAX && all->module_count < MODULES_MAX &&
                all->note_count < NOTES_MAX;
    if (!room && !all->full)
        ignored(info, "there are too many");
    all->full = !room;
    return room;
}

/* Adds the module's table, once. False: it has none, or not where it should be. */
static bool add_unwind(struct modules *all, const struct dl_phdr_info *info)
{
    struct known k = {.lo = UINTPTR_MAX};
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        uintptr_t lo = info->dlpi_addr + ph->p_vaddr;
        if (ph->p_type == PT_LOAD && (ph->p_flags & PF_X)) {
            k.lo = lo < k.lo ? lo : k.lo;
            k.hi = lo + ph->p_memsz > k.hi ? lo + ph->p_memsz : k.hi;
        } else if (ph->p_type == PT_GNU_EH_FRAME) {
            const ElfW(Phdr) *load = segment(info, PF_R, lo, lo + ph->p_memsz);
            if (load == NULL)
                return false;
            k.unwind = (struct unwind_table){
                .header = (const uint8_t *)lo,
                .lo = info->dlpi_addr + load->p_vaddr,
                .hi = info->dlpi_addr + load->p_vaddr + load->p_memsz,
            };
        }
    }
    for (uint32_t i = 0; i < all->module_count; i++)
        if (all->module[i].lo == k.lo)
            return true;
    if (k.unwind.header == NULL || k.hi <= k.lo || all->module_count == MODULES_MAX)
        return false;
    all->module[all->module_count] = k;
    store_release(&all->module_count, all->module_count + 1); /* release: the entry is complete */
    return true;
}

static void add_range(struct modules *all, uintptr_t lo, uintptr_t hi, enum text_kind kind)
{
    if (lo == hi)
        return;
    all->range[all->range_count] = (struct range){.lo = lo, .hi = hi, .kind = kind};
    store_release(&all->range_count, all->range_count + 1); /* release: the entry is complete */
    if (kind == TEXT_MIGRATABLE)
        store_relaxed(&all->migratable, 1);
}

/* ---- One note --------------------------------------------------------------------------------------- */

struct code {
    uintptr_t lo, hi;
};

/* A range of a note, whose numbers lie at `at`. False: it is not code of the module's. */
static bool read_range(const struct dl_phdr_info *info, const uint8_t *at, struct code *out)
{
    int64_t lo, hi;
    memcpy(&lo, at, sizeof lo);
    memcpy(&hi, at + sizeof lo, sizeof hi);
    *out = (struct code){0};
    if (lo == 0 && hi == 0)
        return true;
    out->lo = (uintptr_t)at + (uintptr_t)lo;
    out->hi = (uintptr_t)at + sizeof lo + (uintptr_t)hi;
    return lo != 0 && hi != 0 && segment(info, PF_X, out->lo, out->hi) != NULL;
}

/* The content of a note of ours. */
static void take_note(struct modules *all, const struct dl_phdr_info *info, const uint8_t *desc,
                      size_t size)
{
    struct loam_module_note n;
    struct code text, nopreempt;
    if (is_known(all, desc) || !has_room(all, info))
        return;
    all->note[all->note_count++] = desc;
    if (size < sizeof n) {
        ignored(info, "it is too short");
        return;
    }
    memcpy(&n, desc, sizeof n);
    if (n.version != LOAM_MODULE_VERSION)
        ignored(info, "it is of another version");
    else if (n.size < sizeof n || n.size > size)
        ignored(info, "its size is wrong");
    else if ((n.flags & ~(uint32_t)LOAM_MODULE_MIGRATABLE) != 0)
        ignored(info, "it has unknown flags");
    else if (!read_range(info, desc + offsetof(struct loam_module_note, text_lo), &text) ||
             !read_range(info, desc + offsetof(struct loam_module_note, nopreempt_lo), &nopreempt))
        ignored(info, "a range of it is not in the module's code");
    else if ((n.flags & LOAM_MODULE_MIGRATABLE) && !add_unwind(all, info))
        ignored(info, "the module is migratable, and has no table .eh_frame_hdr");
    else {
        add_range(all, nopreempt.lo, nopreempt.hi, TEXT_NOPREEMPT); /* first: it is the stricter */
        add_range(all, text.lo, text.hi,
                  n.flags & LOAM_MODULE_MIGRATABLE ? TEXT_MIGRATABLE : TEXT_HELD);
    }
}

/* Calls take_note for each note of ours in one segment; with all NULL only tells whether there is one. */
static bool walk_notes(struct modules *all, const struct dl_phdr_info *info, const ElfW(Phdr) * ph)
{
    const uint8_t *p = (const uint8_t *)(info->dlpi_addr + ph->p_vaddr);
    uint64_t left = ph->p_memsz, align = ph->p_align == 8 ? 8 : 4;
    bool found = false;
    if (segment(info, PF_R, (uintptr_t)p, (uintptr_t)p + left) == NULL)
        return false;
    while (left >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        memcpy(&note, p, sizeof note);
        uint64_t desc = align_up(sizeof note + (uint64_t)note.n_namesz, align);
        uint64_t whole = align_up(desc + (uint64_t)note.n_descsz, align);
        if (desc > left)
            break;
        size_t size = note.n_descsz <= left - desc ? note.n_descsz : 0; /* cut off */
        if (note.n_type == LOAM_NOTE_MODULE && note.n_namesz == sizeof LOAM_NOTE_NAME &&
            memcmp(p + sizeof note, LOAM_NOTE_NAME, sizeof LOAM_NOTE_NAME) == 0) {
            found = true;
            if (all != NULL)
                take_note(all, info, p + desc, size);
        }
        whole = whole < left ? whole : left;
        p += whole;
        left -= whole;
    }
    return found;
}

static bool notes_of(struct modules *all, const struct dl_phdr_info *info)
{
    bool found = false;
    for (size_t i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_NOTE)
            found |= walk_notes(all, info, &info->dlpi_phdr[i]);
    return found;
}

/* ---- A round ------------------------------------------------------------------------------------------ */

struct round {
    struct modules *all;
    char *names; /* to be pinned, one behind the other, an empty one at the end */
    size_t names_used;
    bool left;  /* not all had room there */
    bool first; /* the program itself comes first */
    unsigned long long changes;
};

static bool is_pinned(const struct modules *all, uintptr_t base)
{
    for (uint32_t i = 0; i < all->pinned_count; i++)
        if (all->pinned[i] == base)
            return true;
    return false;
}

/* Whether the list is as it was; ends the walk. */
static int changes_of(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    *(unsigned long long *)arg = info->dlpi_adds + info->dlpi_subs;
    return 1;
}

/* Notes the names of those that are to be pinned. */
static int collect(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct round *r = arg;
    r->changes = info->dlpi_adds + info->dlpi_subs;
    bool program = r->first;
    r->first = false;
    if (program || is_pinned(r->all, info->dlpi_addr) || !notes_of(NULL, info))
        return 0;
    size_t n = strlen(info->dlpi_name) + 1;
    if (n > 1 && n + 1 <= NAMES_SIZE - r->names_used) {
        memcpy(r->names + r->names_used, info->dlpi_name, n);
        r->names_used += n;
    } else if (n > 1) {
        r->left = true;
    }
    return 0;
}

/* Waits for the loader's lock, whose owner may be in a constructor that calls loam_modules_look: so not by
 * whoever has `refreshing`. Returns how many there are, and where they lie. */
static uint32_t pin_all(const char *names, uintptr_t base[MODULES_MAX])
{
    uint32_t n = 0;
    for (const char *name = names; *name != '\0' && n < MODULES_MAX; name += strlen(name) + 1) {
        /* never closed: that is the point */
        const struct link_map *map =
            dlopen != NULL ? dlopen(name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE) : NULL;
        if (map != NULL)
            base[n++] = map->l_addr;
    }
    return n;
}

static void round_begin(void)
{
    while (!cas_acquire(&refreshing, 0, 1)) /* acquire: the former round's changes */
        os_usleep(50);
}

static int take(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct round *r = arg;
    bool program = r->first;
    r->first = false;
    if (segment(info, PF_X, r->all->own, r->all->own) != NULL)
        (void)add_unwind(r->all, info);
    if (program || is_pinned(r->all, info->dlpi_addr))
        (void)notes_of(r->all, info);
    return 0;
}

void modules_refresh(void)
{
    struct modules *all = modules;
    if (all == NULL)
        return;
    round_begin();
    int saved = errno;
    struct round r = {.all = all, .first = true};
    (void)dl_iterate_phdr(changes_of, &r.changes);
    if (r.changes != all->changes &&
        (r.names = os_mem_map(NAMES_SIZE, "loam modules' names")) != NULL) {
        uintptr_t base[MODULES_MAX];
        (void)dl_iterate_phdr(collect, &r);
        r.names[r.names_used] = '\0';
        store_release(&refreshing, 0);
        uint32_t n = pin_all(r.names, base);
        round_begin();
        for (uint32_t i = 0; i < n; i++)
            if (!is_pinned(all, base[i]) && all->pinned_count < MODULES_MAX)
                all->pinned[all->pinned_count++] = base[i];
        r.first = true;
        (void)dl_iterate_phdr(take, &r);
        /* last: who finds it unchanged relies on the notes */
        if (!r.left)
            all->changes = r.changes;
        os_mem_unmap(r.names, NAMES_SIZE);
    }
    errno = saved;
    store_release(&refreshing, 0);
}

int modules_init(uintptr_t own)
{
    struct modules *all = os_mem_map(sizeof *all, "loam modules' notes");
    if (all == NULL)
        return -ENOMEM;
    all->own = own;
    modules = all;
    modules_refresh();
    return 0;
}

void modules_fini(void)
{
    struct modules *all = modules;
    modules = NULL;
    if (all != NULL)
        os_mem_unmap(all, sizeof *all);
}
