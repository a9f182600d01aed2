/* Lines of LOAMDEBUG=schedtrace and schedstates, taken apart; see tour_lines.h.
 *
 * The form is Go's, with every blank: a line that a parser of Go's output would not know is not
 * parsed here either. */
#include "tour_lines.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

/* "name=value" at *p: moves behind it. */
static bool take_pair(const char **p, const char **name, int64_t *value)
{
    const char *equals = *p + strspn(*p, "abcdefghijklmnopqrstuvwxyz");
    char *end;
    if (equals == *p || *equals != '=')
        return false;
    *name = keep_bytes(*p, (size_t)(equals - *p));
    *value = strtoll(equals + 1, &end, 10);
    if (end == equals + 1 || (*end != ' ' && *end != '\0'))
        return false;
    *p = *end == ' ' ? end + 1 : end;
    return true;
}

/* "[ 1 0 ]" at *p: moves behind it; how many numbers, their sum in *sum; -1: no such list. */
static int take_list(const char **p, int64_t *sum)
{
    int n = 0;
    *sum = 0;
    if (strncmp(*p, "[ ", 2) != 0)
        return -1;
    for (*p += 2; isdigit((unsigned char)**p); n++) {
        char *end;
        *sum += strtoll(*p, &end, 10);
        if (*end != ' ')
            return -1;
        *p = end + 1;
    }
    if (**p != ']')
        return -1;
    ++*p;
    return n;
}

static const char *const sched_keys[] = {"gomaxprocs",      "idleprocs",    "threads",
                                         "spinningthreads", "needspinning", "idlethreads",
                                         "runqueue"};
static const char *const gstates_keys[] = {"gidle",    "grunnable", "grunning",
                                           "gsyscall", "gwaiting",  "gdead"};

bool line_has_keys(const struct line *l, const char *kind)
{
    bool sched = strcmp(kind, "SCHED") == 0;
    const char *const *keys = sched ? sched_keys : gstates_keys;
    size_t n = sched ? nelem(sched_keys) : nelem(gstates_keys);
    if (l->n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(l->names[i], keys[i]) != 0)
            return false;
    return true;
}

bool line_parse(const char *text, const char *kind, struct line *l)
{
    *l = (struct line){0};
    size_t n = strlen(kind);
    if (strncmp(text, kind, n) != 0 || text[n] != ' ')
        return false;
    char *end;
    l->ms = strtoll(text + n + 1, &end, 10);
    if (strncmp(end, "ms: ", 4) != 0)
        return false;
    const char *p = end + 4;
    while (l->n < nelem(l->names) && take_pair(&p, &l->names[l->n], &l->values[l->n]))
        l->n++;
    if (strcmp(kind, "GSTATES") == 0)
        return *p == '\0';
    int64_t ticks;
    l->queues = take_list(&p, &l->queued);
    if (l->queues < 1 || strncmp(p, " schedticks=", 12) != 0)
        return false;
    p += 12;
    return take_list(&p, &ticks) == l->queues && *p == '\0';
}

int64_t line_value(const struct line *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->names[i], name) == 0)
            return l->values[i];
    return -1;
}

bool line_is_state(const char *name)
{
    for (size_t i = 0; i < nelem(gstates_keys); i++)
        if (strcmp(name, gstates_keys[i]) == 0)
            return true;
    return false;
}
