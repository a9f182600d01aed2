/* Forked children: they may exec and _exit; everything else is an error or a fatal error with a text,
 * never a hang. */
#include "../../child.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

static struct outcome o;
static loam_chan(int) empty;
static struct loam_mutex held;
static struct loam_waitgroup wg;

static void nothing(void *arg)
{
    (void)arg;
}

/* Things a child may do without harm. */
static void harmless(void)
{
    CHECK_EQ(loam_go(nothing, NULL), -ECHILD);
    CHECK_HAS(loam_error_text(), "forked child");
    CHECK_EQ(loam_go_with(NULL, nothing, NULL), -ECHILD);
    CHECK_EQ(loam_go_copy(nothing, "x", 1), -ECHILD);
    CHECK_EQ(loam_call(nothing, NULL), -ECHILD);
    CHECK_HAS(loam_error_text(), "forked child");
    CHECK_EQ(loam_start(NULL), -ECHILD);
    CHECK_HAS(loam_error_text(), "forked");
    CHECK_EQ(loam_stop(-1), -ECHILD);
    CHECK_HAS(loam_error_text(), "forked");
    CHECK_EQ(loam_run(NULL, 0, NULL), 125);
    CHECK_EQ(loam_num_goroutine(), 0);
    CHECK_EQ(loam_gomaxprocs(4), 0);
    loam_yield();
    loam_dump_goroutines(2);
    struct loam_sched_stats stats;
    loam_read_sched_stats(&stats);
}

/* Things that would park. */
static void receive(void)
{
    (void)loam_recv(empty);
}

static void send(void)
{
    loam_send(empty, 1);
}

static void lock_held(void)
{
    loam_mutex_lock(&held);
}

static void wait_group(void)
{
    loam_waitgroup_wait(&wg);
}

static void select_none(void)
{
    loam_select_n(NULL, 0, 0);
}

static void select_one(void)
{
    int v;
    loam_select(loam_on_recv(empty, &v));
}

static void end_goroutine(void)
{
    loam_goexit();
}

static void wire(void)
{
    loam_lock_os_thread();
}

static void (*const parking[])(void) = {receive,     send,       lock_held,     wait_group,
                                        select_none, select_one, end_goroutine, wire};

static void exec_true(void)
{
    execl("/bin/true", "true", (char *)NULL);
}

enum { HARMLESS = -1, EXEC = -2, EXIT = -3, SLEEP = -4 };

/* On a goroutine, or on another thread: forks, and the child does one thing. Returns its status. */
static int fork_and(int what)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (what == HARMLESS)
            harmless();
        else if (what == EXEC)
            exec_true();
        else if (what == SLEEP)
            loam_sleep(LOAM_MILLISECOND);
        else if (what >= 0)
            parking[what]();
        _exit(what >= 0 ? 99 : 0); /* 99: it came back */
    }
    int status = 0;
    for (int i = 0; waitpid(pid, &status, WNOHANG) == 0; i++) {
        if (i > 10000) {
            kill(pid, SIGKILL);
            FAIL("the child that does %d hangs", what);
        }
        usleep(1000);
    }
    if (!WIFEXITED(status))
        FAIL("the child that does %d was killed by signal %d", what, WTERMSIG(status));
    return WEXITSTATUS(status);
}

static void fork_on_goroutine(void *arg)
{
    (void)arg;
    CHECK_EQ(fork_and(EXIT), 0);
    CHECK_EQ(fork_and(EXEC), 0);
    CHECK_EQ(fork_and(HARMLESS), 0);
    CHECK_EQ(fork_and(SLEEP), 0);
    for (size_t i = 0; i < sizeof parking / sizeof parking[0]; i++)
        CHECK_EQ(fork_and((int)i), 2);
}

static void in_blocking(void *arg)
{
    (void)arg;
    CHECK_EQ(fork_and(EXEC), 0);
    CHECK_EQ(fork_and(HARMLESS), 0);
}

static void fork_in_blocking(void *arg)
{
    loam_blocking(in_blocking, arg);
}

static int stop;

static void busy(void *arg)
{
    (void)arg;
    while (!load(&stop)) {
        go(nothing, NULL);
        loam_yield();
    }
}

static void parked(void *arg)
{
    (void)arg;
    (void)loam_recv(empty);
}

/* Many forks while others schedule: whatever lock is held at the moment, the child does not need it. */
static void storm(void *arg)
{
    (void)arg;
    for (int64_t i = 0; i < times(200); i++) {
        CHECK_EQ(fork_and(HARMLESS), 0);
        CHECK_EQ(fork_and((int)(i % 8)), 2);
    }
}

static void on_foreign_thread(void)
{
    CHECK_EQ(fork_and(EXEC), 0);
    CHECK_EQ(fork_and(HARMLESS), 0);
    for (size_t i = 0; i < sizeof parking / sizeof parking[0]; i++)
        CHECK_EQ(fork_and((int)i), 2);
}

static void whole(void *arg)
{
    (void)arg;
    CHECK_EQ(loam_start(NULL), 0);
    empty = loam_chan_make(int, 0);
    loam_mutex_lock(&held); /* uncontended: also on a foreign thread */
    loam_waitgroup_add(&wg, 1);
    go(parked, NULL);
    on_foreign_thread();
    CHECK_EQ(loam_call(fork_on_goroutine, NULL), 0);
    CHECK_EQ(loam_call(fork_in_blocking, NULL), 0);
    go(busy, NULL);
    go(busy, NULL);
    CHECK_EQ(loam_call(storm, NULL), 0);
    store(&stop, 1);
    CHECK_EQ(loam_stop(-1), 0);
    /* After the stop a child is like any other. */
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(loam_start(NULL), 0);
        CHECK_EQ(loam_call(nothing, NULL), 0);
        CHECK_EQ(loam_stop(-1), 0);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* The text of the fatal errors. */
static void one_fatal(void *arg)
{
    (void)arg;
    CHECK_EQ(fork_and(0), 2);
}

static void fatal_text(void *arg)
{
    (void)arg;
    CHECK_EQ(loam_start(NULL), 0);
    empty = loam_chan_make(int, 0);
    CHECK_EQ(loam_call(one_fatal, NULL), 0);
    _exit(0);
}

/* All descriptors of the runtime close on exec. */
static void look_at_fds(void *arg)
{
    (void)arg;
    for (int fd = 3; fd < 100; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC)) {
            char name[64], target[256];
            snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
            ssize_t n = readlink(name, target, sizeof target - 1);
            FAIL("descriptor %d, %.*s, would stay open in an exec", fd, (int)n, target);
        }
    }
}

static void started_fds(void *arg)
{
    for (int fd = 3; fd < 100; fd++)
        close(fd); /* whatever the runner left open */
    CHECK_EQ(loam_start(&(struct loam_config){.debug = arg}), 0);
    CHECK_EQ(loam_call(look_at_fds, NULL), 0);
    CHECK_EQ(loam_stop(-1), 0);
}

int main(void)
{
    in_child_with(&o, whole, NULL, 60 * (TEST_TSAN || TEST_ASAN ? 4 : 1), NULL);
    CHECK_OUTCOME(&o, 0, "forked child");
    in_child(&o, fatal_text, NULL);
    CHECK_OUTCOME(&o, 0, "fatal error: ");
    CHECK_HAS(o.err, "forked child");
    in_child(&o, started_fds, (char[]){""});
    CHECK_OUTCOME(&o, 0, NULL);
    in_child(&o, started_fds, (char[]){"dst=1,evtrace=/dev/null"});
    CHECK_OUTCOME(&o, 0, NULL);
    return 0;
}
