/* Deadlock: reported when nobody can wake a goroutine any more, and only then. */
#include "../../child.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sys/resource.h>

static struct outcome o;
static loam_chan(int) c;
static struct loam_mutex m;
static struct loam_waitgroup wg;

/* ---- Reported -------------------------------------------------------------------------------------- */

static void receive(void *arg)
{
    (void)arg;
    (void)loam_recv(c);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void wait_receive(void)
{
    receive(NULL);
}

static void wait_nil(void)
{
    (void)loam_chan_recv(NULL, NULL);
}

static void wait_send(void)
{
    loam_send(c, 1);
}

static void wait_select(void)
{
    loam_select_n(NULL, 0, 0);
}

static void wait_mutex(void)
{
    loam_mutex_lock(&m);
    loam_mutex_lock(&m);
}

static void wait_group(void)
{
    loam_waitgroup_add(&wg, 1);
    loam_waitgroup_wait(&wg);
}

static void wait_all(void)
{
    for (int i = 0; i < 20; i++)
        go(receive, NULL);
    receive(NULL);
}

static void wait_after_work(void)
{
    for (int i = 0; i < 20; i++) {
        go(nothing, NULL);
        loam_blocking(nothing, NULL);
        loam_sleep(1000);
    }
    receive(NULL);
}

static void wait_wired(void)
{
    loam_lock_os_thread();
    receive(NULL);
}

/* The last one to run ends with its thread, which is still there when it looks for others. */
static void end_wired(void *arg)
{
    (void)arg;
    loam_lock_os_thread();
    loam_sleep(2000);
}

static void wait_for_wired(void)
{
    for (int i = 0; i < 3; i++)
        go(end_wired, NULL);
    receive(NULL);
}

/* A thread of the program could have woken somebody; then it ends. */
static void *nap(void *arg)
{
    (void)arg;
    usleep(300000);
    return NULL;
}

static void wait_for_thread(void)
{
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, nap, NULL), 0);
    pthread_detach(t);
    receive(NULL);
}

static void stop_timer(void)
{
    struct loam_timer *t = loam_timer_new(3600 * LOAM_SECOND);
    CHECK(loam_timer_stop(t));
    loam_timer_free(t);
    receive(NULL);
}

/* ---- Not reported ------------------------------------------------------------------------------------ */

static void send_after_sleep(void *arg)
{
    (void)arg;
    loam_sleep(300 * LOAM_MILLISECOND);
    loam_send(c, 1);
}

static void wait_sleeper(void)
{
    go(send_after_sleep, NULL);
    receive(NULL);
}

static void wait_timer(void)
{
    struct loam_timer *t = loam_timer_new(300 * LOAM_MILLISECOND);
    (void)loam_recv(loam_timer_chan(t));
    loam_timer_free(t);
}

static void block_300_ms(void *arg)
{
    (void)arg;
    usleep(300000);
}

static void send_after_call(void *arg)
{
    loam_blocking(block_300_ms, arg);
    loam_send(c, 1);
}

static void wait_call(void)
{
    for (int i = 0; i < 3; i++)
        go(send_after_call, NULL);
    for (int i = 0; i < 3; i++)
        receive(NULL);
}

static void wait_own_call(void)
{
    loam_blocking(block_300_ms, NULL);
}

static void *send_from_thread(void *arg)
{
    (void)arg;
    usleep(300000);
    while (!loam_try_send(c, 1)) /* who receives may not wait yet */
        usleep(1000);
    return NULL;
}

static void wait_foreign(void)
{
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, send_from_thread, NULL), 0);
    receive(NULL);
    pthread_join(t, NULL);
}

/* Whether there are other threads is found out without a descriptor. */
static void use_up_descriptors(void)
{
    struct rlimit few = {32, 32};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (open("/dev/null", O_RDONLY) >= 0)
        ;
}

static void wait_foreign_no_descriptor(void)
{
    use_up_descriptors();
    wait_foreign();
}

static void wait_no_descriptor(void)
{
    use_up_descriptors();
    receive(NULL);
}

/* Many groups make a long line in the process's status, before the number of its threads. */
static void wait_foreign_many_groups(void)
{
    gid_t groups[300];
    for (gid_t i = 0; i < 300; i++)
        groups[i] = 1000000000 + i;
    (void)setgroups(300, groups); /* where it may not, this is wait_foreign once more */
    wait_foreign();
}

/* Where there is no /proc nobody can know. */
static void wait_foreign_no_proc(void)
{
    (void)!chroot("/sys");
    wait_foreign();
}

static void wait_unannounced(void)
{
    usleep(300000);
}

static void wired_sleeps(void)
{
    loam_lock_os_thread();
    loam_sleep(300 * LOAM_MILLISECOND);
    go(send_after_sleep, NULL);
    receive(NULL);
}

static const struct {
    const char *name;
    void (*fn)(void);
    const char *text; /* of the main goroutine; NULL: no deadlock */
    bool real_time;   /* not in a seeded run */
} cases[] = {
    {"receive", wait_receive, "goroutine 1 [chan receive]:", false},
    {"nil channel", wait_nil, "goroutine 1 [chan receive (nil chan)]:", false},
    {"send", wait_send, "goroutine 1 [chan send]:", false},
    {"select", wait_select, "goroutine 1 [select (no cases)]:", false},
    {"mutex", wait_mutex, "goroutine 1 [sync.Mutex.Lock]:", false},
    {"group", wait_group, "goroutine 1 [sync.WaitGroup.Wait]:", false},
    {"all", wait_all, "goroutine 1 [chan receive]:", false},
    {"after work", wait_after_work, "goroutine 1 [chan receive]:", false},
    {"wired", wait_wired, "goroutine 1 [chan receive, locked to thread]:", false},
    {"for wired", wait_for_wired, "goroutine 1 [chan receive]:", false},
    {"no descriptor", wait_no_descriptor, "goroutine 1 [chan receive]:", false},
    {"for thread", wait_for_thread, "goroutine 1 [chan receive]:", true},
    {"stopped timer", stop_timer, "goroutine 1 [chan receive]:", false},
    {"sleeper", wait_sleeper, NULL, false},
    {"timer", wait_timer, NULL, false},
    {"calls", wait_call, NULL, true},
    {"own call", wait_own_call, NULL, true},
    {"foreign thread", wait_foreign, NULL, true},
    {"foreign thread, no descriptor", wait_foreign_no_descriptor, NULL, true},
    {"foreign thread, many groups", wait_foreign_many_groups, NULL, true},
    {"foreign thread, no /proc", wait_foreign_no_proc, NULL, true},
    {"unannounced", wait_unannounced, NULL, true},
    {"wired sleeper", wired_sleeps, NULL, false},
};

static int run_main(int argc, char **argv)
{
    (void)argv;
    c = loam_chan_make(int, 0);
    cases[argc].fn();
    return 0;
}

static void run_case(void *arg)
{
    exit(loam_run(run_main, *(int *)arg, NULL));
}

/* Embedded, somebody may always come. */
static void embedded(void *arg)
{
    (void)arg;
    CHECK_EQ(loam_start(NULL), 0);
    c = loam_chan_make(int, 0);
    for (int i = 0; i < 5; i++)
        go(receive, NULL);
    usleep(200000);
    AWAIT_THREAD(loam_try_send(c, 1));
    CHECK_EQ(loam_stop(-1), 0);
}

int main(void)
{
    static const char *const procs[] = {"1", "2", "4"};
    for (int p = 0; p < 3; p++) {
        setenv("GOMAXPROCS", procs[p], 1);
        for (int i = 0; i < (int)(sizeof cases / sizeof cases[0]); i++) {
            if (seeded() && cases[i].real_time)
                continue;
            if (TEST_TSAN && cases[i].text != NULL)
                continue; /* TSan's own thread might wake somebody, for all that we know */
            in_child(&o, run_case, &i);
            if (cases[i].text == NULL) {
                CHECK_OUTCOME(&o, 0, NULL);
                continue;
            }
            CHECK_OUTCOME(&o, 2, "fatal error: all goroutines are asleep - deadlock!\n\n");
            CHECK_HAS(o.err, cases[i].text);
        }
        in_child(&o, embedded, NULL);
        CHECK_OUTCOME(&o, 0, NULL);
    }
    return 0;
}
