/* Reads what the compiler says about functions and lines: DWARF through elfutils, and the ELF symbol
 * table for the rest (assembly, libraries without debug information).
 *
 * Code that the linker has thrown away keeps its debug information, at addresses near 0. It is told
 * by lying outside of the text; its lines, which may reach into it, by lying outside of the ranges
 * of their unit.
 *
 * Only the parts of the tree of entries where code can be are walked: functions, what is inlined in
 * them, blocks, and namespaces. Types are skipped by their sibling links. */
#include "pcln.h"

#include <dwarf.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MAX = 200, /* blocks and inlined calls within each other; deeper ones are left out */
    RANGES_MAX = 64, /* parts of one function */
};

struct range {
    uint64_t lo, hi;
};

struct unit {
    struct input *in;
    Dwarf_Files *files;
    size_t file_count;
    uint32_t *file_strings; /* by file number; 0: not looked up yet */
    const char *directory;
};

/* ---- Files ------------------------------------------------------------------------------------- */

/* Takes out "/./", "//" and "x/.."; what a build system passes as ../src/a.c reads as people name
 * it. Not through symbolic links: the compiler's machine may be another one. */
static void tidy_path(char *path)
{
    char *out = path, *p = path;
    bool absolute = *p == '/';
    while (*p != '\0') {
        if (*p == '/') {
            p++;
            continue;
        }
        size_t n = strcspn(p, "/");
        bool has_parent = out > path && !(out - path >= 2 && strncmp(out - 2, "..", 2) == 0 &&
                                          (out - path == 2 || out[-3] == '/'));
        if (n == 1 && p[0] == '.') {
            /* nothing */
        } else if (n == 2 && p[0] == '.' && p[1] == '.' && (has_parent || absolute)) {
            while (out > path && *--out != '/')
                ;
        } else {
            if (out > path || absolute)
                *out++ = '/';
            memmove(out, p, n);
            out += n;
        }
        p += n;
    }
    if (out == path)
        *out++ = absolute ? '/' : '.';
    *out = '\0';
}

static uint32_t add_path(struct unit *u, const char *name)
{
    char path[8192];
    if (name == NULL || name[0] == '\0')
        return 0;
    size_t n = strlen(name), d = u->directory != NULL ? strlen(u->directory) : 0;
    if (n + d + 2 > sizeof path)
        return strings_add(&u->in->strings, name);
    if (name[0] == '/' || d == 0) {
        memcpy(path, name, n + 1);
    } else {
        memcpy(path, u->directory, d);
        path[d] = '/';
        memcpy(path + d + 1, name, n + 1);
    }
    tidy_path(path);
    return strings_add(&u->in->strings, path);
}

static uint32_t file_string(struct unit *u, size_t number)
{
    if (number >= u->file_count)
        return 0;
    if (u->file_strings[number] == 0)
        u->file_strings[number] = add_path(u, dwarf_filesrc(u->files, number, NULL, NULL));
    return u->file_strings[number];
}

/* ---- Functions --------------------------------------------------------------------------------- */

static bool in_text(const struct input *in, uint64_t lo, uint64_t hi)
{
    return lo >= in->text_start && hi <= in->text_end && lo < hi;
}

/* The entry's pieces of code that are in the text. */
static size_t ranges_of(const struct input *in, Dwarf_Die *die, struct range *ranges)
{
    Dwarf_Addr base, lo, hi;
    size_t n = 0;
    for (ptrdiff_t next = 0;
         n < RANGES_MAX && (next = dwarf_ranges(die, next, &base, &lo, &hi)) > 0;)
        if (in_text(in, lo, hi))
            ranges[n++] = (struct range){lo, hi};
    return n;
}

static uint32_t name_of(struct input *in, Dwarf_Die *die)
{
    Dwarf_Attribute attr;
    const char *name = dwarf_formstring(dwarf_attr_integrate(die, DW_AT_name, &attr));
    return name != NULL ? strings_add(&in->strings, name) : 0;
}

static uint32_t number_of(Dwarf_Die *die, unsigned attribute)
{
    Dwarf_Attribute attr;
    Dwarf_Word value;
    if (dwarf_formudata(dwarf_attr(die, attribute, &attr), &value) != 0 || value > UINT32_MAX)
        return 0;
    return (uint32_t)value;
}

static uint32_t add_scope(struct input *in, struct scope s)
{
    struct scope *new = array_add(&in->scopes, sizeof s);
    if (new == NULL) {
        in->failed = true;
        return SCOPE_NONE;
    }
    *new = s;
    return (uint32_t)(in->scopes.count - 1);
}

static void add_extent(struct input *in, struct extent e)
{
    struct extent *new = array_add(&in->extents, sizeof e);
    if (new == NULL)
        in->failed = true;
    else
        *new = e;
}

/* Where the walk is: in which function, how deep. */
struct place {
    const struct range *parts; /* of the function around all */
    size_t part_count;
    uint32_t scope;
    uint32_t rank;
    int depth;
};

static void walk(struct unit *u, Dwarf_Die *parent, const struct place *at);

static void walk_inlined(struct unit *u, Dwarf_Die *die, const struct place *at)
{
    struct input *in = u->in;
    struct range ranges[RANGES_MAX];
    size_t n = ranges_of(in, die, ranges);
    if (n == 0)
        return; /* optimised away altogether, and so is everything in it */
    struct place inner = *at;
    inner.depth++;
    inner.rank++;
    inner.scope =
        add_scope(in, (struct scope){.name = name_of(in, die),
                                     .parent = at->scope,
                                     .call_file = file_string(u, number_of(die, DW_AT_call_file)),
                                     .call_line = number_of(die, DW_AT_call_line)});
    for (size_t i = 0; i < n; i++) {
        uint64_t entry = ranges[i].lo;
        for (size_t k = 0; k < at->part_count; k++)
            if (ranges[i].lo >= at->parts[k].lo && ranges[i].lo < at->parts[k].hi)
                entry = at->parts[k].lo;
        add_extent(in, (struct extent){.lo = ranges[i].lo,
                                       .hi = ranges[i].hi,
                                       .entry = entry,
                                       .scope = inner.scope,
                                       .rank = inner.rank});
    }
    walk(u, die, &inner);
}

static void walk_function(struct unit *u, Dwarf_Die *die, int depth)
{
    struct input *in = u->in;
    struct range ranges[RANGES_MAX];
    size_t n = ranges_of(in, die, ranges);
    if (n == 0)
        return; /* a declaration, or thrown away by the linker */
    struct place at = {.parts = ranges, .part_count = n, .rank = 1, .depth = depth + 1};
    at.scope = add_scope(in, (struct scope){.name = name_of(in, die), .parent = SCOPE_NONE});
    for (size_t i = 0; i < n; i++)
        add_extent(in, (struct extent){.lo = ranges[i].lo,
                                       .hi = ranges[i].hi,
                                       .entry = ranges[i].lo,
                                       .scope = at.scope,
                                       .rank = 1});
    walk(u, die, &at);
}

/* All children of an entry; at->scope is SCOPE_NONE outside of functions. */
static void walk(struct unit *u, Dwarf_Die *parent, const struct place *at)
{
    Dwarf_Die die;
    if (at->depth > DEPTH_MAX || dwarf_child(parent, &die) != 0)
        return;
    do {
        struct place inner = *at;
        switch (dwarf_tag(&die)) {
        case DW_TAG_subprogram: /* in a function: GNU C's nested functions */
            walk_function(u, &die, at->depth);
            break;
        case DW_TAG_inlined_subroutine:
            if (at->scope != SCOPE_NONE)
                walk_inlined(u, &die, at);
            break;
        case DW_TAG_lexical_block:
        case DW_TAG_try_block:
        case DW_TAG_catch_block:
        case DW_TAG_namespace:
        case DW_TAG_module:
            inner.depth++;
            walk(u, &die, &inner);
            break;
        default:
            break;
        }
    } while (!u->in->failed && dwarf_siblingof(&die, &die) == 0);
}

/* ---- Lines ------------------------------------------------------------------------------------- */

static void add_line(struct input *in, struct line l)
{
    struct line *new = array_add(&in->lines, sizeof l);
    if (new == NULL) {
        in->failed = true;
        return;
    }
    *new = l;
    new->order = (uint32_t)in->lines.count;
}

static bool in_ranges(const struct range *ranges, size_t n, uint64_t pc, bool end)
{
    for (size_t i = 0; i < n; i++) /* the end of a sequence is the first address behind */
        if (pc >= ranges[i].lo && (end ? pc <= ranges[i].hi : pc < ranges[i].hi))
            return true;
    return n == 0; /* the unit does not say */
}

static void read_lines(struct unit *u, Dwarf_Die *cu)
{
    enum { UNIT_RANGES_MAX = 4096 };
    struct input *in = u->in;
    Dwarf_Lines *lines;
    size_t count, range_count = 0;
    Dwarf_Addr base, lo, hi;

    if (dwarf_getsrclines(cu, &lines, &count) != 0)
        return;
    struct range *ranges = calloc(UNIT_RANGES_MAX, sizeof *ranges);
    if (ranges == NULL) {
        in->failed = true;
        return;
    }
    for (ptrdiff_t next = 0;
         range_count < UNIT_RANGES_MAX && (next = dwarf_ranges(cu, next, &base, &lo, &hi)) > 0;)
        if (in_text(in, lo, hi))
            ranges[range_count++] = (struct range){lo, hi};
    if (range_count == UNIT_RANGES_MAX)
        range_count = 0; /* do not test against half of them */

    const char *last_source = NULL;
    uint32_t last_file = 0;
    for (size_t i = 0; i < count && !in->failed; i++) {
        Dwarf_Line *line = dwarf_onesrcline(lines, i);
        Dwarf_Addr pc;
        bool end;
        int number;
        if (dwarf_lineaddr(line, &pc) != 0 || dwarf_lineendsequence(line, &end) != 0 ||
            dwarf_lineno(line, &number) != 0 || pc < in->text_start || pc > in->text_end ||
            !in_ranges(ranges, range_count, pc, end))
            continue;
        if (end) {
            add_line(in, (struct line){.pc = pc});
            continue;
        }
        /* Line 0: the compiler made the code for no line in particular. What came before is the
         * better answer in a traceback. */
        if (number <= 0)
            continue;
        const char *source = dwarf_linesrc(line, NULL, NULL);
        if (source != last_source) { /* the same pointer for the same file */
            last_source = source;
            last_file = add_path(u, source);
        }
        add_line(in, (struct line){.pc = pc, .file = last_file, .line = (uint32_t)number});
    }
    free(ranges);
}

/* ---- All of it --------------------------------------------------------------------------------- */

/* One unit: its lines, and its functions below `die`. With -gsplit-dwarf they are in another file,
 * which elfutils finds by the name in the skeleton `cu`; file numbers count in that file then. */
static void read_unit(struct input *in, Dwarf_Die *cu, Dwarf_Die *die)
{
    struct unit u = {.in = in};
    Dwarf_Attribute attr;
    if (dwarf_getsrcfiles(die, &u.files, &u.file_count) != 0)
        u.file_count = 0;
    u.file_strings = calloc(u.file_count + 1, sizeof *u.file_strings);
    if (u.file_strings == NULL) {
        in->failed = true;
        return;
    }
    u.directory = dwarf_formstring(dwarf_attr(cu, DW_AT_comp_dir, &attr));
    read_lines(&u, cu);
    struct place outside = {.scope = SCOPE_NONE};
    walk(&u, die, &outside);
    free(u.file_strings);
}

void pcln_read_dwarf(struct input *in, Dwarf *dwarf)
{
    Dwarf_CU *cu = NULL;
    Dwarf_Die die, split;
    uint8_t type;
    while (!in->failed && dwarf_get_units(dwarf, cu, &cu, NULL, &type, &die, &split) == 0) {
        if (type == DW_UT_compile)
            read_unit(in, &die, &die);
        else if (type == DW_UT_skeleton) /* a split that is not found has no address */
            read_unit(in, &die, split.addr != NULL ? &split : &die);
    }
}

void pcln_read_symbols(struct input *in, Elf *elf)
{
    Elf_Scn *section = NULL, *table = NULL;
    GElf_Shdr header, table_header = {0};
    while ((section = elf_nextscn(elf, section)) != NULL) {
        if (gelf_getshdr(section, &header) == NULL)
            continue;
        if (header.sh_type == SHT_SYMTAB || (header.sh_type == SHT_DYNSYM && table == NULL)) {
            table = section;
            table_header = header;
        }
    }
    Elf_Data *data = table != NULL ? elf_getdata(table, NULL) : NULL;
    if (data == NULL || table_header.sh_entsize == 0)
        return;
    size_t count = table_header.sh_size / table_header.sh_entsize;
    for (size_t i = 0; i < count && !in->failed; i++) {
        GElf_Sym sym;
        if (gelf_getsym(data, (int)i, &sym) == NULL)
            return;
        int type = GELF_ST_TYPE(sym.st_info);
        if ((type != STT_FUNC && type != STT_GNU_IFUNC) || sym.st_shndx == SHN_UNDEF ||
            !in_text(in, sym.st_value, sym.st_value + sym.st_size))
            continue;
        const char *name = elf_strptr(elf, table_header.sh_link, sym.st_name);
        if (name == NULL || name[0] == '\0')
            continue;
        uint32_t scope = add_scope(
            in, (struct scope){.name = strings_add(&in->strings, name), .parent = SCOPE_NONE});
        add_extent(in, (struct extent){.lo = sym.st_value,
                                       .hi = sym.st_value + sym.st_size,
                                       .entry = sym.st_value,
                                       .scope = scope,
                                       .rank = 0});
    }
}
