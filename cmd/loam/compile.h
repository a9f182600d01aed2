/* From C files to a linked program with its table of functions and lines: what `loam build` and
 * `loam run` have in common, their options included. */
#ifndef COMPILE_H
#define COMPILE_H

#include <argp.h>
#include <stdbool.h>

#include "directive.h"
#include "root.h"
#include "tool.h"

struct compile {
    struct words files;
    struct directives directives; /* of all files */
    struct words flags;           /* -D, -I and --cflags, in their order */
    struct words link_flags;      /* -l, -L and --ldflags, in their order */
    const char *output;           /* -o; NULL: not given */
    const char *level;            /* of -O */
    const char *cc;               /* --cc; NULL: not given */
    const char *sanitizer;        /* address, thread, undefined; NULL: as the library's variant */
    const char *variant;          /* --variant; NULL: the tool's own */
    bool small_stacks;            /* --stack=small */
    bool migratable;              /* --migratable */
    bool verbose;
};

/* The options above as a child of a subcommand's parser; its input is a struct compile. */
extern const struct argp compile_argp;

/* The end of both subcommands' help. */
#define COMPILE_HELP                                                                               \
    "Directives, in the comments at the top of a C file:\n"                                        \
    "  // loam: libs=NAME,...  link libraries, as -lNAME does\n"                                   \
    "  // loam: pkgs=NAME,...  use packages that pkg-config knows\n"                               \
    "\nEnvironment:\n"                                                                             \
    "  CC         the C compiler\n"                                                                \
    "  CPPFLAGS, CFLAGS, LDFLAGS\n"                                                                \
    "             more flags, before those of the command line\n"                                  \
    "  LOAMROOT   another source tree or installation of Loam\n"                                   \
    "  NO_COLOR   set: no colours; they are used on terminals only\n"                              \
    "  TMPDIR     where temporary files go\n"                                                      \
    "\nWith --stack=small the program's sigaction, signal, sigaltstack and setjmp are those of "   \
    "all its\n"                                                                                    \
    "libraries, so that handlers find a stack and jumps leave one in order. Refused are clang, "   \
    "LTO,\n"                                                                                       \
    "sanitizers, lazy binding, more than 64 KB of arguments and code that nothing can guard; "     \
    "not\n"                                                                                        \
    "seen are handlers that a library installs by a system call of its own.\n"

/* Fills in defaults. */
void compile_init(struct compile *c);

/* Is this the name of something that is compiled or linked (by its ending)? */
bool compile_is_file(const char *name);

/* Checks that all files are there, and reads their directives; false after a message. */
bool compile_read_files(struct compile *c);

/* The name of the first file, without its ending. */
const char *compile_default_name(const struct compile *c);

/* Where the program goes: -o, in that directory if it is one, or the default name in the current
 * directory. NULL after a message. */
const char *compile_output(const struct compile *c);

/* Compiles and links to `out`, with temporary files in scratch (NULL: where the compiler likes), and
 * adds the table. 0; else an exit status after a message or the compiler's. Look at child_signal
 * then. */
int compile_program(const struct compile *c, const char *out, const char *scratch);

/* What address space randomisation does to gcc 12's thread and address sanitizers: they map their
 * shadows at fixed places that may be taken. Does this program need to run without? */
bool compile_wants_fixed_addresses(const struct compile *c);

/* The compiler's command, from --cc (may be NULL), CC or what is on PATH; false after a message. */
bool compile_find_cc(const char *option, struct words *cc);

/* The flags for every compilation and every linking, $CPPFLAGS, $CFLAGS, $LDFLAGS included; false
 * after a message. level as in -O; sanitizer may be NULL. */
bool compile_flags(const struct root *r, const char *level, const char *sanitizer, struct words *w);
bool compile_link_flags(const char *sanitizer, struct words *w);

/* Runs a command and returns what it prints, to the end of the tool's run; *status as of child_run. */
char *compile_capture(struct words *argv, int *status);

/* The sanitizer that a variant of the library is built with; NULL: none. */
const char *compile_sanitizer_of(const char *variant);

#endif
