/* Children of the tour: started, listened to, ended in time.
 *
 * Beside child.c, which hands the terminal to a program and passes signals on, this one captures
 * both outputs and never waits for ever: a child that is late gets SIGQUIT, upon which a Loam program
 * writes where its goroutines are, and then SIGKILL. It dies with this process in any case. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "root.h"
#include "scratch.h"
#include "tool.h"
#include "tour.h"

enum { GRACE_MS = 2000, PIECE = 64 << 10, BUILD_TIMEOUT_MS = 45000 };

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

_Noreturn static void become(char *const argv[], const char *const env[], int out, int err,
                             int parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(STATUS_NOT_RUN);
    for (size_t i = 0; env != NULL && env[i] != NULL; i++)
        putenv((char *)env[i]);
    if (dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0 &&
        freopen("/dev/null", "r", stdin) != NULL)
        execv(argv[0], argv);
    fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(STATUS_NOT_RUN);
}

/* Appends what there is to read; false at the end. */
static bool take(int fd, char **text, size_t *size)
{
    char *more = realloc(*text, *size + PIECE + 1);
    if (more == NULL)
        return false;
    *text = more;
    ssize_t n = read(fd, more + *size, PIECE);
    if (n < 0 && errno == EINTR)
        return true;
    if (n > 0)
        *size += (size_t)n;
    more[*size] = '\0';
    return n > 0;
}

static void listen(struct capture *c, int pid, int out, int err, int timeout_ms,
                   void (*watch)(void *, int, const char *), void *arg)
{
    struct pollfd fds[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    int64_t deadline = now_ms() + timeout_ms;
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        int64_t left = deadline - now_ms();
        if (left <= 0) {
            kill(pid, c->timed_out ? SIGKILL : SIGQUIT);
            if (c->timed_out) /* whoever still holds the pipes is none of ours */
                return;
            c->timed_out = true;
            deadline = now_ms() + GRACE_MS;
            continue;
        }
        if (poll(fds, 2, left > 1000 ? 1000 : (int)left) <= 0)
            continue;
        if (fds[0].revents != 0 && !take(out, &c->out, &c->out_size))
            fds[0].fd = -1;
        if (fds[1].revents == 0)
            continue;
        if (!take(err, &c->err, &c->err_size))
            fds[1].fd = -1;
        else if (watch != NULL)
            watch(arg, pid, c->err);
    }
}

bool capture_run(struct capture *c, char *const argv[], const char *const env[], int timeout_ms,
                 void (*watch)(void *, int, const char *), void *arg, const char **why)
{
    int out[2] = {-1, -1}, err[2] = {-1, -1}, parent = getpid();
    *c = (struct capture){.out = calloc(1, 1), .err = calloc(1, 1)};
    double begin = now_seconds();
    fflush(stdout);
    int pid = -1;
    if (c->out != NULL && c->err != NULL && pipe2(out, O_CLOEXEC) == 0 &&
        pipe2(err, O_CLOEXEC) == 0)
        pid = fork();
    if (pid == 0)
        become(argv, env, out[1], err[1], parent);
    if (pid < 0)
        *why = keep_format("cannot start a child: %s", strerror(errno));
    close(out[1]);
    close(err[1]);
    if (pid > 0) {
        listen(c, pid, out[0], err[0], timeout_ms, watch, arg);
        while (waitpid(pid, &c->wait_status, 0) < 0 && errno == EINTR)
            ;
        c->seconds = now_seconds() - begin;
    }
    close(out[0]);
    close(err[0]);
    if (pid < 0)
        capture_free(c);
    return pid > 0;
}

void capture_free(struct capture *c)
{
    free(c->out);
    free(c->err);
    *c = (struct capture){0};
}

const char *capture_end(const struct capture *c)
{
    if (c->timed_out)
        return keep_format("no end within %.0f s", c->seconds);
    if (WIFSIGNALED(c->wait_status))
        return keep_format("signal %d (%s)", WTERMSIG(c->wait_status),
                           strsignal(WTERMSIG(c->wait_status)));
    return keep_format("status %d", WEXITSTATUS(c->wait_status));
}

/* ---- Examples ---------------------------------------------------------------------------------- */

/* By `loam build`, from the source tree or from where it was installed. */
static const char *build_example(const struct tour *t, const char *name, bool small,
                                 const char **why)
{
    struct root r;
    *why = keep_format("there is no %s", name);
    if (!root_find(&r))
        return NULL;
    const char *source = keep_format("%s/examples/%s.c", r.root, name);
    if (access(source, R_OK) != 0)
        source = keep_format("%s/share/loam/examples/%s.c", r.root, name);
    const char *scratch = access(source, R_OK) == 0 ? scratch_make() : NULL;
    if (scratch == NULL)
        return NULL;
    char *built = keep_format("%s/%s", scratch, name);
    char *argv[9] = {(char *)t->tool, (char *)"build"};
    size_t n = 2;
    if (small) { /* other compilers cannot */
        argv[n++] = (char *)"--stack=small";
        argv[n++] = (char *)"--cc=gcc";
    }
    argv[n++] = (char *)"-o";
    argv[n++] = built;
    argv[n] = (char *)source;
    struct capture c;
    if (!capture_run(&c, argv, NULL, BUILD_TIMEOUT_MS, NULL, NULL, why))
        return NULL;
    bool there = access(built, X_OK) == 0;
    if (!there)
        *why = keep_format("%s cannot be compiled: %s", name, c.err);
    capture_free(&c);
    return there ? built : NULL;
}

const char *tour_example(const struct tour *t, const char *name, const char **why)
{
    const char *dir = keep_bytes(t->tool, (size_t)(base_name(t->tool) - t->tool));
    const char *built = keep_format("%sexamples/%s", dir, name);
    return access(built, X_OK) == 0 ? built : build_example(t, name, false, why);
}

const char *tour_small_example(const struct tour *t, const char *name, const char **why)
{
    return build_example(t, name, true, why);
}
