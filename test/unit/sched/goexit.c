/* The end of goroutines: by return and by Goexit, wherever that stands, with destructors of their local
 * values, which may do anything; on another P than where they began; and that what they leave behind is
 * used again, whichever P it lies on. */
#include "sched/sched_int.h"

#include "../../child.h"
#include "schedtest.h"

static struct outcome o;
static struct loam_waitgroup wg;
static int ran, destroyed, release;
static loam_local_key key, key2, key3;

static void count(void *arg)
{
    (void)arg;
    add(&ran, 1);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* ---- Goexit in every position ----------------------------------------------------------------------- */

static noinline void goexit_deep(int levels)
{
    volatile char block[512];
    block[0] = block[511] = (char)levels;
    if (levels < 0)
        return;
    if (levels == 0)
        loam_goexit();
    goexit_deep(levels - 1);
    block[1] = block[0]; /* no tail call */
}

static void at_once(void *arg)
{
    (void)arg;
    loam_goexit();
}

static void deep(void *arg)
{
    (void)arg;
    goexit_deep(150);
    FAIL("Goexit returned");
}

static void after_yield(void *arg)
{
    (void)arg;
    loam_yield();
    loam_goexit();
}

static void after_sleep(void *arg)
{
    (void)arg;
    loam_sleep(1000);
    loam_goexit();
}

static void after_call(void *arg)
{
    (void)arg;
    loam_blocking(nothing, NULL);
    loam_goexit();
}

static void while_wired(void *arg)
{
    (void)arg;
    loam_lock_os_thread();
    loam_lock_os_thread();
    loam_goexit();
}

static void with_label(void *arg)
{
    (void)arg;
    CHECK_EQ(loam_set_label("a", "b"), 0);
    loam_goexit();
}

static void after_starting(void *arg)
{
    (void)arg;
    loam_waitgroup_go(&wg, at_once, NULL);
    loam_waitgroup_go(&wg, nothing, NULL);
    loam_goexit();
}

static void in_loam_call(void *arg)
{
    (void)arg;
    CHECK_EQ(loam_call(deep, NULL), 0); /* ends the called one only */
    CHECK_EQ(loam_call(while_wired, NULL), 0);
    loam_goexit();
}

static void by_return(void *arg)
{
    (void)arg;
}

static void by_return_wired(void *arg)
{
    (void)arg;
    loam_lock_os_thread();
    loam_yield();
}

static void (*const ends[])(void *) = {at_once,      deep,        after_yield,    after_sleep,
                                       after_call,   while_wired, with_label,     after_starting,
                                       in_loam_call, by_return,   by_return_wired};
enum { ENDS = sizeof ends / sizeof ends[0] };

/* Local values, then one of the ends. */
static void set_then_end(void *arg)
{
    add(&ran, 1);
    CHECK(loam_local_get(key) == NULL); /* of this stack's former goroutine nothing is left */
    CHECK(loam_label("a") == NULL);
    CHECK(getg()->lockedm == NULL && getg()->locked == 0);
    CHECK_EQ(loam_local_set(key, arg), 0);
    CHECK_EQ(loam_local_set(key3, arg), 0); /* no destructor */
    ends[*(int *)arg](NULL);
}

static void set_then_end_copy(void *arg)
{
    set_then_end(arg);
}

static void count_destroyed(void *value)
{
    CHECK(value != NULL && loam_goid() != 0);
    CHECK(loam_local_get(key) == NULL); /* it was taken first */
    add(&destroyed, 1);
}

static void positions(void *arg)
{
    static int which[ENDS];
    (void)arg;
    store(&ran, 0);
    store(&destroyed, 0);
    int64_t n = times(60);
    for (int k = 0; k < ENDS; k++)
        which[k] = k;
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < ENDS; k++) {
            loam_waitgroup_go(&wg, ends[k], NULL);
            go(set_then_end, &which[k]);
            CHECK_EQ(loam_go_copy(set_then_end_copy, &k, sizeof k), 0);
            CHECK_EQ(loam_call(set_then_end, &which[k]), 0);
            if (k % 4 == 0)
                loam_yield();
        }
    loam_waitgroup_wait(&wg);
    AWAIT(load(&destroyed) == 3 * n * ENDS);
    CHECK_EQ(load(&ran), 3 * n * ENDS);
    AWAIT(loam_num_goroutine() == 1);
}

/* ---- Destructors that do more ------------------------------------------------------------------------ */

static int again;

static void destroy_and_wait(void *value)
{
    loam_chan(int) c = value;
    add(&destroyed, 1);
    loam_yield();
    loam_sleep(1000);
    loam_blocking(nothing, NULL);
    loam_waitgroup_go(&wg, count, NULL);
    CHECK_EQ(loam_recv(c), 5); /* parks: it goes on on any thread */
}

static void destroy_and_goexit(void *value)
{
    (void)value;
    add(&destroyed, 1);
    loam_goexit(); /* the other values' destructors run all the same */
}

static void destroy_and_set(void *value)
{
    add(&again, 1);
    CHECK_EQ(loam_local_set(key3, value), 0); /* until nobody believes it any more */
}

static void destroy_and_wire(void *value)
{
    (void)value;
    add(&destroyed, 1);
    loam_lock_os_thread();
}

static int on_another;

static void hog_this_thread(void *arg)
{
    loam_chan(int) c = arg;
    loam_send(c, (int)thread_id());
    AWAIT_THREAD(load(&on_another)); /* nobody else runs here: the receiver goes on elsewhere */
}

/* Comes back on another thread than it was called on. Needs two Ps, of which one has nothing to do.
 * Either the hog took this thread, then this returns before the hog gives it back; or the hog was stolen,
 * then it may be its thread that goes on here. */
static void destroy_and_move(void *value)
{
    loam_chan(int) done = value, c = loam_chan_make(int, 0);
    pid_t tid = thread_id();
    for (;;) {
        store(&on_another, 0);
        loam_waitgroup_go(&wg, hog_this_thread, c);
        (void)loam_recv(c);
        if (thread_id() != tid)
            break;
        store(&on_another, 1);
        loam_waitgroup_wait(&wg);
        if (thread_id() != tid)
            break;
    }
    loam_chan_free(c);
    add(&destroyed, 1);
    loam_send(done, 5); /* does not wait: the receiver is there */
}

static void set_all(void *arg)
{
    CHECK_EQ(loam_local_set(key, arg), 0);
    CHECK_EQ(loam_local_set(key2, arg), 0);
    CHECK_EQ(loam_local_set(key3, arg), 0);
    if (loam_goid() % 2 == 0)
        loam_goexit();
}

static void keys_with(void (*d1)(void *), void (*d2)(void *), void (*d3)(void *))
{
    CHECK_EQ(loam_local_key_new(&key, d1), 0);
    CHECK_EQ(loam_local_key_new(&key2, d2), 0);
    CHECK_EQ(loam_local_key_new(&key3, d3), 0);
}

static void keys_free(void)
{
    CHECK_EQ(loam_local_key_free(key), 0);
    CHECK_EQ(loam_local_key_free(key2), 0);
    CHECK_EQ(loam_local_key_free(key3), 0);
}

static void destructors(void *arg)
{
    enum { N = 20 };
    loam_chan(int) c = loam_chan_make(int, 0);
    (void)arg;
    store(&ran, 0);
    store(&destroyed, 0);
    store(&again, 0);
    keys_with(destroy_and_wait, destroy_and_goexit, destroy_and_set);
    for (int i = 0; i < N; i++)
        go(set_all, c);
    for (int i = 0; i < N; i++)
        loam_send(c, 5);
    AWAIT(loam_num_goroutine() == 1);
    CHECK_EQ(load(&ran), N);
    CHECK_EQ(load(&destroyed), 2 * N);
    CHECK_EQ(load(&again), 4 * N); /* rounds, begun anew by the Goexit of the first */
    keys_free();

    store(&destroyed, 0);
    keys_with(destroy_and_wire, NULL, destroy_and_goexit);
    for (int i = 0; i < N; i++)
        go(set_all, c);
    AWAIT(loam_num_goroutine() == 1);
    CHECK_EQ(load(&destroyed), 2 * N);
    keys_free();

    keys_with(NULL, NULL, destroy_and_move);
    store(&destroyed, 0);
    for (int i = 1; i <= N && loam_gomaxprocs(0) > 1; i++) {
        go(set_all, c);
        CHECK_EQ(loam_recv(c), 5); /* parks: a loop of yields would hold the other P */
        store(&on_another, 1);
        loam_waitgroup_wait(&wg);
        CHECK_EQ(load(&destroyed), i);
    }
    AWAIT(loam_num_goroutine() == 1);
    keys_free();
    loam_chan_free(c);
}

/* ---- From P to P ---------------------------------------------------------------------------------------- */

enum { WAVE = 1500 };
static int alive;

static void wait_release(void *arg)
{
    (void)arg;
    add(&alive, 1);
    AWAIT(load(&release));
    add(&alive, -1);
}

/* So many at once, again and again; each ends where it happens to be. The Ps may keep so many dead ones
 * to themselves, what is beyond that they share. */
static void waves(void *arg)
{
    int64_t wave = at_most(WAVE);
    uint64_t all = (uint64_t)(wave + GFREE_LOCAL_MAX * 4 + 2 * 256) * (256 << 10);
    (void)arg;
    for (int64_t i = 0; i < 3 + times(10); i++) {
        store(&release, 0);
        for (int64_t k = 0; k < wave; k++) {
            if (k % 3 == 0)
                CHECK_EQ(loam_go_copy(wait_release, &k, sizeof k), 0);
            else
                go(wait_release, NULL);
        }
        AWAIT(load(&alive) == wave);
        store(&release, 1);
        AWAIT(load(&alive) == 0 && loam_num_goroutine() == 1);
        struct loam_sched_stats s;
        loam_read_sched_stats(&s);
        CHECK(s.stacks_mapped <= all);
    }
    int not_dead = 0;
    bool held = allg_hold();
    for (struct g *gp = load_acquire(&allg); gp != NULL; gp = load_acquire(&gp->alllink))
        not_dead += load_acquire(&gp->status) != G_dead;
    allg_release(held);
    CHECK_EQ(not_dead, 1);
}

/* One P makes them all, another ends them all: for ever from one's lists to the other's. */
static void from_one_to_another(void *arg)
{
    struct loam_sched_stats s;
    (void)arg;
    for (int64_t i = 0; i < times(50000); i++) {
        go(nothing, NULL);
        if (i % 512 == 0)
            AWAIT(loam_num_goroutine() < 1000);
    }
    AWAIT(loam_num_goroutine() == 1);
    loam_read_sched_stats(&s);
    CHECK(s.stacks_mapped <= (uint64_t)(1000 + 512 + GFREE_LOCAL_MAX * 4 + 2 * 256) * (256 << 10));
}

/* ---- Goexit where it may not be, and main's ---------------------------------------------------------- */

static void foreign_goexit(void *arg)
{
    (void)arg;
    CHECK_EQ(loam_start(NULL), 0);
    loam_goexit();
}

static int main_returns(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    CHECK_EQ(loam_local_set(key, &ran), 0);
    return 3;
}

static void main_with_values(void *arg)
{
    (void)arg;
    CHECK_EQ(loam_local_key_new(&key, count_destroyed), 0);
    CHECK_EQ(loam_run(main_returns, 0, NULL), 3);
    CHECK_EQ(load(&destroyed), 1);
}

int main(void)
{
    for (int procs = 1; procs <= 4; procs++) {
        keys_with(count_destroyed, count_destroyed, NULL);
        on_goroutine(procs, positions, NULL);
        keys_free();
        on_goroutine(procs, destructors, NULL);
        on_goroutine(procs, waves, NULL);
        on_goroutine(procs, from_one_to_another, NULL);
    }
    in_child(&o, foreign_goexit, NULL);
    CHECK_OUTCOME(&o, 2, "fatal error: loam_goexit: called on a thread that runs no goroutine");
    destroyed = 0;
    in_child(&o, main_with_values, NULL);
    CHECK_OUTCOME(&o, 0, NULL);
    return 0;
}
