/* Deadlock and thread pools: idle threads of a pool wake nobody, so that they do not hide one; a call
 * that runs will wake its caller, so that there is none. Ends with status 2. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <loam.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void slow(void *arg)
{
    usleep(100000);
    *(int *)arg += 1;
}

static void call_slow(void *arg)
{
    int n = 0;
    CHECK(loam_pool_call(arg, slow, &n, NULL) == 0 && n == 1);
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct loam_pool_config config = {.threads = 2};
    struct loam_pool *p;
    CHECK(loam_pool_new(&p, &config) == 0);
    call_slow(p); /* all are asleep meanwhile */
    struct loam_waitgroup wg = {0};
    for (int i = 0; i < 5; i++)
        CHECK(loam_waitgroup_go(&wg, call_slow, p) == 0);
    loam_waitgroup_wait(&wg);
    struct loam_pool *q;
    CHECK(loam_pool_new(&q, &config) == 0);
    loam_pool_free(q);
    fprintf(stderr, "now a deadlock is to be reported\n");
    loam_chan(int) c = loam_chan_make(int, 0);
    (void)loam_recv(c);
    return 1;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
