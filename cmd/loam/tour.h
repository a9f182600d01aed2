/* The tour: a table of steps, each of which measures one thing that the document says about Go's
 * runtime, on the Loam that is linked into this very tool.
 *
 * What is measured is one JSON object a step, with the members
 *
 *   states    what the runtime went through           memory    how it lay there
 *   machine   the instructions that did it            facts     what only the checks need
 *
 * Each of the first three holds named tables: arrays of objects with the same keys, as they are
 * printed. Checks read nothing but this object, so that a recorded tour can be judged again
 * (`loam tour --check`), and tests can show with a doctored one that each check can fail.
 *
 * Measuring happens in children (probes: this tool again, with --probe): a step cannot bring the
 * tour down, can be given its settings, and may die on purpose. A probe looks at its own memory and
 * code by the names that its ELF file and its debug information give (tour_image.h); of the
 * runtime's headers it uses the public ones only. */
#ifndef TOUR_H
#define TOUR_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum verdict { VERDICT_HOLDS, VERDICT_DIFFERS, VERDICT_FAILED };

struct tour {
    const char *tool;       /* the running executable */
    const char *watch_root; /* the directory that the real program works on */
    const char *program;    /* treehash; NULL: to be looked for */
};

struct judge;

struct step {
    const char *id;
    const char *section; /* of the document */
    const char *title;
    const char *claim;     /* what the document says */
    enum verdict expected; /* what checks that all agree lead to */
    const char *go;        /* what Go does */
    const char *loam;      /* what Loam does */
    /* Fills m. False: it could not be measured, and *why says why. */
    bool (*measure)(const struct tour *t, json_t *m, const char **why);
    void (*check)(struct judge *j, const json_t *m);
};

extern const struct step *const tour_steps[]; /* ended by NULL */
extern const struct step step_automaton, step_park, step_schedtrace, step_preempt, step_newproc,
    step_growth;

/* ---- Probes ---------------------------------------------------------------------------------- */

/* A program for a child: fills m and puts "done": true into it at the end of its main goroutine, for
 * loam_run need not return; or sets *why. */
struct probe {
    const char *name;
    void (*run)(json_t *m, const char **why);
};
extern const struct probe tour_probes[]; /* ended by a NULL name */
void probe_automaton(json_t *m, const char **why);
void probe_illegal(json_t *m, const char **why);
void probe_park(json_t *m, const char **why);
void probe_newproc(json_t *m, const char **why);
void probe_detail(json_t *m, const char **why);
void probe_preempt(json_t *m, const char **why);
void probe_reenter(json_t *m, const char **why);

/* Runs a probe in a child with these settings ("NAME=VALUE", ended by NULL) and takes over what it
 * measured. *errors, if wanted, gets its stderr. */
bool tour_probe(const struct tour *t, const char *name, const char *const env[], json_t *m,
                char **errors, const char **why);

/* Lines of `gtrace`: a table {time, from, to, p, m, reason}. */
json_t *tour_parse_gtrace(const char *errors);

/* ---- Checks (tour_judge.c) ------------------------------------------------------------------- */

struct judge {
    json_t *checks;      /* array of {check, found, ok} and, for claims, {claimed} */
    bool agrees;         /* every check is as it must be */
    bool holds;          /* all claims of the document are true of Loam */
    const char *trouble; /* the first check that is not */
};

/* Something that must be so. */
void judge_must(struct judge *j, bool good, const char *check, const char *found, ...)
    __attribute__((format(printf, 4, 5)));
/* A sentence of the document: is it true of what was measured, and is that what is expected? */
void judge_claim(struct judge *j, bool is_true, bool expected, const char *claim, const char *found,
                 ...) __attribute__((format(printf, 5, 6)));
/* The verdict after step->check. */
enum verdict judge_verdict(const struct judge *j);
const char *verdict_name(enum verdict v);

/* ---- JSON that is there (tour_judge.c) -------------------------------------------------------- */

/* The value at a path like "states.edges"; NULL: none. */
const json_t *get(const json_t *m, const char *path);
/* Missing or of another type: "", 0, an empty array. */
const char *get_text(const json_t *m, const char *path);
int64_t get_number(const json_t *m, const char *path);
const json_t *get_rows(const json_t *m, const char *path);
/* An array of names as "a > b > c"; "": none. */
const char *get_chain(const json_t *m, const char *path);
/* The row in which key has this text; NULL: none. */
const json_t *find_row(const json_t *rows, const char *key, const char *text);

/* Sets m's path, making objects on the way; takes over value, which may not be NULL. */
void put(json_t *m, const char *path, json_t *value);
/* json_pack that ends the tool when there is no memory. */
json_t *make(const char *format, ...);
/* "0x12ab" */
json_t *hex(uint64_t value);

/* ---- Printing (tour_print.c) ------------------------------------------------------------------ */

/* One step as a block of text on stdout: `step` is what `--json` has for it. */
void print_step(const json_t *step);
void print_summary(const json_t *tour);

/* ---- Children (tour_child.c) ------------------------------------------------------------------ */

struct capture {
    char *out, *err; /* what it wrote, ended by NUL; owned by the caller */
    size_t out_size, err_size;
    int wait_status;
    bool timed_out; /* and was made to dump its goroutines, then killed */
    double seconds;
};

/* Runs argv with more environment, no standard input, both outputs captured. While it runs, calls
 * watch(arg, pid, err) after each piece of stderr, if watch is not NULL. False with *why: it could
 * not be started. */
bool capture_run(struct capture *c, char *const argv[], const char *const env[], int timeout_ms,
                 void (*watch)(void *arg, int pid, const char *err), void *arg, const char **why);
void capture_free(struct capture *c);
/* "status 2", "signal 6 (Aborted)", "no end after 20 s" */
const char *capture_end(const struct capture *c);

/* The program of an example: built beside the tool, or compiled now, into the scratch directory, which
 * is the caller's to remove in any case. NULL with *why. */
const char *tour_example(const struct tour *t, const char *name, const char **why);
/* The same, with small stacks: always compiled now. */
const char *tour_small_example(const struct tour *t, const char *name, const char **why);

#endif
