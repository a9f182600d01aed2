/* argv[1]: what to die of, or to show. */
#include <loam.h>
#include <stdio.h>
#include <string.h>

__attribute__((noipa)) static long endless(long n)
{
    volatile char b[200];
    b[0] = (char)n;
    return endless(n + 1) + b[0]; /* line 10 */
}

__attribute__((noipa)) static int shallow(int n)
{
    volatile char b[100];
    b[0] = 1;
    if (n == 0)
        loam_traceback(1); /* line 18 */
    else
        shallow(n - 1); /* line 20 */
    return b[0];
}

__attribute__((noipa)) static void parks(int n)
{
    volatile char b[100];
    b[0] = 1;
    if (n == 0)
        loam_sleep(1000000000000); /* line 29 */
    else
        parks(n - 1); /* line 31 */
    b[1] = 1;
}

static const char *what;

static void worker(void *arg)
{
    if (strcmp(what, "overflow") == 0)
        endless(0); /* line 40 */
    else if (strcmp(what, "traceback") == 0)
        shallow(40); /* line 42 */
    else if (strcmp(what, "parked") == 0)
        parks(40); /* line 44 */
    loam_waitgroup_done(arg);
}

static int run(int argc, char **argv)
{
    struct loam_waitgroup wg = {0};
    what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "overflow") == 0) {
        printf("limit %zu\n", loam_set_max_stack(1 << 20));
        fflush(stdout);
    }
    loam_waitgroup_add(&wg, 1);
    loam_go(worker, &wg); /* line 57 */
    if (strcmp(what, "parked") == 0) {
        loam_sleep(1000000);
        while (loam_num_goroutine() < 2)
            loam_yield();
        loam_dump_goroutines(1);
        return 0;
    }
    loam_waitgroup_wait(&wg);
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
