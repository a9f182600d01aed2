/* Step 1-automaton: the scheduler is a finite automaton.
 *
 * What shows it:
 *  - A program that waits in every way takes every edge of the table that casgstatus is made from.
 *  - The books balance: for every state, how often it was entered less how often it was left, by
 *    the counters of the edges, is how many goroutines and processors are in it, by the bytes in
 *    their memory. A transition past the table would leave a difference.
 *  - Every transition that the runtime prints of the main goroutine (gtrace) is an edge.
 *  - In the machine code each place where casgstatus was compiled to stores a state of the automaton,
 *    and either takes the old state into account (a compare-and-swap, in builds that check) or holds
 *    no call of bad_edge: the compiler has proven from its constants that the edge exists.
 *  - A child that wakes a goroutine that does not wait dies of it. */
#include <loam.h>

#include <string.h>
#include <sys/wait.h>

#include "tool.h"
#include "tour.h"
#include "tour_view.h"
#include "tour_waits.h"

static struct {
    struct view view;
    json_t *m;
    const char **why;
} probe;

/* ---- The probe: where casgstatus was compiled to ------------------------------------------------------ */

struct sites {
    const struct view *v;
    struct code_place place;
    json_t *rows;
    uint64_t bad_edge;
    uint64_t first_park; /* the store in gopark */
    json_int_t instructions, bad_edge_calls;
};

static void look_at_store(const cs_insn *i, void *arg)
{
    static const char *const how[] = {
        [CODE_STORE] = "store",
        [CODE_EXCHANGE] = "exchange",
        [CODE_COMPARE_AND_SWAP] = "compare-and-swap",
    };
    struct sites *s = arg;
    int64_t value;
    enum code_write w = code_writes(s->v->code, i, &s->place, &value);
    const char *address = keep_format("0x%llx", (unsigned long long)i->address);
    if (w == CODE_NO_WRITE || find_row(s->rows, "address", address) != NULL)
        return;
    const char *function = image_name(s->v->img, i->address, NULL);
    const char *state = value >= 0 && value < VIEW_STATES ? s->v->g_states[value] : NULL;
    if (function != NULL && strcmp(function, "gopark") == 0 && s->first_park == 0)
        s->first_park = i->address;
    json_array_append_new(s->rows,
                          make("{s:s, s:s, s:s, s:s, s:s}", "function",
                               function != NULL ? function : "?", "address", address, "instruction",
                               keep_format("%s %s", i->mnemonic, i->op_str), "how", how[w], "state",
                               value < 0       ? "(in a register)"
                               : state != NULL ? state
                                               : "none"));
}

static void look_at_range(uint64_t lo, uint64_t hi, void *arg)
{
    struct sites *s = arg;
    s->place = (struct code_place){.field = s->v->g_status};
    code_each(s->v->code, (struct extent){lo, hi - lo}, look_at_store, s);
}

static void count_calls(const cs_insn *i, void *arg)
{
    struct sites *s = arg;
    bool is_call;
    s->instructions++;
    if (code_target(s->v->code, i, &is_call) == s->bad_edge)
        s->bad_edge_calls++;
}

static void look_at_function(const char *name, struct extent e, void *arg)
{
    (void)name;
    struct sites *s = arg;
    code_each(s->v->code, e, count_calls, s);
}

static void measure_machine(const struct view *v, json_t *m)
{
    struct sites s = {.v = v, .rows = make("[]")};
    struct extent bad_edge;
    if (image_find(v->img, "bad_edge", &bad_edge))
        s.bad_edge = bad_edge.address;
    image_each_inlined(v->img, "casgstatus", look_at_range, &s);
    image_each_function(v->img, look_at_function, &s);
    put(m, "machine.status stores", s.rows);
    put(m, "machine.gopark", code_around(v->code, "gopark", s.first_park));
    put(m, "facts.bad_edge", hex(s.bad_edge));
    put(m, "facts.bad_edge_calls", make("I", s.bad_edge_calls));
    put(m, "facts.instructions", make("I", s.instructions));
}

/* ---- The probe: the program ---------------------------------------------------------------------------- */

static void measure_memory(const struct view *v, uint64_t g, json_t *m)
{
    bool ok = true;
    json_t *rows = make("[]");
    const char *state = view_g_state(v, g), *reason = view_waitreason(v, g);
    json_array_append_new(rows, image_row(v->img, "g", g, "goid", "its number"));
    json_array_append_new(rows, image_row(v->img, "g", g, "status", state));
    json_array_append_new(rows, image_row(v->img, "g", g, "waitreason", reason));
    put(m, "memory.a goroutine that waits for ever", rows);
    put(m, "facts.status", make("I", (json_int_t)image_value(v->img, "g", g, "status", &ok)));
    put(m, "facts.status_address", hex(g + v->g_status.offset));
    put(m, "facts.status_state", make("s", state));
}

static int automaton_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    json_t *rows = make("[]");
    uint64_t parked = 0;
    bool settled = false;
    put(probe.m, "states.waits", rows);
    if (!waits_run(&probe.view, rows, &parked, probe.why))
        return 1;
    waits_take_edges();
    json_t *balance = view_balance(&probe.view, &settled);
    put(probe.m, "states.edges", view_edges());
    put(probe.m, "states.balance", balance);
    put(probe.m, "facts.settled", make("b", settled));
    measure_memory(&probe.view, parked, probe.m);
    put(probe.m, "done", json_true());
    return 0;
}

void probe_automaton(json_t *m, const char **why)
{
    probe.m = m;
    probe.why = why;
    if (!view_open(&probe.view, why))
        return;
    measure_machine(&probe.view, m);
    (void)loam_run(automaton_main, 0, NULL);
    view_close(&probe.view);
}

/* ---- The probe that breaks the rule ------------------------------------------------------------------------ */

static int illegal_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct extent goready;
    uint64_t self = view_g(&probe.view, loam_goid());
    if (self == 0 || !image_find(probe.view.img, "goready", &goready))
        return 1;
    void (*wake)(void *) = (void (*)(void *))(uintptr_t)goready.address;
    wake((void *)(uintptr_t)self); /* running -> runnable, by one who may not */
    return 0;
}

void probe_illegal(json_t *m, const char **why)
{
    (void)m;
    if (view_open(&probe.view, why))
        (void)loam_run(illegal_main, 0, NULL);
}

/* ---- The step ------------------------------------------------------------------------------------------- */

static bool measure_illegal(const struct tour *t, json_t *m, const char **why)
{
    char *argv[] = {(char *)t->tool, (char *)"tour", (char *)"--probe", (char *)"illegal", NULL};
    struct capture c;
    if (!capture_run(&c, argv, NULL, 10000, NULL, NULL, why))
        return false;
    const char *error = strstr(c.err, "fatal error: ");
    const char *line = error != NULL ? keep_bytes(error, strcspn(error, "\n")) : "";
    put(m, "facts.illegal",
        make("{s:i, s:s}", "status", WIFEXITED(c.wait_status) ? WEXITSTATUS(c.wait_status) : -1,
             "says", line));
    capture_free(&c);
    return true;
}

/* How often each edge stands in what gtrace printed. */
static json_t *count_gtrace(const json_t *lines)
{
    json_t *rows = make("[]"), *line, *row;
    size_t i, k;
    json_array_foreach(lines, i, line) {
        json_t *found = NULL;
        json_array_foreach(rows, k, row)
            if (strcmp(get_text(row, "from"), get_text(line, "from")) == 0 &&
                strcmp(get_text(row, "to"), get_text(line, "to")) == 0)
                found = row;
        if (found == NULL) {
            found = make("{s:s, s:s, s:i}", "from", get_text(line, "from"), "to",
                         get_text(line, "to"), "seen", 0);
            json_array_append_new(rows, found);
        }
        json_object_set_new(found, "seen", make("I", (json_int_t)get_number(found, "seen") + 1));
    }
    return rows;
}

static bool measure(const struct tour *t, json_t *m, const char **why)
{
    static const char *const env[] = {"LOAMDEBUG=gtrace=1", NULL};
    char *errors = NULL;
    if (!tour_probe(t, "automaton", env, m, &errors, why))
        return false;
    json_t *lines = tour_parse_gtrace(errors);
    put(m, "states.main goroutine as traced", count_gtrace(lines));
    json_decref(lines);
    return measure_illegal(t, m, why);
}

static const json_t *find_edge(const json_t *edges, const char *automaton, const char *from,
                               const char *to)
{
    size_t i;
    json_t *row;
    json_array_foreach(edges, i, row)
        if (strcmp(get_text(row, "automaton"), automaton) == 0 &&
            strcmp(get_text(row, "from"), from) == 0 && strcmp(get_text(row, "to"), to) == 0)
            return row;
    return NULL;
}

static void check_waits(struct judge *j, const json_t *m)
{
    const json_t *waits = get_rows(m, "states.waits");
    size_t i, right = 0;
    json_t *row;
    const char *wrong = "";
    json_array_foreach(waits, i, row) {
        bool good = strcmp(get_text(row, "state"), "waiting") == 0 &&
                    strcmp(get_text(row, "reason"), get_text(row, "expected")) == 0;
        right += good;
        if (!good)
            wrong = keep_format("; %s is %s, %s", get_text(row, "call"), get_text(row, "state"),
                                get_text(row, "reason"));
    }
    judge_must(j, json_array_size(waits) >= 12 && right == json_array_size(waits),
               "every way to wait parks with Go's reason", "%zu of %zu%s", right,
               json_array_size(waits), wrong);
}

static void check_edges(struct judge *j, const json_t *m)
{
    const json_t *edges = get_rows(m, "states.edges");
    size_t i, taken = 0;
    int64_t total = 0;
    json_t *row;
    const char *missing = "";
    json_array_foreach(edges, i, row) {
        int64_t count = get_number(row, "count");
        total += count;
        taken += count > 0;
        if (count <= 0)
            missing = keep_format("; not %s %s->%s", get_text(row, "automaton"),
                                  get_text(row, "from"), get_text(row, "to"));
    }
    judge_must(j, json_array_size(edges) >= 20 && taken == json_array_size(edges),
               "the program takes every edge", "%zu of %zu, %lld transitions%s", taken,
               json_array_size(edges), (long long)total, missing);
}

/* Entered less left is what is there; and the sums are those of the edges. */
static void check_balance(struct judge *j, const json_t *m)
{
    const json_t *balance = get_rows(m, "states.balance"), *edges = get_rows(m, "states.edges");
    size_t i, k, fits = 0;
    json_t *row, *edge;
    const char *wrong = "";
    json_array_foreach(balance, i, row) {
        int64_t in = 0, out = 0;
        json_array_foreach(edges, k, edge) {
            if (strcmp(get_text(edge, "automaton"), get_text(row, "automaton")) != 0)
                continue;
            if (strcmp(get_text(edge, "to"), get_text(row, "state")) == 0)
                in += get_number(edge, "count");
            if (strcmp(get_text(edge, "from"), get_text(row, "state")) == 0)
                out += get_number(edge, "count");
        }
        bool good = in >= get_number(row, "in") && out >= get_number(row, "out") &&
                    get_number(row, "born") + get_number(row, "in") - get_number(row, "out") ==
                        get_number(row, "now");
        fits += good;
        if (!good)
            wrong = keep_format("; not %s %s", get_text(row, "automaton"), get_text(row, "state"));
    }
    bool all = json_is_true(get(m, "facts.settled")) && json_array_size(balance) >= 11 &&
               fits == json_array_size(balance);
    judge_claim(j, all, true, "goroutines and processors change state along the edges only",
                "entered - left = bytes in memory for %zu of %zu states%s", fits,
                json_array_size(balance), wrong);
}

static void check_traced(struct judge *j, const json_t *m)
{
    const json_t *edges = get_rows(m, "states.edges"),
                 *traced = get_rows(m, "states.main goroutine as traced");
    size_t i, good = 0;
    int64_t lines = 0;
    json_t *row;
    const char *wrong = "";
    json_array_foreach(traced, i, row) {
        const json_t *edge = find_edge(edges, "G", get_text(row, "from"), get_text(row, "to"));
        lines += get_number(row, "seen");
        good += edge != NULL;
        if (edge == NULL)
            wrong = keep_format("; %s->%s is none", get_text(row, "from"), get_text(row, "to"));
    }
    judge_must(j, lines > 0 && good == json_array_size(traced),
               "every transition that gtrace prints is an edge", "%lld lines of %zu kinds%s",
               (long long)lines, json_array_size(traced), wrong);
}

static void check_machine(struct judge *j, const json_t *m)
{
    const json_t *stores = get_rows(m, "machine.status stores");
    size_t i, states = 0, guarded = 0;
    bool parks = false;
    json_t *row;
    json_array_foreach(stores, i, row) {
        bool swap = strcmp(get_text(row, "how"), "compare-and-swap") == 0;
        guarded += swap;
        states += swap || strcmp(get_text(row, "state"), "none") != 0;
        parks = parks || strcmp(get_text(row, "function"), "gopark") == 0;
    }
    judge_must(j, json_array_size(stores) >= 8 && states == json_array_size(stores) && parks,
               "casgstatus's machine code stores states of the automaton",
               "%zu of %zu places, gopark%s among them", states, json_array_size(stores),
               parks ? "" : " not");
    int64_t calls = get_number(m, "facts.bad_edge_calls");
    bool known = strcmp(get_text(m, "facts.bad_edge"), "") != 0 &&
                 strcmp(get_text(m, "facts.bad_edge"), "0x0") != 0;
    judge_must(j, known && (calls == 0 || guarded == json_array_size(stores)),
               "an edge that is not in the table has no code",
               "%lld calls of bad_edge in %lld instructions, %zu compare-and-swaps",
               (long long)calls, (long long)get_number(m, "facts.instructions"), guarded);
}

static void check(struct judge *j, const json_t *m)
{
    check_waits(j, m);
    check_edges(j, m);
    check_balance(j, m);
    check_traced(j, m);
    check_machine(j, m);
    const json_t *parked = get_rows(m, "memory.a goroutine that waits for ever");
    const char *bytes = get_text(json_array_get(parked, 1), "bytes");
    judge_must(j,
               strcmp(get_text(m, "facts.status_state"), "waiting") == 0 &&
                   strcmp(bytes, "04 00 00 00") == 0 && get_number(m, "facts.status") == 4 &&
                   strcmp(get_text(json_array_get(parked, 1), "address"),
                          get_text(m, "facts.status_address")) == 0,
               "the state of a parked goroutine lies in its memory", "%s at %s is %s", bytes,
               get_text(m, "facts.status_address"), get_text(m, "facts.status_state"));
    judge_must(j,
               get_number(m, "facts.illegal.status") == 2 &&
                   strstr(get_text(m, "facts.illegal.says"), "is running, not waiting") != NULL,
               "an illegal transition is refused", "status %lld: %s",
               (long long)get_number(m, "facts.illegal.status"), get_text(m, "facts.illegal.says"));
}

const struct step step_automaton = {
    .id = "1-automaton",
    .section = "1",
    .title = "The scheduler is a finite automaton",
    .claim = "The scheduler is no black box: it is a finite automaton with controlled transitions "
             "between states.",
    .expected = VERDICT_HOLDS,
    .go =
        "So in Go: casgstatus in runtime/proc.go. Go has no table of edges; which transitions are "
        "legal is spread over its callers.",
    .loam = "One table, runtime/sched/states.tbl: the code, its checks, these counters and the "
            "diagram in docs/states.md are made from it.",
    .measure = measure,
    .check = check,
};
