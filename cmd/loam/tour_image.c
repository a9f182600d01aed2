/* A running process as its ELF file and debug information describe it; see tour_image.h.
 *
 * Addresses here are the process's own: libdwfl adds the load address. Compilation units are sought
 * by asking each whether it holds the address, because clang writes no .debug_aranges. Several
 * functions may have one name (static ones): the runtime's wins.
 *
 * Debug information that lies elsewhere is not looked for: libdw's usual search may ask servers. */
#include "tour_image.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tool.h"
#include "tour.h"

struct image {
    pid_t pid;
    Dwfl *dwfl;
    Dwfl_Module *module;
    Dwarf *dwarf;
    Dwarf_Addr bias; /* of addresses in the debug information */
};

/* ---- Opening ---------------------------------------------------------------------------------- */

static int no_debuginfo(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr base,
                        const char *file, const char *link, GElf_Word crc, char **out)
{
    (void)module, (void)user, (void)name, (void)base, (void)file, (void)link, (void)crc, (void)out;
    return -1;
}

struct wanted {
    const char *path;
    Dwfl_Module *found;
};

static int is_wanted(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr start,
                     void *arg)
{
    (void)user, (void)start;
    struct wanted *w = arg;
    if (strcmp(name, w->path) != 0)
        return DWARF_CB_OK;
    w->found = module;
    return DWARF_CB_ABORT;
}

struct image *image_open(pid_t pid, const char **why)
{
    static const Dwfl_Callbacks callbacks = {
        .find_elf = dwfl_linux_proc_find_elf,
        .find_debuginfo = no_debuginfo,
    };
    char path[PATH_MAX];
    ssize_t n = readlink(keep_format("/proc/%d/exe", pid), path, sizeof path - 1);
    struct image *img = calloc(1, sizeof *img);
    if (n < 0 || img == NULL) {
        *why = keep_format("cannot tell what process %d runs: %s", pid, strerror(errno));
        free(img);
        return NULL;
    }
    path[n] = '\0';
    img->pid = pid;
    img->dwfl = dwfl_begin(&callbacks);
    if (img->dwfl == NULL || dwfl_linux_proc_report(img->dwfl, pid) != 0 ||
        dwfl_report_end(img->dwfl, NULL, NULL) != 0) {
        *why = keep_format("cannot read the maps of process %d: %s", pid, dwfl_errmsg(-1));
        image_close(img);
        return NULL;
    }
    struct wanted w = {path, NULL};
    dwfl_getmodules(img->dwfl, is_wanted, &w, 0);
    img->module = w.found;
    if (img->module == NULL) {
        *why = keep_format("%s is not among the files that process %d maps: was it rebuilt?", path,
                           pid);
        image_close(img);
        return NULL;
    }
    img->dwarf = dwfl_module_getdwarf(img->module, &img->bias);
    if (img->dwarf == NULL || dwfl_module_getsymtab(img->module) <= 0) {
        *why = keep_format("%s has no debug information or no symbols (was it stripped?): %s", path,
                           dwfl_errmsg(-1));
        image_close(img);
        return NULL;
    }
    return img;
}

void image_close(struct image *img)
{
    if (img->dwfl != NULL)
        dwfl_end(img->dwfl);
    free(img);
}

/* ---- Memory ----------------------------------------------------------------------------------- */

bool image_peek(const struct image *img, uint64_t address, void *buf, size_t size)
{
    struct iovec to = {buf, size}, from = {(void *)(uintptr_t)address, size};
    if (process_vm_readv(img->pid, &to, 1, &from, 1, 0) == (ssize_t)size)
        return true;
    /* seccomp filters of containers forbid the call more often than the file */
    int fd = open(keep_format("/proc/%d/mem", img->pid), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = pread(fd, buf, size, (off_t)address);
    close(fd);
    return n == (ssize_t)size;
}

uint64_t image_peek_int(const struct image *img, uint64_t address, size_t size)
{
    uint64_t value = 0;
    if (size > sizeof value || !image_peek(img, address, &value, size))
        return 0;
    return value;
}

/* ---- Symbols ---------------------------------------------------------------------------------- */

static bool is_runtime(const struct image *img, uint64_t address);

bool image_find(const struct image *img, const char *name, struct extent *e)
{
    int n = dwfl_module_getsymtab(img->module), found = 0;
    for (int i = 1; i < n; i++) {
        GElf_Sym sym;
        GElf_Addr address;
        const char *s = dwfl_module_getsym_info(img->module, i, &sym, &address, NULL, NULL, NULL);
        int type = GELF_ST_TYPE(sym.st_info);
        if (s == NULL || sym.st_shndx == SHN_UNDEF || (type != STT_FUNC && type != STT_OBJECT) ||
            strcmp(s, name) != 0)
            continue;
        if (found++ > 0 && (type != STT_FUNC || !is_runtime(img, address)))
            continue;
        *e = (struct extent){address, sym.st_size};
        if (type == STT_FUNC && is_runtime(img, address))
            break;
    }
    return found > 0;
}

const char *image_name(const struct image *img, uint64_t address, uint64_t *offset)
{
    GElf_Sym sym;
    GElf_Off at = 0;
    const char *name = dwfl_module_addrinfo(img->module, address, &at, &sym, NULL, NULL, NULL);
    if (offset != NULL)
        *offset = at;
    return name;
}

/* ---- Compilation units and lines ---------------------------------------------------------------- */

/* The unit that holds an address. */
static bool unit_of(const struct image *img, uint64_t address, Dwarf_Die *unit)
{
    Dwarf_CU *cu = NULL;
    uint8_t type;
    while (dwarf_get_units(img->dwarf, cu, &cu, NULL, &type, unit, NULL) == 0)
        if (type == DW_UT_compile && dwarf_haspc(unit, address - img->bias) > 0)
            return true;
    return false;
}

static bool unit_is_runtime(Dwarf_Die *unit)
{
    const char *name = dwarf_diename(unit);
    return name != NULL && strstr(name, "runtime/") != NULL;
}

static bool is_runtime(const struct image *img, uint64_t address)
{
    Dwarf_Die unit;
    return unit_of(img, address, &unit) && unit_is_runtime(&unit);
}

const char *image_line(const struct image *img, uint64_t address)
{
    Dwarf_Die unit;
    int number;
    if (!unit_of(img, address, &unit))
        return "";
    Dwarf_Line *line = dwarf_getsrc_die(&unit, address - img->bias);
    const char *file = line != NULL ? dwarf_linesrc(line, NULL, NULL) : NULL;
    if (file == NULL || dwarf_lineno(line, &number) != 0)
        return "";
    return keep_format("%s:%d", base_name(file), number);
}

/* All DIEs around an address, the innermost first; the caller frees. */
static int scopes_at(const struct image *img, uint64_t address, Dwarf_Die **scopes)
{
    Dwarf_Die unit, *lexical = NULL;
    *scopes = NULL;
    if (!unit_of(img, address, &unit))
        return 0;
    int n = dwarf_getscopes(&unit, address - img->bias, &lexical);
    /* Behind an inlined call these are the scopes of its definition: ask again for its place. */
    if (n > 0)
        n = dwarf_getscopes_die(&lexical[0], scopes);
    free(lexical);
    return n > 0 ? n : 0;
}

bool image_inlined(const struct image *img, uint64_t address, const char *function)
{
    Dwarf_Die *scopes;
    int n = scopes_at(img, address, &scopes);
    bool found = false;
    for (int i = 0; i < n && !found; i++) {
        const char *name = dwarf_diename(&scopes[i]);
        found = dwarf_tag(&scopes[i]) == DW_TAG_inlined_subroutine && name != NULL &&
                strcmp(name, function) == 0;
    }
    free(scopes);
    return found;
}

/* ---- Walking the functions ---------------------------------------------------------------------- */

struct walk {
    const struct image *img;
    /* An inlined call; an out-of-line function has `depth` 0. */
    void (*visit)(struct walk *w, Dwarf_Die *die, int depth);
    const char *function;
    void (*range)(uint64_t lo, uint64_t hi, void *arg);
    void (*name)(const char *name, void *arg);
    void (*whole)(const char *name, struct extent e, void *arg);
    uint64_t lo, hi;
    void *arg;
};

static void walk_children(struct walk *w, Dwarf_Die *parent, int depth)
{
    enum { DEPTH_MAX = 100 };
    Dwarf_Die die;
    if (depth > DEPTH_MAX || dwarf_child(parent, &die) != 0)
        return;
    do {
        int tag = dwarf_tag(&die);
        if (tag == DW_TAG_subprogram && depth == 0)
            w->visit(w, &die, 0);
        else if (tag == DW_TAG_inlined_subroutine)
            w->visit(w, &die, depth);
        if (tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine ||
            tag == DW_TAG_lexical_block)
            walk_children(w, &die, depth + 1);
    } while (dwarf_siblingof(&die, &die) == 0);
}

static void walk_runtime(struct walk *w)
{
    Dwarf_CU *cu = NULL;
    Dwarf_Die unit;
    uint8_t type;
    while (dwarf_get_units(w->img->dwarf, cu, &cu, NULL, &type, &unit, NULL) == 0)
        if (type == DW_UT_compile && unit_is_runtime(&unit))
            walk_children(w, &unit, 0);
}

static void visit_ranges(struct walk *w, Dwarf_Die *die, int depth)
{
    const char *name = dwarf_diename(die);
    if (depth == 0 || name == NULL || strcmp(name, w->function) != 0)
        return;
    Dwarf_Addr base, lo, hi;
    for (ptrdiff_t at = 0; (at = dwarf_ranges(die, at, &base, &lo, &hi)) > 0;)
        w->range(lo + w->img->bias, hi + w->img->bias, w->arg);
}

void image_each_inlined(const struct image *img, const char *function,
                        void (*fn)(uint64_t, uint64_t, void *), void *arg)
{
    struct walk w = {
        .img = img, .visit = visit_ranges, .function = function, .range = fn, .arg = arg};
    walk_runtime(&w);
}

static void visit_callees(struct walk *w, Dwarf_Die *die, int depth)
{
    const char *name = dwarf_diename(die);
    if (depth == 0 || name == NULL)
        return;
    Dwarf_Addr base, lo, hi;
    for (ptrdiff_t at = 0; (at = dwarf_ranges(die, at, &base, &lo, &hi)) > 0;)
        if (lo + w->img->bias >= w->lo && lo + w->img->bias < w->hi) {
            w->name(name, w->arg);
            return;
        }
}

void image_each_callee_inlined(const struct image *img, uint64_t lo, uint64_t hi,
                               void (*fn)(const char *, void *), void *arg)
{
    struct walk w = {
        .img = img, .visit = visit_callees, .lo = lo, .hi = hi, .name = fn, .arg = arg};
    walk_runtime(&w);
}

static void visit_functions(struct walk *w, Dwarf_Die *die, int depth)
{
    const char *name = dwarf_diename(die);
    Dwarf_Addr base, lo, hi;
    if (depth != 0 || name == NULL)
        return;
    /* its cold part is a range of its own */
    for (ptrdiff_t at = 0; (at = dwarf_ranges(die, at, &base, &lo, &hi)) > 0;)
        w->whole(name, (struct extent){lo + w->img->bias, hi - lo}, w->arg);
}

void image_each_function(const struct image *img, void (*fn)(const char *, struct extent, void *),
                         void *arg)
{
    struct walk w = {.img = img, .visit = visit_functions, .whole = fn, .arg = arg};
    walk_runtime(&w);
}

/* ---- Types ------------------------------------------------------------------------------------ */

/* A struct, or an enumeration, that some unit defines. */
static bool find_type(const struct image *img, int tag, const char *name, Dwarf_Die *type)
{
    Dwarf_CU *cu = NULL;
    Dwarf_Die unit;
    uint8_t kind;
    while (dwarf_get_units(img->dwarf, cu, &cu, NULL, &kind, &unit, NULL) == 0) {
        if (kind != DW_UT_compile || dwarf_child(&unit, type) != 0)
            continue;
        do {
            const char *s = dwarf_tag(type) == tag ? dwarf_diename(type) : NULL;
            if (s != NULL && strcmp(s, name) == 0 && !dwarf_hasattr(type, DW_AT_declaration))
                return true;
        } while (dwarf_siblingof(type, type) == 0);
    }
    return false;
}

static uint64_t number_of(Dwarf_Die *die, unsigned attribute)
{
    Dwarf_Attribute attr;
    Dwarf_Word value = 0;
    if (dwarf_attr_integrate(die, attribute, &attr) == NULL || dwarf_formudata(&attr, &value) != 0)
        return 0;
    return value;
}

/* The type of a member, without typedefs and qualifiers. */
static bool type_of(Dwarf_Die *member, Dwarf_Die *type)
{
    Dwarf_Attribute attr;
    return dwarf_formref_die(dwarf_attr_integrate(member, DW_AT_type, &attr), type) != NULL &&
           dwarf_peel_type(type, type) == 0;
}

static bool find_member(Dwarf_Die *type, const char *name, size_t length, Dwarf_Die *member)
{
    if (dwarf_child(type, member) != 0)
        return false;
    do {
        const char *s = dwarf_tag(member) == DW_TAG_member ? dwarf_diename(member) : NULL;
        if (s != NULL && strlen(s) == length && memcmp(s, name, length) == 0)
            return true;
    } while (dwarf_siblingof(member, member) == 0);
    return false;
}

bool image_field(const struct image *img, const char *type_name, const char *path, struct field *f)
{
    Dwarf_Die type, member;
    *f = (struct field){0};
    if (!find_type(img, DW_TAG_structure_type, type_name, &type))
        return false;
    for (const char *p = path;;) {
        size_t length = strcspn(p, ".");
        if (!find_member(&type, p, length, &member) || !type_of(&member, &type))
            return false;
        f->offset += number_of(&member, DW_AT_data_member_location);
        if (p[length] == '\0')
            break;
        p += length + 1;
    }
    Dwarf_Word size;
    if (dwarf_aggregate_size(&type, &size) != 0)
        return false;
    f->size = size;
    return true;
}

const char *image_field_at(const struct image *img, const char *type_name, uint64_t offset)
{
    Dwarf_Die type, member;
    if (!find_type(img, DW_TAG_structure_type, type_name, &type) ||
        dwarf_child(&type, &member) != 0)
        return NULL;
    do {
        Dwarf_Die of;
        Dwarf_Word size;
        uint64_t at = number_of(&member, DW_AT_data_member_location);
        if (dwarf_tag(&member) != DW_TAG_member || offset < at || !type_of(&member, &of) ||
            dwarf_aggregate_size(&of, &size) != 0 || offset >= at + size)
            continue;
        const char *name = dwarf_diename(&member);
        return name == NULL   ? NULL
               : offset == at ? name
                              : keep_format("%s+%llu", name, (unsigned long long)(offset - at));
    } while (dwarf_siblingof(&member, &member) == 0);
    return NULL;
}

const char *image_enumerator(const struct image *img, const char *type_name, uint64_t value)
{
    Dwarf_Die type, e;
    if (!find_type(img, DW_TAG_enumeration_type, type_name, &type) || dwarf_child(&type, &e) != 0)
        return NULL;
    do {
        if (dwarf_tag(&e) == DW_TAG_enumerator && number_of(&e, DW_AT_const_value) == value)
            return dwarf_diename(&e);
    } while (dwarf_siblingof(&e, &e) == 0);
    return NULL;
}

/* ---- Structs in memory -------------------------------------------------------------------------- */

uint64_t image_value(const struct image *img, const char *type, uint64_t address, const char *path,
                     bool *ok)
{
    struct field f;
    uint64_t value = 0;
    if (!image_field(img, type, path, &f) || f.size > sizeof value ||
        !image_peek(img, address + f.offset, &value, f.size)) {
        *ok = false;
        return 0;
    }
    return value;
}

json_t *image_word_row(const struct image *img, const char *what, uint64_t address, size_t size,
                       const char *meaning)
{
    unsigned char bytes[8];
    char *text = keep(1);
    if (size > sizeof bytes || !image_peek(img, address, bytes, size))
        text = keep_format("cannot be read");
    else
        for (size_t i = 0; i < size; i++)
            text = keep_format("%s%s%02x", text, i > 0 ? " " : "", bytes[i]);
    return make("{s:s, s:o, s:s, s:s}", "what", what, "address", hex(address), "bytes", text,
                "meaning", meaning);
}

json_t *image_row(const struct image *img, const char *type, uint64_t address, const char *path,
                  const char *meaning)
{
    struct field f;
    if (!image_field(img, type, path, &f))
        return make("{s:s, s:s, s:s, s:s}", "what", path, "address", "", "bytes", "no such field",
                    "meaning", "");
    return image_word_row(img, keep_format("%s.%s +%llu", type, path, (unsigned long long)f.offset),
                          address + f.offset, f.size, meaning);
}
