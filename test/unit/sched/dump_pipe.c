/* Dumps into pipes: whoever reads late, not at all, or on a goroutine holds up the dump, not the others.
 * Two dumps at once. */
#include "../../check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

enum { PARKED = 2000 };

static int fds[2];
static int64_t got, steps;
static int dumped, quit;

static void parked(void *arg)
{
    (void)arg;
    loam_sleep(3600 * LOAM_SECOND);
}

static void steps_on(void *arg)
{
    (void)arg;
    while (!load(&quit)) {
        add(&steps, 1);
        loam_sleep(LOAM_MILLISECOND);
    }
}

static void read_some(void *arg)
{
    char text[4096];
    ssize_t n = read(fds[0], text, sizeof text);
    CHECK(n >= 0);
    *(bool *)arg = n > 0;
    add(&got, n);
}

static void read_all(void *arg)
{
    (void)arg;
    for (bool more = true; more;)
        loam_blocking(read_some, &more);
}

static void begin(int procs)
{
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = procs}), 0);
    CHECK_EQ(pipe(fds), 0);
    store(&got, 0);
    store(&steps, 0);
    store(&dumped, 0);
    store(&quit, 0);
    for (int64_t i = 0; i < at_most(PARKED); i++)
        go(parked, NULL);
}

/* ---- The reader is a goroutine ------------------------------------------------------------------------ */

static void dump_to_goroutine(void *arg)
{
    struct loam_waitgroup wg = {0};
    (void)arg;
    loam_waitgroup_go(&wg, read_all, NULL);
    loam_yield();
    loam_dump_goroutines(fds[1]);
    close(fds[1]);
    loam_waitgroup_wait(&wg);
}

static void reader_is_goroutine(int procs)
{
    begin(procs);
    CHECK_EQ(loam_call(dump_to_goroutine, NULL), 0);
    CHECK(got > at_most(PARKED) * (int64_t)strlen("goroutine 1 [sleep]:\n"));
    CHECK_EQ(loam_stop(-1), 0);
    close(fds[0]);
}

/* ---- Nobody reads yet ----------------------------------------------------------------------------------- */

static void dump(void *arg)
{
    (void)arg;
    loam_dump_goroutines(fds[1]);
    store(&dumped, 1);
}

static void *dump_in_thread(void *arg)
{
    dump(arg);
    return NULL;
}

static void *drain(void *arg)
{
    (void)arg;
    for (bool more = true; more;)
        read_some(&more);
    return NULL;
}

static void nobody_reads(bool foreign)
{
    pthread_t dumper, reader;
    begin(1);
    /* full already: the dump gets nothing in */
    CHECK_EQ(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    while (write(fds[1], "", 1) == 1)
        ;
    CHECK_EQ(fcntl(fds[1], F_SETFL, 0), 0);
    go(steps_on, NULL);
    if (foreign)
        CHECK_EQ(pthread_create(&dumper, NULL, dump_in_thread, NULL), 0);
    else
        go(dump, NULL);
    usleep(300000);
    int64_t before = load(&steps);
    AWAIT_THREAD(load(&steps) > before + 20);
    CHECK_EQ(load(&dumped), 0);
    store(&quit, 1);
    /* A foreign thread is not waited for; a goroutine is in a blocking call. */
    if (foreign)
        CHECK_EQ(loam_stop(10 * LOAM_SECOND), 0);
    else
        CHECK_EQ(loam_stop(10 * LOAM_MILLISECOND), -EBUSY);
    CHECK_EQ(pthread_create(&reader, NULL, drain, NULL), 0);
    AWAIT_THREAD(load(&dumped));
    close(fds[1]);
    pthread_join(reader, NULL);
    close(fds[0]);
    if (foreign)
        pthread_join(dumper, NULL);
    else
        CHECK_EQ(loam_stop(-1), 0);
}

/* ---- Two at once --------------------------------------------------------------------------------------- */

static int nowhere;

static void labelled(void *arg)
{
    (void)arg;
    while (!load(&quit)) {
        CHECK_EQ(loam_set_label("request", "4711"), 0);
        loam_yield();
        CHECK_EQ(loam_set_label("request", NULL), 0);
    }
}

static void dump_stopped(void *arg)
{
    (void)arg;
    while (!load(&quit))
        loam_dump_goroutines(nowhere);
}

/* In a blocking call the world is not stopped: labels come and go, and are not looked at. */
static void dump_in_call(void *arg)
{
    static char text[1 << 20];
    int file = memfd_create("dump", 0);
    (void)arg;
    for (int64_t i = 0; i < times(300); i++) {
        CHECK_EQ(ftruncate(file, 0), 0);
        loam_dump_goroutines(file);
        ssize_t n = pread(file, text, sizeof text - 1, 0);
        CHECK(n > 0);
        text[n] = '\0';
        CHECK_HAS(text, "goroutine ");
        CHECK(strstr(text, "4711") == NULL);
        CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
    }
    close(file);
}

static void two_dumps(void *arg)
{
    struct loam_waitgroup wg = {0};
    (void)arg;
    nowhere = open("/dev/null", O_WRONLY);
    store(&quit, 0);
    for (int i = 0; i < 50; i++)
        loam_waitgroup_go(&wg, labelled, NULL);
    loam_waitgroup_go(&wg, dump_stopped, NULL);
    loam_blocking(dump_in_call, NULL);
    store(&quit, 1);
    loam_waitgroup_wait(&wg);
    close(nowhere);
}

int main(void)
{
    for (int procs = 1; procs <= 3; procs++)
        reader_is_goroutine(procs);
    nobody_reads(true);
    nobody_reads(false);
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 3}), 0);
    CHECK_EQ(loam_call(two_dumps, NULL), 0);
    CHECK_EQ(loam_stop(-1), 0);
    return 0;
}
