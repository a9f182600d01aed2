/* Running other programs: the compiler, and the program that `loam run` built. */
#ifndef CHILD_H
#define CHILD_H

#include <stdbool.h>

/* From here on the signals that end a program wait until child_run or child_signal looks at them, so
 * that nothing is interrupted between two steps and temporary files are always removed. */
void child_signals_begin(void);

/* The first ending signal that came while no child was there to get it, or that ended the
 * compiler; 0: none. */
int child_signal(void);

enum child_kind {
    CHILD_TOOL,    /* a compiler: no standard input; signals end our own work too */
    CHILD_PROGRAM, /* the user's program: signals are its own affair */
};

struct child {
    enum child_kind kind;
    const char *tmpdir; /* TMPDIR for it; NULL: ours */
    int output;         /* descriptor that becomes its standard output; 0: ours */
    bool no_random;     /* without address space randomisation */
};

/* Runs argv[0] (sought on PATH) and waits. Returns its wait status, -errno if it cannot be started.
 * Signals to this process that end programs are passed on to it. */
int child_run(const struct child *c, char *const argv[]);

/* Ends this process as the child ended: by the same signal or with the same status. */
_Noreturn void child_die_like(int wait_status);

/* Ends this process by a signal. */
_Noreturn void child_die_by(int sig);

#endif
