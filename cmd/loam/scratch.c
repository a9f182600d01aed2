/* A directory for temporary files that is gone whatever happens.
 *
 * Usually scratch_remove removes it. If this process is killed so that nothing of it runs any more
 * (SIGKILL, a crash), a small child that did nothing but wait removes it: it reads from a pipe whose
 * other end only this process has, and end of file says that the process is gone. The child is in a
 * session of its own, so that neither the terminal nor a kill of the process group reaches it.
 *
 * Rejected: to remove the directory before the program runs (see child.c); to sweep up what dead
 * predecessors left (it is left until somebody comes by). */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool.h"

static const char *scratch;
static pid_t cleaner;
static int pipe_end = -1;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

static void remove_tree(const char *dir)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static _Noreturn void clean_up_after(const int ends[2], const char *dir)
{
    char byte;
    sigset_t all;
    close(ends[1]); /* else the end of file would never come */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    setsid();
    prctl(PR_SET_NAME, "loam-cleanup");
    /* Whoever waits for the end of our output must not wait for this process. */
    if (dup2(ends[0], 0) < 0)
        _exit(1);
    close_range(1, ~0u, 0);
    ssize_t n;
    do
        n = read(0, &byte, 1);
    while (n > 0 || (n < 0 && errno == EINTR));
    /* A compiler that is being killed may still make a file: once more after it had its time. */
    for (int i = 0; i < 20 && access(dir, F_OK) == 0; i++) {
        if (i > 0)
            usleep(50000);
        remove_tree(dir);
    }
    _exit(0);
}

const char *scratch_make(void)
{
    const char *tmp = getenv("TMPDIR");
    int ends[2];
    if (tmp == NULL || tmp[0] == '\0')
        tmp = "/tmp";
    char *dir = keep_format("%s/loam-XXXXXX", tmp);
    if (mkdtemp(dir) == NULL) {
        message_error("cannot make a temporary directory in %s: %s", tmp, strerror(errno));
        message_hint("set TMPDIR to a directory that you may write to");
        return NULL;
    }
    scratch = dir;
    /* Without the cleaner it is still removed in all other cases. */
    if (pipe2(ends, O_CLOEXEC) != 0)
        return dir;
    fflush(NULL);
    cleaner = fork();
    if (cleaner == 0)
        clean_up_after(ends, dir);
    close(ends[0]);
    pipe_end = ends[1];
    return dir;
}

void scratch_remove(void)
{
    if (scratch == NULL)
        return;
    remove_tree(scratch);
    scratch = NULL;
    if (pipe_end >= 0)
        close(pipe_end);
    if (cleaner > 0)
        waitpid(cleaner, NULL, 0);
}
