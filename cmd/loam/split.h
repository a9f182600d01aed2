/* Small stacks: what `loam build --stack=small` does beyond compiling and linking. */
#ifndef SPLIT_H
#define SPLIT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tool.h"

/* Symbols, each once. */
struct names {
    struct words words;
    size_t *slots; /* open addressing: index + 1 */
    size_t slot_count;
};
bool names_add(struct names *n, const char *name);           /* false: it was there */
size_t names_index(const struct names *n, const char *name); /* its index + 1; 0: not there */

/* A bridge is called so, and by the function's name; bare: from functions that pass nothing on the stack. */
#define BRIDGE_PREFIX "__loam_call_"
#define BARE_PREFIX "__loam_bare_"
#define THUNK_PREFIX "__x86_indirect_thunk_"
#define BARE_THUNK_PREFIX "__morestack_bare_thunk_"

/* What is found out from all objects before any is rewritten. */
struct split {
    struct names own;    /* functions that registered objects define */
    struct names calls;  /* foreign functions that they call, */
    struct names bare;   /* and from functions that pass nothing on the stack */
    struct names weak;   /* of these, those that were seen as weak references, */
    struct names strong; /* and as others */
};

/* Code that passes nothing on the stack, of one section. */
struct bare_code {
    unsigned section;
    uint64_t lo, hi;
};

/* An object in memory. */
struct object {
    const char *path; /* for messages: the source, or the object as it was given */
    uint8_t *bytes;   /* an ELF64 file */
    size_t size;
    size_t place;           /* among the files to link */
    bool ours;              /* compiled by this run, with all of split_flags */
    struct bare_code *bare; /* sorted */
    size_t bare_count;
};

/* ---- split_object.c -------------------------------------------------------------------------------- */

/* Is this the object's kind: compiled with -fsplit-stack? */
bool object_is_split(const struct object *o);
/* Reads a relocatable object for x86-64; false after a message. */
bool object_read(const char *file, const char *shown, struct object *o);
/* Is all of its code compiled so that it can run on a small stack? Notes what it defines. False after a
 * message that says why not. */
bool object_check(struct object *o, struct split *s);
/* Writes it to `file`: code in the section loam_text, calls of foreign functions to their bridges. False
 * after a message. */
bool object_write(const struct object *o, struct split *s, const char *file);
/* Bytes that a function of the library wants above the guard; 0: none, -1: it is to be called like foreign
 * code. */
int split_room(const char *name);
/* False after a message: a member of the archive is split code, of which nothing is known. */
bool archive_check(const char *file);

/* ---- split_arguments.c ----------------------------------------------------------------------------- */

struct cs_insn;
/* What is known of a function's stack, while its instructions are looked at one by one. Zero is a start. */
struct split_frame {
    uint64_t bytes;     /* all that it takes, but what alloca does */
    uint64_t reach;     /* of what lies from the stack pointer upward, that it names by it */
    bool named, copied; /* it does; and elsewhere, by a copy of the stack pointer or an index */
    bool begun;         /* it sets its frame pointer */
    uint64_t calls;
    bool passes; /* it pushes what may be arguments */
    uint64_t pushes;
    unsigned mentioned; /* registers kept for the caller that it has named, a bit each */
};
void split_frame_look(struct split_frame *f, const struct cs_insn *i);
/* Most that one call in it may have as arguments on the stack; ours: it was compiled with split_flags. */
uint64_t split_frame_arguments(const struct split_frame *f, bool ours);
/* Notes the functions of an object that pass nothing. */
void split_bare_sort(struct object *o);
bool split_is_bare(const struct object *o, unsigned section, uint64_t at);

/* ---- split_link.c ---------------------------------------------------------------------------------- */

/* Is it a function that the program has for all its modules (split_link.c)? */
bool split_takes_place(const char *name);
/* What the program's own calls of it, by name, are to call, on whatever stack they are on; NULL: it is none of
 * those. */
const char *split_here(const char *name);
/* Writes their definitions. */
void split_write_places(FILE *f);
/* Does the linked program stand in for every module, and bind all calls when it starts? False after a
 * message. */
bool split_check_program(const char *file);

/* ---- split.c --------------------------------------------------------------------------------------- */

/* The compiler's flags for registered code, to stand behind all others. */
void split_flags(struct words *w);
/* Can this compiler, with these flags, make it? all: the linking's flags too. False after a message. */
bool split_compiler(const struct words *cc, const struct words *flags, const struct words *all);
/* The bridges by which foreign functions are called, as an assembler file. False after a message. */
bool split_bridges(const struct split *s, const char *file);

#endif
