/* Runs a function in a child process and catches how it ends: for what ends a process. Call it while
 * the runtime is not started. */
#ifndef TEST_CHILD_H
#define TEST_CHILD_H

#include "check.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

struct outcome {
    int exit;   /* exit status, or -1 */
    int signal; /* signal that killed it, or 0 */
    bool late;  /* it was killed because it ran too long */
    int64_t ns; /* how long it ran */
    size_t len;
    char err[8 << 20]; /* what it wrote to standard error (and output); the rest is dropped */
};

/* fn's return ends the child with status 0. during(pid) is called, if given, once the child has
 * written its first byte. */
static inline void in_child_with(struct outcome *o, void (*fn)(void *), void *arg, double seconds,
                                 void (*during)(pid_t))
{
    int fds[2];
    fflush(NULL);
    memset(o, 0, offsetof(struct outcome, err));
    o->exit = -1;
    CHECK_EQ(pipe(fds), 0);
    int64_t begin = clock_ns(), end = begin + (int64_t)(seconds * 1e9);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], 1);
        dup2(fds[1], 2);
        close(fds[0]);
        close(fds[1]);
        fn(arg);
        fflush(NULL);
        _exit(0);
    }
    close(fds[1]);
    for (;;) {
        int64_t left = end - clock_ns();
        struct pollfd p = {.fd = fds[0], .events = POLLIN};
        if (left <= 0 || poll(&p, 1, (int)(left / 1000000) + 1) == 0) {
            o->late = true;
            kill(pid, SIGKILL);
            break;
        }
        static char rest[1 << 16];
        size_t room = sizeof o->err - 1 - o->len;
        ssize_t n = read(fds[0], room > 0 ? o->err + o->len : rest, room > 0 ? room : sizeof rest);
        if (n <= 0)
            break;
        bool first = o->len == 0;
        o->len += room > 0 ? (size_t)n : 0;
        if (first && during != NULL)
            during(pid);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    close(fds[0]);
    o->ns = clock_ns() - begin;
    o->err[o->len] = '\0';
    if (WIFEXITED(status))
        o->exit = WEXITSTATUS(status);
    else
        o->signal = WTERMSIG(status);
}

static inline void in_child(struct outcome *o, void (*fn)(void *), void *arg)
{
    in_child_with(o, fn, arg, 20 * (TEST_TSAN || TEST_ASAN ? 4 : 1), NULL);
}

/* The child ended with that status, and its text has that part (NULL: no text at all). */
#define CHECK_OUTCOME(o, status, part)                                                             \
    do {                                                                                           \
        const struct outcome *o_ = (o);                                                            \
        const char *part_ = (part);                                                                \
        if (o_->late || o_->exit != (status) ||                                                    \
            (part_ != NULL ? strstr(o_->err, part_) == NULL : o_->len != 0))                       \
            FAIL("%s exit status %d, signal %d; wanted %d and \"%s\"; it wrote:\n%s",              \
                 o_->late ? "killed, too late:" : "", o_->exit, o_->signal, (status),              \
                 part_ != NULL ? part_ : "", o_->err);                                             \
    } while (0)

#endif
