/* Several foreign threads at once: calls, starts of goroutines, starts and stops of the runtime. */
#include "process.h"

#include <pthread.h>

static int running, calls, cancelled, refused, ended, go_on;

static void count(void *arg)
{
    add((int *)arg, 1);
}

static void count_later(void *arg)
{
    loam_yield();
    loam_sleep(1000);
    add((int *)arg, 1);
}

static int waiting;

static void never(void *arg)
{
    (void)arg;
    add(&waiting, 1);
    loam_select_n(NULL, 0, 0);
}

static void goexit_in_call(void *arg)
{
    add((int *)arg, 1);
    loam_goexit();
}

/* ---- Calls while the runtime stays ---------------------------------------------------------------- */

static void *call_a_lot(void *arg)
{
    (void)arg;
    int mine = 0;
    int64_t n = times(2000);
    for (int64_t i = 0; i < n; i++) {
        CHECK_EQ(loam_call(i % 3 == 0   ? count_later
                           : i % 3 == 1 ? count
                                        : goexit_in_call,
                           &mine),
                 0);
        CHECK_EQ(mine, i + 1);
        go(count, &ended);
        CHECK_EQ(loam_goid(), 0);
    }
    add(&calls, (int)n);
    return NULL;
}

/* The same from a goroutine, which parks. */
static void call_on_goroutine(void *arg)
{
    (void)arg;
    int mine = 0;
    for (int64_t i = 0; i < times(1000); i++) {
        CHECK_EQ(loam_call(i % 2 == 0 ? count_later : goexit_in_call, &mine), 0);
        CHECK_EQ(mine, i + 1);
    }
    add(&running, -1);
}

static void many_callers(void)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    calls = ended = 0;
    running = 3;
    CHECK_EQ(loam_start(NULL), 0);
    for (int i = 0; i < 3; i++)
        go(call_on_goroutine, NULL);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, call_a_lot, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    AWAIT_THREAD(load(&ended) == calls && load(&running) == 0);
    CHECK_EQ(loam_num_goroutine(), 0);
    CHECK_EQ(loam_stop(-1), 0);
}

/* ---- Calls against stops --------------------------------------------------------------------------- */

static void *call_always(void *arg)
{
    (void)arg;
    while (load(&go_on)) {
        int mine = 0;
        int err = loam_call(count_later, &mine);
        if (err == 0)
            CHECK_EQ(mine, 1);
        else if (err == -ECANCELED)
            add(&cancelled, 1);
        else if (err == -EINVAL)
            add(&refused, 1);
        else
            FAIL("loam_call: %d, %s", err, loam_error_text());
        add(&calls, 1);
    }
    return NULL;
}

static void *go_always(void *arg)
{
    (void)arg;
    while (load(&go_on)) {
        int err = loam_go(count, &ended);
        if (err != 0 && err != -EINVAL)
            FAIL("loam_go: %d, %s", err, loam_error_text());
        (void)loam_num_goroutine();
        struct loam_sched_stats stats;
        loam_read_sched_stats(&stats);
        struct loam_edge edges[64];
        CHECK(loam_read_edges(edges, 64) > 10);
    }
    return NULL;
}

static void *set_maxprocs_always(void *arg)
{
    (void)arg;
    for (int n = 1; load(&go_on); n = n % 4 + 1) {
        (void)loam_gomaxprocs(n);
        usleep(100);
    }
    return NULL;
}

static void *wait_for_ever(void *arg)
{
    int err;
    do /* -EINVAL: it is not started yet */
        err = loam_call(never, NULL);
    while (err == -EINVAL && load(&go_on));
    *(int *)arg = err;
    return NULL;
}

static void stops_against_calls(void)
{
    enum { THREADS = 5 };
    static void *(*const what[THREADS])(void *) = {call_always, go_always, call_always,
                                                   set_maxprocs_always, go_always};
    pthread_t threads[THREADS], waiter;
    calls = 0;
    go_on = 1;
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, what[i], NULL), 0);
    for (int64_t i = 0; i < times(50); i++) {
        int result = 0;
        CHECK_EQ(pthread_create(&waiter, NULL, wait_for_ever, &result), 0);
        struct loam_config config = {.maxprocs = 1 + (int)(i % 3)};
        CHECK_EQ(loam_start(&config), 0);
        int before = load(&calls);
        AWAIT_THREAD(load(&calls) > before + 2);
        usleep((unsigned)(i * 37 % 500));
        AWAIT_THREAD(load(&waiting) == i + 1);
        CHECK(loam_num_goroutine() > 0);
        int err = loam_stop(-1);
        if (err != 0)
            FAIL("loam_stop: %d, %s", err, loam_error_text());
        pthread_join(waiter, NULL);
        CHECK_EQ(result, -ECANCELED);
        usleep((unsigned)(i * 53 % 300));
    }
    store(&go_on, 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK(cancelled > 0 || refused > 0);
}

/* ---- Starts against starts --------------------------------------------------------------------------- */

static int starts, stops;

static void *start_and_stop(void *arg)
{
    (void)arg;
    for (int64_t i = 0; i < times(100); i++) {
        int err = loam_start(NULL);
        if (err == 0)
            add(&starts, 1);
        else
            CHECK_EQ(err, -EALREADY);
        (void)loam_call(count, &calls);
        err = loam_stop(-1);
        if (err == 0)
            add(&stops, 1);
        else
            CHECK_EQ(err, -EINVAL);
    }
    return NULL;
}

static void starts_against_starts(void)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, start_and_stop, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    if (loam_stop(-1) == 0)
        stops++;
    CHECK_EQ(starts, stops);
    CHECK(starts > 0);
}

/* A foreign thread keeps its alternate stack, its mask and its slack: nothing of it is changed. */
static void *with_everything_set(void *arg)
{
    (void)arg;
    static char alt[64 << 10];
    stack_t mine = {.ss_sp = alt, .ss_size = sizeof alt};
    CHECK_EQ(sigaltstack(&mine, NULL), 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &set, NULL), 0);
    static struct process was;
    process_look(&was);
    CHECK_EQ(loam_start(NULL), 0);
    int mine_ran = 0;
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(loam_call(count_later, &mine_ran), 0);
        go(count, &calls);
    }
    errno = 4711;
    CHECK_EQ(loam_call(count, &mine_ran), 0);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(loam_stop(-1), 0);
    CHECK_EQ(errno, 4711);
    process_same(&was, false);
    return NULL;
}

int main(void)
{
    static struct process was;
    process_look(&was);
    many_callers();
    process_same(&was, false);
    stops_against_calls();
    process_same(&was, false);
    starts_against_starts();
    process_same(&was, false);
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, with_everything_set, NULL), 0);
    pthread_join(t, NULL);
    process_same(&was, false);
    return 0;
}
