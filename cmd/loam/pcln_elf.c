/* Adds a section to a linked ELF file: appended at its end, nothing before it moves.
 *
 * At the end of the file come the section's bytes, a new table of section names and a new table of
 * sections; then the ELF header is pointed at them. The header is written last, in one write: a
 * writer that is interrupted leaves the file as it was, with some bytes behind it. The old tables
 * stay as unused bytes, a few KB. Added again, an old section of ours is taken out and, as it lies
 * at the end, the file does not grow each time.
 *
 * Rejected: objcopy --add-section, another process that reads and writes the whole file (LLVM's also
 * lays out program headers anew); libelf's ELF_C_RDWR, which moves sections unless the layout is
 * fixed, and is then no shorter than this. */
#include "pcln.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stack/symtab.h"

static bool read_at(int fd, void *buf, size_t size, uint64_t offset)
{
    for (char *p = buf; size > 0;) {
        ssize_t n = pread(fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return true;
}

static bool write_at(int fd, const void *buf, size_t size, uint64_t offset)
{
    for (const char *p = buf; size > 0;) {
        ssize_t n = pwrite(fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return true;
}

/* The tables of a file, in memory. */
struct tables {
    Elf64_Ehdr header;
    Elf64_Shdr *sections;
    unsigned count;
    char *names;
    uint64_t name_size;
    uint64_t file_size;
};

static bool load(int fd, struct tables *t, const char **why)
{
    struct stat st;
    *why = "its section headers cannot be read";
    if (fstat(fd, &st) != 0 || !read_at(fd, &t->header, sizeof t->header, 0))
        return false;
    t->file_size = (uint64_t)st.st_size;
    if (t->header.e_ident[EI_CLASS] != ELFCLASS64 || t->header.e_ident[EI_DATA] != ELFDATA2LSB) {
        *why = "it is not for a 64-bit little-endian machine";
        return false;
    }
    t->count = t->header.e_shnum;
    if (t->count == 0 || t->count + 1 >= SHN_LORESERVE) {
        *why = t->count == 0 ? "it has no sections" : "it has too many sections";
        return false;
    }
    if (t->header.e_shentsize != sizeof(Elf64_Shdr) || t->header.e_shstrndx >= t->count)
        return false;
    t->sections = calloc(t->count + 1, sizeof *t->sections);
    if (t->sections == NULL ||
        !read_at(fd, t->sections, t->count * sizeof *t->sections, t->header.e_shoff))
        return false;
    const Elf64_Shdr *names = &t->sections[t->header.e_shstrndx];
    t->name_size = names->sh_size;
    if (t->name_size == 0 || t->name_size > t->file_size)
        return false;
    t->names = malloc(t->name_size + sizeof PCLN_SECTION);
    return t->names != NULL && read_at(fd, t->names, t->name_size, names->sh_offset) &&
           t->names[t->name_size - 1] == '\0';
}

/* The section that holds an older table; 0: none. */
static unsigned find_old(const struct tables *t)
{
    for (unsigned i = 1; i < t->count; i++)
        if (t->sections[i].sh_name < t->name_size &&
            strcmp(t->names + t->sections[i].sh_name, PCLN_SECTION) == 0)
            return i;
    return 0;
}

/* Everything behind this offset belongs to what we appended earlier, or to nothing. */
static uint64_t end_of_rest(const struct tables *t, unsigned old)
{
    uint64_t end = sizeof t->header;
    for (unsigned i = 1; i < t->count; i++) {
        const Elf64_Shdr *s = &t->sections[i];
        if (i != old && i != t->header.e_shstrndx && s->sh_type != SHT_NOBITS &&
            s->sh_offset + s->sh_size > end)
            end = s->sh_offset + s->sh_size;
    }
    return end;
}

bool pcln_write_section(int fd, const void *table, size_t size, const char **why)
{
    struct tables t = {0};
    bool ok = load(fd, &t, why);
    if (ok) {
        unsigned ours = find_old(&t);
        uint64_t at = t.file_size;
        /* Overwrite the old table if it and the tables behind it are the end of the file. Then the
         * file is without valid tables for a moment; `loam build` and `run` never come here. */
        if (ours != 0 && t.sections[ours].sh_offset >= end_of_rest(&t, ours))
            at = t.sections[ours].sh_offset;
        if (ours == 0) {
            ours = t.count++;
            t.sections[ours] = (Elf64_Shdr){.sh_name = (Elf64_Word)t.name_size};
            memcpy(t.names + t.name_size, PCLN_SECTION, sizeof PCLN_SECTION);
            t.name_size += sizeof PCLN_SECTION;
        }
        Elf64_Shdr *s = &t.sections[ours];
        at = (at + 7) & ~(uint64_t)7;
        s->sh_type = SHT_PROGBITS;
        s->sh_flags = 0;
        s->sh_addr = 0;
        s->sh_addralign = 8;
        s->sh_offset = at;
        s->sh_size = size;
        Elf64_Shdr *names = &t.sections[t.header.e_shstrndx];
        names->sh_offset = at + size;
        names->sh_size = t.name_size;
        uint64_t headers = (names->sh_offset + names->sh_size + 7) & ~(uint64_t)7;
        t.header.e_shoff = headers;
        t.header.e_shnum = (Elf64_Half)t.count;
        uint64_t end = headers + t.count * sizeof *t.sections;
        ok = write_at(fd, table, size, s->sh_offset) &&
             write_at(fd, t.names, t.name_size, names->sh_offset) &&
             write_at(fd, t.sections, t.count * sizeof *t.sections, headers) &&
             write_at(fd, &t.header, sizeof t.header, 0);
        if (!ok)
            *why = strerror(errno);
        else if (end < t.file_size && ftruncate(fd, (off_t)end) != 0)
            ok = true; /* a longer file than needed */
    }
    free(t.sections);
    free(t.names);
    return ok;
}
