/* Misuse of every type of sync/ ends the program with Go's text and status 2. */
#include "synctest.h"

#include <pthread.h>

static struct loam_mutex mu;
static struct loam_rwmutex rw;
static struct loam_waitgroup wg;
static struct loam_once once;
static struct loam_cond cond;
static struct loam_semaphore sem;
static int ready;

static void mutex_unlock(void)
{
    loam_mutex_unlock(&mu);
}

static void lock_it(void *arg)
{
    (void)arg;
    loam_mutex_lock(&mu);
}

static void mutex_unlock_twice(void)
{
    loam_mutex_lock(&mu);
    go(lock_it, NULL);
    WAIT_UNTIL(mutex_waiters(&mu) == 1);
    loam_mutex_unlock(&mu);
    WAIT_UNTIL(mutex_waiters(&mu) == 0 && load(&mu.state) == 1);
    loam_mutex_unlock(&mu);
    loam_mutex_unlock(&mu);
}

static void rw_unlock(void)
{
    loam_rwmutex_unlock(&rw);
}

static void rw_unlock_read(void)
{
    loam_rwmutex_rlock(&rw);
    loam_rwmutex_unlock(&rw);
}

static void rw_runlock(void)
{
    loam_rwmutex_runlock(&rw);
}

static void rw_runlock_written(void)
{
    loam_rwmutex_lock(&rw);
    loam_rwmutex_runlock(&rw);
}

static void wg_negative(void)
{
    loam_waitgroup_add(&wg, 1);
    loam_waitgroup_done(&wg);
    loam_waitgroup_done(&wg);
}

static void wait_for_it(void *arg)
{
    (void)arg;
    store(&ready, 1);
    loam_waitgroup_wait(&wg);
}

/* What Add sees when it comes while the last Done has not yet released the waiters. */
static void wg_concurrent(void)
{
    wg.state = 1;
    loam_waitgroup_add(&wg, 1);
}

static void wg_reused(void)
{
    loam_gomaxprocs(1);
    loam_waitgroup_add(&wg, 1);
    go(wait_for_it, NULL);
    WAIT_UNTIL((uint32_t)load(&wg.state) == 1);
    loam_waitgroup_done(&wg);
    loam_waitgroup_add(&wg, 1); /* the waiter has not run yet */
    loam_sleep(LOAM_SECOND);
}

static void wg_go_nil(void)
{
    loam_waitgroup_go(&wg, NULL, NULL);
}

static void once_nil(void)
{
    loam_once_do(&once, NULL, NULL);
}

static void again(void *arg)
{
    (void)arg;
    loam_once_do(&once, again, NULL);
}

static void once_reentered(void)
{
    loam_once_do(&once, again, NULL);
}

static void relock(void)
{
    loam_mutex_lock(&mu);
    loam_mutex_lock(&mu);
}

static void sem_over(void)
{
    loam_semaphore_init(&sem, 3);
    CHECK(loam_semaphore_try_acquire(&sem, 2));
    loam_semaphore_release(&sem, 3);
}

static void sem_negative(void)
{
    loam_semaphore_init(&sem, 3);
    loam_semaphore_release(&sem, -1);
}

/* On a thread that runs no goroutine. */
static void *park_here(void *arg)
{
    const char *mode = arg;
    if (strcmp(mode, "foreign mutex") == 0)
        loam_mutex_lock(&mu);
    else if (strcmp(mode, "foreign cond") == 0)
        loam_cond_wait(&cond, &mu);
    else if (strcmp(mode, "foreign waitgroup") == 0)
        loam_waitgroup_wait(&wg);
    else if (strcmp(mode, "foreign once") == 0)
        loam_once_do(&once, again, NULL);
    else if (strcmp(mode, "foreign rlock") == 0)
        loam_rwmutex_rlock(&rw);
    else
        loam_semaphore_acquire(&sem, 1, NULL);
    return NULL;
}

static void join_thread(void *arg)
{
    pthread_join(*(pthread_t *)arg, NULL);
}

static void foreign(const char *mode)
{
    loam_mutex_lock(&mu);
    loam_rwmutex_lock(&rw);
    loam_waitgroup_add(&wg, 1);
    loam_semaphore_init(&sem, 0);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, park_here, (void *)(uintptr_t)mode), 0);
    loam_blocking(join_thread, &thread);
}

#define NIL "invalid memory address or nil pointer dereference"
#define DEADLOCK "fatal error: all goroutines are asleep - deadlock!"

static const struct {
    const char *mode;
    void (*fn)(void); /* NULL: foreign */
    const char *text;
} cases[] = {
    {"mutex unlock", mutex_unlock, "fatal error: sync: unlock of unlocked mutex"},
    {"mutex unlock twice", mutex_unlock_twice, "fatal error: sync: unlock of unlocked mutex"},
    {"rw unlock", rw_unlock, "fatal error: sync: Unlock of unlocked RWMutex"},
    {"rw unlock read", rw_unlock_read, "fatal error: sync: Unlock of unlocked RWMutex"},
    {"rw runlock", rw_runlock, "fatal error: sync: RUnlock of unlocked RWMutex"},
    {"rw runlock written", rw_runlock_written, "fatal error: sync: RUnlock of unlocked RWMutex"},
    {"wg negative", wg_negative, "panic: sync: negative WaitGroup counter"},
    {"wg concurrent", wg_concurrent,
     "panic: sync: WaitGroup misuse: Add called concurrently with Wait"},
    {"wg reused", wg_reused, "panic: sync: WaitGroup is reused before previous Wait has returned"},
    {"wg go nil", wg_go_nil, "fatal error: go of nil func value"},
    {"once nil", once_nil, NIL},
    {"once reentered", once_reentered, DEADLOCK},
    {"relock", relock, DEADLOCK},
    {"sem over", sem_over, "panic: semaphore: released more than held"},
    {"sem negative", sem_negative, "panic: semaphore: released more than held"},
    {"foreign mutex", NULL, "loam_mutex_lock: called on a thread that runs no goroutine"},
    {"foreign cond", NULL, "loam_cond_wait: called on a thread that runs no goroutine"},
    {"foreign waitgroup", NULL, "loam_waitgroup_wait: called on a thread that runs no goroutine"},
    {"foreign once", NULL, "loam_once_do: called on a thread that runs no goroutine"},
    {"foreign rlock", NULL, "loam_rwmutex_rlock: called on a thread that runs no goroutine"},
    {"foreign semaphore", NULL,
     "loam_semaphore_acquire: called on a thread that runs no goroutine"},
};

static int one(int argc, char **argv)
{
    (void)argc;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (strcmp(cases[i].mode, argv[1]) == 0) {
            if (cases[i].fn != NULL)
                cases[i].fn();
            else
                foreign(cases[i].mode);
        }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return loam_run(one, argc, argv);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        /* TSan's own thread looks like one of the program's, which could come and wake somebody */
        if (TEST_TSAN && strcmp(cases[i].text, DEADLOCK) == 0)
            continue;
        expect_death(cases[i].mode, cases[i].text);
    }
    return 0;
}
