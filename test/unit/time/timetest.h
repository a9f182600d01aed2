/* What the tests of time/ share. */
#ifndef TIMETEST_H
#define TIMETEST_H

#include <loam.h>

#include <inttypes.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a table's test is at; printed with a failure. */
static char where[128];

/* Ends the program with status 1 and the place unless the condition holds. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            test_fail(__FILE__, __LINE__, #cond, 0, 0);                                            \
    } while (0)

/* The same for two integers, which it shows. */
#define CHECK_EQ(a, b)                                                                             \
    do {                                                                                           \
        int64_t test_a_ = (int64_t)(a), test_b_ = (int64_t)(b);                                    \
        if (test_a_ != test_b_)                                                                    \
            test_fail(__FILE__, __LINE__, #a " == " #b, test_a_, test_b_);                         \
    } while (0)

static inline _Noreturn void test_fail(const char *file, int line, const char *what, int64_t a,
                                       int64_t b)
{
    fprintf(stderr, "%s:%d: %s%sdoes not hold: %s (%" PRId64 ", %" PRId64 ")\n", file, line, where,
            *where != '\0' ? ": " : "", what, a, b);
    _exit(1);
}

/* True in a run of LOAMDEBUG=dst=SEED: one thread, virtual time. */
static inline bool seeded(void)
{
    const char *v = getenv("LOAMDEBUG");
    return v != NULL && strstr(v, "dst=") != NULL;
}

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED LOAM_TSAN
#endif

/* How often to repeat what is repeated n times in a release build: at least once. There are many
 * seeds. */
static inline int times(int n)
{
    n /= (SANITIZED || LOAM_TORTURE ? 10 : 1) * (seeded() ? 20 : 1);
    return n > 0 ? n : 1;
}

struct test {
    const char *name;
    void (*fn)(void);
};

/* Runs a table of tests, that ends with a NULL name, with each number of Ps; a seeded run has one. */
static inline int run_tests(const struct test *tests)
{
    static const int procs[] = {1, 2, 4};
    for (int p = 0; p < (seeded() ? 1 : 3); p++) {
        loam_gomaxprocs(procs[p]);
        for (const struct test *t = tests; t->name != NULL; t++) {
            snprintf(where, sizeof where, "%s, %d Ps", t->name, procs[p]);
            t->fn();
        }
    }
    return 0;
}

/* Words that several goroutines write. */
#define get(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define put(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define add(p, v) __atomic_add_fetch((p), (v), __ATOMIC_ACQ_REL)

static inline void start(void (*fn)(void *), void *arg)
{
    if (loam_go(fn, arg) != 0) {
        fprintf(stderr, "loam_go: %s\n", loam_error_text());
        _exit(1);
    }
}

/* Random numbers of one user. */
static inline uint32_t rnd(uint64_t *s, uint32_t below)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*s >> 33) % below);
}

extern char **environ;

/* Runs this program again with one argument: it has to end with this status and the text on stderr. */
static inline void expect_end(const char *mode, int want, const char *text)
{
    static char out[1 << 16];
    int fds[2];
    CHECK(pipe(fds) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 2);
    posix_spawn_file_actions_addclose(&actions, fds[0]);
    char self[] = "/proc/self/exe", arg[64];
    snprintf(arg, sizeof arg, "%s", mode);
    char *argv[] = {self, arg, NULL};
    pid_t pid;
    CHECK_EQ(posix_spawn(&pid, self, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    size_t len = 0;
    for (ssize_t n; (n = read(fds[0], out + len, sizeof out - 1 - len)) > 0;)
        len += (size_t)n;
    out[len] = '\0';
    close(fds[0]);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != want || strstr(out, text) == NULL) {
        fprintf(stderr, "%s: status %#x, expected exit %d with \"%s\"; stderr was:\n%s\n", mode,
                (unsigned)status, want, text, out);
        _exit(1);
    }
}

#endif
