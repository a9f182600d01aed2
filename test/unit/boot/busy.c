/* loam_stop while goroutines run or block: -EBUSY in time, and the runtime goes on as before. */
#include "process.h"

static int loop_on, block_on, ran;

static void endless(void *arg)
{
    add((int *)arg, 1);
    while (load(&loop_on)) {
    }
    add((int *)arg, 1);
}

static void block(void *arg)
{
    add((int *)arg, 1);
    while (load(&block_on))
        usleep(200);
}

static void endless_block(void *arg)
{
    loam_blocking(block, arg);
    add((int *)arg, 1);
}

static void short_blocks(void *arg)
{
    while (load(&block_on)) {
        loam_blocking_enter();
        usleep(50);
        loam_blocking_leave();
    }
    add((int *)arg, 1);
}

static void count(void *arg)
{
    add((int *)arg, 1);
}

static loam_chan(int) c;

static void echo(void *arg)
{
    (void)arg;
    int v;
    while (loam_recv_ok(c, &v))
        add(&ran, v);
}

static void busy_stop(int64_t timeout_ns)
{
    int64_t begin = clock_ns();
    CHECK_EQ(loam_stop(timeout_ns), -EBUSY);
    int64_t took = clock_ns() - begin;
    CHECK_HAS(loam_error_text(), "still runs");
    CHECK(took >= timeout_ns);
    if (took > timeout_ns + 2 * LOAM_SECOND)
        FAIL("loam_stop(%" PRId64 ") took %" PRId64 " ns", timeout_ns, took);
}

/* Everything works after the refusal: goroutines, parked ones, timers, calls. */
static void works(int procs_left)
{
    int mine = 0;
    if (procs_left > 0) {
        CHECK_EQ(loam_call(count, &mine), 0);
        CHECK_EQ(mine, 1);
        int before = load(&ran);
        for (int i = 0; i < 10; i++)
            CHECK(loam_try_send(c, 1));
        AWAIT_THREAD(load(&ran) == before + 10);
    }
    CHECK(loam_num_goroutine() >= 1);
    struct loam_sched_stats stats;
    loam_read_sched_stats(&stats);
    CHECK(stats.threads >= 2);
}

static void with_loop(void)
{
    int state = 0;
    loop_on = 1;
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 2}), 0);
    c = loam_chan_make(int, 16);
    go(echo, NULL);
    go(endless, &state);
    AWAIT_THREAD(load(&state) == 1);
    busy_stop(0);
    works(1);
    busy_stop(1);
    works(1);
    busy_stop(30 * LOAM_MILLISECOND);
    works(1);
    for (int i = 0; i < 50; i++)
        busy_stop(100000);
    works(1);
    store(&loop_on, 0);
    AWAIT_THREAD(load(&state) == 2);
    works(2);
    CHECK_EQ(loam_stop(10 * LOAM_SECOND), 0);
    loam_chan_free(c);
}

static void with_block(void)
{
    int state = 0;
    block_on = 1;
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 1}), 0);
    c = loam_chan_make(int, 16);
    go(echo, NULL);
    go(endless_block, &state);
    AWAIT_THREAD(load(&state) == 1);
    busy_stop(0);
    works(1);
    busy_stop(30 * LOAM_MILLISECOND);
    works(1);
    store(&block_on, 0);
    AWAIT_THREAD(load(&state) == 2);
    CHECK_EQ(loam_stop(10 * LOAM_SECOND), 0);
    loam_chan_free(c);
}

/* Short calls without end do not keep a stop from coming: in a stopped world they run dry. */
static void with_short_blocks(void)
{
    int state = 0;
    block_on = 1;
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 2}), 0);
    for (int i = 0; i < 20; i++)
        go(short_blocks, &state);
    usleep(20000);
    CHECK_EQ(loam_stop(10 * LOAM_SECOND), 0);
    CHECK_EQ(state, 0);
}

int main(void)
{
    static struct process was;
    if (seeded())
        SKIP("a seeded run has one thread: nothing else runs beside an endless loop");
    process_look(&was);
    with_loop();
    process_same(&was, false);
    with_block();
    process_same(&was, false);
    with_short_blocks();
    process_same(&was, false);
    return 0;
}
