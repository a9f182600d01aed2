/* What every benchmark program in C shares: a program is a list of tables, of which one run executes
 * one row once and prints one line of JSON. Ours is bench_loam; each peer in C is a program of its
 * own, so that one does not carry the other's allocator, threads or signal handlers. */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>

/* What one repetition yields: the value in the row's unit, and what the work computed. */
struct outcome {
    double value;
    uint64_t checksum;
};

/* One row. A table ends with a row whose name is NULL. */
struct bench {
    const char *name;
    const char *unit;
    struct outcome (*run)(void);
};

/* Runs what the command line asks for: NAME [-procs P], or -list; returns the exit status.
 *
 * procs sets the parallelism to n if n is above 0 and returns the one in force. tables ends with
 * NULL. */
int bench_main(int argc, char **argv, const struct bench *const *tables, int (*procs)(int n));

/* Says what went wrong on standard error and ends the program with status 1. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The monotonic clock in ns: libc's, not the library's, which is what is measured. */
int64_t bench_now(void);

/* The cost of one of ops operations since start, in ns. */
double bench_ns_per(int64_t start, int64_t ops);

/* The time since start in ms. */
double bench_ms_since(int64_t start);

/* A percentile of n latenesses in ns, in ms; sorts them. */
double bench_percentile(int64_t *late, int64_t n, double percent);

/* How many of n latenesses are not negative: sleeps that did not end early. */
uint64_t bench_not_early(const int64_t *late, int64_t n);

/* The next number of a sequence of 31-bit numbers; the same sequence as in the Go program. */
uint64_t bench_random(uint64_t *state);

/* malloc that does not return NULL. */
void *bench_alloc(uint64_t n, uint64_t size);

/* Keeps the compiler from seeing through a function: no inlining, no cloning, no folding of calls. */
#if defined(__has_attribute) && __has_attribute(noipa)
#define BENCH_OPAQUE __attribute__((noipa))
#else
#define BENCH_OPAQUE __attribute__((noinline)) /* clang has no noipa */
#endif

#endif
