/* Goroutines wired to their thread: they stay on it and are alone there, however they wait; locks nest;
 * the end of a wired one ends its thread, and threads, ids and memory do not pile up; the main goroutine
 * begins on the process's main thread and, wired, stays there. */
#include "sched/sched_int.h"

#include "schedtest.h"

#include <malloc.h>
#include <sched.h>

static struct loam_waitgroup wg;
static int quit;

/* ---- The same thread, and nobody else on it ---------------------------------------------------------- */

enum { TIDS = 1 << 16 };
static int wired_here[TIDS]; /* by thread id, modulo: there are few threads */

static void lock_thread(void)
{
    loam_lock_os_thread();
    add(&wired_here[thread_id() % TIDS], 1);
}

static void unlock_thread(void)
{
    add(&wired_here[thread_id() % TIDS], -1);
    loam_unlock_os_thread();
}

/* One that is wired nowhere; no call into the runtime between the two looks. */
static void walk_about(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    while (!load(&quit)) {
        CHECK_EQ(load(&wired_here[thread_id() % TIDS]), 0);
        if (draw(&seed, 8) == 0)
            loam_sleep(draw(&seed, 50000));
        else
            loam_yield();
    }
}

static void blocking_call(void *arg)
{
    uint64_t *seed = arg;
    if (draw(seed, 2) == 0)
        sched_yield();
    else
        usleep(draw(seed, 100));
}

static void nothing(void *arg)
{
    (void)arg;
}

static void note_thread(void *arg)
{
    CHECK(getg()->lockedm == NULL); /* that does not pass on */
    CHECK_EQ(load(&wired_here[thread_id() % TIDS]), 0);
    *(pid_t *)arg = thread_id();
}

static void wait_in_any_way(uint64_t *seed, loam_chan(int) c, struct loam_mutex *m)
{
    pid_t other = 0;
    switch (draw(seed, 9)) {
    case 0:
        loam_sleep(draw(seed, 100000));
        break;
    case 1:
        loam_blocking(blocking_call, seed);
        break;
    case 2:
        CHECK_EQ(loam_call(note_thread, &other), 0);
        CHECK(other != 0 && other != thread_id());
        break;
    case 3:
        loam_mutex_lock(m);
        loam_yield();
        loam_mutex_unlock(m);
        break;
    case 4:
    case 5: /* with those of the same channel, wired or not; nobody need come */
        if (loam_try_send(c, 1) != 1)
            (void)loam_try_recv(c, &(int){0});
        break;
    case 6:
        loam_gomaxprocs(draw(seed, 20) == 0 ? 1 + (int)draw(seed, 4) : 0);
        break;
    case 7:
        loam_waitgroup_go(&wg, nothing, NULL);
        break;
    default:
        loam_yield();
    }
}

static loam_chan(int) shared;
static struct loam_mutex mutex;

static void stay(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int i = 0; i < times(40); i++) {
        lock_thread();
        pid_t tid = thread_id();
        for (int k = (int)draw(&seed, 12); k > 0; k--) {
            wait_in_any_way(&seed, shared, &mutex);
            CHECK_EQ(thread_id(), tid);
        }
        unlock_thread();
        loam_yield();
    }
}

static void staying(void *arg)
{
    struct loam_waitgroup walkers = {0};
    (void)arg;
    store(&quit, 0);
    shared = loam_chan_make(int, 1);
    for (uintptr_t i = 1; i <= 6; i++)
        loam_waitgroup_go(&walkers, walk_about, (void *)i);
    for (uintptr_t i = 1; i <= 6; i++)
        loam_waitgroup_go(&wg, stay, (void *)(i + 100));
    loam_waitgroup_wait(&wg);
    store(&quit, 1);
    loam_waitgroup_wait(&walkers);
    loam_chan_free(shared);
}

/* ---- Two that talk, each on its own thread ---------------------------------------------------------- */

struct pair {
    loam_chan(int) there, back;
    int n;
};

static void answer(void *arg)
{
    struct pair *p = arg;
    lock_thread();
    pid_t tid = thread_id();
    for (int i = 0; i < p->n; i++) {
        CHECK_EQ(loam_recv(p->there), i);
        CHECK_EQ(thread_id(), tid);
        loam_send(p->back, i + 1);
    }
    unlock_thread();
}

static void talk(void *arg)
{
    struct pair p = {loam_chan_make(int, 0), loam_chan_make(int, 0), (int)times(500)};
    (void)arg;
    loam_waitgroup_go(&wg, answer, &p);
    lock_thread();
    pid_t tid = thread_id();
    for (int i = 0; i < p.n; i++) {
        loam_send(p.there, i);
        CHECK_EQ(loam_recv(p.back), i + 1);
        CHECK_EQ(thread_id(), tid);
    }
    unlock_thread();
    loam_waitgroup_wait(&wg);
    loam_chan_free(p.there);
    loam_chan_free(p.back);
}

static int turns; /* of who waits in line beside a pair */

static void take_turns(void *arg)
{
    (void)arg;
    while (!load(&quit)) {
        add(&turns, 1);
        loam_yield();
    }
}

/* A pair of which one is wired wakes each other all the time; who is in the P's queue has its turn all
 * the same. */
static void talk_beside_others(void *arg)
{
    (void)arg;
    struct pair p = {loam_chan_make(int, 0), loam_chan_make(int, 0), (int)times(2000)};
    store(&quit, 0);
    store(&turns, 0);
    loam_waitgroup_go(&wg, answer, &p);
    loam_waitgroup_go(&wg, take_turns, NULL);
    for (int i = 0; i < p.n; i++) {
        loam_send(p.there, i);
        CHECK_EQ(loam_recv(p.back), i + 1);
    }
    CHECK(load(&turns) >= p.n / 100);
    store(&quit, 1);
    loam_waitgroup_wait(&wg);
    loam_chan_free(p.there);
    loam_chan_free(p.back);
}

/* ---- Nesting ---------------------------------------------------------------------------------------- */

static bool is_wired(void)
{
    struct g *gp = getg();
    struct m *mp = getm();
    CHECK_EQ(gp->lockedm == mp, mp->lockedg == gp);
    CHECK_EQ(gp->lockedm == NULL, gp->locked == 0);
    return gp->lockedm == mp;
}

static void nesting(void *arg)
{
    (void)arg;
    loam_unlock_os_thread(); /* none: nothing */
    CHECK(!is_wired());
    for (int depth = 1; depth <= 5; depth++) {
        for (int i = 0; i < depth; i++) {
            loam_lock_os_thread();
            loam_yield();
            CHECK(is_wired());
        }
        for (int i = 0; i < depth; i++) {
            CHECK(is_wired());
            loam_sleep(1000);
            loam_unlock_os_thread();
        }
        CHECK(!is_wired());
        loam_unlock_os_thread();
        CHECK(!is_wired());
        loam_yield();
    }
    loam_blocking_enter(); /* also within a call */
    loam_lock_os_thread();
    pid_t tid = thread_id();
    loam_blocking_leave();
    CHECK(is_wired());
    CHECK_EQ(thread_id(), tid);
    loam_unlock_os_thread();
}

/* ---- The end ---------------------------------------------------------------------------------------- */

static bool thread_lives(pid_t tid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d", (int)tid);
    return access(path, F_OK) == 0;
}

static int64_t count_threads(void)
{
    return process_status("Threads:");
}

static pid_t ended_on;

static void end_wired(void *arg)
{
    (void)arg;
    loam_lock_os_thread();
    loam_yield();
    store(&ended_on, thread_id());
}

static void end_wired_by_goexit(void *arg)
{
    loam_lock_os_thread();
    loam_sleep(1000);
    end_wired(arg);
    loam_goexit();
}

static void end_unwired(void *arg)
{
    end_wired(arg);
    loam_unlock_os_thread();
}

/* The address space in KB, without goroutines' stacks: of dead ones the Ps keep some. */
static int64_t size_without_stacks(void)
{
    struct loam_sched_stats s;
    loam_read_sched_stats(&s);
    return process_status("VmSize:") - (int64_t)(s.stacks_mapped >> 10);
}

/* From a thread of the program: nothing else runs. */
static void one_after_the_other(void)
{
    enum { WARM = 50 };
    int64_t n = times(2000), threads = 0, size = 0;
    mallopt(M_ARENA_MAX, 1); /* else libc reserves 64 MB for each of several threads */
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 2}), 0);
    for (int64_t i = 0; i < n + WARM; i++) {
        if (i == WARM) {
            threads = count_threads();
            size = size_without_stacks();
        }
        CHECK_EQ(loam_call(i % 2 == 0 ? end_wired : end_wired_by_goexit, NULL), 0);
        if (i % 16 == 0) /* its thread is gone: no other has its number while it is there */
            AWAIT_THREAD(!thread_lives(load(&ended_on)));
    }
    /* A thread that gave its P to a wired one is not idle yet when that one ends at once: then a new
     * thread is made. On a starved machine that happens to several at a time. */
    AWAIT_THREAD(count_threads() <= threads + 8);
    /* less than the stacks of four threads, or the structures of two thousand Ms */
    if (!TEST_ASAN && !TEST_TSAN && size_without_stacks() > size + 30 * 1024)
        FAIL("without stacks %" PRId64 " KB, but %" PRId64 " after %d", size_without_stacks(), size,
             WARM);
    struct loam_sched_stats s;
    loam_read_sched_stats(&s);
    CHECK(s.threads <= 16);
    int ms = 0;
    for (struct m *mp = load_acquire(&allm); mp != NULL; mp = mp->alllink)
        ms++;
    CHECK(ms <= 24); /* they are taken again */
    /* Without a lock left the thread stays. */
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(loam_call(end_unwired, NULL), 0);
        CHECK(thread_lives(load(&ended_on)));
    }
    CHECK_EQ(loam_stop(-1), 0);
}

/* ---- Main -------------------------------------------------------------------------------------------- */

static int main_first_thread(int argc, char **argv)
{
    (void)argv;
    CHECK_EQ(thread_id(), getpid());
    if (argc == 0)
        return 1;
    lock_thread();
    store(&quit, 0);
    shared = loam_chan_make(int, 1);
    for (uintptr_t i = 1; i <= 3; i++)
        loam_waitgroup_go(&wg, i == 1 ? stay : end_wired, (void *)i);
    uint64_t seed = 9;
    for (int i = 0; i < 30; i++) {
        wait_in_any_way(&seed, shared, &mutex);
        CHECK_EQ(thread_id(), getpid());
    }
    loam_waitgroup_wait(&wg);
    loam_chan_free(shared);
    CHECK_EQ(thread_id(), getpid());
    if (argc == 2)
        unlock_thread();
    else
        add(&wired_here[thread_id() % TIDS], -1);
    return 2;
}

int main(void)
{
    static const char *const procs[] = {"1", "2", "4"};
    for (int p = 0; p < 3; p++) {
        setenv("GOMAXPROCS", procs[p], 1);
        for (int i = 0; i < times(100); i++)
            CHECK_EQ(loam_run(main_first_thread, 0, NULL), 1);
        for (int i = 0; i < times(20); i++)
            CHECK_EQ(loam_run(main_first_thread, 1 + i % 2, NULL), 2);
        on_goroutine(0, nesting, NULL);
        on_goroutine(0, talk, NULL);
        on_goroutine(0, talk_beside_others, NULL);
        on_goroutine(0, staying, NULL);
    }
    one_after_the_other();
    return 0;
}
