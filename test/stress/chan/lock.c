/* White box: the channels' lock excludes, from threads that the kernel takes off their CPU in the
 * middle of it, and no sleeper is forgotten for long, although the way out is a plain store. */
#include "chan/chan_int.h"

#include "../../unit/chan/chan_test.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

enum { THREADS = 6, SECONDS = 2 /* at most, a part; the machine may be busy */ };

static struct loam_hchan *c;
static int64_t counter; /* c's lock, and nothing else */
static int inside;
static int64_t counted; /* atomic: what counter must come to */

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *hammer(void *arg)
{
    int64_t n = *(int64_t *)arg, longest = 0, end = now_ns() + SECONDS * INT64_C(1000000000);
    for (int64_t i = 0; i < n; i++) {
        int64_t before = now_ns();
        if (before > end)
            break;
        chan_lock(c);
        if (inside++ != 0)
            FAIL("two hold the lock");
        counter++;
        add(&counted, 1);
        if (i % 64 == 0)
            sched_yield(); /* others run into it, and sleep */
        if (i % 1024 == 0)
            nanosleep(&(struct timespec){0, 200000}, NULL);
        inside--;
        chan_unlock(c);
        int64_t took = now_ns() - before;
        longest = took > longest ? took : longest;
    }
    return (void *)(intptr_t)longest;
}

static void one(bool polled, int64_t n)
{
    pthread_t threads[THREADS];
    c = loam_chan_new_or_panic(8, 0);
    c->polled = polled;
    counter = counted = 0;
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, hammer, &n), 0);
    int64_t longest = 0;
    for (int i = 0; i < THREADS; i++) {
        void *took;
        CHECK_EQ(pthread_join(threads[i], &took), 0);
        longest = (intptr_t)took > longest ? (intptr_t)took : longest;
    }
    CHECK_EQ(counter, counted);
    CHECK_EQ(c->lock.key, 0);
    /* A forgotten sleeper sleeps CHAN_SLEEP_NS, not until somebody else happens to come. Generous: the
     * machine may be busy. */
    if (longest > INT64_C(5000000000))
        FAIL("one waited for the lock for %d ms", (int)(longest / 1000000));
    loam_chan_delete(c);
}

/* Two threads, and a lock held about as long as a locker spins before it sleeps: the moment at which a
 * sleeper may be missed is met many times. Missed for good, it would never end: the other thread takes
 * the free lock from then on without looking for sleepers. */
static void *hold_and_release(void *arg)
{
    int64_t n = *(int64_t *)arg;
    int64_t end = now_ns() + SECONDS * INT64_C(1000000000);
    uint32_t random = (uint32_t)(uintptr_t)&n | 1;
    for (int64_t i = 0; i < n; i++) {
        if (i % 1024 == 0 && now_ns() > end)
            break;
        random = random * 1664525 + 1013904223;
        chan_lock(c);
        counter++;
        add(&counted, 1);
        for (uint32_t k = random >> 22; k > 0; k--)
            compiler_barrier();
        for (uint32_t k = random >> 24; k > 0; k--)
            arch_pause();
        chan_unlock(c);
    }
    return NULL;
}

static void pair(int64_t n)
{
    pthread_t threads[2];
    c = loam_chan_new_or_panic(8, 0);
    counter = counted = 0;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, hold_and_release, &n), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(counter, counted);
    loam_chan_delete(c);
}

static void body(void)
{
    pair(times(300000));
    one(false, times(60000));
    one(true, times(60000));
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
