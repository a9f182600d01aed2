/* A program of `loam build --migratable`: loops without end beside each other, until they have been cut often.
 * With an argument it dumps its goroutines meanwhile; prints how many were copied. */
#include <loam.h>

#include <stdio.h>

enum { LOOPS = 8 };

static int stop;

__attribute__((noinline)) static void inner(void)
{
    while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0)
        ; /* line 14 */
}

static void loop(void *arg)
{
    inner(); /* line 19 */
    __asm__ volatile("" : : "r"(arg));
}

static LOAM_NOPREEMPT int errno_now(void)
{
    return errno;
}

static int run(int argc, char **argv)
{
    (void)argv;
    struct loam_sched_stats s = {0};
    for (int i = 0; i < LOOPS; i++)
        if (loam_go(loop, NULL) != 0)
            return 1;
    while (s.preemptions < 50) {
        loam_sleep(LOAM_MILLISECOND);
        loam_read_sched_stats(&s);
    }
    if (argc > 1)
        loam_dump_goroutines(1);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    while (loam_num_goroutine() > 1)
        loam_sleep(LOAM_MILLISECOND);
    loam_read_sched_stats(&s);
    printf("%s %d\n", s.preemptions_copied >= 50 ? "copied" : "held", errno_now() < 0);
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
