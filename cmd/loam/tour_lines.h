/* Lines of LOAMDEBUG=schedtrace and schedstates, taken apart. */
#ifndef TOUR_LINES_H
#define TOUR_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct line {
    int64_t ms;
    const char *names[16];
    int64_t values[16];
    size_t n;
    int queues; /* SCHED: how many local queues */
    int64_t queued;
};

/* "SCHED ..." or "GSTATES ...", a whole line of that kind, with whatever keys; false: none. */
bool line_parse(const char *text, const char *kind, struct line *l);
/* Are its keys those of its kind, in their order? Parsers of Go's lines rely on it. */
bool line_has_keys(const struct line *l, const char *kind);
/* Is it the name of a count that only GSTATES has? */
bool line_is_state(const char *name);
/* -1: no such key. */
int64_t line_value(const struct line *l, const char *name);

#endif
