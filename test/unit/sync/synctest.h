/* What the tests of sync/ share: tables of tests, tests that have to die. */
#ifndef SYNCTEST_H
#define SYNCTEST_H

#include "../../check.h"

#include <spawn.h>
#include <sys/wait.h>

struct test {
    const char *name;
    void (*fn)(void);
};

/* For how many Ps everything is run in turn; a seeded run has one. */
static const int test_procs[] = {1, 2, 4};
#define TEST_PROCS (sizeof test_procs / sizeof test_procs[0])

/* Runs a table of tests, that ends with a NULL name, with each number of Ps. */
static inline int run_tests(const struct test *tests)
{
    for (size_t p = 0; p < (seeded() ? 1 : TEST_PROCS); p++) {
        if (!seeded())
            loam_gomaxprocs(test_procs[p]);
        for (const struct test *t = tests; t->name != NULL; t++) {
            loam_set_name(t->name);
            t->fn();
        }
    }
    return 0;
}

/* Lets others run until the condition holds: for what other goroutines are about to do. */
#define WAIT_UNTIL(cond)                                                                           \
    do {                                                                                           \
        while (!(cond))                                                                            \
            loam_sleep(20 * LOAM_MICROSECOND);                                                     \
    } while (0)

/* How many wait for a mutex, by its documented word. */
static inline uint32_t mutex_waiters(struct loam_mutex *m)
{
    return __atomic_load_n(&m->state, __ATOMIC_ACQUIRE) >> 4;
}

extern char **environ;

/* Runs this program again with one argument: it has to end with status 2 and the text on stderr. */
static inline void expect_death(const char *mode, const char *text)
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
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 2 || strstr(out, text) == NULL) {
        FAIL("%s: status %#x, expected exit 2 with \"%s\"; stderr was:\n%s", mode, (unsigned)status,
             text, out);
    }
}

#endif
