/* Step 1-park: gopark and goready.
 *
 * One goroutine waits for a value on a channel, and is woken by a send. gtrace says what happened
 * when; while it is parked, its struct g and its stack say where it is: the words that the switch
 * saved (named by the pops of the switch itself), the return address into gopark, and the frames
 * above it up to the function of this file that received. From the sender's side the chain of calls to
 * goready is read from the machine code. */
#include <loam.h>

#include <string.h>

#include "tool.h"
#include "tour.h"
#include "tour_view.h"

enum { FOLLOWED = 20, STARTS_MAX = 1000, WORDS_MAX = 16, FRAMES_MAX = 20, PATIENCE_MS = 5000 };

static struct {
    struct view view;
    json_t *m;
    const char **why;
    loam_chan(int) chan;
    uint32_t begun; /* atomic: the goroutine that is followed is there */
    uint32_t woken; /* atomic: it goes on */
    const char *words[WORDS_MAX];
    uint64_t loads[WORDS_MAX];
    size_t nwords;
} probe;

/* ---- The probe: what a parked goroutine looks like ---------------------------------------------------------- */

static const char *place(uint64_t pc)
{
    uint64_t offset;
    const char *name = image_name(probe.view.img, pc, &offset);
    return name == NULL ? "?" : keep_format("%s+0x%llx", name, (unsigned long long)offset);
}

static void measure_saved(uint64_t sp, json_t *m)
{
    const struct image *img = probe.view.img;
    json_t *rows = make("[]");
    for (size_t i = 0; i < probe.nwords; i++) {
        uint64_t address = sp + i * sizeof(uint64_t);
        bool last = i + 1 == probe.nwords;
        uint64_t value = image_peek_int(img, address, sizeof value);
        const char *meaning = last ? keep_format("where it goes on: %s", place(value)) : "";
        if (strcmp(probe.words[i], code_frame_pointer) == 0)
            meaning = "the frame of gopark";
        json_array_append_new(rows, image_word_row(img, keep_format("saved %s", probe.words[i]),
                                                   address, sizeof value, meaning));
    }
    put(m, "memory.its stack from the saved sp on", rows);
}

/* The frames from the saved context up: return addresses by the chain of frame pointers. */
static void measure_frames(uint64_t sp, uint64_t lo, uint64_t hi, json_t *m)
{
    const struct image *img = probe.view.img;
    json_t *rows = make("[]");
    uint64_t fp = 0, pc = 0, slot = 0;
    for (size_t i = 0; i < probe.nwords; i++) {
        slot = sp + i * sizeof slot;
        pc = image_peek_int(img, slot, sizeof pc); /* the last one stays */
        if (strcmp(probe.words[i], code_frame_pointer) == 0)
            fp = pc;
    }
    for (int i = 0; i < FRAMES_MAX && pc != 0; i++) {
        const char *name = image_name(img, pc - 1, NULL);
        if (name != NULL) /* gcc's parts and variants: "f.isra.0" is f */
            name = keep_bytes(name, strcspn(name, "."));
        json_array_append_new(rows, make("{s:s, s:o, s:o, s:s}", "function",
                                         name != NULL ? name : "?", "returns to", hex(pc),
                                         "lies at", hex(slot), "source", image_line(img, pc - 1)));
        if (fp < lo || fp + 2 * sizeof fp > hi)
            break;
        slot = fp + sizeof fp;
        pc = image_peek_int(img, slot, sizeof pc);
        fp = image_peek_int(img, fp, sizeof fp);
    }
    put(m, "memory.its frames", rows);
}

static void measure_parked(uint64_t g, json_t *m)
{
    const struct image *img = probe.view.img;
    bool ok = true;
    uint64_t sp = image_value(img, "g", g, "sched.sp", &ok);
    uint64_t lo = image_value(img, "g", g, "stack.lo", &ok);
    uint64_t hi = image_value(img, "g", g, "stack.hi", &ok);
    json_t *rows = make("[]");
    json_array_append_new(rows, image_row(img, "g", g, "goid", ""));
    json_array_append_new(rows, image_row(img, "g", g, "status", view_g_state(&probe.view, g)));
    json_array_append_new(rows,
                          image_row(img, "g", g, "waitreason", view_waitreason(&probe.view, g)));
    json_array_append_new(rows, image_row(img, "g", g, "m", "no thread runs it"));
    json_array_append_new(rows, image_row(img, "g", g, "sched.sp", "its saved context"));
    json_array_append_new(rows, image_row(img, "g", g, "stack.lo", ""));
    json_array_append_new(rows, image_row(img, "g", g, "stack.hi", "the struct g itself"));
    put(m, "memory.its struct g while it waits", rows);
    put(m, "facts.parked",
        make("{s:b, s:I, s:I, s:I, s:I, s:s, s:s}", "read", ok, "sp", (json_int_t)sp, "lo",
             (json_int_t)lo, "hi", (json_int_t)hi, "words", (json_int_t)probe.nwords, "state",
             view_g_state(&probe.view, g), "reason", view_waitreason(&probe.view, g)));
    measure_saved(sp, m);
    measure_frames(sp, lo, hi, m);
}

/* ---- The probe: the program ---------------------------------------------------------------------------------- */

/* Not inlined, to be seen among the frames. */
__attribute__((noinline)) static int receive_for_the_tour(void)
{
    int value = loam_recv(probe.chan);
    __asm__ volatile("" ::: "memory"); /* no tail call: the frame stays */
    return value;
}

static void candidate(void *arg)
{
    (void)arg;
    if (loam_goid() != FOLLOWED)
        return;
    __atomic_store_n(&probe.begun, 1, __ATOMIC_RELEASE);
    (void)receive_for_the_tour();
    __atomic_store_n(&probe.woken, 1, __ATOMIC_RELEASE);
}

/* Waits for a flag of the followed goroutine. */
static bool await(const uint32_t *flag)
{
    int64_t deadline = loam_now() + PATIENCE_MS * LOAM_MILLISECOND;
    while (__atomic_load_n(flag, __ATOMIC_ACQUIRE) == 0 && loam_now() < deadline)
        loam_sleep(50 * LOAM_MICROSECOND);
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE) != 0;
}

static int park_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    probe.chan = loam_chan_make(int, 0);
    /* numbers are given in order: one of the next goroutines is the one to follow */
    for (int i = 0; i < STARTS_MAX && __atomic_load_n(&probe.begun, __ATOMIC_ACQUIRE) == 0; i++) {
        if (loam_go(candidate, NULL) != 0)
            break;
        loam_yield();
    }
    uint64_t g = await(&probe.begun) ? view_g(&probe.view, FOLLOWED) : 0;
    for (int i = 0; g != 0 && i < STARTS_MAX; i++) {
        if (strcmp(view_g_state(&probe.view, g), "waiting") == 0)
            break;
        loam_sleep(50 * LOAM_MICROSECOND);
    }
    if (g == 0) {
        *probe.why = keep_format("no goroutine got the number %d", FOLLOWED);
        return 1;
    }
    measure_parked(g, probe.m);
    loam_send(probe.chan, 1);
    if (await(&probe.woken))
        put(probe.m, "done", json_true());
    else
        *probe.why = "the goroutine was not woken";
    loam_chan_free(probe.chan);
    return 0;
}

struct first_store {
    const struct view *v;
    struct code_place place;
    struct extent within;
    uint64_t address;
};

static void look_for_store(const cs_insn *i, void *arg)
{
    struct first_store *s = arg;
    int64_t value;
    bool writes = code_writes(s->v->code, i, &s->place, &value) != CODE_NO_WRITE;
    if (s->address == 0 && writes && image_inlined(s->v->img, i->address, "casgstatus"))
        s->address = i->address;
}

static void measure_machine(const struct view *v, json_t *m)
{
    struct extent e;
    if (image_find(v->img, "arch_switch", &e))
        put(m, "machine.arch_switch",
            code_rows(v->code, e.address, e.address + e.size, probe.loads, probe.nwords));
    struct first_store s = {.v = v, .place.field = v->g_status};
    if (image_find(v->img, "goready", &s.within)) {
        code_each(v->code, s.within, look_for_store, &s);
        put(m, "machine.goready", code_around(v->code, "goready", s.address));
    }
    struct calls *calls = calls_read(v->code);
    put(m, "machine.who calls gopark", calls_of(calls, "gopark"));
    put(m, "machine.who calls goready", calls_of(calls, "goready"));
    put(m, "facts.path", calls_path(calls, "loam_chan_send", "goready"));
}

void probe_park(json_t *m, const char **why)
{
    struct extent e;
    probe.m = m;
    probe.why = why;
    if (!view_open(&probe.view, why))
        return;
    if (image_find(probe.view.img, "arch_switch", &e))
        probe.nwords =
            code_saved_words(probe.view.code, e, probe.words, probe.loads, nelem(probe.words));
    if (probe.nwords == 0) {
        *why = "cannot tell from arch_switch's code what it saves";
        return;
    }
    measure_machine(&probe.view, m);
    (void)loam_run(park_main, 0, NULL);
    view_close(&probe.view);
}

/* ---- The step ---------------------------------------------------------------------------------------------- */

static bool measure(const struct tour *t, json_t *m, const char **why)
{
    /* it looks for longer than its turn, and nobody may run meanwhile */
    const char *const env[] = {keep_format("LOAMDEBUG=gtrace=%d,asyncpreemptoff=1", FOLLOWED),
                               "LOAMMAXPROCS=1", NULL};
    char *errors = NULL;
    if (!tour_probe(t, "park", env, m, &errors, why))
        return false;
    put(m, "states.one goroutine", tour_parse_gtrace(errors));
    return true;
}

/* Is line i of the trace this edge? */
static bool is_edge(const json_t *trace, size_t i, const char *from, const char *to)
{
    const json_t *row = json_array_get(trace, i);
    return strcmp(get_text(row, "from"), from) == 0 && strcmp(get_text(row, "to"), to) == 0;
}

static void check_trace(struct judge *j, const json_t *m)
{
    const json_t *trace = get_rows(m, "states.one goroutine");
    const char *reason = "", *seen = "";
    bool found = false;
    for (size_t i = 0; i < json_array_size(trace); i++) {
        const json_t *row = json_array_get(trace, i);
        seen = keep_format("%s%s%s", seen, i == 0 ? get_text(row, "from") : "",
                           keep_format(" > %s", get_text(row, "to")));
        if (!found && is_edge(trace, i, "running", "waiting") &&
            is_edge(trace, i + 1, "waiting", "runnable") &&
            is_edge(trace, i + 2, "runnable", "running")) {
            reason = get_text(row, "reason");
            found = true;
        }
    }
    judge_claim(j, found, true, "a goroutine that waits is parked, made ready, and runs again",
                "%s", seen);
    judge_must(j,
               strcmp(reason, "chan receive") == 0 &&
                   strcmp(get_text(m, "facts.parked.reason"), "chan receive") == 0 &&
                   strcmp(get_text(m, "facts.parked.state"), "waiting") == 0,
               "trace and memory agree why", "trace: %s; memory: %s, %s", reason,
               get_text(m, "facts.parked.state"), get_text(m, "facts.parked.reason"));
}

static void check_frames(struct judge *j, const json_t *m)
{
    const json_t *frames = get_rows(m, "memory.its frames");
    const char *first = get_text(json_array_get(frames, 0), "function"), *chain = "";
    size_t i, in_chan = 0, receiver = 0;
    json_t *row;
    json_array_foreach(frames, i, row) {
        chain = keep_format("%s%s%s", chain, i > 0 ? " < " : "", get_text(row, "function"));
        if (strncmp(get_text(row, "source"), "chan.c:", 7) == 0)
            in_chan = i;
        if (strcmp(get_text(row, "function"), "receive_for_the_tour") == 0)
            receiver = i;
    }
    judge_claim(j, strcmp(first, "gopark") == 0, true, "it waits inside gopark",
                "its saved return address lies in %s", first);
    judge_must(j, in_chan > 0 && receiver == in_chan + 1,
               "the frames on its stack lead through the channel to who received", "%s", chain);
}

static void check_memory(struct judge *j, const json_t *m)
{
    int64_t sp = get_number(m, "facts.parked.sp"), lo = get_number(m, "facts.parked.lo"),
            hi = get_number(m, "facts.parked.hi"), words = get_number(m, "facts.parked.words");
    judge_must(j, json_is_true(get(m, "facts.parked.read")) && lo < sp && sp + 8 * words <= hi,
               "its saved context lies in its own stack", "0x%llx, of 0x%llx to 0x%llx",
               (unsigned long long)sp, (unsigned long long)lo, (unsigned long long)hi);
    const json_t *saved = get_rows(m, "memory.its stack from the saved sp on");
    const json_t *code = get_rows(m, "machine.arch_switch");
    size_t i;
    int64_t loads = 0;
    json_t *row;
    json_array_foreach(code, i, row)
        loads += strcmp(get_text(row, "key"), "*") == 0;
    judge_must(j, (int64_t)json_array_size(saved) == words && loads == words && words > 1,
               "the switch loads as many words as were saved", "%zu words, %lld loads",
               json_array_size(saved), (long long)loads);
}

static void check_wake(struct judge *j, const json_t *m)
{
    const char *chain = get_chain(m, "facts.path");
    judge_claim(j, json_array_size(get(m, "facts.path")) >= 2, true, "it is woken through goready",
                "%s", chain[0] != '\0' ? chain : "no call leads there");
    const json_t *code = get_rows(m, "machine.goready");
    judge_must(j, find_row(code, "key", "*") != NULL, "goready makes it runnable", "%s",
               get_text(find_row(code, "key", "*"), "instruction"));
    judge_must(j,
               json_array_size(get_rows(m, "machine.who calls gopark")) >= 4 &&
                   json_array_size(get_rows(m, "machine.who calls goready")) >= 4,
               "every wait of the library goes through them",
               "%zu functions call gopark, %zu goready",
               json_array_size(get_rows(m, "machine.who calls gopark")),
               json_array_size(get_rows(m, "machine.who calls goready")));
}

static void check(struct judge *j, const json_t *m)
{
    check_trace(j, m);
    check_frames(j, m);
    check_memory(j, m);
    check_wake(j, m);
}

const struct step step_park = {
    .id = "1-park",
    .section = "1",
    .title = "gopark and goready",
    .claim = "The call stacks of runtime.gopark and runtime.goready show exactly where a goroutine "
             "begins to wait and where it is woken.",
    .expected = VERDICT_HOLDS,
    .go = "So in Go; gopark goes on to the thread's own stack (mcall) and picks the next goroutine "
          "there.",
    .loam = "gopark switches to the next goroutine directly if one is at hand; the lock that makes "
            "the parked one findable is released by that one, on its stack.",
    .measure = measure,
    .check = check,
};
