/* Step 1-schedtrace: a real program under LOAMDEBUG=schedtrace=10,schedstates=1.
 *
 * The program is treehash (examples/treehash.c) on a directory that the user names. Its SCHED and
 * GSTATES lines are recorded whole and taken apart by the check. While it runs, its variable `sched` is
 * read from its memory: that is where the line's figures come from. What treehash prints is counted,
 * for the figures of the tour's summary. A second, small program under scheddetail=1 shows that the
 * counts of GSTATES add up to the goroutines there are. */
#include <loam.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "tool.h"
#include "tour.h"
#include "tour_code.h"
#include "tour_image.h"
#include "tour_lines.h"

enum {
    PERIOD_MS = 10,
    RUNS_MAX = 20,
    INTERVALS_WANTED = 8,
    INTERVALS_MIN = 3,
    RUN_TIMEOUT_MS = 45000,
    LINES_MAX = 2000
};

/* ---- The probe for scheddetail ------------------------------------------------------------------------------ */

static void wait_for_end(void *end)
{
    loam_chan(char) c = (loam_chan(char))(uintptr_t)end;
    (void)loam_recv(c);
}

static json_t *detail_measured;

static int detail_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    loam_chan(char) end = loam_chan_make(char, 0);
    for (int i = 0; i < 20; i++)
        if (loam_go(wait_for_end, (void *)(uintptr_t)end) != 0)
            return 1;
    loam_sleep(60 * LOAM_MILLISECOND);
    loam_close(end);
    put(detail_measured, "done", json_true());
    return 0;
}

void probe_detail(json_t *m, const char **why)
{
    (void)why;
    detail_measured = m;
    (void)loam_run(detail_main, 0, NULL);
}

/* ---- Lines -------------------------------------------------------------------------------------------------- */

/* The lines of a text that begin with a word. */
static json_t *lines_of(const char *text, const char *const words[], size_t n)
{
    json_t *rows = make("[]");
    for (const char *p = text; *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n')
        for (size_t i = 0; i < n; i++)
            if (strncmp(p, words[i], strlen(words[i])) == 0 && json_array_size(rows) < LINES_MAX)
                json_array_append_new(rows, make("s", keep_bytes(p, strcspn(p, "\n"))));
    return rows;
}

/* ---- The program that is watched -------------------------------------------------------------------------------- */

struct watched {
    const char *why; /* there is no memory */
    int tried;       /* the last process that was looked at */
    json_t *memory;  /* rows; NULL: not seen yet */
    json_t *facts;
};

/* At its first SCHED line: what lies in the variable that the line was printed from. */
static void look_at_memory(void *arg, int pid, const char *err)
{
    static const char *const fields[] = {"npidle", "mcount", "nmidle", "nmspinning", "runqsize"};
    static const char *const keys[] = {"idleprocs", "threads, with sysmon", "idlethreads",
                                       "spinningthreads", "runqueue"};
    struct watched *w = arg;
    struct extent sched, gomaxprocs;
    struct field f[nelem(fields)];
    uint64_t values[nelem(fields)];
    if (w->memory != NULL || w->tried == pid || strstr(err, "SCHED ") == NULL)
        return;
    w->tried = pid; /* it may end meanwhile: then the next run is looked at */
    struct image *img = image_open(pid, &w->why);
    if (img == NULL)
        return;
    bool ok = image_find(img, "sched", &sched) && image_find(img, "gomaxprocs", &gomaxprocs);
    uint64_t procs = ok ? image_peek_int(img, gomaxprocs.address, gomaxprocs.size) : 0;
    for (size_t i = 0; ok && i < nelem(fields); i++) {
        ok = image_field(img, "schedt", fields[i], &f[i]);
        values[i] = image_peek_int(img, sched.address + f[i].offset, f[i].size);
    }
    if (!ok || procs == 0) {
        w->why = "its variables could not be read";
        image_close(img);
        return;
    }
    w->memory = make("[]");
    json_array_append_new(w->memory, make("{s:s, s:o, s:I, s:s}", "what", "gomaxprocs", "address",
                                          hex(gomaxprocs.address), "value", (json_int_t)procs,
                                          "printed as", "gomaxprocs"));
    for (size_t i = 0; i < nelem(fields); i++)
        json_array_append_new(w->memory, make("{s:s, s:o, s:I, s:s}", "what",
                                              keep_format("sched.%s +%llu", fields[i],
                                                          (unsigned long long)f[i].offset),
                                              "address", hex(sched.address + f[i].offset), "value",
                                              (json_int_t)values[i], "printed as", keys[i]));
    json_object_set_new(w->facts, "pid", make("i", pid));
    json_object_set_new(w->facts, "procs in memory", make("I", (json_int_t)procs));
    image_close(img);
}

/* treehash's own figures: "treehash: files=7988 directories=830 bytes=... unreadable=0 seconds=..." */
static bool take_summary(const char *err, json_t *facts)
{
    const char *line = strstr(err, "treehash: files=");
    long long files, directories, bytes, unreadable;
    double seconds;
    if (line == NULL || sscanf(line,
                               "treehash: files=%lld directories=%lld bytes=%lld unreadable=%lld "
                               "seconds=%lf",
                               &files, &directories, &bytes, &unreadable, &seconds) != 5)
        return false;
    json_object_set_new(facts, "files",
                        make("I", (json_int_t)(get_number(facts, "files") + files)));
    json_object_set_new(facts, "bytes",
                        make("I", (json_int_t)(get_number(facts, "bytes") + bytes)));
    json_object_set_new(facts, "directories", make("I", (json_int_t)directories));
    json_object_set_new(facts, "unreadable", make("I", (json_int_t)unreadable));
    json_object_set_new(facts, "seconds",
                        make("f", json_real_value(get(facts, "seconds")) + seconds));
    return true;
}

static json_int_t count_newlines(const char *text, size_t size)
{
    json_int_t n = 0;
    for (const char *p = text; (p = memchr(p, '\n', size - (size_t)(p - text))) != NULL; p++)
        n++;
    return n;
}

static bool run_once(const struct tour *t, const char *program, struct watched *w, const char **why)
{
    static const char *const words[] = {"SCHED ", "GSTATES "};
    const char *const env[] = {keep_format("LOAMDEBUG=schedtrace=%d,schedstates=1", PERIOD_MS),
                               NULL};
    char *argv[] = {(char *)program, (char *)"--summary",   (char *)"--no-progress",
                    (char *)"--",    (char *)t->watch_root, NULL};
    struct capture c;
    if (!capture_run(&c, argv, env, RUN_TIMEOUT_MS, look_at_memory, w, why))
        return false;
    bool ended = WIFEXITED(c.wait_status) && WEXITSTATUS(c.wait_status) <= 1 && !c.timed_out;
    bool fine = ended && take_summary(c.err, w->facts);
    if (!fine)
        *why =
            keep_format("%s %s ended with %s: %s", program, t->watch_root, capture_end(&c), c.err);
    json_t *runs = json_object_get(w->facts, "runs");
    json_array_append_new(runs, make("{s:i, s:I, s:o}", "status", WEXITSTATUS(c.wait_status),
                                     "lines", count_newlines(c.out, c.out_size), "trace",
                                     lines_of(c.err, words, nelem(words))));
    capture_free(&c);
    return fine;
}

/* From how many SCHED lines to the next there is a time: not from the last of a run. */
static size_t count_intervals(const json_t *runs)
{
    size_t i, n = 0;
    json_t *run;
    json_array_foreach(runs, i, run) {
        size_t lines = json_array_size(get_rows(run, "trace")) / 2;
        n += lines > 0 ? lines - 1 : 0;
    }
    return n;
}

/* ---- Measuring --------------------------------------------------------------------------------------------------- */

static void widen(json_t *rows, const char *line, const char *key, int64_t value)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
        if (strcmp(get_text(row, "key"), key) == 0) {
            if (value < get_number(row, "min"))
                json_object_set_new(row, "min", make("I", (json_int_t)value));
            if (value > get_number(row, "max"))
                json_object_set_new(row, "max", make("I", (json_int_t)value));
            return;
        }
    json_array_append_new(rows, make("{s:s, s:s, s:I, s:I}", "line", line, "key", key, "min",
                                     (json_int_t)value, "max", (json_int_t)value));
}

/* The least and the greatest value of every key in all lines. */
static json_t *ranges_of(const json_t *runs)
{
    json_t *rows = make("[]"), *run, *text;
    size_t i, k;
    json_array_foreach(runs, i, run)
        json_array_foreach(get_rows(run, "trace"), k, text) {
            struct line l;
            bool sched = line_parse(json_string_value(text), "SCHED", &l);
            if (!sched && !line_parse(json_string_value(text), "GSTATES", &l))
                continue;
            for (size_t n = 0; n < l.n; n++)
                widen(rows, sched ? "SCHED" : "GSTATES", l.names[n], l.values[n]);
            if (sched)
                widen(rows, "SCHED", "[ local queues ]", l.queued);
        }
    return rows;
}

struct loads {
    struct code *code;
    struct extent sched;
    json_t *rows;
};

static void look_for_load(const cs_insn *i, void *arg)
{
    struct loads *l = arg;
    uint64_t at = code_operand(l->code, i);
    if (at < l->sched.address || at >= l->sched.address + l->sched.size)
        return;
    json_t *row = code_rows(l->code, i->address, i->address + i->size, NULL, 0);
    json_array_extend(l->rows, row);
    json_decref(row);
}

/* The instructions of schedtrace that read `sched`. The tool holds the same library as treehash. */
static bool measure_machine(json_t *m, const char **why)
{
    struct image *img = image_open(getpid(), why);
    struct code *code = img != NULL ? code_open(img, why) : NULL;
    struct extent schedtrace;
    if (code == NULL)
        return false;
    struct loads l = {.code = code, .rows = make("[]")};
    if (image_find(img, "schedtrace", &schedtrace) && image_find(img, "sched", &l.sched))
        code_each(code, schedtrace, look_for_load, &l);
    put(m, "machine.schedtrace reads sched", l.rows);
    code_close(code);
    image_close(img);
    return true;
}

static bool measure_detail(const struct tour *t, json_t *m, const char **why)
{
    static const char *const env[] = {"LOAMDEBUG=schedtrace=5,scheddetail=1,schedstates=1", NULL};
    static const char *const words[] = {"SCHED ", "  G", "GSTATES "};
    char *errors = NULL;
    if (!tour_probe(t, "detail", env, m, &errors, why))
        return false;
    /* the last whole sample: by then all goroutines wait */
    char *last = NULL, *end = NULL;
    for (char *p = errors; (p = strstr(p, "SCHED ")) != NULL; p++) {
        char *g = strstr(p, "\nGSTATES "), *stop = g != NULL ? strchr(g + 1, '\n') : NULL;
        if (stop != NULL) {
            last = p;
            end = stop;
        }
    }
    if (last == NULL) {
        *why = "scheddetail printed no sample";
        return false;
    }
    put(m, "facts.detail", lines_of(keep_bytes(last, (size_t)(end - last)), words, nelem(words)));
    return true;
}

/* Runs the program until there is enough to see. */
static bool watch(const struct tour *t, json_t *m, const char **why)
{
    struct watched w = {.facts = make("{s:[]}", "runs")};
    struct stat st;
    put(m, "facts", w.facts);
    bool there = stat(t->watch_root, &st) == 0;
    if (!there || !S_ISDIR(st.st_mode)) {
        *why = keep_format("%s is no directory to work on%s%s", t->watch_root, there ? "" : ": ",
                           there ? "" : strerror(errno));
        return false;
    }
    const char *program = t->program != NULL ? t->program : tour_example(t, "treehash", why);
    if (program == NULL)
        *why = keep_format("%s: name it by --watch-program", *why);
    bool fine = program != NULL;
    size_t intervals = 0;
    for (int i = 0; i < RUNS_MAX && fine && (w.memory == NULL || intervals < INTERVALS_WANTED);
         i++) {
        fine = run_once(t, program, &w, why);
        intervals = count_intervals(get(w.facts, "runs"));
    }
    scratch_remove();
    if (!fine)
        return false;
    if (w.memory == NULL || intervals < INTERVALS_MIN) {
        *why =
            intervals < INTERVALS_MIN || w.why == NULL
                ? keep_format("treehash on %s (%lld files) ends too soon for a line every %d ms: "
                              "name a larger directory by --watch-root",
                              t->watch_root, (long long)get_number(w.facts, "files") / RUNS_MAX,
                              PERIOD_MS)
                : w.why;
        return false;
    }
    put(m, "states.figures of all lines", ranges_of(get(w.facts, "runs")));
    put(m, "memory.the program while it ran", w.memory);
    return true;
}

static bool measure(const struct tour *t, json_t *m, const char **why)
{
    return watch(t, m, why) && measure_machine(m, why) && measure_detail(t, m, why);
}

/* ---- Checks --------------------------------------------------------------------------------------------------------- */

struct tally {
    size_t sched, gstates, bad;
    const char *first_bad;
    bool pairs, plausible, counts_in_sched;
    int64_t procs, waiting, running;
    int64_t between[LINES_MAX]; /* milliseconds from one SCHED line to the next */
    size_t nbetween;
};

static void tally_sched(struct tally *y, const struct line *l, const struct line *before)
{
    int64_t procs = line_value(l, "gomaxprocs");
    if (y->procs == 0)
        y->procs = procs;
    y->plausible = y->plausible && procs == y->procs && l->queues == procs &&
                   line_value(l, "idleprocs") <= procs &&
                   line_value(l, "idlethreads") <= line_value(l, "threads") &&
                   line_value(l, "spinningthreads") <= procs && l->ms >= before->ms;
    for (size_t i = 0; i < l->n; i++)
        y->counts_in_sched = y->counts_in_sched || line_is_state(l->names[i]);
    if (before->n > 0 && y->nbetween < nelem(y->between))
        y->between[y->nbetween++] = l->ms - before->ms;
    y->sched++;
}

static void note_keys(struct tally *y, const struct line *l, const char *kind, const char *text)
{
    if (line_has_keys(l, kind))
        return;
    y->bad++;
    y->first_bad = text;
}

static void tally_run(struct tally *y, const json_t *trace)
{
    struct line before = {0};
    size_t i;
    json_t *text;
    bool open = false; /* a SCHED line waits for its GSTATES */
    json_array_foreach(trace, i, text) {
        struct line l;
        const char *s = json_string_value(text);
        if (line_parse(s, "SCHED", &l)) {
            note_keys(y, &l, "SCHED", s);
            y->pairs = y->pairs && !open;
            open = true;
            tally_sched(y, &l, &before);
            before = l;
        } else if (line_parse(s, "GSTATES", &l)) {
            note_keys(y, &l, "GSTATES", s);
            y->pairs = y->pairs && open && l.ms == before.ms;
            open = false;
            y->waiting += line_value(&l, "gwaiting");
            y->running += line_value(&l, "grunning");
            y->gstates++;
        } else {
            y->bad++;
            y->first_bad = s;
        }
    }
    y->pairs = y->pairs && !open;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void check_lines(struct judge *j, const json_t *m, struct tally *y)
{
    const json_t *runs = get_rows(m, "facts.runs");
    size_t i;
    json_t *run;
    *y = (struct tally){.pairs = true, .plausible = true, .first_bad = ""};
    json_array_foreach(runs, i, run)
        tally_run(y, get_rows(run, "trace"));
    qsort(y->between, y->nbetween, sizeof y->between[0], by_value);
    int64_t median = y->nbetween > 0 ? y->between[y->nbetween / 2] : 0;
    judge_must(j, y->nbetween >= INTERVALS_MIN && y->bad == 0,
               "every line has the form that parsers of Go's know",
               "%zu SCHED lines, %zu GSTATES%s%s", y->sched, y->gstates, y->bad > 0 ? "; not " : "",
               y->first_bad);
    /* on a machine that is busy with other things a line may come late */
    judge_must(j, median >= PERIOD_MS - 1 && median <= 6 * PERIOD_MS, "a line every 10 ms",
               "%lld ms in the median", (long long)median);
    judge_must(j, y->plausible, "its figures fit each other",
               "gomaxprocs=%lld and as many queues in every line", (long long)y->procs);
    judge_claim(j, y->counts_in_sched, false, "the SCHED line counts gidle, gwaiting, grunning",
                y->counts_in_sched ? "it does"
                                   : "its keys are counts of Ps and Ms, and lengths of queues");
    judge_must(j, y->pairs && y->gstates == y->sched && y->waiting > 0 && y->running > 0,
               "schedstates counts them, in a line of its own behind each", "%zu lines of %zu",
               y->gstates, y->sched);
}

static void check_sum(struct judge *j, const json_t *m)
{
    const json_t *detail = get_rows(m, "facts.detail");
    int64_t gs = 0, sum = 0;
    size_t i;
    json_t *text;
    json_array_foreach(detail, i, text) {
        struct line l;
        const char *s = json_string_value(text);
        if (strncmp(s, "  G", 3) == 0)
            gs++;
        else if (line_parse(s, "GSTATES", &l))
            for (size_t k = 0; k < l.n; k++)
                sum += l.values[k];
    }
    judge_must(j, gs > 20 && gs == sum,
               "the counts add up to the goroutines that scheddetail lists",
               "%lld counted, %lld listed", (long long)sum, (long long)gs);
}

static void check_program(struct judge *j, const json_t *m)
{
    const json_t *runs = get_rows(m, "facts.runs");
    int64_t lines = 0, files = get_number(m, "facts.files");
    size_t i;
    json_t *run;
    bool fine = json_array_size(runs) > 0;
    json_array_foreach(runs, i, run) {
        lines += get_number(run, "lines");
        fine = fine && get_number(run, "status") == (get_number(m, "facts.unreadable") > 0);
    }
    double seconds = json_real_value(get(m, "facts.seconds"));
    double mb = (double)get_number(m, "facts.bytes") / 1e6;
    judge_must(j, fine && files > 0 && lines == files && seconds > 0,
               "the program did its work meanwhile",
               "%zu runs, %lld files, %lld lines: %.0f files/s, %.1f MB/s", json_array_size(runs),
               (long long)files, (long long)lines, seconds > 0 ? (double)files / seconds : 0,
               seconds > 0 ? mb / seconds : 0);
}

static void check(struct judge *j, const json_t *m)
{
    struct tally *y = keep(sizeof *y);
    check_lines(j, m, y);
    check_sum(j, m);
    const json_t *memory = get_rows(m, "memory.the program while it ran");
    int64_t procs = get_number(find_row(memory, "what", "gomaxprocs"), "value");
    judge_must(j, json_array_size(memory) >= 6 && procs == y->procs,
               "the figures lie in the program's memory",
               "gomaxprocs is %lld there, %lld in the line", (long long)procs, (long long)y->procs);
    judge_must(j, json_array_size(get_rows(m, "machine.schedtrace reads sched")) >= 4,
               "schedtrace's machine code reads them", "%zu instructions",
               json_array_size(get_rows(m, "machine.schedtrace reads sched")));
    check_program(j, m);
}

const struct step step_schedtrace = {
    .id = "1-schedtrace",
    .section = "1",
    .title = "schedtrace on a real program",
    .claim =
        "schedtrace prints a line every so often in which the counts gidle, gwaiting, grunning "
        "can be seen changing.",
    .expected = VERDICT_DIFFERS,
    .go = "Go's SCHED line has counts of Ps and Ms and lengths of queues, none of goroutines by "
          "state; scheddetail lists them one by one; counts by state came to runtime/metrics in "
          "1.26.",
    .loam =
        "The same SCHED line, for everybody's parsers; schedstates=1 adds a GSTATES line with the "
        "document's counts.",
    .measure = measure,
    .check = check,
};
