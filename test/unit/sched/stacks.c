/* Stacks of goroutines: of any size, used to their end and used again; no address space for another.
 * What was made and never ran when the runtime stops. */
#include "sched/sched_int.h"

#include "../../child.h"
#include "schedtest.h"

#include <errno.h>
#include <sys/resource.h>

static struct outcome o;
static int ran, release;

static void count(void *arg)
{
    (void)arg;
    add(&ran, 1);
}

/* ---- Sizes of stacks ---------------------------------------------------------------------------------- */

/* Touches most of what there is of this stack. */
static noinline unsigned deep(int levels)
{
    volatile unsigned char block[4096];
    memset((void *)(uintptr_t)block, levels, sizeof block);
    unsigned below = levels > 0 ? deep(levels - 1) : 0;
    return below + block[17];
}

static void use_stack(void *arg)
{
    struct stack s = getg()->stack;
    CHECK((uintptr_t)__builtin_frame_address(0) - s.lo >= (size_t)(uintptr_t)arg);
    /* all but what the frames of this function, of a hook, and a sanitizer's red zones need */
    size_t usable = s.hi - s.lo;
    size_t most = TEST_TSAN ? 1 << 20 : 16 << 20; /* frames are slow there */
    if (usable > most)
        usable = most;
    (void)deep((int)(usable / (TEST_ASAN ? 8192 : 4500)) - 8);
    add(&ran, 1);
}

static uint64_t stacks_mapped(void)
{
    struct loam_sched_stats s;
    loam_read_sched_stats(&s);
    return s.stacks_mapped;
}

static void stack_sizes(void *arg)
{
    static const size_t sizes[] = {
        1,         4096,    100000,  188 << 10, (188 << 10) + 1,        256 << 10, 300000,
        512 << 10, 1 << 20, 3 << 20, 8 << 20,   (8 << 20) - (68 << 10), 64 << 20};
    uint64_t first = 0;
    (void)arg;
    for (int round = 0; round < 4; round++) {
        store(&ran, 0);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct loam_go_options with = {.stack_size = sizes[i]};
            CHECK_EQ(loam_go_with(&with, use_stack, (void *)(uintptr_t)sizes[i]), 0);
            AWAIT(load(&ran) == (int)i + 1);
            AWAIT(loam_num_goroutine() == 1); /* it has given its stack back */
        }
        go(use_stack, (void *)(uintptr_t)(188 << 10)); /* the default */
        AWAIT(loam_num_goroutine() == 1);
        if (round == 0)
            first = stacks_mapped();
        CHECK_EQ(stacks_mapped(), first); /* those of odd sizes are used again as well */
    }
    CHECK_EQ(
        loam_go_with(&(struct loam_go_options){.stack_size = ((size_t)1 << 30) + 1}, count, NULL),
        -EINVAL);
    CHECK_HAS(loam_error_text(), "1 GB");
    CHECK_EQ(loam_go_with(&(struct loam_go_options){.stack_size = SIZE_MAX}, count, NULL), -EINVAL);
    store(&ran, 0);
    struct loam_go_options largest = {.stack_size = (size_t)1 << 30};
    int err = loam_go_with(&largest, count, NULL);
    CHECK(err == 0 || err == -ENOMEM); /* as the machine allows */
    AWAIT(load(&ran) == (err == 0));
}

/* ---- Never run ---------------------------------------------------------------------------------------- */

static int made, done, reserve;

static void park_until_release(void *arg)
{
    (void)arg;
    add(&ran, 1);
    AWAIT(load(&release));
}

static void count_embryo(const struct g *embryo, void *arg)
{
    CHECK(is_embryo(embryo));
    add((int *)arg, 1);
}

/* Leaves dead goroutines behind, without which no embryos are made, then makes them and waits for the
 * stop without letting anybody run. */
static void make_embryos(void *arg)
{
    (void)arg;
    for (int i = 0; i < reserve; i++)
        go(park_until_release, NULL);
    AWAIT(load(&ran) == reserve);
    store(&release, 1);
    AWAIT(loam_num_goroutine() == 1);
    store(&ran, 0);
    for (int i = 0; i < 2 * reserve; i++)
        go(count, NULL);
    int embryos = 0;
    done = load(&ran);
    each_embryo(count_embryo, &embryos);
    if (!LOAM_TSAN && !LOAM_TORTURE && done == 0) /* nobody was preempted meanwhile */
        CHECK_EQ(embryos, reserve); /* for the others there is no reserve: they have stacks */
    CHECK(embryos + done <= 2 * reserve);
    store(&made, 1);
    while (!load(&sched.gcwaiting))
        ;
    loam_yield();
    FAIL("the goroutine went on after the stop");
}

static void never_run(void)
{
    reserve = (int)times(500);
    for (int round = 0; round < 3; round++) {
        store(&ran, 0);
        store(&made, 0);
        store(&release, 0);
        /* a signal would let others run: it waits in a loop */
        struct loam_config config = {.maxprocs = 1, .debug = "asyncpreemptoff=1"};
        CHECK_EQ(loam_start(&config), 0);
        go(make_embryos, NULL);
        AWAIT_THREAD(load(&made));
        CHECK_EQ(loam_stop(-1), 0);
        CHECK_EQ(load(&ran), done);
        /* nothing of them is left */
        CHECK_EQ(loam_start(NULL), 0);
        int embryos = 0;
        each_embryo(count_embryo, &embryos);
        CHECK_EQ(embryos, 0);
        CHECK_EQ(loam_num_goroutine(), 0);
        CHECK_EQ(loam_stop(-1), 0);
    }
}

/* ---- No stack --------------------------------------------------------------------------------------- */

static int start_until_error(void)
{
    for (int n = 0;; n++) {
        int err = n % 3 == 0   ? loam_go(park_until_release, NULL)
                  : n % 3 == 1 ? loam_go_copy(park_until_release, &n, sizeof n)
                               : loam_go_with(NULL, park_until_release, NULL);
        if (err != 0) {
            CHECK_EQ(err, -ENOMEM);
            CHECK_HAS(loam_error_text(), "no address space for another stack of 256 KB");
            return n;
        }
        CHECK(n < 1000000);
    }
}

static void out_of_stacks(void *arg)
{
    (void)arg;
    store(&ran, 0);
    rlim_t limit = (rlim_t)(process_status("VmSize:") * 1024 + (200 << 20));
    CHECK_EQ(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}), 0);
    for (int round = 0; round < 5; round++) {
        store(&ran, 0);
        store(&release, 0);
        int n = start_until_error();
        CHECK(n >= 400);
        /* odd sizes fail as well, and all that were started run */
        struct loam_go_options large = {.stack_size = 512 << 20};
        CHECK_EQ(loam_go_with(&large, count, NULL), -ENOMEM);
        AWAIT(load(&ran) == n);
        CHECK_EQ(loam_go(count, NULL), -ENOMEM);
        store(&release, 1);
        AWAIT(loam_num_goroutine() == 1);
        CHECK_EQ(load(&ran), n);
        for (int i = 0; i < n; i++) /* the stacks are there again */
            go(count, NULL);
        AWAIT(load(&ran) == 2 * n);
    }
}

static void out_of_stacks_child(void *arg)
{
    on_goroutine(1, out_of_stacks, arg);
}

int main(void)
{
    for (int procs = 1; procs <= 4; procs++)
        on_goroutine(procs, stack_sizes, NULL);
    never_run();
    if (!TEST_ASAN && !TEST_TSAN) { /* their shadow memory is beyond any limit */
        in_child(&o, out_of_stacks_child, NULL);
        CHECK_OUTCOME(&o, 0, NULL);
    }
    return 0;
}
