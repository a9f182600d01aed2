/* From a program counter to function, file and line; symtab.h says what is read and when.
 *
 * Two kinds of data, with different lives:
 *   - the list of modules, one table of fixed size in one map: entries are appended by symtab_init
 *     and symtab_refresh, published by the release-store of the count, and never move or go away, so
 *     that a lookup in a signal handler may walk them at any moment. A module that was closed is
 *     marked and its entry revived when it comes back, be it at another place;
 *   - the image of a module: one map with the table .loam_pcln as it stands in the file, or a sorted
 *     copy of its symbols. Made by the first lookup that needs it, published by compare-and-swap:
 *     threads that race make it twice and the loser unmaps its own. A lock here could be held by
 *     the very thread that a handler interrupts.
 *
 * Rejected: reading the symbols through the dynamic section in memory (no sizes without walking the
 * hash tables, and local functions are missing); one table for all modules sorted by address (must
 * be rebuilt, thus locked, for every dlopen). */
#include "stack/symtab.h"

#include "base/atomic.h"
#include "base/print.h"
#include "os/os.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MODULES_MAX = 256,
    NAMES_SIZE = 32 << 10,
    CHUNK = 512,           /* bytes of stack that reading tables takes at a time */
    NOTES_MAX = 1024,      /* bytes of a PT_NOTE segment in which the build identifier is sought */
    SYMBOLS_WALK_MAX = 32, /* symbols that are looked at below pc for one that holds it */
};
#define IMAGE_SIZE_MAX ((uint64_t)1 << 30)

struct module {
    uintptr_t base;        /* atomic: load address, added to link-time addresses */
    uintptr_t lo, hi;      /* const after publication: executable segments, link-time addresses */
    uint64_t identity;     /* const: hash of program headers and build identifier */
    const char *open_path; /* const: for open */
    const char *name;      /* const: for people */
    bool gone;             /* atomic: was closed */
    struct symtab_image *image; /* atomic: NULL until needed, then const; maybe &no_image */
};

struct modules {
    uint32_t count;         /* atomic: entries [0, count) are complete */
    uint32_t names_used;    /* the refresher */
    char names[NAMES_SIZE]; /* the refresher; const below names_used */
    struct module module[MODULES_MAX];
};

/* A function of the ELF symbol table. */
struct symbol {
    uint64_t value, size; /* link-time address */
    uint32_t name;        /* in the image's strings */
    uint32_t rank;        /* of two at one address the higher is preferred */
};

struct symtab_image {
    size_t map_size;
    /* One of the two is not NULL: */
    const struct pcln_header *pcln;
    const struct pcln_row *rows;
    const struct pcln_node *nodes;
    struct symbol *symbols;
    uint32_t symbol_count;
    uint32_t string_size;
    const char *strings;
};

static struct modules *modules;      /* symtab_init and symtab_fini; const between them */
static uint32_t refreshing;          /* atomic: somebody takes the list */
static struct symtab_image no_image; /* const: "we looked, there is nothing" */
static struct symtab_image not_now; /* const: "no descriptor or memory at the moment"; never kept */

/* ---- Files ---------------------------------------------------------------------------------- */

struct file {
    int fd;
    uint64_t size;
};

static bool file_read(const struct file *f, uint64_t offset, void *buf, size_t n)
{
    if (offset > f->size || n > f->size - offset)
        return false;
    char *p = buf;
    while (n > 0) {
        ssize_t got = pread(f->fd, p, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) /* an error, or truncated since fstat */
            return false;
        p += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return true;
}

static bool file_open(struct file *f, const char *path)
{
    struct stat st;
    /* O_NONBLOCK: should a name lead to a FIFO, do not hang in a traceback. */
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0)
        return false;
    if (fstat(f->fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(f->fd);
        return false;
    }
    f->size = (uint64_t)st.st_size;
    return true;
}

/* ---- Which file is which module --------------------------------------------------------------- */

static uint64_t hash(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u; /* FNV-1a */
    return h;
}

enum { HASH_START = 0x2545f491 };

/* The build identifier in the notes [p, p+n); its size, 0 if there is none. */
static size_t find_build_id(const unsigned char *p, size_t n, const unsigned char **id)
{
    while (n >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        memcpy(&note, p, sizeof note);
        uint64_t name_size = align_up((uint64_t)note.n_namesz, 4);
        uint64_t desc_size = align_up((uint64_t)note.n_descsz, 4);
        uint64_t whole = sizeof note + name_size + desc_size;
        if (whole > n)
            break;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
            memcmp(p + sizeof note, "GNU", 4) == 0) {
            *id = p + sizeof note + name_size;
            return note.n_descsz;
        }
        p += whole;
        n -= (size_t)whole;
    }
    return 0;
}

/* Is this segment part of what the loader maps? */
static bool is_loaded(const struct dl_phdr_info *info, const ElfW(Phdr) * ph)
{
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *load = &info->dlpi_phdr[i];
        if (load->p_type == PT_LOAD && (load->p_flags & PF_R) && ph->p_vaddr >= load->p_vaddr &&
            ph->p_memsz <= load->p_memsz &&
            ph->p_vaddr - load->p_vaddr <= load->p_memsz - ph->p_memsz)
            return true;
    }
    return false;
}

/* The identity of a module in memory. */
static uint64_t identity_in_memory(const struct dl_phdr_info *info)
{
    uint64_t h = hash(HASH_START, info->dlpi_phdr, info->dlpi_phnum * sizeof(ElfW(Phdr)));
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        const unsigned char *id;
        if (ph->p_type != PT_NOTE || !is_loaded(info, ph))
            continue;
        size_t n = ph->p_memsz < NOTES_MAX ? ph->p_memsz : NOTES_MAX;
        n = find_build_id((const unsigned char *)(info->dlpi_addr + ph->p_vaddr), n, &id);
        h = hash(h, id, n);
    }
    return h;
}

/* The same of a file; 0: not an ELF file of this machine. */
static uint64_t identity_in_file(const struct file *f, const ElfW(Ehdr) * eh)
{
    uint64_t h = HASH_START;
    ElfW(Phdr) ph;
    for (unsigned i = 0; i < eh->e_phnum; i++) {
        if (!file_read(f, eh->e_phoff + i * sizeof ph, &ph, sizeof ph))
            return 0;
        h = hash(h, &ph, sizeof ph);
    }
    for (unsigned i = 0; i < eh->e_phnum; i++) {
        unsigned char notes[NOTES_MAX];
        const unsigned char *id;
        if (!file_read(f, eh->e_phoff + i * sizeof ph, &ph, sizeof ph))
            return 0;
        if (ph.p_type != PT_NOTE)
            continue;
        size_t n = ph.p_filesz < sizeof notes ? ph.p_filesz : sizeof notes;
        if (!file_read(f, ph.p_offset, notes, n))
            return 0;
        n = find_build_id(notes, n, &id);
        h = hash(h, id, n);
    }
    return h;
}

static bool read_elf_header(const struct file *f, ElfW(Ehdr) * eh)
{
    static const unsigned char magic[] = {ELFMAG0,
                                          ELFMAG1,
                                          ELFMAG2,
                                          ELFMAG3,
                                          sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32,
                                          __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB
                                                                                    : ELFDATA2MSB};
    return file_read(f, 0, eh, sizeof *eh) && memcmp(eh->e_ident, magic, sizeof magic) == 0 &&
           eh->e_phentsize == sizeof(ElfW(Phdr)) && eh->e_shentsize == sizeof(ElfW(Shdr));
}

/* ---- The list of modules ---------------------------------------------------------------------- */

struct collect {
    struct modules *list;
    bool seen[MODULES_MAX];
    bool first; /* the program itself comes first */
};

static const char *keep_name(struct modules *list, const char *a, const char *b, const char *c)
{
    size_t n = strlen(a) + strlen(b) + strlen(c) + 1;
    if (n > NAMES_SIZE - list->names_used)
        return NULL;
    char *name = list->names + list->names_used;
    print_buf(name, n, "%s%s%s", a, b, c);
    list->names_used += (uint32_t)n;
    return name;
}

/* The names of the program: /proc/self/exe stays right when its file is moved or deleted. */
static void name_program(struct modules *list, struct module *m)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n > 0) {
        path[n] = '\0';
        m->open_path = "/proc/self/exe";
        m->name = keep_name(list, path, "", "");
    } else { /* no /proc */
        const char *exec = (const char *)getauxval(AT_EXECFN);
        m->open_path = m->name = keep_name(list, exec != NULL ? exec : "", "", "");
    }
}

/* A shared object's name may be relative to the directory at the time of dlopen: that is now. */
static void name_object(struct modules *list, struct module *m, const char *name)
{
    char dir[4096];
    if (name[0] != '/' && strchr(name, '/') != NULL && getcwd(dir, sizeof dir) != NULL)
        m->name = keep_name(list, dir, "/", name);
    else
        m->name = keep_name(list, name, "", "");
    m->open_path = m->name;
}

static int collect_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct collect *c = arg;
    struct modules *list = c->list;
    struct module m = {.base = info->dlpi_addr, .lo = UINTPTR_MAX};
    bool program = c->first;
    c->first = false;

    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_X))
            continue;
        uintptr_t lo = ph->p_vaddr;
        m.lo = lo < m.lo ? lo : m.lo;
        m.hi = lo + ph->p_memsz > m.hi ? lo + ph->p_memsz : m.hi;
    }
    if (m.hi <= m.lo)
        return 0; /* no code: nothing to look up */
    m.identity = identity_in_memory(info);

    /* Known, or known from another place where it was closed since: what is loaded and closed again and
     * again, here and there, takes one entry. */
    struct module *known = NULL;
    for (uint32_t i = 0; i < list->count; i++) {
        struct module *old = &list->module[i];
        if (old->lo != m.lo || old->hi != m.hi || old->identity != m.identity || c->seen[i])
            continue;
        if (old->base == m.base || (known == NULL && load_relaxed(&old->gone)))
            known = old;
        if (old->base == m.base)
            break;
    }
    if (known != NULL) {
        c->seen[known - list->module] = true;
        store_release(&known->base, m.base); /* who sees that it is back sees where */
        store_release(&known->gone, false);
        return 0;
    }
    if (list->count == MODULES_MAX)
        return 1;
    if (program)
        name_program(list, &m);
    else
        name_object(list, &m, info->dlpi_name != NULL ? info->dlpi_name : "");
    if (m.name == NULL)
        return 1;
    c->seen[list->count] = true;
    list->module[list->count] = m;
    store_release(&list->count, list->count + 1);
    return 0;
}

void symtab_refresh(void)
{
    struct modules *list = load_acquire(&modules);
    /* A second caller goes away instead of waiting: nothing here may wait for a thread that could be
     * stopped. acquire: the former refresher's changes are seen. */
    if (list == NULL || !cas_acquire(&refreshing, 0, 1))
        return;
    struct collect c = {.list = list, .first = true};
    int saved = errno;
    int full = dl_iterate_phdr(collect_module, &c);
    errno = saved;
    /* If the list ended early, what was not seen may still be there. */
    for (uint32_t i = 0; i < list->count && !full; i++)
        if (!c.seen[i])
            store_release(&list->module[i].gone, true);
    store_release(&refreshing, 0);
}

int symtab_init(void)
{
    if (modules != NULL)
        return 0;
    struct modules *list = os_mem_map(sizeof *list, "loam modules");
    if (list == NULL)
        return -ENOMEM;
    store_release(&modules, list);
    symtab_refresh();
    return 0;
}

void symtab_fini(void)
{
    struct modules *list = modules;
    if (list == NULL)
        return;
    store_release(&modules, NULL);
    for (uint32_t i = 0; i < list->count; i++) {
        struct symtab_image *image = list->module[i].image;
        if (image != NULL && image != &no_image)
            os_mem_unmap(image, image->map_size);
    }
    os_mem_unmap(list, sizeof *list);
}

/* ---- Images: .loam_pcln ----------------------------------------------------------------------- */

static bool in_table(const struct pcln_header *h, uint64_t offset, uint64_t count, size_t size)
{
    return offset % 4 == 0 && offset >= sizeof *h && offset <= h->size &&
           count <= (h->size - offset) / size;
}

/* Takes the section [offset, offset+size) of the file, if it is a table for this module. */
static struct symtab_image *load_pcln(const struct file *f, uint64_t offset, uint64_t size,
                                      const struct module *m)
{
    struct pcln_header h;
    if (size < sizeof h || size > IMAGE_SIZE_MAX || !file_read(f, offset, &h, sizeof h))
        return NULL;
    if (memcmp(h.magic, PCLN_MAGIC, sizeof h.magic) != 0 || h.version != PCLN_VERSION ||
        h.header_size != sizeof h || h.size > size)
        return NULL;
    /* Made for this very text? The build identifier of the file has been compared already; that the
     * table carries the same one is for the writer's tools. What else could differ is the range. */
    if (h.text_start != m->lo || h.text_end != m->hi)
        return NULL;
    if (!in_table(&h, h.row_offset, h.row_count, sizeof(struct pcln_row)) ||
        !in_table(&h, h.node_offset, h.node_count, sizeof(struct pcln_node)) ||
        !in_table(&h, h.string_offset, h.string_size, 1) || h.string_size == 0 || h.row_count == 0)
        return NULL;

    size_t map_size = sizeof(struct symtab_image) + (size_t)h.size;
    struct symtab_image *image = os_mem_map(map_size, "loam lines");
    if (image == NULL)
        return &not_now;
    char *table = (char *)(image + 1);
    if (!file_read(f, offset, table, (size_t)h.size) || memcmp(table, &h, sizeof h) != 0 ||
        table[h.string_offset + h.string_size - 1] != '\0') {
        os_mem_unmap(image, map_size);
        return NULL;
    }
    image->map_size = map_size;
    image->pcln = (const struct pcln_header *)table;
    image->rows = (const struct pcln_row *)(table + h.row_offset);
    image->nodes = (const struct pcln_node *)(table + h.node_offset);
    image->strings = table + h.string_offset;
    image->string_size = h.string_size;
    return image;
}

/* ---- Images: ELF symbols ------------------------------------------------------------------------ */

static bool symbol_less(const struct symbol *a, const struct symbol *b)
{
    return a->value != b->value ? a->value < b->value : a->rank < b->rank;
}

static void sift_down(struct symbol *s, size_t i, size_t n)
{
    struct symbol moved = s[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && symbol_less(&s[child], &s[child + 1]))
            child++;
        if (!symbol_less(&moved, &s[child]))
            break;
        s[i] = s[child];
    }
    s[i] = moved;
}

/* Heapsort: qsort may call malloc, and recursion on an unknown table has no bound. */
static void sort_symbols(struct symbol *s, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(s, i, n);
    for (size_t end = n; end-- > 1;) {
        struct symbol last = s[end];
        s[end] = s[0];
        s[0] = last;
        sift_down(s, 0, end);
    }
}

/* Is it the name of code in module m? Fills *out. */
static bool take_symbol(const ElfW(Sym) * es, const struct module *m, uint64_t string_size,
                        struct symbol *out)
{
    unsigned type = ELF64_ST_TYPE(es->st_info);
    bool function = type == STT_FUNC || type == STT_GNU_IFUNC;
    if (es->st_shndx == SHN_UNDEF || es->st_shndx == SHN_ABS || es->st_name == 0 ||
        es->st_name >= string_size || !(function || type == STT_NOTYPE))
        return false;
    if (es->st_value < m->lo || es->st_value >= m->hi)
        return false;
    *out = (struct symbol){
        .value = es->st_value,
        .size = es->st_size,
        .name = es->st_name,
        .rank = (function ? 4u : 0) + (es->st_size > 0 ? 2u : 0) +
                (ELF64_ST_BIND(es->st_info) == STB_GLOBAL ? 1u : 0),
    };
    return true;
}

static struct symtab_image *load_symbols(const struct file *f, const ElfW(Shdr) * symtab,
                                         const ElfW(Shdr) * strtab, const struct module *m)
{
    uint64_t n = symtab->sh_size / sizeof(ElfW(Sym));
    uint64_t string_size = strtab->sh_size;
    if (symtab->sh_entsize != sizeof(ElfW(Sym)) || strtab->sh_type != SHT_STRTAB ||
        symtab->sh_size > f->size || string_size > f->size || string_size == 0)
        return NULL;
    uint64_t map_size = sizeof(struct symtab_image) + n * sizeof(struct symbol) + string_size;
    if (n > UINT32_MAX || map_size > IMAGE_SIZE_MAX)
        return NULL;
    struct symtab_image *image = os_mem_map((size_t)map_size, "loam symbols");
    if (image == NULL)
        return &not_now;
    image->map_size = (size_t)map_size;
    image->symbols = (struct symbol *)(image + 1);
    char *strings = (char *)(image->symbols + n);
    image->strings = strings;
    image->string_size = (uint32_t)string_size;

    ElfW(Sym) chunk[CHUNK / sizeof(ElfW(Sym))];
    bool ok = file_read(f, strtab->sh_offset, strings, (size_t)string_size) &&
              strings[string_size - 1] == '\0';
    for (uint64_t i = 0; ok && i < n; i += nelem(chunk)) {
        size_t some = n - i < nelem(chunk) ? (size_t)(n - i) : nelem(chunk);
        ok = file_read(f, symtab->sh_offset + i * sizeof chunk[0], chunk, some * sizeof chunk[0]);
        for (size_t k = 0; ok && k < some; k++)
            if (take_symbol(&chunk[k], m, string_size, &image->symbols[image->symbol_count]))
                image->symbol_count++;
    }
    if (!ok || image->symbol_count == 0) {
        os_mem_unmap(image, (size_t)map_size);
        return NULL;
    }
    sort_symbols(image->symbols, image->symbol_count);
    return image;
}

/* ---- Images: loading ---------------------------------------------------------------------------- */

static bool read_section(const struct file *f, const ElfW(Ehdr) * eh, unsigned i, ElfW(Shdr) * sh)
{
    return i < eh->e_shnum && file_read(f, eh->e_shoff + i * sizeof *sh, sh, sizeof *sh);
}

/* Is this section named name (its terminator included)? */
static bool section_is(const struct file *f, const ElfW(Shdr) * names, const ElfW(Shdr) * sh,
                       const char *name)
{
    char buf[32];
    size_t n = strlen(name) + 1;
    return n <= sizeof buf && sh->sh_name < names->sh_size && n <= names->sh_size - sh->sh_name &&
           file_read(f, names->sh_offset + sh->sh_name, buf, n) && memcmp(buf, name, n) == 0;
}

static struct symtab_image *load_file(const struct file *f, const struct module *m)
{
    ElfW(Ehdr) eh;
    ElfW(Shdr) names, sh, symtab = {0}, strings;
    if (!read_elf_header(f, &eh) || identity_in_file(f, &eh) != m->identity ||
        !read_section(f, &eh, eh.e_shstrndx, &names))
        return NULL;
    /* From the end: .loam_pcln was added last. */
    for (unsigned i = eh.e_shnum; i-- > 1;) {
        if (!read_section(f, &eh, i, &sh))
            return NULL;
        if (sh.sh_type == SHT_PROGBITS && !(sh.sh_flags & SHF_ALLOC) &&
            section_is(f, &names, &sh, PCLN_SECTION)) {
            struct symtab_image *image = load_pcln(f, sh.sh_offset, sh.sh_size, m);
            if (image != NULL)
                return image;
        }
        /* The full table, or else the one for dynamic linking. */
        if (sh.sh_type == SHT_SYMTAB || (sh.sh_type == SHT_DYNSYM && symtab.sh_type == 0))
            symtab = sh;
    }
    if (symtab.sh_type == 0 || !read_section(f, &eh, symtab.sh_link, &strings))
        return NULL;
    return load_symbols(f, &symtab, &strings, m);
}

/* The module's image, read if this is the first time; NULL: none to be had. */
static struct symtab_image *image_of(struct module *m)
{
    struct symtab_image *image = load_acquire(&m->image);
    if (image == NULL) {
        struct file f;
        struct symtab_image *made = NULL;
        if (file_open(&f, m->open_path)) {
            made = load_file(&f, m);
            (void)close(f.fd);
        } else if (os_transient(errno)) {
            made = &not_now;
        }
        if (made == &not_now)
            return NULL; /* the next lookup tries again */
        if (made == NULL)
            made = &no_image;
        /* acqrel: whoever sees the pointer sees what it points to; the loser sees the winner's. */
        if (cas_acqrel(&m->image, NULL, made)) {
            image = made;
        } else {
            if (made != &no_image)
                os_mem_unmap(made, made->map_size);
            image = load_acquire(&m->image);
        }
    }
    return image == &no_image ? NULL : image;
}

/* ---- Lookups -------------------------------------------------------------------------------------- */

/* String at offset, NULL if it is empty or out of bounds. The strings end with 0. */
static const char *string_at(const struct symtab_image *image, uint32_t offset)
{
    if (offset >= image->string_size || image->strings[offset] == '\0')
        return NULL;
    return image->strings + offset;
}

/* Sets function and file from the entry's node. */
static void set_from_node(struct symtab_entry *e)
{
    const struct pcln_node *node = &e->image->nodes[e->node];
    e->function = string_at(e->image, node->name);
    e->file = string_at(e->image, node->file);
    e->inlined = node->parent < e->node; /* smaller, so that every walk outwards ends */
}

static void find_in_pcln(const struct symtab_image *image, uint64_t address, struct symtab_entry *e)
{
    const struct pcln_header *h = image->pcln;
    uint64_t pc = address - h->text_start;
    uint32_t lo = 0, hi = h->row_count; /* rows below lo are at or below pc, those from hi above */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (image->rows[mid].pc <= pc)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0)
        return;
    const struct pcln_row *row = &image->rows[lo - 1];
    if (row->node >= h->node_count)
        return;
    e->image = image;
    e->node = row->node;
    e->line = row->line;
    e->offset = (uintptr_t)(pc - image->nodes[row->node].entry);
    set_from_node(e);
}

static void find_in_symbols(const struct symtab_image *image, uint64_t address,
                            struct symtab_entry *e)
{
    const struct symbol *s = image->symbols;
    uint32_t lo = 0, hi = image->symbol_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s[mid].value <= address)
            lo = mid + 1;
        else
            hi = mid;
    }
    /* The last symbol at or below the address need not hold it: a label inside of a function, an
     * alias of a part. Without a size it holds what follows, if nothing better is near. */
    const struct symbol *sizeless = NULL;
    for (uint32_t i = lo, steps = 0; i-- > 0 && steps < SYMBOLS_WALK_MAX; steps++) {
        if (s[i].size == 0) {
            sizeless = sizeless != NULL ? sizeless : &s[i];
            continue;
        }
        bool holds = address - s[i].value < s[i].size;
        if (!holds && sizeless != NULL)
            break;
        if (holds) {
            sizeless = &s[i];
            break;
        }
    }
    if (sizeless == NULL)
        return;
    e->function = string_at(image, sizeless->name);
    e->offset = (uintptr_t)(address - sizeless->value);
}

bool symtab_find(uintptr_t pc, struct symtab_entry *out)
{
    *out = (struct symtab_entry){.node = PCLN_NONE};
    struct modules *list = load_acquire(&modules);
    uint32_t count = list != NULL ? load_acquire(&list->count) : 0;
    /* From the newest: it may lie where a closed one was. */
    for (uint32_t i = count; i-- > 0;) {
        struct module *m = &list->module[i];
        if (load_acquire(&m->gone))
            continue;
        uintptr_t address = pc - load_relaxed(&m->base); /* link-time */
        if (address < m->lo || address >= m->hi)
            continue;
        int saved = errno;
        out->module = m->name;
        out->module_offset = address;
        const struct symtab_image *image = image_of(m);
        if (image != NULL && image->pcln != NULL)
            find_in_pcln(image, address, out);
        else if (image != NULL)
            find_in_symbols(image, address, out);
        errno = saved;
        return true;
    }
    return false;
}

bool symtab_outer(struct symtab_entry *e)
{
    if (!e->inlined)
        return false;
    const struct pcln_node *node = &e->image->nodes[e->node];
    e->node = node->parent;
    e->line = node->call_line;
    set_from_node(e);
    return true;
}
