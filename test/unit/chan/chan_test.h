/* What the tests of channels share. */
#ifndef CHAN_TEST_H
#define CHAN_TEST_H

#include <loam.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a table's test is at; printed with a failure. */
static char where[128];

#define FAIL(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, "%s:%d: %s%s", __FILE__, __LINE__, where, *where ? ": " : "");             \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        exit(1);                                                                                   \
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

static inline void go(void (*fn)(void *), void *arg)
{
    if (loam_go(fn, arg) != 0)
        FAIL("loam_go: %s", loam_error_text());
}

/* True in a seeded run: one thread, virtual time. */
static inline bool seeded(void)
{
    const char *s = getenv("LOAMDEBUG");
    return s != NULL && strstr(s, "dst=") != NULL;
}

/* How often to repeat what is repeated n times in a release build. At least 1. */
static inline int64_t times(int64_t n)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    n /= 10;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    n /= 10;
#endif
#endif
#if LOAM_TORTURE
    n /= 10;
#endif
    if (seeded())
        n /= 100; /* there are many seeds */
    return n > 0 ? n : 1;
}

#ifdef LOAM_BUILD
/* A white-box test: compiled like the runtime, without TSan, which must be told of its atomics. */
#include "base/atomic.h"
#define load(p) load_seqcst(p)
#define store(p, v) store_seqcst(p, v)
#define add(p, v) add_seqcst(p, v)
#else
#define load(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define store(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define add(p, v) __atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST)
#endif

static void (*test_body)(void);

static inline int run_test_body(int argc, char **argv)
{
    static const int procs[] = {1, 2, 4};
    (void)argc;
    (void)argv;
    if (seeded() || getenv("GOMAXPROCS") != NULL) {
        test_body();
        return 0;
    }
    for (size_t i = 0; i < sizeof procs / sizeof procs[0]; i++) {
        loam_gomaxprocs(procs[i]);
        test_body();
    }
    return 0;
}

/* The main of a test: runs the body with 1, 2 and 4 processors, or with what GOMAXPROCS says, and once
 * in a seeded run. */
static inline int test_main(int argc, char **argv, void (*body)(void))
{
    test_body = body;
    return loam_run(run_test_body, argc, argv);
}

/* Lets others run until the condition holds. A condition that never comes is the runner's timeout. */
#define AWAIT(cond)                                                                                \
    while (!(cond))                                                                                \
    loam_yield()

#endif
