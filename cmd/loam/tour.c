/* loam tour: shows the runtime at work, and judges what the document says of Go by it.
 *
 * Each step is measured, checked, printed; nothing that is printed as found is a constant. The tour
 * ends well if every step could be measured and every check came out as it must for the verdict that
 * the table of steps expects: HOLDS, or DIFFERS with the reason. */
#include <argp.h>
#include <errno.h>
#include <loam/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "root.h"
#include "tool.h"
#include "tour.h"

enum { PROBE_TIMEOUT_MS = 40000 };

enum { OPT_CHECK = 256, OPT_JSON, OPT_LIST, OPT_PROBE, OPT_PROGRAM, OPT_ROOT };

struct args {
    struct tour tour;
    struct words ids;
    const char *check, *probe;
    bool json, list;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- Probes -------------------------------------------------------------------------------------------- */

/* In the child. What was measured is written at exit: loam_run ends the process itself when, at the
 * end of the main goroutine, others cannot be stopped in time. */
static struct {
    json_t *m;
    const char *why;
} probed;

static void write_probed(void)
{
    if (!json_is_true(get(probed.m, "done")))
        put(probed.m, "why", make("s", probed.why[0] != '\0' ? probed.why : "it ended too soon"));
    json_dumpf(probed.m, stdout, JSON_COMPACT);
    fflush(stdout);
    json_decref(probed.m);
}

static int probe_main(const char *name)
{
    for (const struct probe *p = tour_probes; p->name != NULL; p++) {
        if (strcmp(p->name, name) != 0)
            continue;
        probed.m = make("{}");
        probed.why = "";
        atexit(write_probed);
        p->run(probed.m, &probed.why);
        return STATUS_OK;
    }
    message_error("no probe '%s'", name);
    return STATUS_USAGE;
}

/* The last lines of a child's stderr. */
static const char *last_words(const char *err)
{
    enum { MOST = 600 };
    size_t n = strlen(err);
    return n > MOST ? err + n - MOST : err;
}

bool tour_probe(const struct tour *t, const char *name, const char *const env[], json_t *m,
                char **errors, const char **why)
{
    char *argv[] = {(char *)t->tool, (char *)"tour", (char *)"--probe", (char *)name, NULL};
    struct capture c;
    json_error_t error;
    if (!capture_run(&c, argv, env, PROBE_TIMEOUT_MS, NULL, NULL, why))
        return false;
    json_t *measured = json_loads(c.out, 0, &error);
    bool fine = json_is_true(get(measured, "done"));
    if (!fine && get_text(measured, "why")[0] != '\0')
        *why = keep_format("the probe '%s': %s", name, get_text(measured, "why"));
    else if (!fine)
        *why = keep_format("the probe '%s' ended with %s: %s", name, capture_end(&c),
                           last_words(c.err));
    if (fine) {
        json_object_del(measured, "done");
        json_object_update(m, measured);
    }
    json_decref(measured);
    if (errors != NULL)
        *errors = keep_format("%s", c.err);
    capture_free(&c);
    return fine;
}

json_t *tour_parse_gtrace(const char *errors)
{
    json_t *rows = make("[]");
    for (const char *p = errors; (p = strstr(p, "GTRACE ")) != NULL; p++) {
        char ms[32], from[16], to[16], pp[8], m[8];
        unsigned long g;
        const char *line = keep_bytes(p, strcspn(p, "\n")), *reason = strstr(line, " reason=");
        if (sscanf(line, "GTRACE %31[0-9.]ms: g=%lu %15[a-z]->%15[a-z] p=%7s m=%7s", ms, &g, from,
                   to, pp, m) != 6)
            continue;
        json_array_append_new(rows, make("{s:s, s:s, s:s, s:s, s:s, s:s}", "ms", ms, "from", from,
                                         "to", to, "p", pp, "m", m, "reason",
                                         reason != NULL ? reason + strlen(" reason=") : ""));
    }
    return rows;
}

/* ---- Steps ----------------------------------------------------------------------------------------------- */

static const struct step *find_step(const char *id)
{
    for (size_t i = 0; tour_steps[i] != NULL; i++)
        if (strcmp(tour_steps[i]->id, id) == 0)
            return tour_steps[i];
    return NULL;
}

/* Checks m and adds the verdict, with what the table says of the step. */
static void judge_step(const struct step *step, json_t *m, const char *not_measured)
{
    struct judge j = {.checks = make("[]"), .agrees = true, .holds = true};
    enum verdict v = VERDICT_FAILED;
    const char *reason = not_measured;
    if (not_measured == NULL) {
        step->check(&j, m);
        v = judge_verdict(&j);
        reason = v == VERDICT_FAILED   ? j.trouble
                 : v != step->expected ? keep_format("expected %s", verdict_name(step->expected))
                                       : keep_format("%zu checks agree", json_array_size(j.checks));
        if (v != step->expected)
            v = VERDICT_FAILED;
    }
    json_t *about = make("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "id", step->id, "section",
                         step->section, "title", step->title, "claim", step->claim, "verdict",
                         verdict_name(v), "expected", verdict_name(step->expected), "reason",
                         reason, "go", step->go, "loam", step->loam);
    json_object_set_new(about, "checks", j.checks);
    /* what was measured comes behind what it is about */
    json_object_update_missing(about, m);
    json_object_clear(m);
    json_object_update(m, about);
    json_decref(about);
}

static void run_step(const struct tour *t, const struct step *step, json_t *m)
{
    const char *why = "";
    double begin = now();
    bool measured = step->measure(t, m, &why);
    put(m, "seconds", make("f", now() - begin));
    judge_step(step, m, measured ? NULL : keep_format("could not be measured: %s", why));
}

/* ---- The whole ------------------------------------------------------------------------------------------- */

static json_t *summary_of(const json_t *steps, const char *watch_root, double seconds)
{
    json_int_t held = 0, differ = 0, failed = 0;
    size_t i;
    json_t *step;
    json_array_foreach(steps, i, step) {
        const char *v = get_text(step, "verdict");
        held += strcmp(v, "HOLDS") == 0;
        differ += strcmp(v, "DIFFERS") == 0;
        failed += strcmp(v, "FAILED") == 0;
    }
    json_t *s = make("{s:I, s:I, s:I, s:I, s:f, s:s}", "steps", (json_int_t)json_array_size(steps),
                     "held", held, "differ", differ, "failed", failed, "seconds", seconds,
                     "watch_root", watch_root);
    const json_t *watched = find_row(steps, "id", step_schedtrace.id);
    double busy = json_real_value(get(watched, "facts.seconds"));
    if (busy > 0) {
        put(s, "files_per_second", make("f", (double)get_number(watched, "facts.files") / busy));
        put(s, "mb_per_second", make("f", (double)get_number(watched, "facts.bytes") / 1e6 / busy));
    }
    return s;
}

static int finish(json_t *tour, json_t *steps, const struct args *a, double seconds)
{
    const char *root = a->tour.watch_root;
    if (get_text(tour, "summary.watch_root")[0] != '\0')
        root = keep_format("%s", get_text(tour, "summary.watch_root"));
    put(tour, "summary", summary_of(steps, root, seconds));
    bool fine = get_number(tour, "summary.failed") == 0 && get_number(tour, "summary.steps") > 0;
    if (a->json) {
        json_dumpf(tour, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        print_summary(tour);
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        message_error("cannot write: %s", strerror(errno));
        fine = false;
    }
    json_decref(tour);
    return fine ? STATUS_OK : STATUS_FAILED;
}

static int take_tour(const struct args *a)
{
    json_t *steps = make("[]");
    json_t *tour = make("{s:s, s:s, s:s, s:o}", "loam", tool_version(), "variant", LOAM_VARIANT,
                        "arch", LOAM_ARCH, "steps", steps);
    double begin = now();
    for (size_t i = 0; tour_steps[i] != NULL; i++) {
        bool wanted = a->ids.count == 0;
        for (size_t k = 0; k < a->ids.count; k++)
            wanted = wanted || strcmp(a->ids.word[k], tour_steps[i]->id) == 0;
        if (!wanted)
            continue;
        json_t *m = make("{}");
        run_step(&a->tour, tour_steps[i], m);
        json_array_append_new(steps, m);
        if (!a->json)
            print_step(m);
    }
    return finish(tour, steps, a, now() - begin);
}

/* Judges a recorded tour again. */
static int check_tour(const struct args *a)
{
    json_error_t error;
    json_t *tour = json_load_file(a->check, 0, &error);
    json_t *steps = json_object_get(tour, "steps");
    if (!json_is_array(steps)) {
        message_error("%s is no tour that `loam tour --json` wrote: %s", a->check,
                      tour == NULL ? error.text : "it has no steps");
        return STATUS_FAILED;
    }
    double seconds = json_real_value(get(tour, "summary.seconds"));
    size_t i;
    json_t *m;
    json_array_foreach(steps, i, m) {
        const struct step *step = find_step(get_text(m, "id"));
        if (step == NULL) {
            message_error("%s has a step '%s' that this tool does not know", a->check,
                          get_text(m, "id"));
            return STATUS_FAILED;
        }
        const char *reason = get_text(m, "reason");
        bool measured = json_array_size(get_rows(m, "checks")) > 0;
        json_object_del(m, "checks");
        json_object_del(m, "verdict");
        judge_step(step, m, measured ? NULL : keep_format("%s", reason));
        if (!a->json)
            print_step(m);
    }
    return finish(tour, steps, a, seconds);
}

static int list_steps(void)
{
    for (size_t i = 0; tour_steps[i] != NULL; i++)
        printf("%-14s section %-4s %-8s %s\n", tour_steps[i]->id, tour_steps[i]->section,
               verdict_name(tour_steps[i]->expected), tour_steps[i]->title);
    return STATUS_OK;
}

/* ---- loam tour ---------------------------------------------------------------------------------------------- */

static int no_such_step(const char *id)
{
    const char *ids[16];
    size_t n = 0;
    while (tour_steps[n] != NULL && n < nelem(ids)) {
        ids[n] = tour_steps[n]->id;
        n++;
    }
    const char *meant = nearest(id, ids, n);
    message_error("no step '%s'", id);
    if (meant != NULL)
        message_hint("did you mean %s?", meant);
    else
        message_hint("`loam tour --list` lists them");
    return STATUS_USAGE;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct args *a = state->input;
    switch (key) {
    case OPT_CHECK:
        a->check = arg;
        return 0;
    case OPT_JSON:
        a->json = true;
        return 0;
    case OPT_LIST:
        a->list = true;
        return 0;
    case OPT_PROBE:
        a->probe = arg;
        return 0;
    case OPT_PROGRAM:
        a->tour.program = arg;
        return 0;
    case OPT_ROOT:
        a->tour.watch_root = arg;
        return 0;
    case ARGP_KEY_ARG:
        words_add(&a->ids, arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int tour_main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {NULL, 0, NULL, 0, "Options:", 1},
        {"list", OPT_LIST, NULL, 0, "List the steps with their expected verdicts", 1},
        {"json", OPT_JSON, NULL, 0, "Print everything that was measured as JSON", 1},
        {"check", OPT_CHECK, "FILE", 0, "Judge a tour again that --json has written", 1},
        {"watch-root", OPT_ROOT, "DIR", 0,
         "What the real program, treehash, works on (/usr/include)", 1},
        {"watch-program", OPT_PROGRAM, "FILE", 0,
         "The real program, if not the tool's own examples/treehash", 1},
        {"probe", OPT_PROBE, "NAME", OPTION_HIDDEN, NULL, 1},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "[STEP...]",
        .doc =
            "Shows what the runtime does, at three depths: states, memory, machine code. Each "
            "step takes a sentence about Go's runtime, measures what it speaks of, here and now, "
            "and says whether it HOLDS or DIFFERS, and why.\v"
            "Exit status: 0 if every step was measured and came out as expected, 1 if not, 2 for "
            "wrong usage.",
    };
    struct args a = {.tour.watch_root = "/usr/include"};
    struct root r = {0};

    tool_parse(&argp, argc, argv, 0, STATUS_USAGE, &a);
    if (a.probe != NULL)
        return probe_main(a.probe);
    if (a.list)
        return list_steps();
    if (a.check != NULL)
        return check_tour(&a);
    for (size_t i = 0; i < a.ids.count; i++)
        if (find_step(a.ids.word[i]) == NULL)
            return no_such_step(a.ids.word[i]);
    if (!root_find(&r))
        return STATUS_FAILED;
    a.tour.tool = r.tool;
    return take_tour(&a);
}
