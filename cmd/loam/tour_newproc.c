/* Step 3.1-newproc: from newproc to execute.
 *
 * With one processor the goroutine that was just started is in its runnext, or not there at all. It is
 * looked at there before its first run: one without a stack yet (an embryo), as the plain form makes
 * it, and one with its whole context, as the form with options does. gtrace follows the first to its
 * end. Then the main goroutine sleeps, so that there is nothing to run, and a thread that is none of
 * the runtime's looks what the scheduler does: the document says that schedule then calls
 * gosched_impl. */
#include <loam.h>

#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tool.h"
#include "tour.h"
#include "tour_view.h"

enum {
    FOLLOWED = 40,
    STARTS_MAX = 1000,
    WORDS_MAX = 16,
    IDLE_MS = 80,
    IDLE_ROUNDS = 20,
    SETTLE_MS = 20,
    LOOKS_MAX = 30
};

static struct {
    struct view view;
    json_t *m;
    const char **why;
    bool looked, over; /* handed over with the semaphores */
    uint32_t asleep;   /* atomic: the main goroutine sleeps */
    struct field goid, runnext;
    const char *words[WORDS_MAX];
    uint64_t loads[WORDS_MAX];
    size_t nwords;
    uint64_t ran; /* atomic: goroutines that ran */
    sem_t idle, seen;
} probe;

/* ---- The probe: what waits for its first run -------------------------------------------------------------- */

static uint64_t word_of(uint64_t address, struct field f)
{
    return image_peek_int(probe.view.img, address + f.offset, f.size);
}

static bool has_number(uint64_t g, uint64_t goid)
{
    return g != 0 && word_of(g, probe.goid) == goid;
}

/* The number of the goroutine in runnext; 0: none. */
static uint64_t next_goid(uint64_t *g)
{
    *g = word_of(view_p(&probe.view, 0), probe.runnext);
    return *g != 0 ? word_of(*g, probe.goid) : 0;
}

static const char *symbol_at(uint64_t address)
{
    uint64_t offset;
    const char *name = image_name(probe.view.img, address, &offset);
    return name == NULL  ? ""
           : offset == 0 ? name
                         : keep_format("%s+0x%llx", name, (unsigned long long)offset);
}

/* A newborn in runnext, as rows of memory. */
static json_t *measure_newborn(uint64_t g, json_t *facts)
{
    const struct image *img = probe.view.img;
    bool ok = true;
    uint64_t p = view_p(&probe.view, 0);
    uint64_t sp = image_value(img, "g", g, "sched.sp", &ok);
    uint64_t fn = image_value(img, "g", g, "fn", &ok), gopc = image_value(img, "g", g, "gopc", &ok);
    json_t *rows = make("[]");
    json_array_append_new(rows, image_row(img, "p", p, "runnext", "the goroutine below"));
    json_array_append_new(rows, image_row(img, "g", g, "goid", ""));
    json_array_append_new(rows, image_row(img, "g", g, "status", view_g_state(&probe.view, g)));
    json_array_append_new(rows, image_row(img, "g", g, "fn", symbol_at(fn)));
    json_array_append_new(rows, image_row(img, "g", g, "arg", ""));
    json_array_append_new(rows, image_row(img, "g", g, "parent", "who started it"));
    json_array_append_new(rows,
                          image_row(img, "g", g, "gopc", keep_format("in %s", symbol_at(gopc))));
    json_array_append_new(rows, image_row(img, "g", g, "sched.sp",
                                          sp == 0 ? "an embryo: no stack before its first run"
                                                  : "its first context"));
    const char *entry = "", *first = "";
    for (size_t i = 0; sp != 0 && i < probe.nwords; i++) {
        uint64_t at = sp + i * sizeof at, value = image_peek_int(img, at, sizeof value);
        const char *name = value != 0 ? symbol_at(value) : "";
        if (i + 1 == probe.nwords)
            entry = name;
        else if (value != 0)
            first = name;
        json_array_append_new(rows, image_word_row(img, keep_format("for %s", probe.words[i]), at,
                                                   sizeof value, name));
    }
    uint64_t lo = sp != 0 ? image_value(img, "g", g, "stack.lo", &ok) : 0;
    uint64_t hi = sp != 0 ? image_value(img, "g", g, "stack.hi", &ok) : 0;
    json_object_update_new(facts, make("{s:b, s:s, s:b, s:s, s:s, s:s, s:b}", "read", ok, "state",
                                       view_g_state(&probe.view, g), "context", sp != 0, "fn",
                                       symbol_at(fn), "entry", entry, "first", first, "within",
                                       sp != 0 && lo < sp && sp < hi));
    return rows;
}

/* ---- The probe: what the scheduler does without a goroutine ------------------------------------------------- */

static const char *syscall_name(long number)
{
    return number == SYS_futex             ? "futex"
           : number == SYS_clock_nanosleep ? "clock_nanosleep"
                                           : keep_format("%ld", number);
}

static bool read_line(const char *path, char *line, int size)
{
    FILE *f = fopen(path, "re");
    bool ok = f != NULL && fgets(line, size, f) != NULL;
    if (f != NULL)
        fclose(f);
    line[ok ? strcspn(line, "\n") : 0] = '\0';
    return ok;
}

/* This process's threads, without the caller: {thread, name, state, in}. */
static json_t *threads_now(void)
{
    json_t *rows = make("[]");
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *d; dir != NULL && (d = readdir(dir)) != NULL;) {
        char name[64], stat[512], call[256];
        long number;
        if (d->d_name[0] == '.' || atol(d->d_name) == syscall(SYS_gettid))
            continue;
        read_line(keep_format("/proc/self/task/%s/comm", d->d_name), name, sizeof name);
        if (!read_line(keep_format("/proc/self/task/%s/stat", d->d_name), stat, sizeof stat))
            continue;
        const char *state = strrchr(stat, ')'); /* its name may hold anything */
        read_line(keep_format("/proc/self/task/%s/syscall", d->d_name), call, sizeof call);
        bool known = sscanf(call, "%ld", &number) == 1;
        json_array_append_new(rows, make("{s:s, s:s, s:s, s:s}", "thread", d->d_name, "name", name,
                                         "state", state != NULL ? keep_bytes(state + 2, 1) : "?",
                                         "in", known ? syscall_name(number) : "?"));
    }
    if (dir != NULL)
        closedir(dir);
    return rows;
}

static bool all_asleep(const json_t *threads)
{
    size_t i;
    json_t *row;
    json_array_foreach(threads, i, row)
        if (strcmp(get_text(row, "state"), "S") != 0)
            return false;
    return true;
}

/* Looks once while the only goroutine sleeps; false: it woke meanwhile, this look counts for
 * nothing. */
static bool look_once(void)
{
    usleep(SETTLE_MS * 1000);
    uint64_t yields = view_edge("G", "running", "runnable");
    uint64_t runs = view_edge("G", "runnable", "running");
    json_t *threads = threads_now();
    /* one may be on its way to sleep, or sysmon have its round */
    for (int i = 0; i < LOOKS_MAX && !all_asleep(threads); i++) {
        usleep(1000);
        json_decref(threads);
        threads = threads_now();
    }
    yields = view_edge("G", "running", "runnable") - yields;
    runs = view_edge("G", "runnable", "running") - runs;
    put(probe.m, "states.threads with nothing to run", threads);
    put(probe.m, "facts.idle",
        make("{s:I, s:I}", "yields", (json_int_t)yields, "runs", (json_int_t)runs));
    return __atomic_load_n(&probe.asleep, __ATOMIC_ACQUIRE) != 0; /* read last: it slept till now */
}

/* A foreign thread. */
static void *look_while_idle(void *arg)
{
    (void)arg;
    while (!probe.looked && !probe.over) {
        while (sem_wait(&probe.idle) != 0)
            ;
        if (!probe.over)
            probe.looked = look_once();
        sem_post(&probe.seen);
    }
    return NULL;
}

/* The main goroutine: sleeps to be looked at. */
static void be_idle(void)
{
    for (int i = 0; i < IDLE_ROUNDS && !probe.looked; i++) {
        __atomic_store_n(&probe.asleep, 1, __ATOMIC_RELEASE);
        sem_post(&probe.idle);
        loam_sleep(IDLE_MS * LOAM_MILLISECOND);
        __atomic_store_n(&probe.asleep, 0, __ATOMIC_RELEASE);
        while (sem_trywait(&probe.seen) != 0) /* orders what the looker wrote before */
            loam_sleep(LOAM_MILLISECOND);
    }
}

/* ---- The probe: the program ------------------------------------------------------------------------------------ */

static void newborn(void *arg)
{
    (void)arg;
    __atomic_fetch_add(&probe.ran, 1, __ATOMIC_RELAXED); /* a count, read when all have ended */
}

static bool start_followed(json_t *facts)
{
    static int argument;
    for (int i = 0; i < STARTS_MAX; i++) {
        uint64_t g;
        if (loam_go(newborn, &argument) != 0)
            return false;
        if (next_goid(&g) == FOLLOWED && has_number(g, FOLLOWED)) {
            put(probe.m, "memory.a goroutine before its first run", measure_newborn(g, facts));
            loam_yield();
            return true;
        }
        loam_yield();
    }
    return false;
}

static bool start_whole(json_t *facts)
{
    static int argument;
    struct loam_go_options options = {.name = "whole"};
    uint64_t g, before = word_of(view_p(&probe.view, 0), probe.runnext);
    if (loam_go_with(&options, newborn, &argument) != 0 || next_goid(&g) == 0 || g == before)
        return false;
    put(probe.m, "memory.one started with options, before its first run",
        measure_newborn(g, facts));
    loam_yield();
    return true;
}

static int newproc_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    json_t *followed = make("{}"), *whole = make("{}");
    put(probe.m, "facts.followed", followed);
    put(probe.m, "facts.whole", whole);
    if (!start_followed(followed)) {
        *probe.why =
            keep_format("the goroutine with the number %d was not seen in runnext", FOLLOWED);
        return 1;
    }
    if (!start_whole(whole)) {
        *probe.why = "a goroutine with options was not seen in runnext";
        return 1;
    }
    be_idle();
    if (!probe.looked) {
        *probe.why = "the main goroutine's sleep was always over before it was looked at";
        return 1;
    }
    put(probe.m, "states.edges", view_edges());
    put(probe.m, "done", json_true());
    return 0;
}

/* ---- The probe: machine code ------------------------------------------------------------------------------------- */

struct search {
    const struct view *v;
    struct code_place status, runnext;
    uint64_t status_store, enqueue, runqput, runnext_exchange;
};

static void search_newproc(const cs_insn *i, void *arg)
{
    struct search *s = arg;
    int64_t value;
    bool is_call, writes = code_writes(s->v->code, i, &s->status, &value) != CODE_NO_WRITE;
    if (s->status_store == 0 && writes && image_inlined(s->v->img, i->address, "casgstatus"))
        s->status_store = i->address;
    if (s->enqueue == 0 && code_target(s->v->code, i, &is_call) == s->runqput)
        s->enqueue = i->address;
}

static void search_runqput(const cs_insn *i, void *arg)
{
    struct search *s = arg;
    int64_t value;
    if (code_writes(s->v->code, i, &s->runnext, &value) == CODE_EXCHANGE &&
        s->runnext_exchange == 0)
        s->runnext_exchange = i->address;
}

static void measure_machine(const struct view *v, json_t *m)
{
    struct search s = {.v = v, .status.field = v->g_status, .runnext.field = probe.runnext};
    struct extent newproc, runqput;
    if (image_find(v->img, "newproc", &newproc) && image_find(v->img, "runqput", &runqput)) {
        s.runqput = runqput.address;
        code_each(v->code, newproc, search_newproc, &s);
        code_each(v->code, runqput, search_runqput, &s);
        put(m, "machine.newproc sets the status", code_around(v->code, "newproc", s.status_store));
        put(m, "machine.newproc queues it", code_around(v->code, "newproc", s.enqueue));
        put(m, "machine.runqput takes runnext",
            code_around(v->code, "runqput", s.runnext_exchange));
    }
    struct calls *calls = calls_read(v->code);
    put(m, "machine.what schedule calls", calls_from(calls, "schedule"));
    put(m, "facts.path", calls_path(calls, "schedule", "arch_switch"));
}

static bool find_fields(const char **why)
{
    const struct image *img = probe.view.img;
    struct extent e;
    if (!image_field(img, "g", "goid", &probe.goid) ||
        !image_field(img, "p", "runnext", &probe.runnext)) {
        *why = "the debug information has no g.goid or p.runnext";
        return false;
    }
    if (image_find(img, "arch_switch", &e))
        probe.nwords =
            code_saved_words(probe.view.code, e, probe.words, probe.loads, nelem(probe.words));
    if (probe.nwords == 0)
        *why = "cannot tell from arch_switch's code what it saves";
    return probe.nwords > 0;
}

void probe_newproc(json_t *m, const char **why)
{
    pthread_t looker;
    probe.m = m;
    probe.why = why;
    if (!view_open(&probe.view, why) || !find_fields(why))
        return;
    measure_machine(&probe.view, m);
    if (sem_init(&probe.idle, 0, 0) != 0 || sem_init(&probe.seen, 0, 0) != 0 ||
        pthread_create(&looker, NULL, look_while_idle, NULL) != 0) {
        *why = "cannot start a thread";
        return;
    }
    (void)loam_run(newproc_main, 0, NULL);
    probe.over = true;
    sem_post(&probe.idle); /* if the program did not come that far */
    pthread_join(looker, NULL);
    view_close(&probe.view);
}

/* ---- The step ------------------------------------------------------------------------------------------------------- */

static bool measure(const struct tour *t, json_t *m, const char **why)
{
    /* it looks for longer than its turn, and nobody may run meanwhile */
    const char *const env[] = {keep_format("LOAMDEBUG=gtrace=%d,asyncpreemptoff=1", FOLLOWED),
                               "LOAMMAXPROCS=1", NULL};
    char *errors = NULL;
    if (!tour_probe(t, "newproc", env, m, &errors, why))
        return false;
    put(m, "states.one goroutine", tour_parse_gtrace(errors));
    return true;
}

static void check_life(struct judge *j, const json_t *m)
{
    static const char *const life[] = {"dead", "runnable", "running", "dead"};
    const json_t *trace = get_rows(m, "states.one goroutine");
    const char *seen = get_text(json_array_get(trace, 0), "from");
    bool whole = json_array_size(trace) == nelem(life) - 1, placed = whole;
    for (size_t i = 0; i < json_array_size(trace); i++) {
        const json_t *row = json_array_get(trace, i);
        whole = whole && strcmp(get_text(row, "from"), life[i]) == 0 &&
                strcmp(get_text(row, "to"), life[i + 1]) == 0;
        placed = placed && get_text(row, "p")[0] != '\0' && get_text(row, "m")[0] != '\0' &&
                 strcmp(get_text(row, "p"), "nil") != 0;
        seen = keep_format("%s > %s", seen, get_text(row, "to"));
    }
    judge_claim(j, whole, true, "a goroutine becomes runnable by newproc, running by execute", "%s",
                seen);
    judge_must(j, placed, "each transition names its P and M", "%zu lines", json_array_size(trace));
}

static void check_queue(struct judge *j, const json_t *m)
{
    const char *state = get_text(m, "facts.followed.state"), *fn = get_text(m, "facts.followed.fn");
    judge_claim(j, strcmp(state, "runnable") == 0 && json_is_true(get(m, "facts.followed.read")),
                true, "newproc leaves it runnable, at the front of the P's queue (runnext)",
                "in runnext: %s, of %s", state, fn);
    judge_must(j,
               strcmp(fn, "newborn") == 0 && strcmp(get_text(m, "facts.whole.fn"), "newborn") == 0,
               "the struct g holds its function", "%s, %s", fn, get_text(m, "facts.whole.fn"));
    const json_t *exchange = get_rows(m, "machine.runqput takes runnext");
    const json_t *queue = get_rows(m, "machine.newproc queues it"),
                 *set = get_rows(m, "machine.newproc sets the status");
    judge_must(j,
               find_row(exchange, "key", "*") != NULL && find_row(queue, "key", "*") != NULL &&
                   find_row(set, "key", "*") != NULL,
               "its machine code sets the status, calls runqput, which exchanges runnext",
               "%s; %s; %s", get_text(find_row(set, "key", "*"), "instruction"),
               get_text(find_row(queue, "key", "*"), "instruction"),
               get_text(find_row(exchange, "key", "*"), "instruction"));
}

static void check_context(struct judge *j, const json_t *m)
{
    const char *entry = get_text(m, "facts.whole.entry"), *first = get_text(m, "facts.whole.first");
    const char *fn = get_text(m, "facts.whole.fn");
    judge_claim(j, entry[0] != '\0' && strcmp(entry, fn) == 0, false,
                "newproc sets the saved pc to the function itself",
                "saved pc: %s, then %s, then %s", entry, first, fn);
    judge_must(j,
               json_is_true(get(m, "facts.whole.context")) &&
                   json_is_true(get(m, "facts.whole.within")) && strcmp(entry, "arch_entry") == 0 &&
                   strcmp(first, "goroutine_entry") == 0,
               "its first context lies on its own stack and leads to its function",
               "%s calls %s, which calls g->fn", entry, first);
}

static void check_birth(struct judge *j, const json_t *m)
{
    const json_t *edges = get_rows(m, "states.edges");
    size_t i;
    json_t *row;
    bool direct = false, made = false, queued = false;
    json_array_foreach(edges, i, row) {
        if (strcmp(get_text(row, "automaton"), "G") != 0 || get_number(row, "count") <= 0)
            continue;
        const char *way = keep_format("%s %s", get_text(row, "from"), get_text(row, "to"));
        direct = direct || strcmp(way, "idle runnable") == 0;
        made = made || strcmp(way, "idle dead") == 0;
        queued = queued || strcmp(way, "dead runnable") == 0;
    }
    judge_claim(j, direct, false, "newproc leads from Gidle to Grunnable",
                direct ? "taken" : "no such transition");
    judge_must(j, made && queued, "by way of dead", "idle > dead%s, dead > runnable%s",
               made ? "" : " not", queued ? "" : " not");
}

static void check_idle(struct judge *j, const json_t *m)
{
    const json_t *called = get_rows(m, "machine.what schedule calls"), *path = get(m, "facts.path");
    const json_t *threads = get_rows(m, "states.threads with nothing to run");
    bool yields = false;
    size_t i, asleep = 0, in_futex = 0;
    json_t *row;
    json_array_foreach(called, i, row)
        yields = yields || strncmp(get_text(row, "function"), "gosched", 7) == 0;
    int64_t yielded = get_number(m, "facts.idle.yields");
    judge_claim(j, yields || yielded != 0, false,
                "schedule calls gosched_impl when there is no goroutine to run",
                "%lld yields while nothing was runnable; schedule calls %zu functions, %s",
                (long long)yielded, json_array_size(called),
                yields ? "gosched among them" : "gosched is not among them");
    json_array_foreach(threads, i, row) {
        asleep += strcmp(get_text(row, "state"), "S") == 0;
        in_futex += strcmp(get_text(row, "in"), "futex") == 0;
    }
    /* where the kernel does not tell the call, it tells at least that they sleep */
    bool told = find_row(threads, "in", "?") == NULL;
    judge_must(j,
               json_array_size(threads) >= 2 && asleep == json_array_size(threads) &&
                   (in_futex > 0 || !told) && get(m, "facts.idle.yields") != NULL &&
                   get_number(m, "facts.idle.runs") == 0,
               "its threads sleep in the kernel until there is one",
               "%zu of %zu threads, %zu in futex", asleep, json_array_size(threads), in_futex);
    const char *chain = get_chain(m, "facts.path");
    judge_claim(j,
                find_row(called, "function", "execute") != NULL &&
                    find_row(called, "function", "findRunnable") != NULL &&
                    json_array_size(path) >= 2,
                true, "schedule asks findRunnable and executes what it gets", "%s",
                chain[0] != '\0' ? chain : "no call leads to the switch");
}

static void check(struct judge *j, const json_t *m)
{
    check_life(j, m);
    check_queue(j, m);
    check_context(j, m);
    check_birth(j, m);
    check_idle(j, m);
}

const struct step step_newproc = {
    .id = "3.1-newproc",
    .section = "3.1",
    .title = "newproc to execute",
    .claim =
        "newproc takes a G from the P's pool, sets its pc to the function, makes it runnable and "
        "puts it on the P's queue; schedule takes it from there, or calls gosched_impl if it "
        "finds none; execute runs it.",
    .expected = VERDICT_DIFFERS,
    .go = "newproc1 runs on the system stack; Gidle becomes Gdead first, then Grunnable; the saved "
          "pc is the function's, with goexit as its return address. findRunnable never returns "
          "nil: it blocks, and the thread sleeps in stopm. gosched_impl is Gosched's.",
    .loam = "The same edges. The saved pc leads to goroutine_entry, which calls the function and "
            "then goexit. A goroutine of the plain form gets its stack only when it first runs. "
            "findRunnable sleeps, as Go's.",
    .measure = measure,
    .check = check,
};
