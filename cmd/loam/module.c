/* loam build --migratable: programs whose code goes on on any thread when a signal preempts it
 * (runtime/sched/copied.c), because it uses nothing of the one that it runs on.
 *
 * The promise is the program's. What can be seen in the objects is checked: code that refers to a thread-local
 * or to errno is refused, unless it is in a LOAM_NOPREEMPT function. Then all code of the files that are
 * compiled goes into one section, of which the linker tells the runtime the bounds by way of the note
 * (include/loam/module.h). Objects and archives that are given as such stay as they are: code that is not in
 * that section is preempted with its thread.
 *
 * With small stacks the code has a section of its own already, and the note names that.
 *
 * Only names of sections change: a new table of names is put behind the object's end, and pointed to. */
#include "module.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <loam/module.h>

#include "split.h"

#define SECTION "loam_module"
#define SMALL_SECTION "loam_text"

/* ---- Flags ------------------------------------------------------------------------------------------- */

static bool refuse(const char *what, const char *hint)
{
    message_error("--migratable: %s", what);
    message_hint("%s", hint);
    return false;
}

bool module_flags(const struct words *flags, struct words *w)
{
    for (size_t i = 0; i < flags->count; i++)
        if (strncmp(flags->word[i], "-flto", 5) == 0)
            return refuse(keep_format("%s leaves the code to the linker, where nothing checks it",
                                      flags->word[i]),
                          "leave it out");
    words_add(w, "-fno-lto");
    words_add(w, "-fasynchronous-unwind-tables"); /* the runtime walks the frames by them */
    return true;
}

/* ---- Objects ------------------------------------------------------------------------------------------- */

static Elf64_Ehdr *header(const struct object *o)
{
    return (Elf64_Ehdr *)(void *)o->bytes;
}

static Elf64_Shdr *sections(const struct object *o)
{
    return (Elf64_Shdr *)(void *)(o->bytes + header(o)->e_shoff);
}

static const char *section_name(const struct object *o, const Elf64_Shdr *s)
{
    return (const char *)o->bytes + sections(o)[header(o)->e_shstrndx].sh_offset + s->sh_name;
}

/* Code that the compiler put where it likes: that of functions without a section of their own. */
static bool is_text(const struct object *o, const Elf64_Shdr *s)
{
    const char *name = section_name(o, s);
    return s->sh_type == SHT_PROGBITS && (s->sh_flags & SHF_EXECINSTR) != 0 &&
           (strncmp(name, ".text", 5) == 0 || strcmp(name, SECTION) == 0);
}

/* What object_write makes the module's text: with small stacks every section of code but one. */
static bool becomes_text(const struct object *o, const Elf64_Shdr *s, bool small)
{
    if (!small)
        return is_text(o, s);
    return s->sh_type == SHT_PROGBITS && (s->sh_flags & SHF_EXECINSTR) != 0 &&
           strcmp(section_name(o, s), "loam_nopreempt") != 0;
}

static bool is_thread_local(uint32_t type)
{
    switch (type) {
    case R_X86_64_DTPMOD64:
    case R_X86_64_DTPOFF64:
    case R_X86_64_DTPOFF32:
    case R_X86_64_TPOFF64:
    case R_X86_64_TPOFF32:
    case R_X86_64_TLSGD:
    case R_X86_64_TLSLD:
    case R_X86_64_GOTTPOFF:
    case R_X86_64_GOTPC32_TLSDESC:
    case R_X86_64_TLSDESC_CALL:
    case R_X86_64_TLSDESC:
        return true;
    default:
        return false;
    }
}

/* The symbols of a section of relocations; *strings: their names. */
static const Elf64_Sym *symbols_of(const struct object *o, const Elf64_Shdr *rel, size_t *n,
                                   const char **strings)
{
    const Elf64_Shdr *t = &sections(o)[rel->sh_link];
    *n = t->sh_type == SHT_SYMTAB && t->sh_link < header(o)->e_shnum
             ? t->sh_size / sizeof(Elf64_Sym)
             : 0;
    *strings = *n > 0 ? (const char *)o->bytes + sections(o)[t->sh_link].sh_offset : "";
    return (const Elf64_Sym *)(const void *)(o->bytes + t->sh_offset);
}

/* The function that a place of a section lies in. */
static const char *function_at(const Elf64_Sym *sym, size_t n, const char *strings,
                               unsigned section, uint64_t offset)
{
    for (size_t i = 0; i < n; i++)
        if (ELF64_ST_TYPE(sym[i].st_info) == STT_FUNC && sym[i].st_shndx == section &&
            offset >= sym[i].st_value && offset - sym[i].st_value < sym[i].st_size)
            return strings + sym[i].st_name;
    return "?";
}

static bool check_relocations(const struct object *o, const Elf64_Shdr *rel)
{
    static const char *const errnos[] = {"__errno_location", "loam_errno_location"};
    size_t n;
    const char *strings;
    const Elf64_Sym *sym = symbols_of(o, rel, &n, &strings);
    const Elf64_Rela *r = (const Elf64_Rela *)(const void *)(o->bytes + rel->sh_offset);
    for (size_t left = rel->sh_size / sizeof *r; left > 0; left--, r++) {
        size_t index = ELF64_R_SYM(r->r_info);
        const char *name = index < n ? strings + sym[index].st_name : "", *what = NULL;
        if (is_thread_local((uint32_t)ELF64_R_TYPE(r->r_info)))
            what = keep_format("the thread-local %s", name);
        for (size_t i = 0; i < nelem(errnos); i++)
            if (strcmp(name, errnos[i]) == 0)
                what = "errno";
        if (what == NULL)
            continue;
        return refuse(keep_format("%s: %s uses %s, which belongs to a thread", o->path,
                                  function_at(sym, n, strings, rel->sh_info, r->r_offset), what),
                      "do it in a function that is LOAM_NOPREEMPT, or build without --migratable");
    }
    return true;
}

static bool read_object(const char *object, const char *shown, struct object *o)
{
    char start[EI_NIDENT + 4] = {0}; /* with e_machine */
    int fd = open(object, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && pread(fd, start, sizeof start, 0) == (ssize_t)sizeof start &&
              start[EI_CLASS] == ELFCLASS64 && start[EI_NIDENT + 2] == EM_X86_64;
    if (fd >= 0)
        close(fd);
    if (!ok)
        return refuse(keep_format("%s: not an object for x86-64 (64 bit)", shown),
                      "build without --migratable: it is then preempted with its thread");
    return object_read(object, shown, o);
}

bool module_check(const char *object, const char *shown, bool small)
{
    struct object o;
    if (!read_object(object, shown, &o))
        return false;
    for (unsigned i = 1; i < header(&o)->e_shnum; i++) {
        const Elf64_Shdr *rel = &sections(&o)[i];
        if (rel->sh_type == SHT_RELA && becomes_text(&o, &sections(&o)[rel->sh_info], small) &&
            !check_relocations(&o, rel))
            return false;
    }
    return true;
}

bool module_rename(const char *object, const char *shown)
{
    struct object o;
    if (!read_object(object, shown, &o))
        return false;
    Elf64_Shdr *names = &sections(&o)[header(&o)->e_shstrndx];
    if (names->sh_type == SHT_NOBITS || names->sh_size > UINT32_MAX - sizeof SECTION)
        return refuse(keep_format("%s: its sections have no names", shown), "compile it anew");
    uint64_t size = names->sh_size + sizeof SECTION;
    char *bytes = keep(size);
    memcpy(bytes, o.bytes + names->sh_offset, names->sh_size);
    memcpy(bytes + names->sh_size, SECTION, sizeof SECTION);
    for (unsigned i = 1; i < header(&o)->e_shnum; i++)
        if (is_text(&o, &sections(&o)[i]))
            sections(&o)[i].sh_name = (Elf64_Word)names->sh_size;
    names->sh_offset = o.size;
    names->sh_size = size;
    FILE *f = fopen(object, "we");
    bool ok =
        f != NULL && fwrite(o.bytes, 1, o.size, f) == o.size && fwrite(bytes, 1, size, f) == size;
    return file_written(f, ok, object);
}

/* ---- The note --------------------------------------------------------------------------------------------- */

bool module_note(const char *file, bool small)
{
    const char *text = small ? SMALL_SECTION : SECTION;
    FILE *f = fopen(file, "we");
    bool ok = f != NULL;
    /* a few bytes in each section: the linker tells no bounds of one that is empty */
    for (int i = 0; ok && i < 2; i++)
        fprintf(f,
                "\t.section %s,\"ax\",@progbits\n\t.long 0\n"
                "\t.hidden __start_%s\n\t.hidden __stop_%s\n",
                i == 0 ? text : "loam_nopreempt", i == 0 ? text : "loam_nopreempt",
                i == 0 ? text : "loam_nopreempt");
    if (ok)
        fprintf(f,
                "\t.section .note.loam,\"a\",@note\n\t.balign 4\n\t.long %zu, %zu, %d\n"
                "\t.asciz \"%s\"\n\t.balign 4\n\t.long %d, %zu, %d, 0\n"
                "\t.quad __start_%s - .\n\t.quad __stop_%s - .\n"
                "\t.quad __start_loam_nopreempt - .\n\t.quad __stop_loam_nopreempt - .\n"
                "\t.quad 0, 0, 0, 0\n"
                "\t.section .note.GNU-stack,\"\",@progbits\n",
                sizeof LOAM_NOTE_NAME, sizeof(struct loam_module_note), LOAM_NOTE_MODULE,
                LOAM_NOTE_NAME, LOAM_MODULE_VERSION, sizeof(struct loam_module_note),
                LOAM_MODULE_MIGRATABLE, text, text);
    return file_written(f, ok, file);
}
