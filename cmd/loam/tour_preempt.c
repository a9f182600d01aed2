/* Step 2.4-preempt: a loop that never calls the runtime, beside another goroutine on one processor.
 *
 * The probe runs twice. With preemption by signal the main goroutine gets the processor while the loop
 * still runs: then the loop's thread sleeps in the handler of SIGURG, and its M, its G and the place where
 * the signal found it are read from memory. With asyncpreemptoff=1 the main goroutine waits until the loop
 * ends, which a thread that is none of the runtime's brings about. After that the main goroutine blocks a
 * thousand times, for the document says that sysmon is needed for that.
 *
 * What is read while the loop is held: the main goroutine may itself lose the processor meanwhile, and
 * the loop go on. So the values are read at once, and again if a signal came in between. */
#include <loam.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool.h"
#include "tour.h"
#include "tour_view.h"

enum {
    FOLLOWED = 40,
    STARTS_MAX = 1000,
    LOOKS_MAX = 1000,
    WAITS = 1000,
    ALONE_MS = 100,     /* how long the loop goes on where nobody takes its processor */
    PATIENCE_MS = 20000 /* and where the signal has to come */
};

/* What is read of the loop's G, its M, and the P. */
enum { V_STATUS, V_LOCKEDM, V_LO, V_HI, V_HELD, V_PC, V_SP, V_LOCKEDG, V_PM, VALUES };
static const char *const value_types[VALUES] = {"g", "g", "g", "g", "m", "m", "m", "m", "p"};
static const char *const value_paths[VALUES] = {"status", "lockedm", "stack.lo", "stack.hi", "held",
                                                "sig_pc", "sig_sp",  "lockedg",  "m"};

static struct {
    struct view view;
    json_t *m;
    const char **why;
    struct field fields[VALUES];
    uint64_t at[VALUES], values[VALUES]; /* their addresses */
    bool signals;                        /* const after start: on or off */
    uint32_t looping, stop, over;        /* atomic */
    uint64_t turns;
    loam_chan(int) there, back;
} probe;

static uint32_t get_flag(const uint32_t *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set_flag(uint32_t *flag, uint32_t to)
{
    __atomic_store_n(flag, to, __ATOMIC_RELEASE);
}

/* ---- The probe: the loop ------------------------------------------------------------------------------------- */

/* Calls nothing. */
__attribute__((noinline)) static uint64_t endless(void)
{
    uint64_t n = 0;
    while (__atomic_load_n(&probe.stop, __ATOMIC_RELAXED) == 0)
        n++;
    return n;
}

static void candidate(void *arg)
{
    (void)arg;
    if (loam_goid() != FOLLOWED)
        return;
    set_flag(&probe.looping, 1);
    probe.turns = endless();
    set_flag(&probe.looping, 0);
}

static void nap(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* A foreign thread: ends the loop, in time or at last. */
static void *end_loop(void *arg)
{
    (void)arg;
    while (get_flag(&probe.looping) == 0 && get_flag(&probe.over) == 0)
        nap(1);
    for (int64_t ms = 0; ms < (probe.signals ? PATIENCE_MS : ALONE_MS) && !get_flag(&probe.over);
         ms++)
        nap(1);
    set_flag(&probe.stop, 1);
    return NULL;
}

/* ---- The probe: what is seen while it is held ------------------------------------------------------------------ */

static uint64_t read_value(int i, uint64_t base)
{
    probe.at[i] = base + probe.fields[i].offset;
    return probe.values[i] = image_peek_int(probe.view.img, probe.at[i], probe.fields[i].size);
}

/* False: it was not held all the while. */
static bool look_once(uint64_t g, struct loam_sched_stats *before)
{
    struct loam_sched_stats after;
    loam_read_sched_stats(before);
    for (int i = V_STATUS; i <= V_HI; i++)
        (void)read_value(i, g);
    uint64_t m = probe.values[V_LOCKEDM];
    for (int i = V_HELD; m != 0 && i <= V_LOCKEDG; i++)
        (void)read_value(i, m);
    (void)read_value(V_PM, view_p(&probe.view, 0));
    loam_read_sched_stats(&after);
    return m != 0 && before->held == 1 && after.held == 1 &&
           before->preemptions == after.preemptions;
}

static json_t *value_row(int i, const char *meaning)
{
    const char *bytes = "";
    for (uint64_t k = 0; k < probe.fields[i].size; k++)
        bytes = keep_format("%s%s%02x", bytes, k > 0 ? " " : "",
                            (unsigned)(probe.values[i] >> 8 * k & 0xff));
    return make("{s:s, s:o, s:s, s:s}", "what",
                keep_format("%s.%s +%llu", value_types[i], value_paths[i],
                            (unsigned long long)probe.fields[i].offset),
                "address", hex(probe.at[i]), "bytes", bytes, "meaning", meaning);
}

static const char *symbol_at(uint64_t address)
{
    uint64_t offset;
    const char *name = image_name(probe.view.img, address, &offset);
    return name == NULL  ? "?"
           : offset == 0 ? name
                         : keep_format("%s+0x%llx", name, (unsigned long long)offset);
}

static void measure_held(uint64_t g)
{
    const uint64_t *v = probe.values;
    const struct image *img = probe.view.img;
    const char *state = view_g_state(&probe.view, g); /* its words; the value is the one below */
    const char *status = v[V_STATUS] < VIEW_STATES && probe.view.g_states[v[V_STATUS]] != NULL
                             ? probe.view.g_states[v[V_STATUS]]
                             : state;
    const char *pc = symbol_at(v[V_PC]);
    json_t *rows = make("[]");
    json_array_append_new(rows, value_row(V_STATUS, status));
    json_array_append_new(rows, value_row(V_LOCKEDM, "the thread that it is held with"));
    json_array_append_new(rows, value_row(V_HELD, "asleep in the handler"));
    json_array_append_new(rows, value_row(V_LOCKEDG, "the loop's struct g"));
    json_array_append_new(rows, value_row(V_PC, keep_format("where SIGURG found it: %s", pc)));
    json_array_append_new(rows, value_row(V_SP, "on its own stack"));
    json_array_append_new(rows, value_row(V_LO, ""));
    json_array_append_new(rows, value_row(V_HI, ""));
    json_array_append_new(rows, value_row(V_PM, "who has the processor meanwhile"));
    put(probe.m, "memory.the loop while it is held with its thread", rows);
    put(probe.m, "machine.where SIGURG found the loop",
        code_around(probe.view.code, "endless", v[V_PC]));
    put(probe.m, "facts.held",
        make("{s:s, s:b, s:b, s:b, s:b, s:s, s:s}", "state", status, "held", v[V_HELD] == 1,
             "its own", v[V_LOCKEDG] == g, "on its stack", v[V_LO] < v[V_SP] && v[V_SP] < v[V_HI],
             "another thread", v[V_PM] != 0 && v[V_PM] != v[V_LOCKEDM], "pc", pc, "source",
             image_line(img, v[V_PC])));
}

/* The main goroutine, which runs beside the loop. */
static bool look_at_held(void)
{
    struct loam_sched_stats s = {0};
    uint64_t g = view_g(&probe.view, FOLLOWED);
    bool seen = false;
    for (int i = 0; g != 0 && !seen && i < LOOKS_MAX && get_flag(&probe.looping) != 0; i++)
        seen = look_once(g, &s);
    if (!seen) {
        *probe.why = "the loop was never held while it was looked at";
        return false;
    }
    put(probe.m, "facts.held now", make("i", s.held));
    measure_held(g);
    return true;
}

/* ---- The probe: the program ------------------------------------------------------------------------------------- */

static void echo(void *arg)
{
    (void)arg;
    for (int v; loam_recv_ok(probe.there, &v);)
        loam_send(probe.back, v);
}

/* How often the main goroutine and another wait for each other. */
static bool block(void)
{
    uint64_t waits = view_edge("G", "running", "waiting");
    probe.there = loam_chan_make(int, 0);
    probe.back = loam_chan_make(int, 0);
    if (loam_go(echo, NULL) != 0)
        return false;
    for (int i = 0; i < WAITS; i++) {
        loam_send(probe.there, i);
        (void)loam_recv(probe.back);
    }
    loam_close(probe.there);
    put(probe.m, "facts.waits",
        make("I", (json_int_t)(view_edge("G", "running", "waiting") - waits)));
    return true;
}

/* Once the runtime has started. */
static void measure_handler(void)
{
    struct sigaction sa;
    uint64_t handler = 0;
    if (sigaction(SIGURG, NULL, &sa) == 0)
        handler = (uint64_t)(uintptr_t)sa.sa_sigaction;
    put(probe.m, "facts.handler", make("s", handler > 1 ? symbol_at(handler) : ""));
}

static int preempt_main(int argc, char **argv)
{
    struct loam_sched_stats before, after;
    (void)argc;
    (void)argv;
    measure_handler();
    loam_read_sched_stats(&before);
    for (int i = 0; i < STARTS_MAX && get_flag(&probe.looping) == 0 && probe.turns == 0; i++) {
        if (loam_go(candidate, NULL) != 0)
            break;
        loam_yield(); /* back when it has ended; or it is the loop, and a signal came */
    }
    bool beside = get_flag(&probe.looping) != 0;
    if (!beside && probe.turns == 0)
        *probe.why = keep_format("no goroutine got the number %d", FOLLOWED);
    bool fine = beside ? look_at_held() : probe.turns != 0;
    set_flag(&probe.over, 1);
    set_flag(&probe.stop, 1);
    while (get_flag(&probe.looping) != 0)
        loam_sleep(LOAM_MILLISECOND);
    loam_read_sched_stats(&after);
    put(probe.m, "facts.beside", make("b", beside));
    put(probe.m, "facts.preemptions",
        make("I", (json_int_t)(after.preemptions - before.preemptions)));
    if (fine && block())
        put(probe.m, "done", json_true());
    return 0;
}

static void measure_machine(json_t *m)
{
    struct calls *calls = calls_read(probe.view.code);
    put(m, "machine.who sends SIGURG", calls_of(calls, "os_tgkill_marked"));
    put(m, "facts.sends", calls_path(calls, "sysmon", "preempt_by_signal"));
    put(m, "facts.leaves", calls_path(calls, "on_sigurg", "arch_switch"));
    put(m, "facts.blocks", calls_path(calls, "gopark", "arch_switch"));
}

void probe_preempt(json_t *m, const char **why)
{
    pthread_t ender;
    const char *settings = getenv("LOAMDEBUG");
    probe.m = m;
    probe.why = why;
    probe.signals = settings == NULL || strstr(settings, "asyncpreemptoff=1") == NULL;
    if (!view_open(&probe.view, why))
        return;
    for (int i = 0; i < VALUES; i++)
        if (!image_field(probe.view.img, value_types[i], value_paths[i], &probe.fields[i])) {
            *why =
                keep_format("the debug information has no %s.%s", value_types[i], value_paths[i]);
            return;
        }
    measure_machine(m);
    if (pthread_create(&ender, NULL, end_loop, NULL) != 0) {
        *why = "cannot start a thread";
        return;
    }
    (void)loam_run(preempt_main, 0, NULL);
    set_flag(&probe.over, 1);
    pthread_join(ender, NULL);
    view_close(&probe.view);
}

/* ---- The step -------------------------------------------------------------------------------------------------- */

static json_t *figures_row(const char *setting, const json_t *m)
{
    return make("{s:s, s:s, s:I, s:I, s:s}", "setting", setting, "the other ran",
                json_is_true(get(m, "facts.beside")) ? "beside the loop" : "when it had ended",
                "preemptions", (json_int_t)get_number(m, "facts.preemptions"), "held then",
                (json_int_t)get_number(m, "facts.held now"), "SIGURG goes to",
                get_text(m, "facts.handler"));
}

static bool measure(const struct tour *t, json_t *m, const char **why)
{
    const char *const on[] = {keep_format("LOAMDEBUG=gtrace=%d", FOLLOWED), "LOAMMAXPROCS=1", NULL};
    const char *const off[] = {keep_format("LOAMDEBUG=gtrace=%d,asyncpreemptoff=1", FOLLOWED),
                               "LOAMMAXPROCS=1", NULL};
    char *errors_on = NULL, *errors_off = NULL;
    json_t *alone = make("{}");
    bool fine = tour_probe(t, "preempt", on, m, &errors_on, why) &&
                tour_probe(t, "preempt", off, alone, &errors_off, why);
    if (fine) {
        json_t *rows = make("[]");
        json_array_append_new(rows, figures_row("", m));
        json_array_append_new(rows, figures_row("asyncpreemptoff=1", alone));
        put(m, "states.one loop beside another goroutine", rows);
        put(m, "states.the loop", tour_parse_gtrace(errors_on));
        put(m, "states.the loop with asyncpreemptoff=1", tour_parse_gtrace(errors_off));
        put(m, "facts.off", json_deep_copy(get(alone, "facts")));
    }
    json_decref(alone);
    return fine;
}

/* How often the trace has this edge, followed by the other one. */
static size_t count_pairs(const json_t *trace, const char *const edge[2], const char *const next[2])
{
    size_t n = 0;
    for (size_t i = 0; i + 1 < json_array_size(trace); i++) {
        const json_t *a = json_array_get(trace, i), *b = json_array_get(trace, i + 1);
        n += strcmp(get_text(a, "from"), edge[0]) == 0 && strcmp(get_text(a, "to"), edge[1]) == 0 &&
             strcmp(get_text(b, "from"), next[0]) == 0 && strcmp(get_text(b, "to"), next[1]) == 0;
    }
    return n;
}

static void check_loop(struct judge *j, const json_t *m)
{
    static const char *const stop[] = {"running", "runnable"},
                             *const go[] = {"runnable", "running"},
                             *const born[] = {"dead", "runnable"},
                             *const end[] = {"running", "dead"};
    const json_t *trace = get_rows(m, "states.the loop");
    const json_t *alone = get_rows(m, "states.the loop with asyncpreemptoff=1");
    int64_t preemptions = get_number(m, "facts.preemptions");
    judge_claim(
        j, json_is_true(get(m, "facts.beside")) && preemptions > 0, true,
        "sysmon sees to it that another goroutine runs", "it ran %s; %lld preemptions by signal",
        json_is_true(get(m, "facts.beside")) ? "while the loop went on" : "when the loop had ended",
        (long long)preemptions);
    size_t stops = count_pairs(trace, stop, go);
    judge_must(j, stops > 0, "the loop stops, and starts again where it was: GoStop, GoStart",
               "%zu times running > runnable > running", stops);
    judge_must(j,
               json_array_size(alone) == 3 && count_pairs(alone, born, go) == 1 &&
                   count_pairs(alone, go, end) == 1,
               "with asyncpreemptoff=1 it runs from its start to its end", "%zu transitions",
               json_array_size(alone));
    judge_must(j,
               json_is_false(get(m, "facts.off.beside")) &&
                   get(m, "facts.off.preemptions") != NULL &&
                   get_number(m, "facts.off.preemptions") == 0,
               "and the other waits for it", "%lld preemptions",
               (long long)get_number(m, "facts.off.preemptions"));
}

static void check_held(struct judge *j, const json_t *m)
{
    judge_must(j,
               strcmp(get_text(m, "facts.held.state"), "runnable") == 0 &&
                   json_is_true(get(m, "facts.held.held")) &&
                   json_is_true(get(m, "facts.held.its own")) &&
                   get_number(m, "facts.held now") == 1,
               "its thread sleeps with it, to the scheduler it is runnable", "%s, %lld held",
               get_text(m, "facts.held.state"), (long long)get_number(m, "facts.held now"));
    judge_must(j, json_is_true(get(m, "facts.held.another thread")),
               "its processor has gone to another thread", "%s",
               json_is_true(get(m, "facts.held.another thread")) ? "p.m is another M"
                                                                 : "it has not");
    const json_t *row = find_row(get_rows(m, "machine.where SIGURG found the loop"), "key", "*");
    judge_must(j,
               strncmp(get_text(m, "facts.held.pc"), "endless", 7) == 0 && row != NULL &&
                   strncmp(get_text(m, "facts.held.source"), "tour_preempt.c:", 15) == 0 &&
                   json_is_true(get(m, "facts.held.on its stack")),
               "the signal found it in the program's text, on its own stack", "%s, %s: %s",
               get_text(m, "facts.held.pc"), get_text(m, "facts.held.source"),
               get_text(row, "instruction"));
}

static void check_code(struct judge *j, const json_t *m)
{
    const json_t *sends = get(m, "facts.sends"), *leaves = get(m, "facts.leaves");
    judge_must(j, json_array_size(sends) >= 2 && json_array_size(leaves) >= 2,
               "sysmon sends SIGURG, its handler leaves for the scheduler", "%s; %s",
               get_chain(m, "facts.sends"), get_chain(m, "facts.leaves"));
    judge_must(j,
               strcmp(get_text(m, "facts.handler"), "on_sigurg") == 0 &&
                   strcmp(get_text(m, "facts.off.handler"), "on_sigurg") != 0,
               "SIGURG is taken, but for asyncpreemptoff=1", "%s; %s", get_text(m, "facts.handler"),
               get_text(m, "facts.off.handler")[0] != '\0' ? get_text(m, "facts.off.handler")
                                                           : "nobody");
    const char *blocks = get_chain(m, "facts.blocks");
    bool itself = get_number(m, "facts.off.waits") >= WAITS && blocks[0] != '\0' &&
                  strstr(blocks, "sysmon") == NULL;
    judge_claim(j, !itself, false, "a goroutine that blocks needs sysmon for that",
                "%lld waits without a signal; %s", (long long)get_number(m, "facts.off.waits"),
                blocks);
}

static void check(struct judge *j, const json_t *m)
{
    check_loop(j, m);
    check_held(j, m);
    check_code(j, m);
}

const struct step step_preempt = {
    .id = "2.4-preempt",
    .section = "2.4",
    .title = "preemption of a loop",
    .claim =
        "When a goroutine blocks, sysmon notices it and starts schedule, which finds another one "
        "and executes it.",
    .expected = VERDICT_DIFFERS,
    .go = "A goroutine that blocks goes to schedule itself: gopark, mcall, park_m. sysmon looks "
          "after "
          "those that do not block but keep their P: after 10 ms SIGURG makes a loop call "
          "asyncPreempt, where it yields; it may go on on any thread.",
    .loam =
        "The same division. The signal comes after 1 ms where another waits. C may depend on its "
        "thread, so a loop is held with it: the handler gives the P away and sleeps until the "
        "loop's turn comes; 64 threads at most sleep so.",
    .measure = measure,
    .check = check,
};
