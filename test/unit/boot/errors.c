/* Errors of start and stop: values with a text, nothing left behind. */
#include "../../child.h"
#include "process.h"

#include <sys/resource.h>

static struct process first;

static void nothing(void *arg)
{
    (void)arg;
}

static void refused(struct loam_config config, int err, const char *text)
{
    config.flags |= LOAM_NO_ENV;
    CHECK_EQ(loam_start(&config), err);
    CHECK_HAS(loam_error_text(), text);
    process_same(&first, false);
    CHECK_EQ(loam_stop(0), -EINVAL);
}

static void not_started(void)
{
    CHECK_EQ(loam_stop(0), -EINVAL);
    CHECK_STR(loam_error_text(), "the runtime is not started");
    CHECK_EQ(loam_go(nothing, NULL), -EINVAL);
    CHECK_HAS(loam_error_text(), "not started");
    CHECK_EQ(loam_call(nothing, NULL), -EINVAL);
    CHECK_EQ(loam_go_with(NULL, nothing, NULL), -EINVAL);
    CHECK_EQ(loam_go_copy(nothing, "x", 2), -EINVAL);
    CHECK_EQ(loam_goid(), 0);
    CHECK_EQ(loam_num_goroutine(), 0);
    CHECK_EQ(loam_gomaxprocs(0), 0);
    CHECK_EQ(loam_gomaxprocs(3), 0);
    CHECK(loam_num_cpu() >= 1);
    loam_yield();
    loam_set_name("nobody");
    loam_blocking(nothing, NULL);
    CHECK(loam_label("x") == NULL);
    CHECK_EQ(loam_set_label("x", "y"), -EINVAL);
    loam_dump_goroutines(2);
    loam_traceback(2);
    struct loam_sched_stats stats;
    loam_read_sched_stats(&stats);
    CHECK_EQ(stats.goroutines, 0);
    process_same(&first, false);
}

static void bad_configs(void)
{
    refused((struct loam_config){.maxprocs = -1}, -EINVAL, "maxprocs is -1");
    refused((struct loam_config){.maxprocs = 1025}, -EINVAL, "maxprocs is 1025");
    refused((struct loam_config){.max_threads = -5}, -EINVAL, "max_threads is -5");
    refused((struct loam_config){.stack_size = (size_t)2 << 30}, -EINVAL,
            "stack_size is 2147483648");
    refused((struct loam_config){.debug = "evtrace=/nowhere/at/all,dst=1"}, -ENOENT,
            "/nowhere/at/all");
    refused((struct loam_config){.debug = "evtrace=/tmp/x"}, -EINVAL, "needs dst=SEED");
}

static void versions(void)
{
    int next_minor = LOAM_VERSION + 0x100, next_major = LOAM_VERSION + 0x10000;
    CHECK_EQ(loam_start_version(NULL, next_major), -EPROTO);
    CHECK_HAS(loam_error_text(), "compile it again");
    if (LOAM_VERSION_MAJOR == 0)
        CHECK_EQ(loam_start_version(NULL, next_minor), -EPROTO);
    process_same(&first, false);
    CHECK_EQ(loam_start_version(NULL, LOAM_VERSION ^ 1), 0); /* another patch level is the same */
    CHECK_EQ(loam_stop(-1), 0);
    CHECK_EQ(loam_version(), LOAM_VERSION);
}

static void on_goroutine(void *arg)
{
    (void)arg;
    CHECK_EQ(loam_stop(0), -EDEADLK);
    CHECK_HAS(loam_error_text(), "on a goroutine");
    CHECK_EQ(loam_start(NULL), -EALREADY);
    struct loam_go_options huge = {.stack_size = ((size_t)1 << 30) + 1};
    CHECK_EQ(loam_go_with(&huge, nothing, NULL), -EINVAL);
    CHECK_HAS(loam_error_text(), "1 GB");
    static char block[(16 << 10) + 1];
    CHECK_EQ(loam_go_copy(nothing, block, sizeof block), -E2BIG);
    CHECK_EQ(loam_go_copy(nothing, block, sizeof block - 1), 0);
}

static void started(void)
{
    CHECK_EQ(loam_start(NULL), 0);
    CHECK_EQ(loam_start(NULL), -EALREADY);
    CHECK_STR(loam_error_text(), "the runtime is already started");
    CHECK_EQ(loam_call(on_goroutine, NULL), 0);
    CHECK_EQ(loam_stop(-1), 0);
    CHECK_EQ(loam_stop(-1), -EINVAL);
    process_same(&first, false);
}

static int main_returns(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

/* In children, because limits stay. */
static void no_threads(void *arg)
{
    (void)arg;
    /* the superuser has no such limit */
    CHECK_EQ(setgid(65534), 0);
    CHECK_EQ(setuid(65534), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    CHECK_EQ(setrlimit(RLIMIT_NPROC, &none), 0);
    int err = loam_start(NULL);
    CHECK_EQ(err, -EAGAIN);
    CHECK_HAS(loam_error_text(), "thread");
    process_same(&first, false);
    CHECK_EQ(loam_start(NULL), -EAGAIN);
    CHECK_EQ(loam_run(main_returns, 0, NULL), 125);
}

static size_t vm_size(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    size_t pages = 0;
    CHECK(f != NULL && fscanf(f, "%zu", &pages) == 1);
    fclose(f);
    return pages * 4096;
}

static void count(void *arg)
{
    add((int *)arg, 1);
}

/* With every amount of address space from none to enough: an error with a text, or it works. */
static void little_memory(void *arg)
{
    struct rlimit limit = {.rlim_cur = vm_size() + *(size_t *)arg, .rlim_max = RLIM_INFINITY};
    CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
    struct loam_config config = {.maxprocs = 2};
    int err = loam_start(&config);
    if (err != 0) {
        CHECK(err == -ENOMEM || err == -EAGAIN);
        CHECK(*loam_error_text() != '\0');
        process_same(&first, false);
        printf("start refused: %s\n", loam_error_text());
        return;
    }
    int ran = 0, wanted = 0;
    for (int i = 0; i < 1000; i++) {
        err = loam_go(count, &ran);
        if (err != 0) {
            CHECK_EQ(err, -ENOMEM);
            CHECK_HAS(loam_error_text(), "stack");
            break;
        }
        wanted++;
    }
    AWAIT_THREAD(load(&ran) == wanted);
    printf("%d ran\n", wanted);
    CHECK_EQ(loam_stop(-1), 0);
}

static void run_with_little_memory(void *arg)
{
    struct rlimit limit = {.rlim_cur = vm_size() + *(size_t *)arg, .rlim_max = RLIM_INFINITY};
    CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
    int result = loam_run(main_returns, 0, NULL);
    CHECK(result == 0 || result == 125);
    /* either way it is over */
    CHECK_EQ(loam_stop(0), -EINVAL);
    process_same(&first, false);
}

int main(void)
{
    static struct outcome o;
    process_look(&first);
    not_started();
    bad_configs();
    versions();
    started();
    if (TEST_ASAN || TEST_TSAN) /* they need terabytes of addresses */
        return 0;
    if (getuid() == 0) {
        in_child(&o, no_threads, NULL);
        CHECK_OUTCOME(&o, 0, "cannot start");
    }
    /* What is allocated: Ps, the threads' stacks of 8 MB, Ms, a slab of 64 MB. */
    for (size_t kb = 0; kb < (200 << 10); kb += kb < 256 ? 16 : kb < 1024 ? 128 : 2048) {
        size_t bytes = kb << 10;
        in_child(&o, little_memory, &bytes);
        /* a thread that is not to be had later ends the process, as in Go */
        if (o.exit == 2)
            CHECK_OUTCOME(&o, 2, "failed to create new OS thread");
        else
            CHECK_OUTCOME(&o, 0, "r");
        in_child(&o, run_with_little_memory, &bytes);
        CHECK_OUTCOME(&o, 0, o.len != 0 ? "cannot start" : NULL);
    }
    return 0;
}
