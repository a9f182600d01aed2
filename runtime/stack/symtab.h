/* From a program counter to function, file and line, for tracebacks, traces and profiles.
 *
 * Usable in a signal handler and on a broken heap: no malloc, no stdio, no lock. What is known of a
 * module (the program, a shared object) comes from its own file, in this order:
 *   1. the section .loam_pcln, which `loam build`, `loam run` and `loam pcln` write: function, file
 *      and line, inlined functions too;
 *   2. the ELF symbol table: the function, no line;
 *   3. nothing, if it is stripped: the module and the offset in it.
 * Debug information is never read at run time.
 *
 * Invariants: the list of modules is taken by symtab_init and symtab_refresh only, never by a
 * lookup, because the loader's list is behind a lock that the interrupted thread may hold. A file is
 * believed only if its program headers and its build identifier are those of the module in memory:
 * it may have been replaced since. Whatever stands in a file, a lookup reads within bounds and ends;
 * a wrong table gives wrong names at worst.
 *
 * ---- The section .loam_pcln ---------------------------------------------------------------------
 *
 * Not loaded into memory (no SHF_ALLOC), so that it costs a running program nothing until the first
 * traceback, and `strip` leaves it in place. Numbers have the byte order of the machine that the
 * module is for. After the header, at the offsets that it names, in any order, each aligned to 4:
 *
 *   rows      struct pcln_row, sorted by pc, no pc twice. A row holds from its pc to the next row's,
 *             the last one to text_end. node PCLN_NONE: no function there.
 *   nodes     struct pcln_node: a function as it appears in one file; where a function has been
 *             inlined into another, one node more, whose parent is the function around it. A parent
 *             has a smaller index than its child. A function whose text lies in several files
 *             (#include inside of it) or in several places (.cold parts) has several nodes.
 *   strings   bytes; the first and the last are 0. Offset 0 is the empty string: unknown.
 *
 * Rejected: rows as differences in variable length with an index of blocks. They take a third of the
 * space, but the whole table of a program with libloam is a few hundred KB on disk, and binary
 * search in fixed rows has nothing that a corrupt file can derail. Also rejected: mapping the file.
 * One that is truncated meanwhile (a copy over a running program) would fault inside a traceback, so
 * that what is needed is read into memory of our own. */
#ifndef STACK_SYMTAB_H
#define STACK_SYMTAB_H

#include "base/base.h"

#define PCLN_SECTION ".loam_pcln"
#define PCLN_MAGIC "LOAMPCLN"
#define PCLN_VERSION 1u
#define PCLN_NONE 0xffffffffu
#define PCLN_BUILD_ID_MAX 32u

struct pcln_header {
    char magic[8];        /* PCLN_MAGIC, without its terminator */
    uint32_t version;     /* PCLN_VERSION; also tells a table of the wrong byte order */
    uint32_t header_size; /* sizeof(struct pcln_header) */
    uint64_t size;        /* of the whole table, header included */
    uint64_t text_start;  /* link-time address that rows count from: the executable segments' */
    uint64_t text_end;    /* lowest and highest address; at most 4 GB apart */
    uint32_t row_offset;  /* from the table's start, in bytes */
    uint32_t row_count;
    uint32_t node_offset;
    uint32_t node_count;
    uint32_t string_offset;
    uint32_t string_size;
    uint32_t build_id_size; /* 0: the module has none */
    uint32_t unused;        /* 0 */
    uint8_t build_id[PCLN_BUILD_ID_MAX];
};

struct pcln_row {
    uint32_t pc;   /* from text_start */
    uint32_t node; /* or PCLN_NONE */
    uint32_t line; /* in the node's file; 0: unknown */
};

struct pcln_node {
    uint32_t name;      /* string: the function */
    uint32_t file;      /* string: absolute path where the compiler gave one */
    uint32_t parent;    /* node into which this one is inlined, PCLN_NONE: a function of its own */
    uint32_t call_line; /* line of the inlined call, in the parent's file */
    uint32_t entry;     /* start of the machine code of the function around all, from text_start */
};

_Static_assert(sizeof(struct pcln_header) == 104, "the table is read by other programs");
_Static_assert(sizeof(struct pcln_row) == 12, "the table is read by other programs");
_Static_assert(sizeof(struct pcln_node) == 20, "the table is read by other programs");

struct symtab_image;

/* What is known of a program counter. The strings live until symtab_fini. */
struct symtab_entry {
    const char *function;    /* NULL: unknown */
    const char *file;        /* NULL: unknown */
    unsigned line;           /* 0: unknown */
    bool inlined;            /* `function` was inlined: symtab_outer gives the one around it */
    uintptr_t offset;        /* of pc in the function (the outermost if inlined), 0 if unknown */
    const char *module;      /* path of the program or shared object */
    uintptr_t module_offset; /* of pc from the module's load address: what addr2line wants */

    const struct symtab_image *image; /* private, for symtab_outer */
    uint32_t node;                    /* private */
};

/* Takes the list of modules. -ENOMEM. Not in a signal handler. */
int symtab_init(void);

/* Forgets everything and unmaps it; entries are invalid from then on. Nobody looks up any more.
 * Without a symtab_init before it, does nothing. */
void symtab_fini(void);

/* Takes the list again, after dlopen or dlclose. Not in a signal handler. Lookups may go on
 * meanwhile; a call beside another one may return before that one is done. */
void symtab_refresh(void);

/* Looks pc up. False: it is in no module's text (or symtab_init was not called); *out is then
 * zeroed. A return address lies behind its call, maybe in the next line or function already: look
 * up pc - 1 and add 1 to offset and module_offset.
 *
 * Safe in a signal handler. The first lookup in a module reads its file. Leaves errno alone; about
 * 1 KB of stack. */
bool symtab_find(uintptr_t pc, struct symtab_entry *out);

/* Turns the entry of an inlined function into that of the function around it, at the line of the
 * call. False: e->inlined was false. Safe in a signal handler. */
bool symtab_outer(struct symtab_entry *e);

#endif
