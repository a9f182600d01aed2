/* What the tests of the scheduler share. */
#ifndef SCHEDTEST_H
#define SCHEDTEST_H

#include "../../check.h"

#include <pthread.h>
#include <sys/syscall.h>

/* Random numbers of one user, from [0, below). */
static inline uint32_t draw(uint64_t *s, uint32_t below)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*s >> 33) % below);
}

static inline pid_t thread_id(void)
{
    return (pid_t)syscall(SYS_gettid);
}

static inline pthread_t thread_start(void *(*fn)(void *), void *arg)
{
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, fn, arg), 0);
    return t;
}

/* A number of /proc/self/status: "VmSize:" in KB, "Threads:". */
static inline int64_t process_status(const char *field)
{
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    CHECK(f != NULL);
    int64_t value = -1;
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            value = strtoll(line + strlen(field), NULL, 10);
    fclose(f);
    CHECK(value >= 0);
    return value;
}

/* Runs fn(arg) on a goroutine of a runtime of its own with that many Ps. */
static inline void on_goroutine(int procs, void (*fn)(void *), void *arg)
{
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = procs}), 0);
    CHECK_EQ(loam_call(fn, arg), 0);
    CHECK_EQ(loam_stop(-1), 0);
}

#endif
