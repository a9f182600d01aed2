/* Step 4.4-growth: a stack that grows, from the cache to the system, and the bound of the allocator.
 *
 * The program is examples/growth.c, compiled with small stacks and run with one processor under
 * LOAMDEBUG=stacktrace=1: each growth and what was gone through for it is read off its lines. At the
 * bottom of its first recursion it waits for a signal: meanwhile its goroutine's segments, and the code
 * that asked for them, are read from its memory. A probe provokes what the document's bound is for: the
 * allocator is entered again by what it waits for, here the handler of a page fault in its own figures. */
#include <loam.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "tool.h"
#include "tour.h"
#include "tour_view.h"

enum { RUN_TIMEOUT_MS = 40000, PIECES_MAX = 32, LARGE = 64 << 10, LEAST = 2048 };

/* ---- The probe that enters again --------------------------------------------------------------------------- */

enum { ASKED = 8192, CHUNK = 2 << 20, PAGE = 4096 };

static struct {
    int (*stackalloc)(void *cache, size_t size, void *stack);
    struct field lo; /* of struct stack */
    uint64_t cache[1024], stack[64];
} again;

static void ask_again(int sig)
{
    (void)sig;
    (void)again.stackalloc(again.cache, ASKED, again.stack);
    _exit(STATUS_OK); /* it was given one: not what is expected */
}

/* On the system stack, where the allocator may be called. */
static void enter_twice(void *arg)
{
    (void)arg;
    struct sigaction sa = {.sa_handler = ask_again, .sa_flags = SA_ONSTACK};
    uintptr_t lo;
    (void)again.stackalloc(NULL, ASKED, again.stack);
    memcpy(&lo, (char *)again.stack + again.lo.offset, sizeof lo);
    /* the figures of the memory that small stacks are cut from; a refill of the cache goes there */
    if (sigaction(SIGSEGV, &sa, NULL) == 0 &&
        mprotect((void *)(lo & ~(uintptr_t)(CHUNK - 1)), PAGE, PROT_NONE) == 0)
        (void)again.stackalloc(again.cache, ASKED, again.stack);
}

static int reenter_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    loam_on_thread_stack(enter_twice, NULL);
    return 0;
}

void probe_reenter(json_t *m, const char **why)
{
    struct view v;
    struct extent e;
    (void)m;
    if (!view_open(&v, why) || !image_find(v.img, "stackalloc", &e) ||
        !image_field(v.img, "stack", "lo", &again.lo))
        return;
    again.stackalloc = (int (*)(void *, size_t, void *))(uintptr_t)e.address;
    (void)loam_run(reenter_main, 0, NULL);
}

static bool measure_reentry(const struct tour *t, json_t *m, const char **why)
{
    static const char *const env[] = {"LOAMMAXPROCS=1", NULL};
    char *argv[] = {(char *)t->tool, (char *)"tour", (char *)"--probe", (char *)"reenter", NULL};
    struct capture c;
    if (!capture_run(&c, argv, env, RUN_TIMEOUT_MS, NULL, NULL, why))
        return false;
    const char *error = strstr(c.err, "fatal error: ");
    put(m, "facts.reentry",
        make("{s:i, s:s}", "status", WIFEXITED(c.wait_status) ? WEXITSTATUS(c.wait_status) : -1,
             "says", error != NULL ? keep_bytes(error, strcspn(error, "\n")) : ""));
    capture_free(&c);
    return true;
}

/* ---- The program while it is deep ---------------------------------------------------------------------------- */

struct deep {
    json_t *m;
    bool told;
    const char *why; /* not looked at */
};

static json_t *piece_row(const struct view *v, uint64_t seg, int number, uint64_t sp, bool *ok)
{
    uint64_t hi = image_value(v->img, "segment", seg, "hi", ok);
    uint64_t prev = image_value(v->img, "segment", seg, "prev", ok);
    uint64_t class = image_value(v->img, "segment", seg, "size_class", ok);
    return make("{s:i, s:o, s:I, s:o, s:o, s:I, s:s}", "piece", number, "address", hex(seg),
                "bytes", (json_int_t)((uint64_t)LEAST << class), "guard",
                hex(image_value(v->img, "segment", seg, "guard", ok)), "came from", hex(prev),
                "bytes up to it", (json_int_t)image_value(v->img, "segment", seg, "used", ok),
                "holds", sp >= seg && sp < hi ? "its saved sp" : "");
}

static void measure_pieces(const struct view *v, uint64_t g, json_t *m)
{
    bool ok = true;
    uint64_t sp = image_value(v->img, "g", g, "sched.sp", &ok);
    uint64_t seg = image_value(v->img, "g", g, "seg", &ok);
    json_t *rows = make("[]");
    for (int i = 1; seg != 0 && ok && i <= PIECES_MAX; i++) {
        json_array_append_new(rows, piece_row(v, seg, i, sp, &ok));
        seg = image_value(v->img, "segment", seg, "next", &ok);
    }
    put(m, "memory.the pieces of a deep stack, the first one first", rows);
    put(m, "facts.deep",
        make("{s:I, s:b}", "goid", (json_int_t)image_value(v->img, "g", g, "goid", &ok), "read",
             ok));
}

struct prologue {
    const struct view *v;
    uint64_t look, call; /* at the guard; of __morestack */
};

static void look_at_prologue(const cs_insn *i, void *arg)
{
    struct prologue *p = arg;
    bool is_call;
    uint64_t to = code_target(p->v->code, i, &is_call);
    const char *name = to != 0 && is_call ? image_name(p->v->img, to, NULL) : NULL;
    if (p->look == 0 && code_reads_guard(i))
        p->look = i->address;
    if (p->call == 0 && name != NULL && strcmp(name, "__morestack") == 0)
        p->call = i->address;
}

static void measure_prologue(const struct view *v, json_t *m)
{
    struct prologue p = {.v = v};
    struct extent descend;
    if (image_find(v->img, "descend", &descend))
        code_each(v->code, descend, look_at_prologue, &p);
    put(m, "machine.descend looks whether there is room", code_around(v->code, "descend", p.look));
    put(m, "machine.and asks for a piece if not", code_around(v->code, "descend", p.call));
}

/* At its line that it is deep: it waits now. */
static void look_at_stack(void *arg, int pid, const char *err)
{
    struct deep *d = arg;
    unsigned long long goid;
    const char *line = strstr(err, "growth: goroutine ");
    struct view v = {0};
    if (d->told || line == NULL || strchr(line, '\n') == NULL ||
        sscanf(line, "growth: goroutine %llu", &goid) != 1)
        return;
    d->told = true;
    if (view_open_process(&v, pid, &d->why)) {
        uint64_t g = view_g(&v, goid);
        if (g != 0) {
            measure_pieces(&v, g, d->m);
            measure_prologue(&v, d->m);
        }
        d->why = g != 0 ? NULL : "its goroutine was not found";
        view_close(&v);
    }
    kill(pid, SIGUSR1);
}

/* ---- Its lines -------------------------------------------------------------------------------------------------- */

/* Where the memory of a growth came through: as the line of the allocator before it says; what has no
 * such line came from the cache. */
static json_t *parse_growths(const char *err)
{
    json_t *rows = make("[]");
    const char *path = "stackalloc";
    for (const char *p = err; *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n') {
        const char *line = keep_bytes(p, strcspn(p, "\n"));
        unsigned long long g, need, size, total, batch;
        char source[16], through[80];
        if (sscanf(line, "STACK alloc size=%llu path=%79s batch=%llu", &size, through, &batch) == 3)
            path = keep_format("%s", through);
        else if (strncmp(line, "STACK free", 10) == 0)
            path = "stackalloc";
        if (sscanf(line, "STACK grow g=%llu need=%llu size=%llu source=%15s total=%llu", &g, &need,
                   &size, source, &total) != 5)
            continue;
        bool cached = strcmp(source, "cache") == 0;
        json_array_append_new(rows, make("{s:I, s:I, s:I, s:s, s:s, s:I}", "goroutine",
                                         (json_int_t)g, "frame", (json_int_t)need, "piece",
                                         (json_int_t)size, "source", source, "through",
                                         cached ? "stackalloc" : path, "total", (json_int_t)total));
        path = "stackalloc";
    }
    return rows;
}

/* What it prints at its end, with how many refills of each size its lines tell. */
static json_t *parse_figures(const char *out, const char *err)
{
    json_t *rows = make("[]");
    unsigned long long size, in_use, cached, pooled, bytes, refills;
    for (const char *p = out; (p = strstr(p, "size=")) != NULL; p++) {
        if (sscanf(p,
                   "size=%llu in_use=%llu cached=%llu pooled=%llu system_bytes=%llu refills=%llu",
                   &size, &in_use, &cached, &pooled, &bytes, &refills) != 6)
            continue;
        json_int_t traced = 0;
        const char *line =
            keep_format("STACK alloc size=%llu path=stackalloc,stackcacherefill,", size);
        for (const char *q = err; (q = strstr(q, line)) != NULL; q++)
            traced++;
        json_array_append_new(rows, make("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "size",
                                         (json_int_t)size, "in use", (json_int_t)in_use, "cached",
                                         (json_int_t)cached, "pooled", (json_int_t)pooled,
                                         "from the system", (json_int_t)bytes, "refills",
                                         (json_int_t)refills, "traced", traced));
    }
    return rows;
}

static bool run_program(const struct tour *t, json_t *m, const char **why)
{
    static const char *const env[] = {"LOAMDEBUG=stacktrace=1", "LOAMMAXPROCS=1", NULL};
    const char *program = tour_small_example(t, "growth", why);
    char *argv[] = {(char *)program, (char *)"wait", NULL};
    struct deep d = {.m = m, .why = "it was never deep"};
    struct capture c;
    if (program == NULL || !capture_run(&c, argv, env, RUN_TIMEOUT_MS, look_at_stack, &d, why))
        return false;
    bool fine = WIFEXITED(c.wait_status) && WEXITSTATUS(c.wait_status) == 0 && d.why == NULL;
    if (fine) {
        put(m, "states.each growth of a stack", parse_growths(c.err));
        put(m, "states.figures of each size", parse_figures(c.out, c.err));
    } else {
        *why =
            keep_format("growth ended with %s: %s", capture_end(&c), d.why != NULL ? d.why : c.err);
    }
    capture_free(&c);
    return fine;
}

/* ---- The allocator's code ---------------------------------------------------------------------------------------- */

struct mark {
    const struct view *v;
    struct code_place place;
    uint64_t address;
};

static void look_for_mark(const cs_insn *i, void *arg)
{
    struct mark *k = arg;
    int64_t value;
    if (k->address == 0 && code_writes(k->v->code, i, &k->place, &value) == CODE_STORE &&
        value != 0)
        k->address = i->address;
}

/* The tool holds the same library as the program. */
static bool measure_machine(json_t *m, const char **why)
{
    static const char *const enters[] = {"enter", "stackcacherefill", "try", "alloc_slow",
                                         "stackalloc"};
    struct view v;
    if (!view_open(&v, why))
        return false;
    struct mark k = {.v = &v};
    const char *where = "";
    if (image_field(v.img, "thread", "in_stackalloc", &k.place.field))
        for (size_t i = 0; k.address == 0 && i < nelem(enters); i++) {
            struct extent e;
            k.place.alias = 0;
            if (image_find(v.img, enters[i], &e))
                code_each(v.code, e, look_for_mark, &k);
            where = enters[i];
        }
    put(m, "machine.the allocator marks its thread",
        k.address != 0 ? code_around(v.code, where, k.address) : make("[]"));
    struct calls *calls = calls_read(v.code);
    put(m, "machine.who calls stackalloc", calls_of(calls, "stackalloc"));
    put(m, "facts.grows", calls_path(calls, "morestack_grow", "stackalloc"));
    put(m, "facts.to the pool", calls_path(calls, "stackalloc", "stackpoolalloc"));
    put(m, "facts.to large ones", calls_path(calls, "stackalloc", "stacklargealloc"));
    put(m, "facts.back from the pool", calls_path(calls, "stackpoolalloc", "stackalloc"));
    put(m, "facts.back from large ones", calls_path(calls, "stacklargealloc", "stackalloc"));
    view_close(&v);
    return true;
}

static bool measure(const struct tour *t, json_t *m, const char **why)
{
    bool fine = run_program(t, m, why);
    scratch_remove();
    return fine && measure_machine(m, why) && measure_reentry(t, m, why);
}

/* ---- Checks -------------------------------------------------------------------------------------------------------- */

struct sources {
    size_t cache, pool, system;
    bool fit; /* each has come through what its source says */
};

static struct sources count_sources(const json_t *growths)
{
    struct sources s = {.fit = true};
    size_t i;
    json_t *row;
    json_array_foreach(growths, i, row) {
        bool large = get_number(row, "piece") >= LARGE;
        const char *source = get_text(row, "source"), *through = get_text(row, "through");
        const char *want = large ? "stackalloc,large" : "stackalloc,stackcacherefill,pool";
        if (strcmp(source, "cache") == 0) {
            s.cache++;
            want = large ? "" : "stackalloc";
        } else if (strcmp(source, "pool") == 0) {
            s.pool++;
        } else {
            s.system += strcmp(source, "system") == 0;
            want = keep_format("%s,system", want);
        }
        s.fit = s.fit && strcmp(through, want) == 0;
    }
    return s;
}

static void check_ways(struct judge *j, const json_t *m)
{
    const json_t *growths = get_rows(m, "states.each growth of a stack");
    struct sources s = count_sources(growths);
    size_t i, refilled = 0;
    json_t *row;
    json_array_foreach(growths, i, row)
        refilled += strstr(get_text(row, "through"), "stackalloc,stackcacherefill,") != NULL;
    judge_claim(j, json_array_size(get(m, "facts.grows")) >= 2, true,
                "a stack that is too small leads to stackalloc", "%s", get_chain(m, "facts.grows"));
    judge_claim(j, refilled > 0 && s.fit, true, "an empty cache is filled by stackcacherefill",
                "%zu growths went through it, %zu found one in the cache", refilled, s.cache);
    judge_must(j, s.cache > 0 && s.pool > 0 && s.system > 0,
               "cache, pool and system are read off one run", "%zu, %zu and %zu growths", s.cache,
               s.pool, s.system);
}

static void check_bound(struct judge *j, const json_t *m)
{
    size_t back = json_array_size(get(m, "facts.back from the pool")) +
                  json_array_size(get(m, "facts.back from large ones"));
    judge_claim(j, back > 0, false, "stackcacherefill calls stackalloc again", "%s",
                back > 0 ? keep_format("%s; %s", get_chain(m, "facts.back from the pool"),
                                       get_chain(m, "facts.back from large ones"))
                         : "no call leads back there, neither from the pool nor from large stacks");
    judge_must(j,
               json_array_size(get(m, "facts.to the pool")) >= 2 &&
                   json_array_size(get(m, "facts.to large ones")) >= 2,
               "it goes to the pool, large stacks to their own", "%s; %s",
               get_chain(m, "facts.to the pool"), get_chain(m, "facts.to large ones"));
    const char *says = get_text(m, "facts.reentry.says");
    judge_claim(j,
                get_number(m, "facts.reentry.status") == 2 &&
                    strstr(says, "stackcacherefill: unexpected recursive stackalloc") != NULL,
                true, "a stackalloc inside of stackcacherefill is a throw: its depth is one",
                "%s; exit status %lld", says, (long long)get_number(m, "facts.reentry.status"));
    const json_t *mark =
        find_row(get_rows(m, "machine.the allocator marks its thread"), "key", "*");
    judge_must(j, mark != NULL, "the allocator marks the thread that is in it", "%s",
               get_text(mark, "instruction"));
}

/* Pieces double; the sum of a goroutine's is what its lines say. */
static void check_sizes(struct judge *j, const json_t *m)
{
    const json_t *growths = get_rows(m, "states.each growth of a stack");
    int64_t goroutine = 0, size = 0, total = 0;
    int64_t first = get_number(
        json_array_get(get_rows(m, "memory.the pieces of a deep stack, the first one first"), 0),
        "bytes");
    size_t i, goroutines = 0;
    bool good = json_array_size(growths) > 0 && first > 0;
    json_t *row;
    json_array_foreach(growths, i, row) {
        int64_t piece = get_number(row, "piece");
        if (get_number(row, "goroutine") != goroutine) {
            goroutine = get_number(row, "goroutine");
            goroutines++;
            size = total = first;
        }
        good = good && piece == 2 * size && get_number(row, "frame") < piece &&
               get_number(row, "total") == total + piece;
        size = piece;
        total = get_number(row, "total");
    }
    judge_must(j, good && goroutines == 2, "each piece is twice the one before",
               "%zu growths of %zu goroutines, from %lld bytes, the last to %lld",
               json_array_size(growths), goroutines, (long long)first, (long long)total);
}

static void check_memory(struct judge *j, const json_t *m)
{
    const json_t *pieces = get_rows(m, "memory.the pieces of a deep stack, the first one first");
    const json_t *growths = get_rows(m, "states.each growth of a stack");
    const char *before = "0x0", *sp_in = "";
    int64_t sum = 0;
    size_t i, traced = 0, n = json_array_size(pieces);
    bool same = json_is_true(get(m, "facts.deep.read")) && n > 1;
    json_t *row;
    json_array_foreach(pieces, i, row) {
        sum += get_number(row, "bytes");
        same = same && strcmp(get_text(row, "came from"), before) == 0 &&
               get_number(row, "bytes up to it") == sum;
        before = get_text(row, "address");
        if (get_text(row, "holds")[0] != '\0')
            sp_in = keep_format("%lld", (long long)get_number(row, "piece"));
    }
    json_array_foreach(growths, i, row)
        if (get_number(row, "goroutine") == get_number(m, "facts.deep.goid")) {
            traced++;
            same = same &&
                   get_number(json_array_get(pieces, traced), "bytes") == get_number(row, "piece");
        }
    judge_must(j, same && traced + 1 == n, "the pieces in memory are those of the trace",
               "%zu pieces of %lld bytes, %zu growths", n, (long long)sum, traced);
    judge_must(j, n > 0 && strcmp(sp_in, keep_format("%zu", n)) == 0, "it runs on the last of them",
               "its saved sp lies in piece %s of %zu", sp_in, n);
}

static void check_figures(struct judge *j, const json_t *m)
{
    const json_t *figures = get_rows(m, "states.figures of each size");
    size_t i, classes = 0;
    int64_t bytes = 0;
    bool good = true;
    json_t *row;
    json_array_foreach(figures, i, row) {
        int64_t size = get_number(row, "size"), stacks = get_number(row, "from the system") / size;
        bool large = size >= LARGE;
        good = good && get_number(row, "refills") == get_number(row, "traced") &&
               (get_number(row, "refills") > 0) == !large && stacks > 0 &&
               get_number(row, "in use") + get_number(row, "cached") + get_number(row, "pooled") <=
                   stacks;
        bytes += get_number(row, "from the system");
        classes++;
    }
    judge_must(j, good && classes > 3, "the counters of each size agree with the trace",
               "%zu sizes, %lld bytes from the system", classes, (long long)bytes);
}

static void check_code(struct judge *j, const json_t *m)
{
    const char *look =
        get_text(find_row(get_rows(m, "machine.descend looks whether there is room"), "key", "*"),
                 "instruction");
    const char *call = get_text(
        find_row(get_rows(m, "machine.and asks for a piece if not"), "key", "*"), "instruction");
    judge_must(j, look[0] != '\0' && strstr(call, "<__morestack>") != NULL,
               "its code asks before it takes its frame", "%s; %s", look, call);
}

static void check(struct judge *j, const json_t *m)
{
    check_ways(j, m);
    check_bound(j, m);
    check_sizes(j, m);
    check_memory(j, m);
    check_figures(j, m);
    check_code(j, m);
}

const struct step step_growth = {
    .id = "4.4-growth",
    .section = "4.4",
    .title = "growth of a stack, and its bound",
    .claim =
        "A goroutine whose stack is too small leads to stackalloc; an empty cache is filled by "
        "stackcacherefill, which calls stackalloc again; that recursion is checked for and "
        "thrown, so that its depth is always one.",
    .expected = VERDICT_DIFFERS,
    .go =
        "stackcacherefill takes from stackpoolalloc, never from stackalloc; nothing there looks at "
        "lockedm or morebuf. What keeps it from growing itself is that it runs on the system "
        "stack: "
        "stackalloc throws on any other. A grown stack is one piece twice as large, to which the "
        "frames are copied.",
    .loam =
        "The same way, and the same rule; beside it a mark in the thread: what enters the "
        "allocator again is a throw, whatever stack it is on. C frames cannot be moved: a stack "
        "grows by a piece twice as large as the last, of code compiled for it.",
    .measure = measure,
    .check = check,
};
