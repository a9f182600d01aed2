/* Blocking calls: a short one keeps its P; a long one gives it to others, also where there is one only;
 * who comes back and finds no P waits for one. errno is kept. What is allowed in a call works, what is
 * not is a fatal error that says so; GOMAXPROCS may change meanwhile. */
#include "sched/sched_int.h"

#include "../../child.h"
#include "schedtest.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>

static struct outcome o;
static struct loam_waitgroup wg;
static int flag, back, before_call;

/* Not under TSan, which sees goroutines as threads that race for the errno of the thread below them. */
static void set_errno(int err)
{
    if (!TEST_TSAN)
        errno = err;
}

static void check_errno(int err)
{
    if (!TEST_TSAN)
        CHECK_EQ(errno, err);
}

static void nothing(void *arg)
{
    (void)arg;
}

static uint64_t edge_count(const char *automaton, const char *from, const char *to)
{
    struct loam_edge edges[64];
    size_t n = loam_read_edges(edges, 64);
    CHECK(n <= 64);
    for (size_t i = 0; i < n; i++)
        if (strcmp(edges[i].automaton, automaton) == 0 && strcmp(edges[i].from, from) == 0 &&
            strcmp(edges[i].to, to) == 0)
            return edges[i].count;
    FAIL("no edge %s: %s -> %s", automaton, from, to);
}

/* ---- Short and long --------------------------------------------------------------------------------- */

/* A call that nobody took the P from keeps it; on a busy machine sysmon may take it from some. */
static void short_calls(void *arg)
{
    enum { N = 1000 };
    uint64_t kept = edge_count("P", "syscall", "running");
    uint64_t lost = edge_count("P", "syscall", "idle"); /* by sysmon, and to nobody else here */
    (void)arg;
    for (int i = 0; i < N; i++)
        loam_blocking(nothing, NULL);
    kept = edge_count("P", "syscall", "running") - kept;
    lost = edge_count("P", "syscall", "idle") - lost;
    CHECK_EQ(kept + lost, N);
    CHECK(kept > 0);
}

static void set_flag(void *arg)
{
    (void)arg;
    store(&flag, 1);
}

static void until_flag(void *arg)
{
    (void)arg;
    AWAIT_THREAD(load(&flag));
}

/* The other goroutine can only run if this one's P goes to it. */
static void long_call(void *arg)
{
    uint64_t handoffs = load(&sched.handoffs);
    (void)arg;
    store(&flag, 0);
    go(set_flag, NULL);
    loam_blocking(until_flag, NULL);
    CHECK(load(&sched.handoffs) > handoffs || load(&gomaxprocs) > 1);
}

/* ---- Back without a P ------------------------------------------------------------------------------- */

/* It has every P (there is one) and calls nothing of the runtime, until the other one has come back
 * from its call: that one must wait. */
static void occupy(void *arg)
{
    struct g *gp = arg;
    store(&flag, 1); /* the call ends */
    while (load_acquire(&gp->status) != G_runnable)
        ;
    for (int i = 0; i < 20; i++)
        sched_yield();
    CHECK_EQ(load_acquire(&gp->status), G_runnable);
    CHECK_EQ(load(&back), 0);
    set_errno(7); /* maybe on the thread on which the other one goes on */
}

static void come_back_late(void *arg)
{
    bool wired = arg != NULL;
    pid_t tid = thread_id();
    if (wired)
        loam_lock_os_thread();
    for (int64_t i = 0; i < times(50); i++) {
        store(&flag, 0);
        store(&back, 0);
        loam_waitgroup_go(&wg, occupy, getg());
        tid = wired && i > 0 ? tid : thread_id();
        loam_blocking_enter();
        AWAIT_THREAD(load(&flag));
        set_errno(1000 + (int)i);
        loam_blocking_leave();
        check_errno(1000 + (int)i);
        store(&back, 1);
        if (wired)
            CHECK_EQ(thread_id(), tid);
        loam_waitgroup_wait(&wg);
    }
    if (wired)
        loam_unlock_os_thread();
}

static void keep_errno(void *arg)
{
    int64_t n = times(3000);
    (void)arg;
    for (int i = 1; i <= n; i++) {
        loam_blocking_enter();
        set_errno(i);
        if (i % 8 == 0)
            sched_yield();
        loam_blocking_leave();
        check_errno(i);
        set_errno(i + 1);
        loam_blocking(nothing, NULL);
        check_errno(i + 1);
        if (i % 64 == 0)
            loam_yield();
    }
}

static void keep_errno_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 8; i++)
        loam_waitgroup_go(&wg, keep_errno, NULL);
    loam_waitgroup_wait(&wg);
}

/* ---- What is allowed ---------------------------------------------------------------------------------- */

struct allowed {
    loam_chan(int) c;
    struct loam_mutex m;
    uint64_t goid;
};

static void do_allowed(void *arg)
{
    struct allowed *a = arg;
    pid_t tid = thread_id();
    CHECK_EQ(loam_goid(), a->goid);
    for (int i = 0; i < 5; i++) {
        loam_yield();
        CHECK_EQ(thread_id(), tid);
    }
    int64_t begin = clock_ns();
    loam_sleep(1000000);
    CHECK(clock_ns() - begin >= 1000000 || seeded());
    CHECK_EQ(thread_id(), tid);
    loam_waitgroup_go(&wg, nothing, NULL);
    CHECK_EQ(loam_go_copy(nothing, a, sizeof *a), 0);
    CHECK_EQ(loam_try_send(a->c, 5), 1);
    loam_mutex_unlock(&a->m);
    CHECK(loam_num_goroutine() > 0);
    loam_dump_goroutines(open("/dev/null", O_WRONLY));
    loam_set_name("allowed");
    CHECK_EQ(loam_set_label("k", "v"), 0);
    CHECK_EQ(thread_id(), tid);
}

static void wait_mutex(void *arg)
{
    struct allowed *a = arg;
    loam_mutex_lock(&a->m);
    loam_mutex_unlock(&a->m);
}

static void allowed_in_call(void *arg)
{
    struct allowed a = {.c = loam_chan_make(int, 1), .goid = loam_goid()};
    (void)arg;
    loam_mutex_lock(&a.m);
    loam_waitgroup_go(&wg, wait_mutex, &a);
    loam_yield(); /* mostly it waits now: the unlock wakes it from within the call */
    loam_blocking(do_allowed, &a);
    CHECK_STR(loam_label("k"), "v");
    CHECK_EQ(loam_recv(a.c), 5);
    loam_waitgroup_wait(&wg);
    loam_chan_free(a.c);
}

static void on_thread(void *arg)
{
    CHECK_EQ(loam_goid(), 0);
    *(int *)arg = 1;
}

/* On a thread of the program these functions have nothing to do, however they are called. */
static void foreign(void)
{
    int ran = 0;
    loam_blocking_leave();
    loam_blocking_enter();
    loam_blocking_enter();
    loam_blocking(on_thread, &ran);
    CHECK_EQ(ran, 1);
    loam_blocking_leave();
}

/* ---- GOMAXPROCS from within a call ------------------------------------------------------------------ */

static void resize(void *arg)
{
    uint64_t *seed = arg;
    if (draw(seed, 4) == 0)
        CHECK(loam_gomaxprocs(1 + (int)draw(seed, 6)) >= 1);
    else if (draw(seed, 3) == 0)
        usleep(draw(seed, 100));
}

static void resize_often(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int64_t i = 0; i < times(150); i++) {
        loam_blocking(resize, &seed);
        if (draw(&seed, 3) == 0)
            loam_yield();
        add(&before_call, 1);
    }
}

static void resize_alone(void *arg)
{
    (void)arg;
    for (int n = 1; n <= 6; n++)
        for (int to = 1; to <= 6; to++) {
            CHECK(loam_gomaxprocs(n) >= 1);
            loam_blocking_enter();
            CHECK_EQ(loam_gomaxprocs(0), n);
            CHECK_EQ(loam_gomaxprocs(to), n);
            CHECK_EQ(loam_gomaxprocs(-1), to);
            loam_blocking_leave();
            CHECK(getm()->p->id < to); /* its former P may be gone */
            CHECK_EQ(getm()->p->status, P_running);
            loam_yield();
        }
}

static void resize_many(void *arg)
{
    (void)arg;
    store(&before_call, 0);
    for (uintptr_t i = 1; i <= 6; i++)
        loam_waitgroup_go(&wg, resize_often, (void *)i);
    loam_waitgroup_wait(&wg);
    CHECK_EQ(before_call, 6 * times(150));
}

/* ---- Misuse --------------------------------------------------------------------------------------- */

static void enter_twice(void *arg)
{
    (void)arg;
    loam_blocking_enter();
    loam_blocking_enter();
}

static void nested(void *arg)
{
    (void)arg;
    loam_blocking(enter_twice, NULL);
}

static void leave_only(void *arg)
{
    (void)arg;
    loam_blocking_leave();
}

static void leave_twice(void *arg)
{
    (void)arg;
    loam_blocking_enter();
    loam_blocking_leave();
    loam_blocking_leave();
}

static void park_for_ever(void *arg)
{
    (void)arg;
    loam_select_n(NULL, 0, 0);
}

static void park(void *arg)
{
    loam_blocking(park_for_ever, arg);
}

static void call_in_call(void *arg)
{
    (void)arg;
    loam_blocking_enter();
    (void)loam_call(park_for_ever, NULL); /* else it might have ended before */
}

static void goexit_in_call(void *arg)
{
    (void)arg;
    loam_blocking((void (*)(void *))(uintptr_t)loam_goexit, NULL);
}

static void never_leave(void *arg)
{
    (void)arg;
    loam_blocking_enter();
}

static const struct misuse {
    void (*fn)(void *);
    const char *text;
} misuses[] = {
    {enter_twice, "fatal error: loam_blocking_enter: already in a blocking call"},
    {nested, "fatal error: loam_blocking_enter: already in a blocking call"},
    {leave_only, "fatal error: loam_blocking_leave: not in a blocking call"},
    {leave_twice, "fatal error: loam_blocking_leave: not in a blocking call"},
    {park, "fatal error: a function that waits was called inside loam_blocking"},
    {call_in_call, "fatal error: a function that waits was called inside loam_blocking"},
    {goexit_in_call, "fatal error: loam_goexit was called inside loam_blocking"},
    {never_leave, "fatal error: a goroutine ended inside loam_blocking_enter and _leave"},
};

static int main_misuses(int argc, char **argv)
{
    (void)argv;
    misuses[argc].fn(NULL);
    return 0;
}

static void misuse_on_main(void *arg)
{
    exit(loam_run(main_misuses, (int)((struct misuse *)arg - misuses), NULL));
}

static void misuse(void *arg)
{
    on_goroutine(2, ((struct misuse *)arg)->fn, NULL);
}

int main(void)
{
    /* Those that calculate here are to keep their processors. Preemption has tests of its own. */
    if (!seeded())
        setenv("LOAMDEBUG", "asyncpreemptoff=1", 1);
    foreign();
    for (int procs = 1; procs <= 4; procs++) {
        on_goroutine(procs, allowed_in_call, NULL);
        on_goroutine(procs, keep_errno_many, NULL);
        if (seeded())
            continue; /* one thread: a call keeps it, and GOMAXPROCS stays 1 */
        on_goroutine(procs, short_calls, NULL);
        for (int64_t i = 0; i < times(8); i++)
            on_goroutine(procs, long_call, NULL);
    }
    if (!seeded()) {
        on_goroutine(1, come_back_late, NULL);
        on_goroutine(1, come_back_late, &flag);
        on_goroutine(1, resize_alone, NULL);
        on_goroutine(2, resize_many, NULL);
    }
    for (size_t i = 0; i < sizeof misuses / sizeof misuses[0]; i++) {
        struct misuse m = misuses[i];
        in_child(&o, misuse, &m);
        CHECK_OUTCOME(&o, 2, m.text);
        in_child(&o, misuse_on_main, (void *)(uintptr_t)&misuses[i]);
        CHECK_OUTCOME(&o, 2, m.text);
    }
    return 0;
}
