/* throw and fatal panics; see throw.h.
 *
 * Several threads may throw at once: the first prints and exits, the others wait for that. A throw
 * while throwing (a traceback that faults) exits at once with status 4, as Go does. */
#include "base/throw.h"

#include "base/atomic.h"
#include "base/needs.h"
#include "base/print.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int dying_tid; /* atomic: the thread that prints, 0: none */
static char note[512];

bool throwing(void)
{
    return load_relaxed(&dying_tid) != 0;
}

static _Noreturn void die(const char *lines, const char *prefix, const char *text)
{
    int tid = (int)syscall(SYS_gettid);
    if (!cas_acqrel(&dying_tid, 0, tid)) { /* acqrel: nothing is published but the winner */
        if (load_relaxed(&dying_tid) == tid)
            _exit(4); /* the traceback itself broke an invariant */
        for (;;)
            pause();
    }
    print_fd(2, "%s%s%s\n", lines, prefix, text);
    throw_traceback(2);
    /* not exit(): atexit handlers would run on a goroutine of a broken program */
    _exit(2);
}

void throw(const char *text)
{
    die("", "fatal error: ", text);
}

void throwf(const char *format, ...)
{
    char buf[256];
    struct printer p = {.fd = -1, .cap = sizeof buf - 1, .buf = buf};
    va_list args;
    va_start(args, format);
    vpr(&p, format, args);
    va_end(args);
    buf[p.len] = '\0';
    die("", "fatal error: ", buf);
}

void fatal(const char *text)
{
    die("", "fatal error: ", text);
}

void fatal_after(const char *lines, const char *text)
{
    die(lines, "fatal error: ", text);
}

void panic_text(const char *text)
{
    die("", "panic: ", text);
}

int error_note(int err, const char *format, ...)
{
    struct printer p = {.fd = -1, .cap = sizeof note - 1, .buf = note};
    va_list args;
    va_start(args, format);
    vpr(&p, format, args);
    va_end(args);
    note[p.len] = '\0';
    return err;
}

const char *error_noted(void)
{
    return note;
}
