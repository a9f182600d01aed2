/* Children: start, wait, pass signals on, end as they ended.
 *
 * Signals are blocked and taken synchronously, with sigwaitinfo, beside SIGCHLD: no handlers, thus no
 * races between a handler and fork. What the terminal sends (^C, ^\) reaches the whole foreground
 * process group by itself and must not be passed on a second time; what kill() sends reaches this
 * process alone and is. The kernel marks the difference in si_code. What came before the fork, from
 * wherever, has not reached the child and is passed on as well.
 *
 * A child also gets SIGKILL when this process dies without a chance to say goodbye (SIGKILL): nobody
 * wants an endless loop to survive `timeout -s KILL 5 loam run ...`.
 *
 * Rejected: to become the program by execve instead of waiting for it. Then its file has to be
 * removed while it runs, and debuggers, profilers and symbolisers do not find a deleted file. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool.h"

static const int ending[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

static sigset_t waited;   /* the ending signals that were not ignored from the start, and SIGCHLD */
static sigset_t original; /* the mask that children get */
static int came;          /* see child_signal */

void child_signals_begin(void)
{
    sigemptyset(&waited);
    sigaddset(&waited, SIGCHLD);
    /* Whoever started us may ignore it; then the kernel would keep no dead child for waitpid. */
    signal(SIGCHLD, SIG_DFL);
    for (size_t i = 0; i < nelem(ending); i++) {
        struct sigaction old;
        /* nohup ignores SIGHUP, and what is ignored stays so, in the child as well */
        if (sigaction(ending[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaddset(&waited, ending[i]);
    }
    sigprocmask(SIG_BLOCK, &waited, &original);
}

int child_signal(void)
{
    static const struct timespec now = {0, 0};
    int sig;
    while ((sig = sigtimedwait(&waited, NULL, &now)) > 0 || errno == EINTR)
        if (sig > 0 && sig != SIGCHLD && came == 0)
            came = sig;
    return came;
}

/* In the child: never returns. Errors go through the pipe. */
static _Noreturn void child_start(const struct child *c, char *const argv[], int report,
                                  pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before the line above */
        _exit(STATUS_NOT_RUN);
    if (c->kind == CHILD_TOOL) {
        int null = open("/dev/null", O_RDONLY);
        if (null > 0)
            dup2(null, STDIN_FILENO);
    }
    if (c->output > 0)
        dup2(c->output, STDOUT_FILENO);
    if (c->tmpdir != NULL)
        setenv("TMPDIR", c->tmpdir, 1);
    if (c->no_random) /* refused in some containers: then the sanitizer says so itself */
        personality((unsigned long)personality(0xffffffff) | ADDR_NO_RANDOMIZE);
    sigprocmask(SIG_SETMASK, &original, NULL);
    execvp(argv[0], argv);
    int err = errno;
    if (write(report, &err, sizeof err) < 0)
        _exit(STATUS_NOT_RUN);
    _exit(STATUS_NOT_RUN);
}

static int wait_and_pass_on(const struct child *c, pid_t pid, sigset_t *before)
{
    for (;;) {
        siginfo_t info;
        int status;
        int sig = sigwaitinfo(&waited, &info);
        if (sig < 0)
            continue; /* EINTR: stopped and continued */
        if (sig == SIGCHLD) {
            if (waitpid(pid, &status, WNOHANG) == pid)
                return status;
            continue;
        }
        if (c->kind == CHILD_TOOL && came == 0)
            came = sig;
        if (info.si_code <= 0 || sigismember(before, sig)) /* from kill and its kin, or too early */
            kill(pid, sig);
        sigdelset(before, sig);
    }
}

int child_run(const struct child *c, char *const argv[])
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0)
        return -errno;
    pid_t self = getpid();
    pid_t pid = fork();
    /* What is pending now may have come before there was a child to get it too. Passed on twice it does
     * no harm. */
    sigset_t before;
    sigpending(&before);
    if (pid < 0) {
        int err = errno;
        close(report[0]);
        close(report[1]);
        return -err;
    }
    if (pid == 0)
        child_start(c, argv, report[1], self);
    close(report[1]);
    int err = 0;
    ssize_t n;
    do /* ends when the child execs or exits */
        n = read(report[0], &err, sizeof err);
    while (n < 0 && errno == EINTR);
    close(report[0]);
    if (n == (ssize_t)sizeof err) {
        waitpid(pid, NULL, 0);
        return -err;
    }
    int status = wait_and_pass_on(c, pid, &before);
    if (c->kind == CHILD_TOOL && WIFSIGNALED(status) && came == 0)
        came = WTERMSIG(status);
    return status;
}

void child_die_by(int sig)
{
    /* The child has dumped its core, if it wanted to. */
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(sig, SIG_DFL);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, sig);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    raise(sig);
    _exit(128 + sig); /* as init of a container we cannot die by a signal */
}

void child_die_like(int wait_status)
{
    if (WIFSIGNALED(wait_status))
        child_die_by(WTERMSIG(wait_status));
    exit(WEXITSTATUS(wait_status));
}
