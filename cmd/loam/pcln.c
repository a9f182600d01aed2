/* Makes the table of functions and lines (runtime/stack/symtab.h describes it) and adds it to a
 * linked file; the hidden subcommand `loam pcln FILE` does it for build scripts.
 *
 * Steps: pcln_dwarf.c reads extents of functions and inlined calls, and lines; both are cut into one
 * sequence of pieces in which neither changes; each piece names a node, made when first needed; the
 * table is laid out; pcln_elf.c appends it as a section.
 *
 * The work lies between the linker and the first instruction of `loam run`, so that it has to be
 * quick: sorting and one sweep, no tree, no search per line. */
#include "pcln.h"

#include <argp.h>
#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stack/symtab.h"
#include "tool.h"

/* ---- Arrays and strings ------------------------------------------------------------------------ */

void *array_add(struct array *a, size_t size)
{
    if (a->count == a->capacity) {
        size_t capacity = a->capacity == 0 ? 1024 : 2 * a->capacity;
        char *bigger = capacity < UINT32_MAX ? reallocarray(a->data, capacity, size) : NULL;
        if (bigger == NULL)
            return NULL;
        a->data = bigger;
        a->capacity = capacity;
    }
    char *new = a->data + a->count++ *size;
    return memset(new, 0, size);
}

static uint32_t hash_bytes(const void *data, size_t n)
{
    const unsigned char *p = data;
    uint32_t h = 0x811c9dc5; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x01000193;
    return h;
}

static bool strings_grow_slots(struct strings *s)
{
    size_t count = s->slot_count == 0 ? 4096 : 2 * s->slot_count;
    uint32_t *slots = calloc(count, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < s->slot_count; i++) {
        if (s->slots[i] == 0)
            continue;
        const char *text = s->bytes + s->slots[i];
        size_t k = hash_bytes(text, strlen(text)) & (count - 1);
        while (slots[k] != 0)
            k = (k + 1) & (count - 1);
        slots[k] = s->slots[i];
    }
    free(s->slots);
    s->slots = slots;
    s->slot_count = count;
    return true;
}

uint32_t strings_add(struct strings *s, const char *text)
{
    size_t n = strlen(text);
    if (n == 0 || (2 * s->used >= s->slot_count && !strings_grow_slots(s)))
        return 0;
    size_t k = hash_bytes(text, n) & (s->slot_count - 1);
    for (; s->slots[k] != 0; k = (k + 1) & (s->slot_count - 1))
        if (strcmp(s->bytes + s->slots[k], text) == 0)
            return s->slots[k];
    if (s->size == 0)
        s->size = 1; /* the empty string */
    if (s->size + n + 1 > s->capacity) {
        size_t capacity = 2 * (s->capacity + n + 1) + 65536;
        char *bigger = capacity < UINT32_MAX ? realloc(s->bytes, capacity) : NULL;
        if (bigger == NULL)
            return 0; /* a name less: no reason to give up */
        s->bytes = bigger;
        s->capacity = capacity;
        s->bytes[0] = '\0';
    }
    memcpy(s->bytes + s->size, text, n + 1);
    s->slots[k] = (uint32_t)s->size;
    s->used++;
    s->size += n + 1;
    return s->slots[k];
}

/* ---- Nodes ------------------------------------------------------------------------------------- */

/* The table under construction. A node is a (scope, file, entry); each is made once. */
struct output {
    const struct input *in;
    struct array rows;  /* struct pcln_row */
    struct array nodes; /* struct node */
    uint32_t *slots;    /* node + 1, open addressing; 0: free */
    size_t slot_count;
    bool failed;
};

struct node {
    struct pcln_node out;
    uint32_t scope;
};

static size_t node_hash(uint32_t scope, uint32_t file, uint32_t entry)
{
    uint32_t key[] = {scope, file, entry};
    return hash_bytes(key, sizeof key);
}

static bool grow_node_slots(struct output *o)
{
    size_t count = o->slot_count == 0 ? 4096 : 2 * o->slot_count;
    uint32_t *slots = calloc(count, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < o->nodes.count; i++) {
        const struct node *node = array_at(&o->nodes, struct node, i);
        size_t k = node_hash(node->scope, node->out.file, node->out.entry) & (count - 1);
        while (slots[k] != 0)
            k = (k + 1) & (count - 1);
        slots[k] = (uint32_t)i + 1;
    }
    free(o->slots);
    o->slots = slots;
    o->slot_count = count;
    return true;
}

/* The slot of a node, or the free one where it belongs. */
static uint32_t *find_slot(struct output *o, uint32_t scope, uint32_t file, uint32_t entry)
{
    size_t k = node_hash(scope, file, entry) & (o->slot_count - 1);
    for (; o->slots[k] != 0; k = (k + 1) & (o->slot_count - 1)) {
        const struct node *node = array_at(&o->nodes, struct node, o->slots[k] - 1);
        if (node->scope == scope && node->out.file == file && node->out.entry == entry)
            break;
    }
    return &o->slots[k];
}

/* The node's number; its parents come first, so that they have smaller ones. */
static uint32_t node_for(struct output *o, uint32_t scope, uint32_t file, uint32_t entry)
{
    const struct scope *s = array_at(&o->in->scopes, struct scope, scope);
    if (2 * o->nodes.count >= o->slot_count && !grow_node_slots(o)) {
        o->failed = true;
        return PCLN_NONE;
    }
    uint32_t *slot = find_slot(o, scope, file, entry);
    if (*slot != 0)
        return *slot - 1;
    uint32_t parent = PCLN_NONE;
    if (s->parent != SCOPE_NONE)
        parent = node_for(o, s->parent, s->call_file, entry);
    struct node *new = o->failed ? NULL : array_add(&o->nodes, sizeof *new);
    if (new == NULL) {
        o->failed = true;
        return PCLN_NONE;
    }
    new->out = (struct pcln_node){
        .name = s->name, .file = file, .parent = parent, .call_line = s->call_line, .entry = entry};
    new->scope = scope;
    /* the parents may have moved the slots */
    *find_slot(o, scope, file, entry) = (uint32_t)o->nodes.count;
    return (uint32_t)o->nodes.count - 1;
}

/* ---- Rows -------------------------------------------------------------------------------------- */

static int by_pc(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    if (x->pc != y->pc)
        return x->pc < y->pc ? -1 : 1;
    /* A sequence that ends here, before one that begins. */
    if ((x->line == 0) != (y->line == 0))
        return x->line == 0 ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static int by_start(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    if (x->lo != y->lo)
        return x->lo < y->lo ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->scope < y->scope ? -1 : x->scope > y->scope;
}

/* The extents that hold the current address, as a heap: the highest rank on top; of equals the one
 * that began last. Those that ended are taken out when they come to the top. */
struct active {
    const struct extent **heap;
    size_t count;
};

static bool above(const struct extent *a, const struct extent *b)
{
    return a->rank != b->rank ? a->rank > b->rank : a > b; /* sorted by start */
}

static void active_push(struct active *a, const struct extent *e)
{
    size_t i = a->count++;
    for (; i > 0 && above(e, a->heap[(i - 1) / 2]); i = (i - 1) / 2)
        a->heap[i] = a->heap[(i - 1) / 2];
    a->heap[i] = e;
}

static void active_pop(struct active *a)
{
    const struct extent *moved = a->heap[--a->count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < a->count; i = child) {
        if (child + 1 < a->count && above(a->heap[child + 1], a->heap[child]))
            child++;
        if (!above(a->heap[child], moved))
            break;
        a->heap[i] = a->heap[child];
    }
    if (a->count > 0)
        a->heap[i] = moved;
}

static void add_row(struct output *o, uint64_t pc, const struct extent *e, const struct line *l)
{
    struct pcln_row row = {.pc = (uint32_t)(pc - o->in->text_start), .node = PCLN_NONE};
    if (e != NULL) {
        bool known = l != NULL && l->line != 0;
        row.line = known ? l->line : 0;
        row.node =
            node_for(o, e->scope, known ? l->file : 0, (uint32_t)(e->entry - o->in->text_start));
    }
    if (o->rows.count > 0) {
        struct pcln_row *last = array_at(&o->rows, struct pcln_row, o->rows.count - 1);
        if (last->node == row.node && last->line == row.line)
            return;
    } else if (row.node == PCLN_NONE) {
        return;
    }
    struct pcln_row *new = array_add(&o->rows, sizeof row);
    if (new == NULL)
        o->failed = true;
    else
        *new = row;
}

/* One sweep over the text: at every address where an extent begins or ends, or a line begins, a row
 * for what holds from there on. */
static void make_rows(struct output *o)
{
    const struct input *in = o->in;
    const struct extent *extents = array_at(&in->extents, struct extent, 0);
    const struct line *lines = array_at(&in->lines, struct line, 0);
    const struct line *line = NULL;
    size_t next_extent = 0, next_line = 0;
    struct active active = {.heap = calloc(in->extents.count + 1, sizeof *active.heap)};
    if (active.heap == NULL) {
        o->failed = true;
        return;
    }
    for (uint64_t pc = 0; !o->failed;) {
        uint64_t next = UINT64_MAX;
        if (next_extent < in->extents.count)
            next = extents[next_extent].lo;
        if (next_line < in->lines.count && lines[next_line].pc < next)
            next = lines[next_line].pc;
        if (active.count > 0 && active.heap[0]->hi < next)
            next = active.heap[0]->hi;
        if (next == UINT64_MAX)
            break;
        pc = next;
        while (next_extent < in->extents.count && extents[next_extent].lo == pc)
            active_push(&active, &extents[next_extent++]);
        while (next_line < in->lines.count && lines[next_line].pc == pc)
            line = &lines[next_line++];
        while (active.count > 0 && active.heap[0]->hi <= pc)
            active_pop(&active);
        if (pc < in->text_end)
            add_row(o, pc, active.count > 0 ? active.heap[0] : NULL, line);
    }
    free(active.heap);
}

/* ---- The table ----------------------------------------------------------------------------------- */

/* Lays the table out; *size its length; NULL: no memory, or beyond the format's limits. */
static void *lay_out(const struct output *o, const void *build_id, size_t build_id_size,
                     size_t *size)
{
    const struct strings *strings = &o->in->strings;
    struct pcln_header h = {
        .version = PCLN_VERSION,
        .header_size = sizeof h,
        .text_start = o->in->text_start,
        .text_end = o->in->text_end,
        .row_count = (uint32_t)o->rows.count,
        .node_count = (uint32_t)o->nodes.count,
        .string_size = strings->size > 0 ? (uint32_t)strings->size : 1,
    };
    memcpy(h.magic, PCLN_MAGIC, sizeof h.magic);
    if (build_id_size <= sizeof h.build_id) {
        h.build_id_size = (uint32_t)build_id_size;
        if (build_id_size > 0)
            memcpy(h.build_id, build_id, build_id_size);
    }
    uint64_t at = sizeof h;
    h.row_offset = (uint32_t)at;
    at += h.row_count * sizeof(struct pcln_row);
    h.node_offset = (uint32_t)at;
    at += h.node_count * sizeof(struct pcln_node);
    h.string_offset = (uint32_t)at;
    at += h.string_size;
    h.size = at;
    char *table = at < UINT32_MAX ? calloc(1, at) : NULL;
    if (table == NULL)
        return NULL;
    memcpy(table, &h, sizeof h);
    if (h.row_count > 0)
        memcpy(table + h.row_offset, o->rows.data, h.row_count * sizeof(struct pcln_row));
    for (size_t i = 0; i < o->nodes.count; i++)
        memcpy(table + h.node_offset + i * sizeof(struct pcln_node),
               &array_at(&o->nodes, struct node, i)->out, sizeof(struct pcln_node));
    if (strings->size > 0)
        memcpy(table + h.string_offset, strings->bytes, strings->size);
    *size = at;
    return table;
}

/* Where code lies: the executable segments. */
static bool find_text(Elf *elf, struct input *in)
{
    size_t count;
    GElf_Phdr ph;
    if (elf_getphdrnum(elf, &count) != 0)
        return false;
    in->text_start = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        if (gelf_getphdr(elf, (int)i, &ph) == NULL || ph.p_type != PT_LOAD || !(ph.p_flags & PF_X))
            continue;
        if (ph.p_vaddr < in->text_start)
            in->text_start = ph.p_vaddr;
        if (ph.p_vaddr + ph.p_memsz > in->text_end)
            in->text_end = ph.p_vaddr + ph.p_memsz;
    }
    return in->text_end > in->text_start && in->text_end - in->text_start < UINT32_MAX;
}

static void free_input(struct input *in)
{
    free(in->strings.bytes);
    free(in->strings.slots);
    free(in->scopes.data);
    free(in->extents.data);
    free(in->lines.data);
}

static bool has_table(Elf *elf)
{
    size_t names;
    GElf_Shdr header;
    if (elf_getshdrstrndx(elf, &names) != 0)
        return false;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)) != NULL;) {
        const char *name;
        if (gelf_getshdr(section, &header) != NULL &&
            (name = elf_strptr(elf, names, header.sh_name)) != NULL &&
            strcmp(name, PCLN_SECTION) == 0)
            return true;
    }
    return false;
}

/* The table of an open ELF file. NULL: *why says what is wrong, or is NULL: the file has a table and,
 * stripped meanwhile, nothing to make a better one from. */
static void *make_table(Elf *elf, size_t *size, const char **why)
{
    struct input in = {0};
    struct output o = {.in = &in};
    void *table = NULL;
    const void *build_id;

    if (!find_text(elf, &in)) {
        *why = "it is not a linked program or shared object with code";
        return NULL;
    }
    /* NULL: no debug information; the names of the symbol table are better than nothing. */
    Dwarf *dwarf = dwarf_begin_elf(elf, DWARF_C_READ, NULL);
    if (dwarf != NULL) {
        pcln_read_dwarf(&in, dwarf);
        dwarf_end(dwarf);
    }
    if (in.lines.count == 0 && has_table(elf)) {
        *why = NULL;
        free_input(&in);
        return NULL;
    }
    pcln_read_symbols(&in, elf);
    if (in.lines.count > 0)
        qsort(in.lines.data, in.lines.count, sizeof(struct line), by_pc);
    if (in.extents.count > 0)
        qsort(in.extents.data, in.extents.count, sizeof(struct extent), by_start);
    if (!in.failed)
        make_rows(&o);
    bool failed = in.failed || o.failed;
    *why = failed ? "out of memory" : "it has neither debug information nor symbols of functions";
    if (!failed && o.rows.count > 0) {
        ssize_t n = dwelf_elf_gnu_build_id(elf, &build_id);
        table = lay_out(&o, build_id, n > 0 ? (size_t)n : 0, size);
    }
    free(o.rows.data);
    free(o.nodes.data);
    free(o.slots);
    free_input(&in);
    return table;
}

bool pcln_add(const char *path, const char **why)
{
    bool ok = false;
    size_t size = 0;
    elf_version(EV_CURRENT);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        *why = errno == ETXTBSY ? "it is running" : strerror(errno);
        return false;
    }
    Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    if (elf == NULL || elf_kind(elf) != ELF_K_ELF) {
        *why = "it is no ELF file";
    } else {
        void *table = make_table(elf, &size, why);
        if (table != NULL)
            ok = pcln_write_section(fd, table, size, why);
        else
            ok = *why == NULL;
        free(table);
    }
    elf_end(elf);
    close(fd);
    return ok;
}

/* ---- loam pcln ------------------------------------------------------------------------------------- */

static error_t parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_ARG:
        words_add(state->input, arg);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which file?");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int pcln_main(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "FILE...",
        .doc = "Adds the table from which tracebacks take functions and lines to linked programs "
               "and shared objects. `loam build` and `loam run` do it by themselves; this is for "
               "other build systems. A table that is there is replaced.",
    };
    struct words files = {0};
    int status = STATUS_OK;
    tool_parse(&argp, argc, argv, 0, STATUS_USAGE, &files);
    for (size_t i = 0; i < files.count; i++) {
        const char *why;
        if (!pcln_add(files.word[i], &why)) {
            message_error("%s: %s", files.word[i], why);
            status = STATUS_FAILED;
        }
    }
    return status;
}
