/* The frame of a benchmark program: arguments, output, and the few helpers that both sides of a pair
 * compute in the same way. */
#include "bench.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct bench *find(const struct bench *const *tables, const char *name)
{
    for (; *tables; tables++)
        for (const struct bench *b = *tables; b->name; b++)
            if (strcmp(b->name, name) == 0)
                return b;
    return NULL;
}

static void list(const struct bench *const *tables)
{
    for (; *tables; tables++)
        for (const struct bench *b = *tables; b->name; b++)
            puts(b->name);
}

int bench_main(int argc, char **argv, const struct bench *const *tables, int (*procs)(int n))
{
    if (argc == 2 && strcmp(argv[1], "-list") == 0) {
        list(tables);
        return 0;
    }
    int wanted = 0;
    if (argc == 4 && strcmp(argv[2], "-procs") == 0) {
        wanted = atoi(argv[3]);
        if (wanted < 1)
            bench_fail("bad -procs \"%s\"", argv[3]);
    } else if (argc != 2) {
        bench_fail("usage: NAME [-procs P] | -list");
    }
    const struct bench *b = find(tables, argv[1]);
    if (!b)
        bench_fail("no benchmark \"%s\"", argv[1]);
    int have = procs(wanted);
    struct outcome got = b->run();
    printf("{\"name\":\"%s\",\"procs\":%d,\"unit\":\"%s\",\"value\":%.6f,\"checksum\":\"%" PRIu64
           "\"}\n",
           b->name, have, b->unit, got.value, got.checksum);
    fflush(stdout);
    return 0;
}

void bench_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(1);
}

int64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

double bench_ns_per(int64_t start, int64_t ops)
{
    return (double)(bench_now() - start) / (double)ops;
}

double bench_ms_since(int64_t start)
{
    return (double)(bench_now() - start) / 1e6;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

double bench_percentile(int64_t *late, int64_t n, double percent)
{
    qsort(late, (size_t)n, sizeof *late, compare);
    return (double)late[(int64_t)((double)n * percent / 100)] / 1e6;
}

uint64_t bench_not_early(const int64_t *late, int64_t n)
{
    uint64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += late[i] >= 0;
    return count;
}

uint64_t bench_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

void *bench_alloc(uint64_t n, uint64_t size)
{
    void *p = calloc(n, size);
    if (!p)
        bench_fail("no memory");
    return p;
}
