/* Start and stop of the scheduler, for boot/ alone. */
#ifndef SCHED_LIFE_H
#define SCHED_LIFE_H

#include "base/base.h"

#include <signal.h>

struct life_config {
    int maxprocs; /* 0: follow the system */
    int max_threads;
    size_t stack_size;
    bool handlers; /* install signal handlers */
    bool run_mode; /* for loam_run: the caller becomes M0 */
};

/* 0 or -errno with a noted text; on failure nothing is left behind. */
int sched_start(const struct life_config *config);
/* Stops it for good: -EBUSY if something still runs after timeout_ns, then nothing has changed. */
int sched_halt(int64_t timeout_ns);
/* After that: ends its threads, which may wait for what the program runs at a thread's end; gives all
 * memory back. */
void sched_end(void);
/* After sched_start in run mode: schedules on the calling thread until fn has returned. */
int sched_run_main(int (*fn)(int, char **), int argc, char **argv, int *result);
/* Between start and stop in this process, whichever process that is. */
bool sched_started(void);

#endif
