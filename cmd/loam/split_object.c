/* Objects of a program with small stacks: checked, and rewritten so that no way leads from registered
 * code, on a small stack, to code that does not look how much stack there is.
 *
 * - All code goes into the section loam_text, whose bounds the linker gives to the runtime: code in
 *   it is registered.
 * - Calls and jumps to functions that no object of the program compiled so defines go to a bridge
 *   (split.c), which runs them on a big stack. Only calls are changed: the address of a function stays
 *   what it is. A weak definition may be replaced by a foreign one, so it counts as foreign; the bridge
 *   finds out.
 * - Calls through pointers were compiled as calls of thunks in the runtime, which look whether the target
 *   is registered. Any that were not (inline assembly) are found by disassembling all code, and
 *   refused; so are functions without the look at the stack.
 *
 * The rewritten file is the old one with a new symbol table, string tables and table of sections
 * behind its end.
 *
 * Rejected: objcopy --redefine-sym, which changes addresses of functions too, so that they compare
 * unequal with those that a library has. */
#include "split.h"

#include <capstone/capstone.h>
#include <elf.h>
#include <elfutils/libdw.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"

#define REGISTERED "loam_text"
#define NOPREEMPT "loam_nopreempt" /* include/loam/module.h: keeps its section */
/* What gcc marks split code by; gone from what is linked, because gold would rewrite the code. */
#define SPLIT_NOTE ".note.GNU-split-stack"
#define OWN_NOTE ".note.loam-stack"
#define align_up(n, a) (((n) + (a)-1) / (a) * (a))

/* ---- Reading --------------------------------------------------------------------------------------- */

static const Elf64_Ehdr *header(const struct object *o)
{
    return (const Elf64_Ehdr *)(const void *)o->bytes;
}

static Elf64_Shdr *sections(const struct object *o)
{
    return (Elf64_Shdr *)(void *)(o->bytes + header(o)->e_shoff);
}

static const char *section_name(const struct object *o, const Elf64_Shdr *s)
{
    return (const char *)o->bytes + sections(o)[header(o)->e_shstrndx].sh_offset + s->sh_name;
}

static const Elf64_Shdr *find_section(const struct object *o, const char *name)
{
    for (unsigned i = 1; i < header(o)->e_shnum; i++)
        if (strcmp(section_name(o, &sections(o)[i]), name) == 0)
            return &sections(o)[i];
    return NULL;
}

static bool is_code(const Elf64_Shdr *s)
{
    return s->sh_type == SHT_PROGBITS && (s->sh_flags & SHF_EXECINSTR) != 0;
}

static const Elf64_Shdr *symbol_table(const struct object *o)
{
    for (unsigned i = 1; i < header(o)->e_shnum; i++)
        if (sections(o)[i].sh_type == SHT_SYMTAB)
            return &sections(o)[i];
    return NULL;
}

static const Elf64_Sym *symbols(const struct object *o, size_t *n)
{
    const Elf64_Shdr *t = symbol_table(o);
    *n = t != NULL ? t->sh_size / sizeof(Elf64_Sym) : 0;
    return t != NULL ? (const Elf64_Sym *)(const void *)(o->bytes + t->sh_offset) : NULL;
}

static const char *symbol_name(const struct object *o, const Elf64_Sym *sym)
{
    const Elf64_Shdr *strings = &sections(o)[symbol_table(o)->sh_link];
    return (const char *)o->bytes + strings->sh_offset + sym->st_name;
}

/* Within bounds, so that nothing after it needs to look. */
static bool well_formed(const struct object *o)
{
    const Elf64_Ehdr *h = header(o);
    if (o->size < sizeof *h || h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shnum == 0 ||
        h->e_shoff % 8 != 0 || h->e_shoff > o->size ||
        (o->size - h->e_shoff) / sizeof(Elf64_Shdr) < h->e_shnum || h->e_shstrndx >= h->e_shnum)
        return false;
    for (unsigned i = 1; i < h->e_shnum; i++) {
        const Elf64_Shdr *s = &sections(o)[i];
        if (s->sh_type != SHT_NOBITS &&
            (s->sh_offset > o->size || o->size - s->sh_offset < s->sh_size))
            return false;
        if ((s->sh_type == SHT_SYMTAB || s->sh_type == SHT_RELA) &&
            (s->sh_link >= h->e_shnum || s->sh_offset % 8 != 0))
            return false;
        if (s->sh_type == SHT_RELA && s->sh_info >= h->e_shnum)
            return false;
    }
    return true;
}

bool object_read(const char *file, const char *shown, struct object *o)
{
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    *o = (struct object){.path = shown};
    if (fd < 0 || fstat(fd, &st) != 0) {
        message_error("cannot read %s: %s", file, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    o->size = (size_t)st.st_size;
    o->bytes = keep(o->size + 1);
    bool all = pread(fd, o->bytes, o->size, 0) == st.st_size;
    close(fd);
    const Elf64_Ehdr *h = header(o);
    if (!all || o->size < sizeof *h || memcmp(h->e_ident, ELFMAG, SELFMAG) != 0 ||
        h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_machine != EM_X86_64 || h->e_type != ET_REL ||
        !well_formed(o)) {
        message_error(
            "%s: not an object for x86-64 (64 bit), for which alone there are small stacks", shown);
        message_hint("build without --stack=small");
        return false;
    }
    return true;
}

bool object_is_split(const struct object *o)
{
    return find_section(o, SPLIT_NOTE) != NULL;
}

/* ---- Names with a meaning of their own --------------------------------------------------------------- */

static const struct {
    const char *name, *why;
} refused[] = {
    {"getcontext", "contexts know nothing of a stack in pieces"},
    {"setcontext", "contexts know nothing of a stack in pieces"},
    {"swapcontext", "contexts know nothing of a stack in pieces"},
    {"makecontext", "contexts know nothing of a stack in pieces"},
    {"vfork", "the child would return over its parent's stack; use fork or posix_spawn"},
    {"clone", "the child would run on a stack that does not grow; use pthread_create"},
    {"sigvec", "use sigaction"},
    {"mcount", "-pg looks at the stack before the function does"},
    {"__fentry__", "-pg looks at the stack before the function does"},
    {"__morestack_large_model", "-mcmodel=large is not supported"},
    {"loam_refused_builtin_longjmp", "__builtin_longjmp does not restore the guard; use longjmp"},
    {"loam_refused_builtin_setjmp", "__builtin_setjmp does not save the guard; use setjmp"},
    {"loam_refused_builtin_apply", "__builtin_apply copies arguments from another stack"},
};

static const struct {
    const char *name;
    int room;
} shallow[] = {
#define SHALLOW(name, room) {#name, room},
#include "sched/shallow.tbl"
#undef SHALLOW
};

int split_room(const char *name)
{
    for (size_t i = 0; i < nelem(shallow); i++)
        if (strcmp(shallow[i].name, name) == 0)
            return shallow[i].room;
    return -1;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* May registered code call it on whatever stack it is on? */
static bool is_safe(const struct split *s, const char *name)
{
    static const char *const support[] = {"__morestack", "__morestack_allocate_stack_space",
                                          "__morestack_setjmp", "__morestack_setjmp_mask",
                                          "__morestack_sigsetjmp"};
    for (size_t i = 0; i < nelem(support); i++)
        if (strcmp(support[i], name) == 0)
            return true;
    if (starts_with(name, THUNK_PREFIX) || strcmp(name, "__tls_get_addr") == 0)
        return true; /* of the latter the linker leaves none in a program */
    return split_room(name) == 0 || names_index(&s->own, name) != 0;
}

/* ---- Checking ---------------------------------------------------------------------------------------- */

static bool complain(const struct object *o, const char *function, const char *what,
                     const char *hint)
{
    message_error("%s: %s%s%s, which --stack=small cannot guard", o->path,
                  function != NULL ? function : "", function != NULL ? ": " : "", what);
    if (hint != NULL)
        message_hint("%s", hint);
    message_hint("or build it with --stack=slots, the default, where any code runs");
    return false;
}

/* Instructions that are looked at for the comparison with the guard: an endbr, a lea, the cmp. */
enum { PROLOGUE = 4, GUARD_OFFSET = 0x70 };

static bool reads_guard(const cs_insn *i)
{
    const cs_x86 *x = &i->detail->x86;
    for (int k = 0; k < x->op_count; k++)
        if (x->operands[k].type == X86_OP_MEM && x->operands[k].mem.segment == X86_REG_FS &&
            x->operands[k].mem.disp == GUARD_OFFSET && x->operands[k].mem.base == X86_REG_INVALID)
            return true;
    return false;
}

static bool goes_by_pointer(const cs_insn *i)
{
    if (i->id != X86_INS_CALL && i->id != X86_INS_JMP && i->id != X86_INS_LCALL &&
        i->id != X86_INS_LJMP)
        return false;
    return i->detail->x86.op_count != 1 || i->detail->x86.operands[0].type != X86_OP_IMM;
}

/* *arguments: what its calls may have on the stack. */
static bool check_function(const struct object *o, csh cs, const Elf64_Sym *sym,
                           uint64_t *arguments)
{
    const Elf64_Shdr *text = &sections(o)[sym->st_shndx];
    const char *name = symbol_name(o, sym);
    if (sym->st_value > text->sh_size || text->sh_size - sym->st_value < sym->st_size)
        return complain(o, name, "is larger than its section", NULL);
    const uint8_t *at = o->bytes + text->sh_offset + sym->st_value;
    size_t left = sym->st_size;
    uint64_t address = sym->st_value;
    /* the cold part of a function, to which it jumps */
    bool whole = strstr(name, ".cold") == NULL || ELF64_ST_BIND(sym->st_info) != STB_LOCAL;
    bool guarded = !whole;
    bool direct = true, known = true;
    struct split_frame frame = {0};
    cs_insn *insn = cs_malloc(cs);
    for (int n = 0; left > 0 && direct && known; n++) {
        known = cs_disasm_iter(cs, &at, &left, &address, insn);
        if (!known)
            break;
        guarded |= n < PROLOGUE && reads_guard(insn);
        direct = !goes_by_pointer(insn);
        split_frame_look(&frame, insn);
    }
    cs_free(insn, 1);
    if (!known)
        return complain(o, name, "has instructions that are not known", NULL);
    if (!direct)
        return complain(o, name, "calls or jumps through a pointer by itself",
                        "calls in inline assembly and __attribute__((indirect_branch)) do");
    if (!guarded)
        return complain(o, name, "does not look how much stack there is",
                        "__attribute__((no_split_stack)) does that");
    if (whole && !frame.begun && frame.calls > 1) /* one is that of __morestack */
        return complain(o, name, "calls others and keeps no frame pointer",
                        "compile with -fno-omit-frame-pointer");
    *arguments = split_frame_arguments(&frame, o->ours);
    if (*arguments > STACK_ARGUMENTS)
        return complain(
            o, name,
            keep_format("may pass %lu bytes on the stack, more than %d", (unsigned long)*arguments,
                        STACK_ARGUMENTS),
            "large structs by value, and large locals of more than 16 bytes' alignment, do");
    return true;
}

/* Without what names its parts: what one of them stores another may pass. */
static const char *whole_name(const char *name)
{
    return keep_bytes(name, strcspn(name, "."));
}

static bool is_function(const struct object *o, const Elf64_Sym *sym)
{
    return sym->st_shndx != SHN_UNDEF && sym->st_shndx < header(o)->e_shnum &&
           is_code(&sections(o)[sym->st_shndx]) && ELF64_ST_TYPE(sym->st_info) == STT_FUNC;
}

/* Notes the functions that pass nothing. arguments: of each symbol. */
static void note_bare(struct object *o, const Elf64_Sym *sym, size_t n, const uint64_t *arguments)
{
    struct names passing = {0};
    o->bare = keep(n * sizeof *o->bare);
    for (size_t i = 1; i < n; i++)
        if (arguments[i] > 0)
            (void)names_add(&passing, whole_name(symbol_name(o, &sym[i])));
    for (size_t i = 1; i < n; i++)
        if (is_function(o, &sym[i]) &&
            names_index(&passing, whole_name(symbol_name(o, &sym[i]))) == 0)
            o->bare[o->bare_count++] = (struct bare_code){sym[i].st_shndx, sym[i].st_value,
                                                          sym[i].st_value + sym[i].st_size};
    split_bare_sort(o);
}

static bool check_names(const struct object *o, const Elf64_Sym *sym, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (sym[i].st_shndx != SHN_UNDEF)
            continue;
        for (size_t k = 0; k < nelem(refused); k++)
            if (strcmp(refused[k].name, symbol_name(o, &sym[i])) == 0)
                return complain(o, NULL, keep_format("uses %s", refused[k].name), refused[k].why);
    }
    return true;
}

static bool check_sections(const struct object *o)
{
    if (find_section(o, ".note.GNU-no-split-stack") != NULL)
        return complain(o, NULL, "has functions that do not look how much stack there is",
                        "those with __attribute__((no_split_stack))");
    const Elf64_Shdr *stack = find_section(o, ".note.GNU-stack");
    if (stack == NULL || (stack->sh_flags & SHF_EXECINSTR) != 0)
        return complain(o, NULL, "needs a stack with executable memory",
                        "it takes the address of a nested function");
    for (unsigned i = 1; i < header(o)->e_shnum; i++)
        if (starts_with(section_name(o, &sections(o)[i]), ".gnu.lto_"))
            return complain(o, NULL, "is left to be compiled when it is linked",
                            "compile without -flto");
    return true;
}

bool object_check(struct object *o, struct split *s)
{
    size_t n;
    const Elf64_Sym *sym = symbols(o, &n);
    if (!check_sections(o) || !check_names(o, sym, n))
        return false;
    csh cs;
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &cs) != CS_ERR_OK) {
        message_error("cannot start the disassembler that checks the code");
        return false;
    }
    cs_option(cs, CS_OPT_DETAIL, CS_OPT_ON);
    bool ok = true;
    uint64_t *arguments = keep(n * sizeof *arguments);
    for (size_t i = 1; i < n && ok; i++) {
        if (sym[i].st_shndx == SHN_UNDEF || sym[i].st_shndx >= header(o)->e_shnum ||
            !is_code(&sections(o)[sym[i].st_shndx]))
            continue;
        const char *name = symbol_name(o, &sym[i]);
        bool global = ELF64_ST_BIND(sym[i].st_info) != STB_LOCAL;
        if (is_function(o, &sym[i])) {
            ok = check_function(o, cs, &sym[i], &arguments[i]);
            if (ok && global && split_takes_place(name))
                ok = complain(o, name, "is defined",
                              "the runtime has that function for all modules");
            if (ELF64_ST_BIND(sym[i].st_info) == STB_GLOBAL)
                (void)names_add(&s->own, name);
        } else if (ELF64_ST_TYPE(sym[i].st_info) == STT_GNU_IFUNC) {
            ok = complain(o, name, "is chosen when the program starts, before there is a runtime",
                          "__attribute__((target_clones)) and ifunc do that");
        } else if (ELF64_ST_TYPE(sym[i].st_info) != STT_SECTION) {
            ok = complain(o, name, "is code of inline assembly", NULL);
        }
    }
    cs_close(&cs);
    if (ok)
        note_bare(o, sym, n, arguments);
    return ok;
}

bool archive_check(const char *file)
{
    elf_version(EV_CURRENT);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    Elf *archive = fd >= 0 ? elf_begin(fd, ELF_C_READ, NULL) : NULL;
    bool ok = true;
    Elf_Cmd next = ELF_C_READ;
    for (Elf *e; ok && archive != NULL && (e = elf_begin(fd, next, archive)) != NULL;) {
        size_t names;
        if (elf_kind(e) == ELF_K_ELF && elf_getshdrstrndx(e, &names) == 0) {
            for (Elf_Scn *scn = NULL; (scn = elf_nextscn(e, scn)) != NULL;) {
                GElf_Shdr shdr;
                const char *name =
                    gelf_getshdr(scn, &shdr) != NULL ? elf_strptr(e, names, shdr.sh_name) : NULL;
                ok &= name == NULL || strcmp(name, SPLIT_NOTE) != 0;
            }
        }
        next = elf_next(e);
        elf_end(e);
    }
    elf_end(archive);
    if (fd >= 0)
        close(fd);
    if (!ok) {
        message_error("%s: has members compiled with -fsplit-stack, whose calls nothing guards",
                      file);
        message_hint("name its objects instead (.o), or compile them without -fsplit-stack");
    }
    return ok;
}

/* ---- Rewriting --------------------------------------------------------------------------------------- */

/* The new tables, while they grow. */
struct tables {
    Elf64_Sym *symbols;
    size_t symbol_count;
    char *strings;
    size_t string_size, string_room;
    struct names made; /* new symbols */
    size_t *index;     /* of each in made */
};

static uint32_t add_string(struct tables *t, const char *text)
{
    size_t n = strlen(text) + 1;
    if (t->string_size + n > t->string_room) {
        size_t room = 2 * t->string_room + n;
        char *more = keep(room);
        memcpy(more, t->strings, t->string_size);
        t->strings = more;
        t->string_room = room;
    }
    memcpy(t->strings + t->string_size, text, n);
    t->string_size += n;
    return (uint32_t)(t->string_size - n);
}

static size_t symbol_index(struct tables *t, const char *name)
{
    if (names_add(&t->made, name)) {
        Elf64_Sym *sym = &t->symbols[t->symbol_count];
        *sym = (Elf64_Sym){.st_name = add_string(t, name),
                           .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE)};
        t->index[t->made.words.count - 1] = t->symbol_count++;
    }
    return t->index[names_index(&t->made, name) - 1];
}

/* Is the place of this relocation the target of a call or jump? */
static bool is_branch(const struct object *o, const Elf64_Shdr *text, const Elf64_Rela *r)
{
    uint32_t type = (uint32_t)ELF64_R_TYPE(r->r_info);
    if ((type != R_X86_64_PLT32 && type != R_X86_64_PC32) || r->r_offset < 1 ||
        r->r_offset + 4 > text->sh_size)
        return false;
    const uint8_t *at = o->bytes + text->sh_offset + r->r_offset;
    return at[-1] == 0xe8 || at[-1] == 0xe9 ||
           (r->r_offset >= 2 && at[-2] == 0x0f && (at[-1] & 0xf0) == 0x80);
}

static bool is_call(const struct object *o, const Elf64_Shdr *text, const Elf64_Rela *r)
{
    return o->bytes[text->sh_offset + r->r_offset - 1] == 0xe8;
}

/* What has a meaning of its own is a function of ours where it is called; its address would be libc's. False
 * after a message. */
static bool redirect_address(const struct object *o, struct tables *t, Elf64_Rela *r)
{
    size_t index = ELF64_R_SYM(r->r_info);
    if (index >= t->symbol_count || t->symbols[index].st_shndx != SHN_UNDEF)
        return true;
    const char *name = t->strings + t->symbols[index].st_name, *instead = split_here(name);
    if (instead == NULL)
        return true;
    (void)r;
    return complain(o, NULL, keep_format("takes the address of %s", name), NULL);
}

/* False after a message. */
static bool redirect(const struct object *o, struct split *s, struct tables *t, unsigned section,
                     Elf64_Rela *r)
{
    const Elf64_Shdr *text = &sections(o)[section];
    size_t index = ELF64_R_SYM(r->r_info);
    if (index >= t->symbol_count)
        return complain(o, NULL, "has a relocation without a symbol", NULL);
    Elf64_Sym *sym = &t->symbols[index];
    const char *name = t->strings + sym->st_name;
    bool elsewhere = sym->st_shndx == SHN_UNDEF || ELF64_ST_BIND(sym->st_info) == STB_WEAK;
    if (!is_branch(o, text, r))
        return redirect_address(o, t, r);
    if (!elsewhere) {
        if (sym->st_shndx < header(o)->e_shnum && is_code(&sections(o)[sym->st_shndx]))
            return true;
        return complain(o, name, "is called, and is no function", NULL);
    }
    const char *instead = split_here(name);
    /* a jump takes what its function was called with */
    bool bare = is_call(o, text, r) && split_is_bare(o, section, r->r_offset);
    if (instead == NULL && bare && starts_with(name, THUNK_PREFIX))
        instead = keep_format(BARE_THUNK_PREFIX "%s", name + strlen(THUNK_PREFIX));
    if (instead != NULL) {
        r->r_info = ELF64_R_INFO(symbol_index(t, instead), ELF64_R_TYPE(r->r_info));
        return true;
    }
    if (is_safe(s, name))
        return true;
    (void)names_add(bare ? &s->bare : &s->calls, name);
    (void)names_add(ELF64_ST_BIND(sym->st_info) == STB_WEAK ? &s->weak : &s->strong, name);
    const char *bridge = keep_format("%s%s", bare ? BARE_PREFIX : BRIDGE_PREFIX, name);
    r->r_info = ELF64_R_INFO(symbol_index(t, bridge), ELF64_R_TYPE(r->r_info));
    return true;
}

static bool redirect_all(const struct object *o, struct split *s, struct tables *t)
{
    for (unsigned i = 1; i < header(o)->e_shnum; i++) {
        const Elf64_Shdr *rel = &sections(o)[i];
        const Elf64_Shdr *to = &sections(o)[rel->sh_info];
        if (rel->sh_type != SHT_RELA || (to->sh_flags & SHF_ALLOC) == 0)
            continue;
        Elf64_Rela *r = (Elf64_Rela *)(void *)(o->bytes + rel->sh_offset);
        for (size_t n = rel->sh_size / sizeof *r; n > 0; n--, r++)
            if (!(is_code(to) ? redirect(o, s, t, rel->sh_info, r) : redirect_address(o, t, r)))
                return false;
    }
    return true;
}

static bool write_file(const char *file, const struct object *o, const struct tables *t,
                       Elf64_Shdr *shdrs, const char *names, size_t name_size)
{
    static const char zeros[8];
    Elf64_Ehdr h = *header(o);
    FILE *f = fopen(file, "we");
    const Elf64_Shdr *symtab = symbol_table(o);
    size_t at = align_up(o->size, 8);
    Elf64_Shdr *sym = &shdrs[symtab - sections(o)], *str = &shdrs[symtab->sh_link];
    sym->sh_offset = at;
    sym->sh_size = t->symbol_count * sizeof(Elf64_Sym);
    str->sh_offset = sym->sh_offset + sym->sh_size;
    str->sh_size = t->string_size;
    shdrs[h.e_shstrndx].sh_offset = str->sh_offset + str->sh_size;
    shdrs[h.e_shstrndx].sh_size = name_size;
    size_t end = shdrs[h.e_shstrndx].sh_offset + name_size;
    h.e_shoff = align_up(end, 8);
    bool ok = f != NULL && fwrite(&h, sizeof h, 1, f) == 1 &&
              fwrite(o->bytes + sizeof h, o->size - sizeof h, 1, f) == 1 &&
              fwrite(zeros, 1, at - o->size, f) == at - o->size &&
              fwrite(t->symbols, sizeof(Elf64_Sym), t->symbol_count, f) == t->symbol_count &&
              fwrite(t->strings, 1, t->string_size, f) == t->string_size &&
              fwrite(names, 1, name_size, f) == name_size &&
              fwrite(zeros, 1, h.e_shoff - end, f) == h.e_shoff - end &&
              fwrite(shdrs, sizeof *shdrs, h.e_shnum, f) == h.e_shnum;
    return file_written(f, ok, file);
}

bool object_write(const struct object *o, struct split *s, const char *file)
{
    size_t n;
    const Elf64_Sym *old = symbols(o, &n);
    if (old == NULL || symbol_table(o)->sh_link == header(o)->e_shstrndx)
        return complain(o, NULL, "has no symbols of its own", NULL);
    const Elf64_Shdr *strings = &sections(o)[symbol_table(o)->sh_link];
    struct tables t = {
        .symbol_count = n, .string_size = strings->sh_size, .string_room = strings->sh_size};
    size_t relocations = 0;
    for (unsigned i = 1; i < header(o)->e_shnum; i++)
        if (sections(o)[i].sh_type == SHT_RELA)
            relocations += sections(o)[i].sh_size / sizeof(Elf64_Rela);
    t.symbols = keep((n + relocations) * sizeof *t.symbols);
    t.index = keep((relocations + 1) * sizeof *t.index);
    memcpy(t.symbols, old, n * sizeof *old);
    t.strings = keep(t.string_room + 1);
    memcpy(t.strings, o->bytes + strings->sh_offset, strings->sh_size);
    if (!redirect_all(o, s, &t))
        return false;

    size_t count = header(o)->e_shnum;
    Elf64_Shdr *shdrs = keep(count * sizeof *shdrs);
    memcpy(shdrs, sections(o), count * sizeof *shdrs);
    const Elf64_Shdr *name_section = &shdrs[header(o)->e_shstrndx];
    size_t text_name = name_section->sh_size, note_name = text_name + sizeof REGISTERED;
    size_t name_size = note_name + sizeof OWN_NOTE;
    char *names = keep(name_size);
    memcpy(names, o->bytes + name_section->sh_offset, name_section->sh_size);
    memcpy(names + text_name, REGISTERED, sizeof REGISTERED);
    memcpy(names + note_name, OWN_NOTE, sizeof OWN_NOTE);
    for (size_t i = 1; i < count; i++) {
        if (is_code(&shdrs[i]) && strcmp(section_name(o, &sections(o)[i]), NOPREEMPT) != 0)
            shdrs[i].sh_name = (Elf64_Word)text_name;
        else if (strcmp(section_name(o, &sections(o)[i]), SPLIT_NOTE) == 0)
            shdrs[i].sh_name = (Elf64_Word)note_name;
    }
    return write_file(file, o, &t, shdrs, names, name_size);
}
