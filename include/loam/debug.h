/* Looking at the runtime from inside the program. */
#ifndef LOAM_DEBUG_H
#define LOAM_DEBUG_H

#include <loam/base.h>

LOAM_BEGIN_DECLS

/* Writes a traceback of the calling goroutine to fd, in Go's form. No malloc.
 *
 * Nothing on a foreign thread. Functions and lines are known of programs made by `loam build`;
 * otherwise functions, or the module and an offset that addr2line takes. Modules that came by dlopen
 * are known after loam_dump_goroutines. */
LOAM_API void loam_traceback(int fd);

/* Writes all goroutines with their states and tracebacks to fd, in Go's form. No malloc.
 *
 * From any thread, but not in a signal handler: SIGQUIT has its own. Stops the world for it, but
 * waits a fifth of a second at most: goroutines that run on are listed as running. The world runs
 * again before the first byte is written; writing is a blocking call, as by loam_blocking. A reader
 * that takes nothing for a minute gets no more. */
LOAM_API void loam_dump_goroutines(int fd);

/* Figures of the scheduler since start; read by loam_read_sched_stats. */
struct loam_sched_stats {
    int64_t goroutines; /* that exist */
    uint64_t goroutines_created;
    uint64_t schedules;          /* times that a goroutine was given a processor */
    uint64_t direct_switches;    /* of these, straight from a goroutine that parked */
    uint64_t steals;             /* goroutines that a processor took from another */
    uint64_t handoffs;           /* processors taken from a thread in a blocking call */
    uint64_t unannounced_sleeps; /* times that a thread was seen asleep in the kernel unannounced */
    uint64_t stw;                /* times that the world was stopped */
    uint64_t preemptions;        /* goroutines that a signal stopped */
    uint64_t
        preemptions_copied; /* of these, of migratable code, whose threads went on with others */
    uint64_t preemptions_moved; /* of these, that went on on another thread */
    int held;                   /* stopped with their threads, that wait for a processor now */
    int threads;                /* that the runtime owns */
    int gomaxprocs;
    uint64_t stacks_mapped; /* bytes of address space for stacks of all kinds */
    /* Pieces of stacks that grow, and those that goroutines which ended keep for the next ones. */
    uint64_t stack_segments;
};

/* Reads the scheduler's figures, without stopping anything: they need not be of one moment.
 *
 * From any thread. All zero while the runtime is not started. */
LOAM_API void loam_read_sched_stats(struct loam_sched_stats *stats);

/* Figures of the stacks of one size, since start, for goroutines whose stacks grow; read by
 * loam_read_stack_stats. */
struct loam_stack_class {
    size_t size;             /* bytes: 2 KB, 4 KB, ... 1 GB */
    uint64_t in_use;         /* stacks that goroutines have */
    uint64_t cached;         /* free ones, in caches of processors */
    uint64_t pooled;         /* free ones, in the pool of this size */
    uint64_t spans;          /* pieces of 32 KB that the pool has cut up; 0 for 64 KB and more */
    uint64_t system_bytes;   /* memory that came from the system for this size */
    uint64_t returned_bytes; /* memory that went back to it, and was last of this size */
    uint64_t refills;        /* times that a cache was empty and took from the pool */
    uint64_t releases;       /* times that a cache was full and gave to the pool */
};

/* Fills in the figures of at most n sizes of stacks, the least first, returns how many sizes there are.
 *
 * From any thread, without stopping anything: they need not be of one moment. While the runtime is not
 * started all but the sizes are 0. */
LOAM_API size_t loam_read_stack_stats(struct loam_stack_class *classes, size_t n);

/* Sets how many bytes the stack of a goroutine may grow to; 0 only asks. Returns the former limit.
 *
 * Of programs built with `loam build --stack=small`; 1,000,000,000 at start, as in Go. A goroutine that
 * needs more ends the process with "fatal error: stack overflow" and its traceback. From any thread. */
LOAM_API size_t loam_set_max_stack(size_t bytes);

/* One legal edge of an automaton of the runtime, from the table that casgstatus enforces. */
struct loam_edge {
    const char *automaton; /* "G" or "P" */
    const char *from, *to; /* states */
    const char *by;        /* who takes it */
    const char *where;     /* functions that take it */
    uint64_t count;        /* how often it was taken since start */
};

/* Fills in at most n edges of the automata of G and P, returns how many there are.
 *
 * From any thread. Counts are sums over threads that go on counting; 0 while the runtime is not
 * started. */
LOAM_API size_t loam_read_edges(struct loam_edge *edges, size_t n);

LOAM_END_DECLS

#endif
