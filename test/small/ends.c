/* N goroutines park, each third of them more than one segment deep, and end. What they had goes back to
 * the system by and by: the resident memory comes back to within a tenth and 2 MB of what it was before. A
 * second crowd then uses the same addresses. "watch": prints figures instead, of shallow ones, the last
 * of them 5 seconds after. */
#include <inttypes.h>
#include <loam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static loam_chan(int) gate;
static int depth = 6;
static struct loam_waitgroup started, ended;

/* Of /proc/self/status, in KB. */
static long status(const char *key)
{
    char line[200];
    long kb = -1;
    FILE *f = fopen("/proc/self/status", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            kb = atol(line + strlen(key) + 1);
    if (f != NULL)
        fclose(f);
    return kb;
}

__attribute__((noipa)) static int deep(int n)
{
    volatile char b[500];
    b[0] = 1;
    int none;
    if (n > 0)
        return deep(n - 1) + b[0];
    loam_waitgroup_done(&started);
    return loam_recv_ok(gate, &none) ? 100 : 0;
}

static void worker(void *arg)
{
    int n = (int)(intptr_t)arg % 3 == 0 ? depth : 0;
    if (deep(n) != n)
        abort();
    loam_waitgroup_done(&ended);
}

static long crowd(int n)
{
    gate = loam_chan_make(int, 0);
    loam_waitgroup_add(&started, n);
    loam_waitgroup_add(&ended, n);
    for (int i = 0; i < n; i++)
        if (loam_go(worker, (void *)(intptr_t)i) != 0)
            return -1;
    loam_waitgroup_wait(&started);
    long peak = status("VmRSS");
    loam_close(gate);
    loam_waitgroup_wait(&ended);
    loam_chan_free(gate);
    return peak;
}

static void show(const char *when)
{
    printf("%s: VmRSS %ld KB, VmPTE %ld KB\n", when, status("VmRSS"), status("VmPTE"));
}

static int run(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 100000;
    if (crowd(100) < 0) /* what is made once and stays */
        return 2;
    long before = status("VmRSS"), most = before * 11 / 10 + 2048;
    if (argc > 2) {
        depth = 0;
        show("before");
        printf("peak: VmRSS %ld KB\n", crowd(n));
        show("ended");
        loam_sleep(5000000000);
        show("5 s after");
        return 0;
    }
    long peak = crowd(n);
    if (peak < before + n / 1024 * (2048 + 256)) {
        printf("%ld KB, %ld before: it measures nothing\n", peak, before);
        return 1;
    }
    while (status("VmRSS") > most) /* for as long as the test may take */
        loam_sleep(20000000);
    if (crowd(n) < 0)
        return 2;
    puts("ok");
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
