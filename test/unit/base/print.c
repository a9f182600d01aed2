/* Text to descriptors that do not take it at once: none is lost while somebody reads, and nobody waits for
 * ever where nobody does. */
#include "base/print.h"

#include "../../child.h"
#include "base/throw.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/time.h>

enum { LINES = 20000 };

static struct outcome o;
static int fds[2];
static int64_t got;

static void tick(int sig)
{
    (void)sig;
}

/* Interrupts whatever waits, all the time. */
static void interrupt_every_us(int us)
{
    struct sigaction act = {.sa_handler = tick};
    CHECK_EQ(sigaction(SIGALRM, &act, NULL), 0);
    struct itimerval every = {.it_interval = {.tv_usec = us}, .it_value = {.tv_usec = us}};
    CHECK_EQ(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void *read_late(void *arg)
{
    char text[1000];
    sigset_t all;
    (void)arg;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL); /* they are for who writes */
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    for (ssize_t n; (n = read(fds[0], text, sizeof text)) > 0;)
        got += n;
    return NULL;
}

static void slow_reader(int flags)
{
    pthread_t reader;
    got = 0;
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(fcntl(fds[1], F_SETFL, flags), 0);
    CHECK_EQ(pthread_create(&reader, NULL, read_late, NULL), 0);
    PRINTER(p, fds[1]);
    errno = 77;
    for (int i = 0; i < LINES; i++)
        pr(&p, "line %05d\n", i);
    pr_flush(&p);
    CHECK_EQ(errno, 77);
    CHECK_EQ(p.err, 0);
    close(fds[1]);
    pthread_join(reader, NULL);
    CHECK_EQ(got, LINES * 11);
    close(fds[0]);
}

static void full_pipe(int flags)
{
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    while (write(fds[1], "x", 1) == 1)
        ;
    CHECK_EQ(fcntl(fds[1], F_SETFL, flags), 0);
}

static void no_reader(int flags)
{
    full_pipe(flags);
    pr_patience_ms = 200;
    int64_t begin = clock_ns();
    PRINTER(p, fds[1]);
    for (int i = 0; i < LINES; i++)
        pr(&p, "line %05d\n", i);
    pr_flush(&p);
    CHECK_EQ(p.err, EAGAIN);
    CHECK(clock_ns() - begin >= 199000000);
    pr_patience_ms = 60000; /* not again for each flush: it would be far too long */
    pr(&p, "more\n");
    pr_flush(&p);
    close(fds[0]);
    close(fds[1]);
}

static void no_space(void)
{
    int fd = open("/dev/full", O_WRONLY);
    PRINTER(p, fd);
    pr(&p, "text");
    pr_flush(&p);
    CHECK_EQ(p.err, ENOSPC);
    close(fd);
}

/* A process whose standard error nobody reads ends all the same. */
static void begin_unread(void)
{
    pr_patience_ms = 200;
    CHECK_EQ(loam_start(NULL), 0);
    full_pipe(0);
    CHECK_EQ(dup2(fds[1], 2), 2);
}

static void throws_unread(void *arg)
{
    (void)arg;
    begin_unread();
    throw("nobody reads it");
}

static void quits_unread(void *arg)
{
    (void)arg;
    begin_unread();
    raise(SIGQUIT);
}

int main(void)
{
    for (int i = 0; i < 2; i++) {
        slow_reader(0);
        slow_reader(O_NONBLOCK);
        no_reader(0);
        no_reader(O_NONBLOCK);
        no_space();
        interrupt_every_us(500); /* the second time */
    }
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    in_child(&o, throws_unread, NULL);
    CHECK_OUTCOME(&o, 2, NULL);
    in_child(&o, quits_unread, NULL);
    CHECK_OUTCOME(&o, 2, NULL);
    return 0;
}
