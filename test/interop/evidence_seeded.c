/* A bit of everything that a seeded run's trace shows: wired goroutines, blocking calls, timers, stops
 * of the world, Goexit, select, a mutex with a queue.
 *
 *     evidence_seeded [elsewhere]
 *
 * Goroutines are still runnable when main ends; with `elsewhere` main ends on a thread that is not
 * the one that called loam_run, because another goroutine is wired to that. */
#include <loam.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct loam_mutex mutex;
static struct loam_waitgroup all;
static loam_chan(int) numbers, never;
static int nowhere;

static void in_call(void *arg)
{
    ++*(int *)arg;
}

static void works(void *arg)
{
    int me = *(int *)arg;
    for (int i = 0; i < 5; i++) {
        loam_mutex_lock(&mutex);
        loam_yield();
        loam_mutex_unlock(&mutex);
        loam_blocking(in_call, &me);
        loam_sleep((me * 7 % 5 + 1) * INT64_C(1000));
        int v = i;
        (void)loam_select(loam_on_send(numbers, &v), loam_on_recv(never, &v));
    }
    if (me % 2 == 0) {
        loam_waitgroup_done(&all);
        loam_goexit();
    }
    loam_waitgroup_done(&all);
}

static void is_called(void *arg)
{
    loam_yield();
    ++*(int *)arg;
}

static void ticks(void *arg)
{
    (void)arg;
    for (;;)
        loam_yield();
}

static void is_wired(void *arg)
{
    loam_lock_os_thread();
    loam_send((loam_chan(int))arg, 1);
    (void)loam_recv(never);
}

static void go(void (*fn)(void *), void *arg)
{
    if (loam_go(fn, arg) != 0)
        loam_panic("%s", loam_error_text());
}

static int seeded(int argc, char **argv)
{
    static int ids[8];
    numbers = loam_chan_make(int, 3);
    never = loam_chan_make(int, 0);
    nowhere = open("/dev/null", O_WRONLY);
    if (argc > 1 && strcmp(argv[1], "elsewhere") == 0) {
        loam_chan(int) wired = loam_chan_make(int, 0);
        go(is_wired, wired);
        (void)loam_recv(wired);
    }
    loam_waitgroup_add(&all, 8);
    for (int i = 0; i < 8; i++) {
        ids[i] = i;
        go(works, &ids[i]);
    }
    int sum = 0;
    for (int i = 0; i < 40; i++)
        sum += loam_recv(numbers);
    loam_waitgroup_wait(&all);
    if (loam_call(is_called, &sum) != 0)
        loam_panic("%s", loam_error_text());
    loam_dump_goroutines(nowhere);
    printf("%d after %lld virtual ns\n", sum, (long long)loam_now());
    go(ticks, NULL);
    go(ticks, NULL);
    loam_yield();
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(seeded, argc, argv);
}
