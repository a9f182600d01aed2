/* Goroutines in every state that lasts: what the parsers of schedtrace and of dumps look at.
 *
 *     evidence_places [no-spin]
 *
 * Two of them keep a processor for ever; they begin when all others are where they stay, or hold a
 * processor of their own on the way there. */
#include <loam.h>

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SETTLED = 8 };

static const int64_t for_ever = INT64_C(3600) * 1000000000;
static loam_chan(int) nobody_sends, nobody_receives;
static struct loam_mutex mutex;
static int arriving; /* atomic */

static void arrive(const char *name)
{
    loam_set_name(name);
    __atomic_add_fetch(&arriving, 1, __ATOMIC_SEQ_CST);
}

static void receives(void *arg)
{
    (void)arg;
    arrive("receives");
    (void)loam_recv(nobody_sends);
}

static void sends(void *arg)
{
    (void)arg;
    arrive("sends");
    loam_send(nobody_receives, 1);
}

static void selects(void *arg)
{
    (void)arg;
    arrive("selects");
    int v = 2;
    (void)loam_select(loam_on_recv(nobody_sends, &v), loam_on_send(nobody_receives, &v));
}

static void sleeps(void *arg)
{
    (void)arg;
    arrive("sleeps");
    loam_sleep(for_ever);
}

static void locks(void *arg)
{
    (void)arg;
    arrive("locks");
    loam_mutex_lock(&mutex);
}

static void wait_in_kernel(void *arg)
{
    (void)arg;
    for (;;)
        nanosleep(&(struct timespec){.tv_sec = 3600}, NULL);
}

static void blocks(void *arg)
{
    (void)arg;
    arrive("blocks");
    loam_blocking(wait_in_kernel, NULL);
}

static void is_wired(void *arg)
{
    (void)arg;
    loam_lock_os_thread();
    arrive("is_wired");
    (void)loam_recv(nobody_sends);
}

static void await_others(void)
{
    while (__atomic_load_n(&arriving, __ATOMIC_SEQ_CST) < SETTLED)
        loam_yield();
    for (int i = 0; i < 100; i++) /* those that arrived are asked for by name: let them park */
        loam_yield();
}

static void stays_in_kernel(void *arg)
{
    loam_set_name("stays_in_kernel");
    await_others();
    wait_in_kernel(arg);
}

static void spins(void *arg)
{
    (void)arg;
    loam_set_name("spins");
    await_others();
    for (volatile uint64_t n = 0;; n++)
        ;
}

static int places(int argc, char **argv)
{
    static void (*const all[])(void *) = {receives, sends,  selects,  sleeps,
                                          locks,    blocks, is_wired, stays_in_kernel};
    nobody_sends = loam_chan_make(int, 0);
    nobody_receives = loam_chan_make(int, 0);
    loam_mutex_lock(&mutex);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (loam_go(all[i], NULL) != 0)
            loam_panic("%s", loam_error_text());
    if (argc < 2 || strcmp(argv[1], "no-spin") != 0)
        loam_go(spins, NULL);
    arrive("the main one");
    loam_sleep(for_ever);
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(places, argc, argv);
}
