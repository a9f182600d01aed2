/* Events of the execution trace.
 *
 * traceev() costs one predicted branch while nobody listens. The one listener so far is the seeded
 * run (LOAMDEBUG=dst=SEED,evtrace=FILE), which writes a line of text per event:
 *
 *     12 1400 16 GoStart g=3 seq=1
 *
 * index, virtual time in ns, Go's event number, name, arguments. No address, thread number or clock
 * of the machine occurs in it, so that two runs with one seed are the same byte for byte. */
#ifndef TRACE_TRACE_H
#define TRACE_TRACE_H

#include "base/base.h"

enum trace_event {
#define EVENT(number, name, args) EV_##name = number,
#include "trace/events.tbl"
#undef EVENT
};

extern bool trace_on; /* const after init */

/* Opens the sink named by LOAMDEBUG, if one is. Returns -errno with a noted text. */
int trace_init(void);
void trace_fini(void);
/* Writes what is buffered; also called when the program dies or ends by exit(). */
void trace_flush(void);

void traceev_slow(enum trace_event ev, int64_t now, uint64_t a, uint64_t b);

/* Two arguments at most, in the order of the table. */
#define traceev(ev, now, a, b)                                                                     \
    do {                                                                                           \
        if (unlikely(trace_on))                                                                    \
            traceev_slow(ev, now, a, b);                                                           \
    } while (0)

#endif
