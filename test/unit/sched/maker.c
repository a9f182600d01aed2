/* A goroutine that a signal holds may own a lock that libc takes to make a thread. Threads are needed
 * meanwhile, and it goes on nevertheless. Libc's lock is played by one of the test's, around the functions
 * by which threads are made, begun and joined. */
#include "schedtest.h"

#include <dlfcn.h>
#include <errno.h>

static pthread_mutex_t libc_lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    pthread_mutex_lock(&libc_lock);
    int err = REAL(pthread_create)(t, attr, fn, arg);
    pthread_mutex_unlock(&libc_lock);
    return err;
}

int pthread_getattr_np(pthread_t t, pthread_attr_t *attr)
{
    pthread_mutex_lock(&libc_lock);
    int err = REAL(pthread_getattr_np)(t, attr);
    pthread_mutex_unlock(&libc_lock);
    return err;
}

int pthread_tryjoin_np(pthread_t t, void **result)
{
    pthread_mutex_lock(&libc_lock);
    int err = REAL(pthread_tryjoin_np)(t, result);
    pthread_mutex_unlock(&libc_lock);
    return err;
}

enum { CALLS = 12 };

static int owned, let_go, over, in_call, returned, ended;
static int fds[2];

static uint64_t preemptions(void)
{
    struct loam_sched_stats s;
    loam_read_sched_stats(&s);
    return s.preemptions;
}

static void own(void *arg)
{
    (void)arg;
    CHECK_EQ(pthread_mutex_lock(&libc_lock), 0);
    store(&owned, 1);
    while (!load(&let_go))
        ;
    CHECK_EQ(pthread_mutex_unlock(&libc_lock), 0);
    store(&over, 1);
}

static void read_one(void *arg)
{
    (void)arg;
    char c;
    CHECK_EQ(read(fds[0], &c, 1), 1);
}

static void call(void *arg)
{
    add(&in_call, 1);
    loam_blocking(read_one, arg);
    add(&returned, 1);
}

static void nap(void *arg)
{
    (void)arg;
    usleep(50000);
}

static void call_nap(void *arg)
{
    loam_blocking(nap, arg);
}

static void end_wired(void *arg)
{
    (void)arg;
    loam_lock_os_thread(); /* its thread ends with it, and is joined by who makes the next */
    add(&ended, 1);
}

static void new_pool(void *arg)
{
    struct loam_pool *pool;
    CHECK_EQ(loam_pool_new(&pool, NULL), 0); /* makes a thread itself */
    loam_pool_free(pool);
    add(&returned, 1);
    (void)arg;
}

static void spin(void *arg)
{
    while (!load((int *)arg))
        ;
}

static int others;
static uint64_t before;

static void begin(void *arg)
{
    go(own, NULL);
    /* It is held before the calls take all threads: one is idle to hold it with. */
    while (!load(&owned))
        loam_yield();
    for (int i = 0; i < others; i++) /* who want its P */
        go(spin, &let_go);
    while (preemptions() <= before)
        loam_yield();
    if (arg != NULL)
        go(new_pool, NULL);
    for (int i = 0; i < CALLS; i++)
        go(call, NULL);
}

static void held_owner(int procs, bool pool)
{
    owned = let_go = over = in_call = returned = ended = 0;
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(loam_start(&(struct loam_config){.maxprocs = procs}), 0);
    /* there is a thread to hold the first one with */
    int quit = 0;
    for (int i = 0; i < 2 * procs; i++)
        go(spin, &quit);
    AWAIT_THREAD(preemptions() >= 2);
    store(&quit, 1);
    for (int i = 0; i < procs + 2;
         i++) /* that many are idle then, fewer than the calls below take */
        go(call_nap, NULL);
    go(end_wired, NULL);
    AWAIT_THREAD(load(&ended) == 1 && loam_num_goroutine() == 0);

    before = preemptions();
    others = procs > 1 ? procs : 0;
    go(begin, pool ? fds : NULL);
    AWAIT_THREAD(load(&owned) && preemptions() > before);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); /* who is to be stuck, is */
    store(&let_go, 1);
    AWAIT_THREAD(load(&over)); /* it had its turn */
    AWAIT_THREAD(load(&in_call) == CALLS);
    for (int i = 0; i < CALLS; i++)
        CHECK_EQ(write(fds[1], "x", 1), 1);
    AWAIT_THREAD(load(&returned) == CALLS + pool);
    CHECK_EQ(loam_stop(-1), 0);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    for (int procs = 1; procs <= 3; procs++)
        for (int pool = 0; pool <= 1; pool++)
            held_owner(procs, pool);
    return 0;
}
