/* growth: stacks that begin with 2 KB and grow, and where their memory comes from.
 *
 *     loam build --stack=small examples/growth.c
 *     LOAMDEBUG=stacktrace=1 LOAMMAXPROCS=1 ./growth
 *
 * One goroutine recurses to 130 KB and ends, then another does the same. Of the first, each piece is new:
 * the cache of the processor is empty (stackcacherefill), so is the pool, the memory is the system's. The
 * second finds what the first has left: pieces of up to 32 KB in the cache, larger ones in their pool.
 * Then it prints the figures that loam_read_stack_stats has of each size.
 *
 *     ./growth wait
 *
 * waits at the bottom of the first recursion until it gets SIGUSR1, so that one can look at it.
 *
 * Built without --stack=small (loam run examples/growth.c) it does the same on one large stack, and there
 * is nothing to tell.
 *
 * What it shows of Loam, beside the Go form:
 *   go descend(128)                the same call: the stack grows by pieces and is never copied
 *   debug.SetMaxStack(n)           loam_set_max_stack(n) */
#define _GNU_SOURCE 1 /* sigaction */

#include <loam.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH = 128, FRAME = 1000, SIZES = 32 };

static bool wait_for_signal;
static volatile sig_atomic_t signalled;

static void on_signal(int sig)
{
    (void)sig;
    signalled = 1;
}

static void bottom(void)
{
    if (!wait_for_signal || signalled)
        return;
    fprintf(stderr, "growth: goroutine %" PRIu64 " is %d calls deep\n", loam_goid(), DEPTH);
    while (!signalled)
        loam_sleep(LOAM_MILLISECOND);
}

/* Each call has a frame of 1 KB. */
__attribute__((noinline)) static int descend(int depth)
{
    volatile char frame[FRAME];
    frame[0] = 1;
    if (depth == 0)
        bottom();
    else
        frame[1] = (char)descend(depth - 1);
    return frame[0];
}

static void dive(void *done)
{
    (void)descend(DEPTH);
    loam_waitgroup_done(done);
}

static void print_figures(void)
{
    static struct loam_stack_class k[SIZES];
    size_t n = loam_read_stack_stats(k, SIZES);
    for (size_t i = 0; i < n && i < SIZES; i++)
        if (k[i].system_bytes > 0)
            printf("size=%zu in_use=%" PRIu64 " cached=%" PRIu64 " pooled=%" PRIu64
                   " system_bytes=%" PRIu64 " refills=%" PRIu64 "\n",
                   k[i].size, k[i].in_use, k[i].cached, k[i].pooled, k[i].system_bytes,
                   k[i].refills);
}

static int run(int argc, char **argv)
{
    struct sigaction sa = {.sa_handler = on_signal};
    wait_for_signal = argc > 1 && strcmp(argv[1], "wait") == 0;
    if (wait_for_signal && sigaction(SIGUSR1, &sa, NULL) != 0)
        return 1;
    for (int i = 0; i < 2; i++) {
        struct loam_waitgroup done = {0};
        loam_waitgroup_add(&done, 1);
        if (loam_go(dive, &done) != 0)
            return 1;
        loam_waitgroup_wait(&done);
    }
    print_figures();
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
