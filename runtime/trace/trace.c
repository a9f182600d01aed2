/* The text sink of events; see trace.h. A seeded run has one thread, yet foreign threads may start
 * goroutines: a mutex keeps lines whole. Buffered in a static block: no malloc. */
#include "trace/trace.h"

#include "base/debugvar.h"
#include "base/needs.h"
#include "base/print.h"
#include "base/throw.h"
#include "lock/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool trace_on;

static struct mutex trace_lock = MUTEX_INIT(leaf);
static char block[1 << 16];
static struct printer sink = {.fd = -1, .cap = sizeof block, .buf = block}; /* trace_lock */
static uint64_t index_;                                                     /* trace_lock */

static const char *const names[64] = {
#define EVENT(number, name, args) [number] = #name,
#include "trace/events.tbl"
#undef EVENT
};
static const char *const arg_names[64] = {
#define EVENT(number, name, args) [number] = args,
#include "trace/events.tbl"
#undef EVENT
};

int trace_init(void)
{
    if (debug.evtrace[0] == '\0')
        return 0;
    if (!debug.dst_on)
        return error_note(-EINVAL, "LOAMDEBUG: evtrace=%s needs dst=SEED beside it", debug.evtrace);
    int fd = open(debug.evtrace, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_note(-errno, "LOAMDEBUG: evtrace: cannot write %s: %s", debug.evtrace,
                          strerror(errno));
    sink.fd = fd;
    sink.len = 0;
    sink.err = 0;
    index_ = 0;
    trace_on = true;
    /* A program that ends by exit() is to have its trace as well. */
    static bool at_exit;
    if (!at_exit)
        at_exit = atexit(trace_flush) == 0;
    return 0;
}

void trace_flush(void)
{
    if (trace_on)
        pr_flush(&sink);
}

void trace_fini(void)
{
    if (!trace_on)
        return;
    trace_flush();
    if (close(sink.fd) != 0 && sink.err == 0)
        sink.err = errno;
    if (sink.err != 0)
        print_fd(2, "loam: evtrace: %s is not whole: %s\n", debug.evtrace, strerror(sink.err));
    sink.fd = -1;
    trace_on = false;
}

struct event {
    enum trace_event ev;
    int64_t now;
    uint64_t a, b;
};

static void write_event(void *p)
{
    const struct event *e = p;
    enum trace_event ev = e->ev;
    lock(&trace_lock);
    pr(&sink, "%lu %ld %d %s", (unsigned long)index_++, (long)e->now, (int)ev, names[ev]);
    const char *arg = arg_names[ev];
    for (int i = 0; i < 2 && *arg != '\0'; i++) {
        size_t len = strcspn(arg, " ");
        pr(&sink, " ");
        for (size_t c = 0; c < len; c++)
            pr(&sink, "%c", arg[c]);
        pr(&sink, "=%lu", (unsigned long)(i == 0 ? e->a : e->b));
        arg += len + (arg[len] == ' ');
    }
    pr(&sink, "\n");
    unlock(&trace_lock);
}

void traceev_slow(enum trace_event ev, int64_t now, uint64_t a, uint64_t b)
{
    systemstack(write_event, &(struct event){ev, now, a, b});
}
