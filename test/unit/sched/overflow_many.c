/* One of tens of thousands of goroutines overflows its stack and is reported, on kernels with guard markers
 * and on those without, where there is an end to the number of stacks. The argument: which kernel. */
#include "overflow.h"

#include <sys/mman.h>

/* ---- Forty thousand ------------------------------------------------------------------------------- */

static int count_maps(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    CHECK(f != NULL);
    int n = 0;
    for (int c; (c = getc(f)) != EOF;)
        n += c == '\n';
    fclose(f);
    return n;
}

static long max_map_count(void)
{
    long n = 0;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
    if (f == NULL || fscanf(f, "%ld", &n) != 1)
        FAIL("vm.max_map_count cannot be read");
    fclose(f);
    return n;
}

static int ready, release;
static loam_chan(int) gate;

static void parks(void *arg)
{
    (void)arg;
    add(&ready, 1);
    if (loam_recv(gate) != 0)
        recurses(NULL);
    add(&release, 1);
}

/* Does the kernel, as it is now, have guards that cost no map? */
static bool has_markers(void)
{
    char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return madvise(p, 4096, 102) == 0 && kernel->debug == NULL;
}

static void park_many(int n)
{
    int before = count_maps();
    for (int i = 0; i < n; i++)
        go(parks, NULL);
    AWAIT_THREAD(load(&ready) == n);
    int maps = count_maps() - before;
    int each = has_markers() ? 0 : kernel->no_memfd ? 2 : 1;
    fprintf(stderr, "parked, with %d maps\n", maps);
    if (!TEST_ASAN && !TEST_TSAN) /* they have maps of their own */
        CHECK(maps >= each * n && maps < each * n + n / 10 + 500);
}

static void send(void *arg)
{
    loam_send(gate, *(int *)arg);
}

/* The rest of them are whole. */
static void overflow_one(void *arg)
{
    start_procs(2);
    gate = loam_chan_make(int, 0);
    park_many(*(int *)arg);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(loam_call(send, &(int){0}), 0);
    AWAIT_THREAD(load(&release) == 10);
    (void)loam_call(send, &(int){1});
    for (;;)
        pause();
}

/* No descriptor for the file from which slots are mapped: then two maps for each. */
static void without_descriptors(void *arg)
{
    int last = dup(0);
    (void)arg;
    start_procs(2);
    gate = loam_chan_make(int, 0);
    while (dup(0) >= 0) /* to the limit, which the program may have set low */
        CHECK(++last < 2000000);
    for (int i = 0; i < 600; i++)
        go(parks, NULL);
    AWAIT_THREAD(load(&ready) == 600);
    (void)loam_call(send, &(int){1});
    for (;;)
        pause();
}

static void stop_them(void *arg)
{
    start_procs(2);
    gate = loam_chan_make(int, 0);
    int before = count_maps();
    park_many(*(int *)arg);
    CHECK_EQ(loam_stop(-1), 0);
    CHECK(count_maps() < before + 100 || TEST_ASAN || TEST_TSAN); /* malloc has some too */
}

/* As many as there can be: the next one is an error of the call, which says how many there are. */
static void until_error(void *arg)
{
    (void)arg;
    start_procs(2);
    gate = loam_chan_make(int, 0);
    int n = 0, err;
    while ((err = loam_go(parks, NULL)) == 0)
        CHECK(++n < 1000000);
    CHECK_EQ(err, -ENOMEM);
    char part[64];
    snprintf(part, sizeof part, "another stack of 256 KB: %d are in use", n);
    CHECK_HAS(loam_error_text(), part);
    CHECK_HAS(loam_error_text(), "vm.max_map_count");
    CHECK_HAS(loam_error_text(), "each is a map of its own");
    CHECK(n > max_map_count() - 2000);
    AWAIT_THREAD(load(&ready) == n);
    CHECK_EQ(loam_go(parks, NULL), -ENOMEM);
    loam_close(gate); /* each works; and their stacks serve others */
    AWAIT_THREAD(load(&release) == n);
    AWAIT_THREAD(loam_num_goroutine() == 0);
    for (int i = 0; i < n / 2; i++)
        go(parks, NULL);
    fprintf(stderr, "%d\n", n);
}

int main(int argc, char **argv)
{
    CHECK(argc >= 2);
    choose_kernel(argv[1]);
    if (argc == 3) { /* till there are no more */
        if (max_map_count() > 100000)
            return 77; /* it would take too long */
        in_child_with(&o, until_error, NULL, 100, NULL);
        CHECK_OUTCOME(&o, 0, "\n");
        return 0;
    }
    /* TSan takes its time for each; with two maps a stack 32,700 are all that there can be */
    int n = TEST_TSAN ? 1000 : (int)at_most(kernel->no_memfd ? 20000 : 40000);
    in_child_with(&o, overflow_one, &n, 100, NULL);
    CHECK_OUTCOME(&o, 2, "parked, with ");
    CHECK_HAS(o.err, "\nfatal error: stack overflow\n");
    in_child_with(&o, stop_them, &(int){n / 10}, 100, NULL);
    CHECK_OUTCOME(&o, 0, "parked, with ");
    in_child(&o, without_descriptors, NULL);
    CHECK_OUTCOME(&o, 2, "\nfatal error: stack overflow\n");
    return 0;
}
