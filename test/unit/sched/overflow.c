/* A goroutine that overflows its stack is reported and ends the process with status 2, on kernels with
 * guard markers and on those without. The argument: which kernel. */
#include "overflow.h"

static int ready, release;

/* ---- More ways to overflow ------------------------------------------------------------------------- */

static noinline void recurses_wired(void *arg)
{
    loam_lock_os_thread();
    recurses(arg);
}

static noinline void recurses_named(void *arg)
{
    loam_set_name("the deep one");
    recurses(arg);
}

static noinline void recurses_blocking(void *arg)
{
    loam_blocking(recurses, arg);
    sink++;
}

static noinline void recurses_on_thread(void *arg)
{
    loam_on_thread_stack(recurses, arg);
    sink++;
}

/* In the runtime or in a function of libc, without whose frame pointer the traceback may have nothing
 * but that one. */
static noinline unsigned recurse_and_call(unsigned n)
{
    char text[FRAME];
    loam_yield();
    snprintf(text, sizeof text, "%u", n);
    unsigned below = n < end ? recurse_and_call(n + 1) : 0;
    return below + (unsigned char)text[0];
}

static noinline void recurses_and_calls(void *arg)
{
    (void)arg;
    sink = recurse_and_call(0);
}

/* This file is compiled with -fstack-clash-protection. */
static noinline void large_frame(size_t n)
{
    volatile char frame[n];
    frame[0] = 1; /* the lowest byte, far below the guard */
    sink += (unsigned)frame[0];
}

static noinline void has_large_frame(void *arg)
{
    (void)arg;
    large_frame((size_t)sink + (20 << 20));
}

/* ---- The report --------------------------------------------------------------------------------- */

struct overflow {
    void (*fn)(void *);
    size_t stack_size;
    const char *function;
    const char *part; /* of the text */
    int deep;         /* -1: not looked at */
};

static noinline void parked(void *arg)
{
    (void)arg;
    add(&ready, 1);
    AWAIT(load(&release));
}

static void overflow_embedded(void *arg)
{
    const struct overflow *w = arg;
    start_procs(2);
    go(parked, NULL);
    struct loam_go_options with = {.stack_size = w->stack_size};
    CHECK_EQ(loam_go_with(&with, w->fn, NULL), 0);
    for (;;)
        pause();
}

static int overflow_main(int argc, char **argv)
{
    (void)argc;
    ((const struct overflow *)(void *)argv)->fn(NULL);
    return 0;
}

static void overflow_run(void *arg)
{
    if (kernel->old)
        be_old();
    if (kernel->debug != NULL)
        setenv("LOAMDEBUG", kernel->debug, 1);
    exit(loam_run(overflow_main, 1, arg));
}

static int count_of(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        n++;
    return n;
}

static void check_report(const struct overflow *w, bool main)
{
    bool thread = w->fn == recurses_on_thread;
    CHECK_OUTCOME(&o, 2,
                  thread ? "runtime: thread stack exceeds " : "runtime: goroutine stack exceeds ");
    CHECK_HAS(o.err, "-byte limit\nruntime: sp=0x");
    CHECK_HAS(o.err, w->part);
    if (w->function != NULL) {
        char text[64];
        snprintf(text, sizeof text, " in %s (", w->function);
        if (!TEST_TSAN) /* it may be in a function of TSan's there, that ours called */
            CHECK_HAS(o.err, text);
        snprintf(text, sizeof text, "\n%s(...)\n", w->function);
        CHECK_HAS(o.err, text);
    }
    CHECK_HAS(o.err, thread ? "ulimit -s" : "loam_go_with");
    CHECK_HAS(o.err, "\nfatal error: stack overflow\n\ngoroutine ");
    CHECK_EQ(count_of(o.err, "fatal error: "), 1);
    size_t limit = strtoull(strstr(o.err, "exceeds ") + 8, NULL, 10);
    size_t least = main ? (size_t)8 << 20 : w->stack_size > 1 ? w->stack_size : 188 << 10;
    if (!thread)
        CHECK(limit >= least && limit <= 3 * least);
    /* The traceback: both ends of it, with what is between counted. */
    const char *elided = strstr(o.err, " frames elided...\n");
    if (w->deep < 0)
        return;
    if (w->deep != 0) {
        CHECK(elided != NULL);
        while (elided[-1] != '.')
            elided--;
        CHECK(atoi(elided) > 100);
        if (w->fn == recurses)
            CHECK(count_of(o.err, "recurse(...)\n") >= (main ? 98 : 99) - TEST_TSAN);
    } else {
        CHECK(elided == NULL);
    }
}

static void reports(void)
{
    static const struct overflow ways[] = {
        {recurses, 0, "recurse", "\nruntime: goroutine ", true},
        {recurses, 1, "recurse", "\nruntime: goroutine ", true},
        {recurses, 300 << 10, "recurse", "\nruntime: goroutine ", true},
        {recurses, 3 << 20, "recurse", "\nruntime: goroutine ", true},
        {recurses_named, 0, "recurse", " \"the deep one\" in ", true},
        {recurses_wired, 0, "recurse", "[running, locked to thread]:\n", true},
        {recurses_blocking, 0, "recurse", "[syscall]:\n", true},
        {recurses_on_thread, 0, "recurse", "loam_on_thread_stack", true},
        {recurses_and_calls, 0, NULL, "\nruntime: goroutine ", -1},
        {has_large_frame, 0, "large_frame", "\nruntime: goroutine ", false},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct overflow w = ways[i];
        in_child(&o, overflow_embedded, &w);
        check_report(&w, false);
        if (w.stack_size != 0)
            continue;
        in_child(&o, overflow_run, &w);
        check_report(&w, true);
        CHECK_HAS(o.err, "\ngoroutine 1 ");
    }
}

/* ---- Several at once ------------------------------------------------------------------------------- */

static void overflow_together(void *arg)
{
    add(&ready, 1);
    AWAIT(load(&ready) == 8);
    recurses(arg);
}

static void many_overflows(void *arg)
{
    (void)arg;
    start_procs(4);
    for (int i = 0; i < 8; i++)
        go(overflow_together, NULL);
    for (;;)
        pause();
}

static void overflows_at_once(void)
{
    for (int64_t i = 0; i < times(20); i++) {
        in_child(&o, many_overflows, NULL);
        CHECK_OUTCOME(&o, 2, "\nfatal error: stack overflow\n");
        CHECK_EQ(count_of(o.err, "runtime: goroutine stack exceeds "), 1);
    }
}

int main(int argc, char **argv)
{
    CHECK_EQ(argc, 2);
    choose_kernel(argv[1]);
    reports();
    overflows_at_once();
    return 0;
}
