/* The table of functions and lines that tracebacks read (runtime/stack/symtab.h): made here. */
#ifndef PCLN_H
#define PCLN_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Adds the table to a linked program or shared object, replacing one that is there. False: *why says
 * what is wrong, and the file is as before. */
bool pcln_add(const char *path, const char **why);

/* ---- Between pcln.c and its parts ------------------------------------------------------------ */

/* A growing array of `size`d elements. */
struct array {
    char *data;
    size_t count, capacity;
};

/* Room for one more element, zeroed; NULL: no memory. */
void *array_add(struct array *a, size_t size);
#define array_at(a, type, i) (&((type *)(void *)(a)->data)[i])

/* Strings, each once; offset 0 is the empty one. */
struct strings {
    char *bytes;
    size_t size, capacity;
    uint32_t *slots; /* open addressing; 0: free */
    size_t slot_count, used;
};
/* Offset of s; 0 too if there is no memory, see pcln_input.failed. */
uint32_t strings_add(struct strings *s, const char *text);

#define SCOPE_NONE 0xffffffffu

/* A function, or a place where one was inlined. */
struct scope {
    uint32_t name;      /* string */
    uint32_t parent;    /* index of the scope around it; SCOPE_NONE: a function of its own */
    uint32_t call_file; /* string: file and line of the inlined call */
    uint32_t call_line;
};

/* Where a scope's code lies. Of several that hold an address the one of the highest rank counts. */
struct extent {
    uint64_t lo, hi;
    uint64_t entry; /* start of this part of the function around all */
    uint32_t scope;
    uint32_t rank; /* 0: from the symbol table; 1: a function; n + 1: inlined n deep */
};

/* From `pc` on the code comes from this line. */
struct line {
    uint64_t pc;
    uint32_t file;  /* string */
    uint32_t line;  /* 0: the end of what is known */
    uint32_t order; /* as read: of two at one pc the later counts */
};

/* What the ELF file says, still unsorted. */
struct input {
    uint64_t text_start, text_end;
    struct strings strings;
    struct array scopes;  /* struct scope */
    struct array extents; /* struct extent */
    struct array lines;   /* struct line */
    bool failed;          /* no memory */
};

/* pcln_dwarf.c: functions, inlined calls and lines of all compilation units. */
void pcln_read_dwarf(struct input *in, Dwarf *dwarf);
/* pcln_dwarf.c: functions of the ELF symbol table, for code without debug information. */
void pcln_read_symbols(struct input *in, Elf *elf);

/* pcln_elf.c: appends the section; false with *why. fd is open for reading and writing. */
bool pcln_write_section(int fd, const void *table, size_t size, const char **why);

#endif
