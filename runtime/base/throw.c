/* throw and fatal panics; see throw.h.
 *
 * Several threads may throw at once: the first prints and exits, the others wait for that. A throw
 * while throwing (a traceback that faults, a stack with no room for it) says so too and exits with
 * status 4, as Go does; one more says nothing. */
#include "base/throw.h"

#include "base/atomic.h"
#include "base/needs.h"
#include "base/print.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int dying_tid; /* atomic: the thread that prints, 0: none */
static struct {
    const char *prefix, *text; /* not printed yet */
    bool again;
} dying = {"", "", false}; /* that thread's */
static char note[512];

bool throwing(void)
{
    return load_relaxed(&dying_tid) != 0;
}

struct death {
    const char *lines, *prefix, *text;
    va_list *args; /* of a format; NULL: text is one that is ready */
};

static _Noreturn void die_here(const char *lines, const char *prefix, const char *text)
{
    int tid = (int)syscall(SYS_gettid);
    if (!cas_acqrel(&dying_tid, 0, tid)) { /* acqrel: nothing is published but the winner */
        while (load_relaxed(&dying_tid) != tid)
            pause();
        if (!dying.again) {
            dying.again = true;
            print_fd(2, "%s%s\n%s%s%s\n", dying.prefix, dying.text, lines, prefix, text);
        }
        _exit(4);
    }
    dying.prefix = prefix;
    dying.text = text;
    print_fd(2, "%s%s%s\n", lines, prefix, text);
    dying.prefix = dying.text = "";
    throw_traceback(2);
    /* not exit(): atexit handlers would run on a goroutine of a broken program */
    _exit(2);
}

static void die_there(void *p)
{
    const struct death *d = p;
    if (d->args == NULL)
        die_here(d->lines, d->prefix, d->text);
    char buf[256];
    struct printer out = {.fd = -1, .cap = sizeof buf - 1, .buf = buf};
    vpr(&out, d->text, *d->args);
    buf[out.len] = '\0';
    die_here(d->lines, d->prefix, buf);
}

static _Noreturn void die(const char *lines, const char *prefix, const char *text, va_list *args)
{
    throw_systemstack(die_there, &(struct death){lines, prefix, text, args});
    __builtin_unreachable();
}

void throw(const char *text)
{
    die("", "fatal error: ", text, NULL);
}

void throwf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    die("", "fatal error: ", format, &args);
}

void fatal(const char *text)
{
    die("", "fatal error: ", text, NULL);
}

void fatal_after(const char *lines, const char *text)
{
    die(lines, "fatal error: ", text, NULL);
}

void panic_text(const char *text)
{
    die("", "panic: ", text, NULL);
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
