/* A goroutine with STACK_SLACK bytes of its stack left may call the library: what the gate `slack` says of
 * the deepest chain of calls, libc's functions included, tried. */
#include "sched/sched_int.h"

#include "../../child.h"

#include <fcntl.h>

static struct outcome o;
static int null_fd, ran;
static struct loam_mutex mutex;
static struct loam_waitgroup wg;
static struct loam_pool *pool;

enum { CALLERS_FRAME = 256 /* of the function here that makes the call, in any build */ };

/* Runs fn on the calling goroutine's stack when that many bytes are left of it. */
static void with_left(size_t bytes, void (*fn)(void *), void *arg)
{
    arch_call_on(fn, arg, getg()->stack.lo + bytes);
    add(&ran, 1);
}

static void nothing(void *arg)
{
    (void)arg;
}

static int no_task(struct loam_context *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    return 0;
}

static void sends(void *arg)
{
    loam_chan(int) c = arg;
    for (int i = 0; i < 4; i++)
        loam_send(c, i);
}

/* ---- What is called ------------------------------------------------------------------------------- */

static noinline void channels(void *arg)
{
    int v;
    (void)arg;
    loam_chan(int) c = loam_chan_make(int, 0);
    go(sends, c);
    (void)loam_recv(c);
    (void)loam_select(loam_on_recv(c, &v));
    (void)loam_select_default(loam_on_recv(c, &v));
    (void)loam_select(loam_on_recv(c, &v));
    while (v != 3)
        v = loam_recv(c);
    loam_chan_free(c);
}

static noinline void starts(void *arg)
{
    for (int i = 0; i < 200; i++)
        go(nothing, arg);
    struct loam_waitgroup mine = {0};
    loam_waitgroup_go(&mine, nothing, arg);
    loam_waitgroup_wait(&mine);
    CHECK_EQ(loam_call(nothing, arg), 0);
}

static noinline void mutexes(void *arg)
{
    for (int i = 0; i < 20; i++) {
        loam_mutex_lock(&mutex);
        loam_yield();
        loam_mutex_unlock(&mutex);
    }
    (void)arg;
}

static noinline void sleeps(void *arg)
{
    (void)arg;
    loam_sleep(LOAM_MICROSECOND);
    struct loam_timer *t = loam_timer_new(LOAM_MICROSECOND);
    (void)loam_recv(loam_timer_chan(t));
    loam_timer_free(t);
    t = loam_after_func(LOAM_SECOND, nothing, NULL);
    CHECK(loam_timer_stop(t));
    loam_timer_free(t);
}

static noinline void contexts(void *arg)
{
    struct loam_context *ctx = loam_context_with_timeout(loam_context_background(), LOAM_SECOND);
    struct loam_context_after *a = loam_context_after_func(ctx, nothing, arg);
    (void)loam_context_sleep(ctx, LOAM_MICROSECOND);
    loam_context_cancel(ctx, 0);
    (void)loam_context_after_stop(a);
    loam_context_free(ctx);
    struct loam_group *g = loam_group_new(NULL);
    CHECK_EQ(loam_group_go(g, no_task, arg), 0);
    CHECK_EQ(loam_group_wait(g), 0);
    loam_group_free(g);
}

static noinline void calls_out(void *arg)
{
    loam_blocking(nothing, arg);
    loam_on_thread_stack(nothing, arg);
    CHECK_EQ(loam_pool_call(pool, nothing, arg, NULL), 0);
    CHECK(loam_num_cpu() > 0);
    (void)loam_gomaxprocs(3);
    (void)loam_gomaxprocs(2);
}

static noinline void shows(void *arg)
{
    struct loam_sched_stats s;
    (void)arg;
    loam_read_sched_stats(&s);
    CHECK_EQ(loam_set_label("key", "value"), 0);
    loam_traceback(null_fd);
    loam_dump_goroutines(null_fd);
}

static noinline void ends(void *arg)
{
    (void)arg;
    loam_goexit();
}

static void (*const calls[])(void *) = {channels, starts,    mutexes, sleeps,
                                        contexts, calls_out, shows,   ends};
enum { CALLS = sizeof calls / sizeof *calls };

static void call_all(void *arg)
{
    for (int i = 0; i < CALLS; i++)
        with_left(STACK_SLACK + CALLERS_FRAME, calls[i], arg);
}

static void tasks(void *arg)
{
    for (int i = 0; i < 8; i++)
        loam_waitgroup_go(&wg, call_all, arg);
    loam_waitgroup_wait(&wg);
}

static void begin(void)
{
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = 2}), 0);
    null_fd = open("/dev/null", O_WRONLY);
    CHECK_EQ(loam_pool_new(&pool, &(struct loam_pool_config){.threads = 1}), 0);
}

static void all(void *arg)
{
    begin();
    for (int round = 0; round < 3; round++)
        CHECK_EQ(loam_call(tasks, arg), 0);
    CHECK_EQ(load(&ran), 3 * 8 * (CALLS - 1)); /* the last one never comes back */
}

/* ---- What ends the process -------------------------------------------------------------------------- */

static noinline void panics(void *arg)
{
    (void)arg;
    loam_panic("the long double %Lf", 1e300L);
}

static noinline void throws(void *arg)
{
    (void)arg;
    throwf("number %d", 17);
}

static noinline void misuses(void *arg)
{
    (void)arg;
    loam_mutex_unlock(&mutex);
}

static void *deadly;
static size_t left;

static void dies(void *arg)
{
    with_left(left, (void (*)(void *))(uintptr_t)deadly, arg);
}

static void die_with(void *arg)
{
    begin();
    deadly = arg;
    CHECK_EQ(loam_call(dies, NULL), 0);
}

static void check_death(void (*fn)(void *), const char *text)
{
    left = STACK_SLACK + CALLERS_FRAME;
    in_child(&o, die_with, (void *)(uintptr_t)fn);
    CHECK_OUTCOME(&o, 2, text);
    CHECK_HAS(o.err, "[running]:\n");
    CHECK(strstr(o.err, "stack overflow") == NULL);
    left = CALLERS_FRAME; /* it is no matter of course */
    in_child(&o, die_with, (void *)(uintptr_t)fn);
    CHECK(o.exit == 2 || o.exit == 4); /* 4: before the message was out, which comes first then */
    CHECK_HAS(o.err, "fatal error: stack overflow");
    if (o.exit == 4)
        CHECK_HAS(o.err, text);
}

int main(void)
{
    in_child(&o, all, NULL);
    CHECK_OUTCOME(&o, 0, NULL);
    check_death(panics, "panic: the long double 1");
    check_death(throws, "fatal error: number 17");
    check_death(misuses, "fatal error: sync: unlock of unlocked mutex");
    return 0;
}
