/* Checks for test programs: a failed one prints file, line and both values, and ends the process.
 *
 * Programs that include it are compiled with public headers alone. */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include <loam.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TEST_SKIPPED = 77 };

/* _exit: on a goroutine, with others running, handlers of exit may not return. */
#define FAIL(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                            \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        _exit(1);                                                                                  \
    } while (0)

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            FAIL("%s", #cond);                                                                     \
    } while (0)

#define CHECK_EQ(got, want)                                                                        \
    do {                                                                                           \
        int64_t got_ = (int64_t)(got), want_ = (int64_t)(want);                                    \
        if (got_ != want_)                                                                         \
            FAIL("%s is %" PRId64 ", not %" PRId64, #got, got_, want_);                            \
    } while (0)

#define CHECK_STR(got, want)                                                                       \
    do {                                                                                           \
        const char *got_ = (got), *want_ = (want);                                                 \
        if (strcmp(got_, want_) != 0)                                                              \
            FAIL("%s is \"%s\", not \"%s\"", #got, got_, want_);                                   \
    } while (0)

/* The text contains a part. */
#define CHECK_HAS(text, part)                                                                      \
    do {                                                                                           \
        const char *text_ = (text), *part_ = (part);                                               \
        if (strstr(text_, part_) == NULL)                                                          \
            FAIL("%s is \"%s\", without \"%s\"", #text, text_, part_);                             \
    } while (0)

#define SKIP(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        exit(TEST_SKIPPED);                                                                        \
    } while (0)

static inline void go(void (*fn)(void *), void *arg)
{
    int err = loam_go(fn, arg);
    if (err != 0)
        FAIL("loam_go: %d, %s", err, loam_error_text());
}

/* True in a seeded run: one thread, virtual time. */
static inline bool seeded(void)
{
    const char *s = getenv("LOAMDEBUG");
    return s != NULL && strstr(s, "dst=") != NULL;
}

#if defined(__SANITIZE_THREAD__)
#define TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_TSAN 1
#endif
#endif
#ifndef TEST_TSAN
#define TEST_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#endif
#ifndef TEST_ASAN
#define TEST_ASAN 0
#endif

/* How often to do what is done n times in a release build. At least 1. */
static inline int64_t times(int64_t n)
{
    if (TEST_ASAN || TEST_TSAN || LOAM_TORTURE)
        n /= 10;
    if (seeded())
        n /= 20; /* there are many seeds */
    return n > 0 ? n : 1;
}

/* At most n goroutines at once: gcc 12's TSan dies at 8,128 fibers. */
static inline int64_t at_most(int64_t n)
{
    n = times(n);
    return TEST_TSAN && n > 4000 ? 4000 : n;
}

#define load(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define store(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define add(p, v) __atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST)

/* On a goroutine: lets others run until the condition holds. */
#define AWAIT(cond)                                                                                \
    while (!(cond))                                                                                \
    loam_yield()

/* On a thread of the program: sleeps until the condition holds. Never comes: the runner's timeout. */
#define AWAIT_THREAD(cond)                                                                         \
    while (!(cond))                                                                                \
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL)

/* The clock of the system, also in seeded runs. */
static inline int64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

#endif
