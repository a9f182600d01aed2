/* What belongs to a thread, across every public function that may move a goroutine to another one.
 *
 * Goroutines call all functions of Loam in turn. Around each call, in one function so that a compiler
 * could keep what it knows: errno is the errno of the thread that the goroutine is on now, a __thread
 * variable is that thread's, and no FILE is left locked. It ends when each function that can park has
 * been seen to move a goroutine, so that the checks were no empty ones.
 *
 * It is compiled with -O2, with public headers alone; the first argument names a file to write to. */
#include <loam.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROBERS = 8, PROCS = 4, ROUNDS = 20 };

#define noinline __attribute__((noinline))

#define FAIL(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        _exit(1);                                                                                  \
    } while (0)

/* ---- What is a thread's ---------------------------------------------------------------------------- */

/* libc's accessor, by a pointer that the compiler knows nothing of: not that it is declared const. */
static int *(*volatile libc_errno)(void);

static __thread int tls_tid;

static noinline int tls_tid_now(void)
{
    __asm__ volatile("");
    if (tls_tid == 0)
        tls_tid = gettid();
    return tls_tid;
}

/* ---- The probe ------------------------------------------------------------------------------------- */

struct prober {
    int id;
    loam_chan(int) ask, answer;
    struct loam_context *ctx;
    struct loam_context_after *after;
    struct loam_group *group;
    struct loam_timer *timer;
    struct loam_ticker *ticker;
};

struct call {
    const char *name;
    bool moves; /* it parks: it must have been seen to come back on another thread */
    void (*probe)(struct prober *, struct call *);
    int moved; /* atomic */
};

static FILE *out;
static long written; /* atomic: bytes */

static noinline void look(struct prober *me, struct call *c, int tid, const int *before,
                          const int *after, int value)
{
    int now = gettid();
    if (after != libc_errno() || value != *libc_errno())
        FAIL("%s: errno is not that of the thread that it came back on", c->name);
    if ((before == after) != (tid == now))
        FAIL("%s: thread %d, then %d, but errno at %p, then %p", c->name, tid, now,
             (const void *)before, (const void *)after);
    if (tls_tid_now() != now)
        FAIL("%s: a variable of thread %d on thread %d", c->name, tls_tid_now(), now);
    if (tid != now)
        __atomic_add_fetch(&c->moved, 1, __ATOMIC_RELAXED);
    /* Nothing switches here: a lock of libc's is taken and given back by one thread. */
    int n = 0;
    flockfile(out);
    n += fprintf(out, "%d ", me->id);
    for (const char *s = c->name; *s != '\0'; s++, n++)
        putc_unlocked(*s, out);
    n += fprintf(out, " %d.\n", me->id);
    funlockfile(out);
    __atomic_add_fetch(&written, n, __ATOMIC_RELAXED);
}

#define PROBE(function, text)                                                                      \
    static noinline void probe_##function(struct prober *me, struct call *c)                       \
    {                                                                                              \
        int tid = gettid();                                                                        \
        errno = tid; /* each thread's is another */                                                \
        int *before = &errno;                                                                      \
        text;                                                                                      \
        int value = errno;                                                                         \
        look(me, c, tid, before, &errno, value);                                                   \
    }

/* ---- Things to call them on ------------------------------------------------------------------------ */

static struct loam_mutex mutex, cond_mutex;
static struct loam_rwmutex rwmutex;
static struct loam_semaphore semaphore;
static struct loam_objpool *objpool;
static struct loam_pool *pool;
static loam_local_key key;
static loam_chan(int) full,
    empty;               /* of nobody else's: a try fails, a select finds the other case */
static int nowhere;      /* a file descriptor */
static int out_of_calls; /* atomic */

static void nothing(void *arg)
{
    (void)arg;
}

static void yields(void *arg)
{
    (void)arg;
    loam_yield();
}

static int group_yields(struct loam_context *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    loam_yield();
    return 0;
}

static void naps(void *arg)
{
    (void)arg;
    usleep(100);
}

static void sets_errno(void *arg)
{
    usleep(100);
    errno = *(int *)arg;
}

static void *make(void *arg)
{
    return arg;
}

static void answers(void *arg)
{
    struct prober *me = arg;
    for (int v; loam_recv_ok(me->ask, &v);) {
        loam_yield();
        loam_send(me->answer, v);
        loam_yield(); /* let the next question wait */
        loam_yield();
    }
    loam_close(me->answer);
}

struct signal {
    struct loam_cond cond;
    bool set; /* cond_mutex */
};

static void signals(void *arg)
{
    struct signal *s = arg;
    loam_yield();
    loam_mutex_lock(&cond_mutex);
    s->set = true;
    loam_cond_signal(&s->cond);
    loam_mutex_unlock(&cond_mutex);
}

static void waits_for(struct signal *s)
{
    while (!s->set)
        loam_cond_wait(&s->cond, &cond_mutex);
}

static void start(void (*fn)(void *), void *arg)
{
    if (loam_go(fn, arg) != 0)
        FAIL("%s", loam_error_text());
}

/* ---- All functions ----------------------------------------------------------------------------------
 *
 * In the order in which a prober calls them: what locks stands before what unlocks. */

PROBE(loam_yield, loam_yield())
PROBE(loam_go, (void)loam_go(yields, NULL))
PROBE(loam_go_with, (void)loam_go_with(&(struct loam_go_options){.name = "x"}, yields, NULL))
PROBE(loam_go_copy, (void)loam_go_copy(yields, &tid, sizeof tid))
PROBE(loam_call, (void)loam_call(yields, NULL))
PROBE(loam_goid, (void)loam_goid())
PROBE(loam_set_name, loam_set_name("prober"))
PROBE(loam_num_cpu, (void)loam_num_cpu())
PROBE(loam_num_goroutine, (void)loam_num_goroutine())
PROBE(loam_version, (void)loam_version())
PROBE(loam_error_text, (void)loam_error_text())
PROBE(loam_set_label, (void)loam_set_label("id", "x"))
PROBE(loam_label, (void)loam_label("id"))
PROBE(loam_local_set, (void)loam_local_set(key, me))
PROBE(loam_local_get, (void)loam_local_get(key))
PROBE(loam_gomaxprocs, (void)loam_gomaxprocs(PROCS + (me->id == 0)))
PROBE(loam_traceback, loam_traceback(nowhere))
PROBE(loam_dump_goroutines, loam_dump_goroutines(nowhere))
PROBE(loam_read_sched_stats, (void)0; struct loam_sched_stats s; loam_read_sched_stats(&s))
PROBE(loam_set_max_stack, (void)0; (void)loam_set_max_stack(0))
PROBE(loam_read_stack_stats, (void)0; struct loam_stack_class k[2];
      (void)loam_read_stack_stats(k, 2))
PROBE(loam_read_edges, (void)loam_read_edges(NULL, 0))

PROBE(loam_modules_look, loam_modules_look())
PROBE(loam_blocking, loam_blocking(naps, NULL))
PROBE(loam_on_thread_stack, loam_on_thread_stack(naps, NULL))
PROBE(loam_blocking_enter, loam_blocking_enter())
PROBE(loam_blocking_leave, usleep(100); loam_blocking_leave())

PROBE(loam_chan_send, loam_send(me->ask, me->id))
PROBE(loam_chan_recv, if (loam_recv(me->answer) != me->id) abort())
PROBE(loam_select_n, int v = 1;
      (void)loam_select(loam_on_send(me->ask, &v), loam_on_recv(empty, &v)))
PROBE(loam_recv_ok, int v; if (!loam_recv_ok(me->answer, &v) || v != 1) abort())
PROBE(loam_chan_try_send, (void)loam_try_send(full, 1))
PROBE(loam_chan_try_recv, int v; (void)loam_try_recv(empty, &v))
PROBE(loam_select_default, int v; (void)loam_select_default(loam_on_recv(empty, &v)))
PROBE(loam_chan_len, (void)loam_len(full))
PROBE(loam_chan_cap, (void)loam_cap(full))
PROBE(loam_chan_close, loam_chan(int) x = loam_chan_make(int, 1); loam_close(x); loam_chan_free(x))

PROBE(loam_mutex_lock, loam_mutex_lock(&mutex); loam_yield())
PROBE(loam_mutex_unlock, loam_mutex_unlock(&mutex))
PROBE(loam_mutex_try_lock, if (loam_mutex_try_lock(&mutex)) loam_mutex_unlock(&mutex))
PROBE(loam_rwmutex_lock, loam_rwmutex_lock(&rwmutex))
PROBE(loam_rwmutex_unlock, loam_yield(); loam_rwmutex_unlock(&rwmutex))
PROBE(loam_rwmutex_rlock, loam_rwmutex_rlock(&rwmutex))
PROBE(loam_rwmutex_runlock, loam_yield(); loam_rwmutex_runlock(&rwmutex))
PROBE(loam_rwmutex_try_lock, if (loam_rwmutex_try_lock(&rwmutex)) loam_rwmutex_unlock(&rwmutex))
PROBE(loam_rwmutex_try_rlock, if (loam_rwmutex_try_rlock(&rwmutex)) loam_rwmutex_runlock(&rwmutex))
PROBE(loam_cond_wait, struct signal s = {0}; start(signals, &s); loam_mutex_lock(&cond_mutex);
      waits_for(&s); loam_mutex_unlock(&cond_mutex))
PROBE(loam_cond_signal, struct loam_cond x = {0}; loam_cond_signal(&x))
PROBE(loam_cond_broadcast, struct loam_cond x = {0}; loam_cond_broadcast(&x))
PROBE(loam_waitgroup_wait, struct loam_waitgroup wg = {0};
      (void)loam_waitgroup_go(&wg, yields, NULL); loam_waitgroup_wait(&wg))
PROBE(loam_waitgroup_go, struct loam_waitgroup wg = {0};
      (void)loam_waitgroup_go(&wg, nothing, NULL); loam_waitgroup_wait(&wg))
PROBE(loam_waitgroup_add, struct loam_waitgroup wg = {0}; loam_waitgroup_add(&wg, 1);
      loam_waitgroup_done(&wg))
PROBE(loam_once_do, struct loam_once x = {0}; loam_once_do(&x, yields, NULL))
PROBE(loam_semaphore_init, struct loam_semaphore x; (void)loam_semaphore_init(&x, 1))
PROBE(loam_semaphore_acquire, (void)loam_semaphore_acquire(&semaphore, 1, NULL); loam_yield())
PROBE(loam_semaphore_release, loam_semaphore_release(&semaphore, 1))
PROBE(loam_semaphore_try_acquire,
      if (loam_semaphore_try_acquire(&semaphore, 1)) loam_semaphore_release(&semaphore, 1))
PROBE(loam_sync_point, loam_sync_point())
PROBE(loam_objpool_get, (void)loam_objpool_get(objpool))
PROBE(loam_objpool_put, loam_objpool_put(objpool, &nowhere))

PROBE(loam_context_background, (void)loam_context_background())
PROBE(loam_context_with_cancel, me->ctx = loam_context_with_cancel(NULL))
PROBE(loam_context_after_func, me->after = loam_context_after_func(me->ctx, nothing, NULL))
PROBE(loam_context_after_stop, (void)loam_context_after_stop(me->after))
PROBE(loam_context_with_value, loam_context_free(loam_context_with_value(me->ctx, &key, me)))
PROBE(loam_context_with_timeout, loam_context_free(loam_context_with_timeout(me->ctx, LOAM_SECOND)))
PROBE(loam_context_with_deadline,
      loam_context_free(loam_context_with_deadline(me->ctx, loam_now() + LOAM_SECOND)))
PROBE(loam_context_done, (void)loam_context_done(me->ctx))
PROBE(loam_context_err, (void)loam_context_err(me->ctx))
PROBE(loam_context_cause, (void)loam_context_cause(me->ctx))
PROBE(loam_context_deadline, int64_t when; (void)loam_context_deadline(me->ctx, &when))
PROBE(loam_context_value, (void)loam_context_value(me->ctx, &key))
PROBE(loam_context_sleep, (void)loam_context_sleep(me->ctx, 10 * LOAM_MICROSECOND))
PROBE(loam_context_cancel, loam_context_cancel(me->ctx, 0))
PROBE(loam_context_free, loam_context_free(me->ctx))

PROBE(loam_group_new, me->group = loam_group_new(NULL))
PROBE(loam_group_set_limit, (void)loam_group_set_limit(me->group, 1))
PROBE(loam_group_context, (void)loam_group_context(me->group))
PROBE(loam_group_go, (void)loam_group_go(me->group, group_yields, NULL);
      (void)loam_group_go(me->group, group_yields, NULL))
PROBE(loam_group_try_go, (void)loam_group_try_go(me->group, group_yields, NULL))
PROBE(loam_group_wait, (void)loam_group_wait(me->group))
PROBE(loam_group_free, loam_group_free(me->group))

PROBE(loam_pool_call, (void)loam_pool_call(pool, naps, NULL, NULL))
PROBE(loam_pool_try_call, (void)loam_pool_try_call(pool, naps, NULL, NULL))
PROBE(loam_pool_read_stats, struct loam_pool_stats s; loam_pool_read_stats(pool, &s))

PROBE(loam_now, (void)loam_now())
PROBE(loam_sleep, loam_sleep(10 * LOAM_MICROSECOND))
PROBE(loam_timer_new, me->timer = loam_timer_new(LOAM_SECOND))
PROBE(loam_timer_chan, (void)loam_timer_chan(me->timer))
PROBE(loam_timer_reset, (void)loam_timer_reset(me->timer, LOAM_SECOND))
PROBE(loam_timer_stop, (void)loam_timer_stop(me->timer))
PROBE(loam_timer_free, loam_timer_free(me->timer))
PROBE(loam_after_func, me->timer = loam_after_func(LOAM_MICROSECOND, nothing, NULL);
      loam_timer_free(me->timer))
PROBE(loam_ticker_new, me->ticker = loam_ticker_new(LOAM_MILLISECOND))
PROBE(loam_ticker_chan, (void)loam_ticker_chan(me->ticker))
PROBE(loam_ticker_reset, loam_ticker_reset(me->ticker, LOAM_MILLISECOND))
PROBE(loam_ticker_stop, loam_ticker_stop(me->ticker))
PROBE(loam_ticker_free, loam_ticker_free(me->ticker))

#define MOVES(function)                                                                            \
    {                                                                                              \
#function, true, probe_##function, 0                                                       \
    }
#define STAYS(function)                                                                            \
    {                                                                                              \
#function, false, probe_##function, 0                                                      \
    }

static struct call calls[] = {
    MOVES(loam_yield),
    STAYS(loam_go),
    STAYS(loam_go_with),
    STAYS(loam_go_copy),
    MOVES(loam_call),
    STAYS(loam_goid),
    STAYS(loam_set_name),
    STAYS(loam_num_cpu),
    STAYS(loam_num_goroutine),
    STAYS(loam_version),
    STAYS(loam_error_text),
    STAYS(loam_set_label),
    STAYS(loam_label),
    STAYS(loam_local_set),
    STAYS(loam_local_get),
    STAYS(loam_gomaxprocs),
    STAYS(loam_traceback),
    STAYS(loam_dump_goroutines),
    STAYS(loam_read_sched_stats),
    STAYS(loam_set_max_stack),
    STAYS(loam_read_stack_stats),
    STAYS(loam_read_edges),
    STAYS(loam_modules_look),
    MOVES(loam_blocking),
    STAYS(loam_on_thread_stack),
    STAYS(loam_blocking_enter),
    MOVES(loam_blocking_leave),
    STAYS(loam_chan_send), /* the other one waits already */
    MOVES(loam_chan_recv),
    MOVES(loam_chan_send),
    MOVES(loam_chan_recv),
    MOVES(loam_select_n),
    MOVES(loam_recv_ok),
    STAYS(loam_chan_try_send),
    STAYS(loam_chan_try_recv),
    STAYS(loam_select_default),
    STAYS(loam_chan_len),
    STAYS(loam_chan_cap),
    STAYS(loam_chan_close),
    MOVES(loam_mutex_lock),
    STAYS(loam_mutex_unlock),
    STAYS(loam_mutex_try_lock),
    MOVES(loam_rwmutex_lock),
    MOVES(loam_rwmutex_unlock),
    MOVES(loam_rwmutex_rlock),
    MOVES(loam_rwmutex_runlock),
    STAYS(loam_rwmutex_try_lock),
    STAYS(loam_rwmutex_try_rlock),
    MOVES(loam_cond_wait),
    STAYS(loam_cond_signal),
    STAYS(loam_cond_broadcast),
    MOVES(loam_waitgroup_wait),
    STAYS(loam_waitgroup_go),
    STAYS(loam_waitgroup_add),
    STAYS(loam_once_do),
    STAYS(loam_semaphore_init),
    MOVES(loam_semaphore_acquire),
    STAYS(loam_semaphore_release),
    STAYS(loam_semaphore_try_acquire),
    STAYS(loam_sync_point),
    STAYS(loam_objpool_get),
    STAYS(loam_objpool_put),
    STAYS(loam_context_background),
    STAYS(loam_context_with_cancel),
    STAYS(loam_context_after_func),
    STAYS(loam_context_after_stop),
    STAYS(loam_context_with_value),
    STAYS(loam_context_with_timeout),
    STAYS(loam_context_with_deadline),
    STAYS(loam_context_done),
    STAYS(loam_context_err),
    STAYS(loam_context_cause),
    STAYS(loam_context_deadline),
    STAYS(loam_context_value),
    MOVES(loam_context_sleep),
    STAYS(loam_context_cancel),
    STAYS(loam_context_free),
    STAYS(loam_group_new),
    STAYS(loam_group_set_limit),
    STAYS(loam_group_context),
    MOVES(loam_group_go),
    STAYS(loam_group_try_go),
    MOVES(loam_group_wait),
    STAYS(loam_group_free),
    MOVES(loam_pool_call),
    MOVES(loam_pool_try_call),
    STAYS(loam_pool_read_stats),
    STAYS(loam_now),
    MOVES(loam_sleep),
    STAYS(loam_timer_new),
    STAYS(loam_timer_chan),
    STAYS(loam_timer_reset),
    STAYS(loam_timer_stop),
    STAYS(loam_timer_free),
    STAYS(loam_after_func),
    STAYS(loam_ticker_new),
    STAYS(loam_ticker_chan),
    STAYS(loam_ticker_reset),
    STAYS(loam_ticker_stop),
    STAYS(loam_ticker_free),
};
enum { CALLS = sizeof calls / sizeof *calls };

static bool seen_all(void)
{
    for (int i = 0; i < CALLS; i++)
        if (calls[i].moves && __atomic_load_n(&calls[i].moved, __ATOMIC_RELAXED) == 0)
            return false;
    return true;
}

/* What a blocking function leaves in errno is there after it, on whatever thread. */
static noinline void blocking_keeps_errno(int id)
{
    int mark = 4000 + id;
    loam_blocking(sets_errno, &mark);
    int value = errno;
    if (value != mark)
        FAIL("loam_blocking: errno is %d, not %d as the function left it", value, mark);
}

/* With loam.h alone: the errno of the thread that it returns on. */
static noinline int errno_after_yield(void)
{
    errno = 0;
    loam_yield();
    return errno;
}

static void probes(void *arg)
{
    struct prober *me = arg;
    loam_chan(int) ask = me->ask;
    start(answers, me);
    for (int round = 0; round < ROUNDS || !seen_all(); round++) {
        for (int i = 0; i < CALLS; i++)
            calls[i].probe(me, &calls[i]);
        blocking_keeps_errno(me->id);
        if (errno_after_yield() != *libc_errno())
            FAIL("errno after loam_yield is that of another thread");
        *libc_errno() = gettid(); /* for the next one on this thread */
    }
    loam_close(ask);
    __atomic_add_fetch(&out_of_calls, 1, __ATOMIC_SEQ_CST);
}

/* Keeps readers waiting: they come too seldom to meet each other. */
static void hogs(void *arg)
{
    (void)arg;
    while (__atomic_load_n(&out_of_calls, __ATOMIC_SEQ_CST) < PROBERS) {
        loam_rwmutex_lock(&rwmutex);
        for (int i = 0; i < 40; i++)
            loam_yield();
        loam_rwmutex_unlock(&rwmutex);
        for (int i = 0; i < 10; i++)
            loam_yield();
    }
}

/* ---- A wired goroutine: all that is its thread's stays its own --------------------------------------- */

static void *tries_lock(void *arg)
{
    bool *locked = arg;
    *locked = ftrylockfile(out) == 0;
    if (*locked)
        funlockfile(out);
    return NULL;
}

static bool others_can_lock(void)
{
    pthread_t thread;
    bool locked = false;
    if (pthread_create(&thread, NULL, tries_lock, &locked) != 0)
        FAIL("no thread");
    pthread_join(thread, NULL);
    return locked;
}

static void wired(struct prober *me)
{
    loam_lock_os_thread();
    int tid = gettid();
    int *mine = &errno;
    start(answers, me);
    flockfile(out);
    for (int i = 0; i < 50; i++) {
        errno = 7;
        loam_send(me->ask, i);
        if (loam_recv(me->answer) != i)
            abort();
        loam_yield();
        loam_sleep(LOAM_MICROSECOND);
        loam_blocking(naps, NULL);
        if (gettid() != tid || &errno != mine || libc_errno() != mine || tls_tid_now() != tid)
            FAIL("a wired goroutine is on another thread");
        /* The lock is this thread's, and nobody else ran on it who could have got it too. */
        if (i % 10 == 0 && others_can_lock())
            FAIL("a FILE that a wired goroutine has locked is free");
    }
    funlockfile(out);
    loam_close(me->ask);
    loam_unlock_os_thread();
}

static void make_things(void)
{
    if (loam_semaphore_init(&semaphore, 1) != 0 || loam_local_key_new(&key, NULL) != 0 ||
        loam_pool_new(&pool, NULL) != 0)
        FAIL("%s", loam_error_text());
    objpool = loam_objpool_new(make, NULL, &nowhere);
    full = loam_chan_make(int, 1);
    empty = loam_chan_make(int, 0);
    loam_send(full, 1);
    nowhere = open("/dev/null", O_WRONLY);
}

static int survives(int argc, char **argv)
{
    (void)argc;
    libc_errno = __errno_location;
    out = fopen(argv[1], "w");
    if (out == NULL)
        FAIL("cannot write %s", argv[1]);
    make_things();
    static struct prober me[PROBERS + 1];
    for (int i = 0; i <= PROBERS; i++)
        me[i] = (struct prober){
            .id = i, .ask = loam_chan_make(int, 0), .answer = loam_chan_make(int, 0)};
    wired(&me[PROBERS]);
    loam_gomaxprocs(PROCS);
    for (int i = 0; i < PROBERS; i++)
        start(probes, &me[i]);
    start(hogs, NULL);
    start(hogs, NULL);
    while (__atomic_load_n(&out_of_calls, __ATOMIC_SEQ_CST) < PROBERS)
        loam_sleep(LOAM_MILLISECOND);
    if (!others_can_lock())
        FAIL("a FILE is left locked");
    printf("%ld\n", written);
    for (int i = 0; i < CALLS; i++)
        printf("%s %d\n", calls[i].name, calls[i].moved);
    loam_pool_free(pool);
    loam_objpool_free(objpool);
    if (fclose(out) != 0)
        FAIL("cannot write %s", argv[1]);
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(survives, argc, argv);
}
