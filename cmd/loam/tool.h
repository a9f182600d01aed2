/* What the files of the command line tool share: the table of subcommands, messages, words.
 *
 * Memory: strings and lists of the tool live until its end. keep() hands out memory that is never
 * freed and stays reachable, so that leak checkers have nothing to say and no code path has to
 * think about it; only pcln.c, which handles megabytes, frees what it takes. */
#ifndef TOOL_H
#define TOOL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define nelem(a) (sizeof(a) / sizeof((a)[0]))

/* Exit statuses. A program that `loam run` starts may end with any status; as for env(1) and
 * timeout(1), 125 says that it was not started. */
enum {
    STATUS_OK = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_NOT_RUN = 125,
};

/* ---- Subcommands (main.c) ------------------------------------------------------------------ */

struct command {
    const char *name;
    const char *summary; /* one line of `loam help` */
    /* argv[0] is "loam NAME", also for messages. Returns the exit status. */
    int (*main)(int argc, char **argv);
    bool hidden; /* not in `loam help`: for build scripts */
};

int build_main(int argc, char **argv);
int env_main(int argc, char **argv);
int pcln_main(int argc, char **argv);
int run_main(int argc, char **argv);
int tour_main(int argc, char **argv);
int version_main(int argc, char **argv);

struct argp;
/* argp_parse for all of them. usage_status: how the tool exits for wrong usage. */
void tool_parse(const struct argp *argp, int argc, char **argv, unsigned flags, int usage_status,
                void *input);

/* "0.1.0" */
const char *tool_version(void);

/* ---- Messages (message.c) ------------------------------------------------------------------ */

/* Who speaks: "loam run". Set by main. */
extern const char *message_who;

/* "loam run: error: TEXT" on stderr; coloured on a terminal. TEXT says what and where. */
void message_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for what is only worth knowing. */
void message_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* An indented line below an error that says what to do. */
void message_hint(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Shows a command that is about to be run, quoted for the shell. */
void message_command(char *const argv[]);
/* Closes a file that was written (NULL: could not be opened; ok: all went well so far, else errno says
 * why); false after a message. */
bool file_written(FILE *f, bool ok, const char *path);
/* Are colours wanted on this descriptor? A terminal, and neither NO_COLOR nor TERM=dumb. */
bool message_colours(int fd);

/* The one of n names that the user may have meant by `word`; NULL: none is near. */
const char *nearest(const char *word, const char *const names[], size_t n);

/* ---- Memory and words (words.c) ------------------------------------------------------------ */

/* Zeroed memory for the rest of the run; ends the tool if there is none. */
void *keep(size_t size);
char *keep_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *keep_bytes(const char *text, size_t n);

/* A list of words, ended by NULL: an argument vector. */
struct words {
    char **word;
    size_t count;
    size_t capacity;
};

void words_add(struct words *w, const char *word); /* does not copy */
void words_add_all(struct words *w, const struct words *more);
/* Adds the words of a text as a shell would split it: blanks, quotes, backslash. No expansion.
 * False: a quote is not closed; then nothing is added. */
bool words_split(struct words *w, const char *text);
/* All words with blanks between, quoted for the shell where needed. */
char *words_join(const struct words *w);

/* The part behind the last slash. */
const char *base_name(const char *path);
bool ends_with(const char *text, const char *end);

#endif
