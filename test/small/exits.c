/* Goroutines that end in all depths, by returning, loam_goexit and with memory of alloca; N of them in
 * batches. Every piece of their stacks is given back but the first ones of dead goroutines, of which a processor keeps 1,024. Prints how many
 * there were at most, and the rest. */
#include <alloca.h>
#include <loam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 100 };

static struct loam_waitgroup wg;

__attribute__((noipa)) static long grow(long n)
{
    volatile char b[150];
    b[0] = 1;
    if (n == 0) {
        if (loam_goid() % 7 == 0) {
            size_t bytes = 3000;
            char *a = alloca(bytes);
            memset(a, 1, bytes);
            b[0] = a[bytes - 1];
        }
        if (loam_goid() % 3 == 0) {
            loam_waitgroup_done(&wg);
            loam_goexit();
        }
        if (loam_goid() % 5 == 0)
            loam_yield();
        return 0;
    }
    return grow(n - 1) + b[0];
}

static void worker(void *arg)
{
    long n = (long)(intptr_t)arg;
    if (grow(n) != n)
        abort();
    loam_waitgroup_done(&wg);
}

static int run(int argc, char **argv)
{
    long total = argc > 1 ? atol(argv[1]) : 100000;
    uint64_t most = 0;
    struct loam_sched_stats s;
    for (long done = 0; done < total; done += BATCH) {
        loam_waitgroup_add(&wg, BATCH);
        for (long i = 0; i < BATCH; i++)
            if (loam_go(worker, (void *)(intptr_t)((done + i) * 7919 % 61)) != 0)
                return 2;
        loam_waitgroup_wait(&wg);
        loam_read_sched_stats(&s);
        most = s.stack_segments > most ? s.stack_segments : most;
    }
    /* the last ones may still be on their way out */
    for (int i = 0; i < 10000 && (loam_read_sched_stats(&s), s.goroutines > 1); i++)
        loam_sleep(1000000);
    loam_read_sched_stats(&s);
    printf("most %lu left %lu\n", (unsigned long)most, (unsigned long)s.stack_segments);
    return s.goroutines == 1 && s.stack_segments <= 1024 * (uint64_t)s.gomaxprocs + 8 ? 0 : 1;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
