/* The runtime is started and stopped again and again, with every patience, while goroutines park,
 * sleep, yield, block and end, and while threads of the program call into it and start goroutines,
 * which must not know whether it is there.
 *
 * Checked: calls and starts have the result that the documentation names, and what they say is true:
 * 0 has run, refused has not run, cancelled does not run any more; no thread hangs; nothing runs
 * between a stop and a start; threads, maps, descriptors and handlers are as before at the end. */
#include "stress.h"

#include "../../unit/boot/process.h"

enum { CALLERS = 2, STARTERS = 2, RESTARTS = 60, KINDS = 8 };

static int go_on;          /* atomic: the program's threads */
static uint32_t era;       /* atomic: odd while goroutines may run */
static int64_t accepted;   /* atomic: goroutines that were started to arrive */
static int64_t arrived;    /* atomic: of these, have run */
static int64_t results[3]; /* atomic: calls that were done, refused, cancelled */

static void is_on(void)
{
    CHECK(load(&era) % 2 == 1);
}

/* ---- What runs when the stop comes ------------------------------------------------------------------ */

static void yield_on(void *arg)
{
    (void)arg;
    for (;;) {
        is_on();
        loam_yield();
    }
}

static void sleep_on(void *arg)
{
    uint64_t r = (uintptr_t)arg;
    for (;;) {
        is_on();
        loam_sleep(draw(&r) % 100 * LOAM_MICROSECOND);
    }
}

static void block(void *arg)
{
    uint64_t *r = arg;
    if (draw(r) % 2 == 0)
        usleep(draw(r) % 100);
}

static void block_on(void *arg)
{
    uint64_t r = (uintptr_t)arg;
    for (;;) {
        loam_blocking(block, &r);
        is_on();
    }
}

static void wired_on(void *arg)
{
    uint64_t r = (uintptr_t)arg;
    loam_lock_os_thread();
    for (;;) {
        is_on();
        if (draw(&r) % 2 == 0)
            loam_yield();
        else
            loam_sleep(draw(&r) % 100 * LOAM_MICROSECOND);
    }
}

static void wired_to_the_end(void *arg)
{
    (void)arg;
    loam_lock_os_thread();
    loam_yield();
    is_on();
}

static void start_on(void *arg)
{
    (void)arg;
    for (;;) {
        is_on();
        go(wired_to_the_end, NULL);
        loam_yield();
    }
}

static void park(void *arg)
{
    (void)arg;
    loam_select_n(NULL, 0, 0);
    FAIL("a select without cases returned");
}

static void resize_on(void *arg)
{
    uint64_t r = (uintptr_t)arg;
    for (;;) {
        (void)loam_gomaxprocs(1 + (int)(draw(&r) % 4));
        is_on();
        loam_sleep(20 * LOAM_MICROSECOND);
    }
}

static void (*const kinds[KINDS])(void *) = {yield_on, sleep_on,         block_on, wired_on,
                                             start_on, wired_to_the_end, park,     resize_on};

/* ---- The program's threads ---------------------------------------------------------------------------- */

struct call {
    int begun, ended; /* atomic */
    uint64_t random;
};

static void called(void *arg)
{
    struct call *c = arg;
    is_on();
    CHECK_EQ(add(&c->begun, 1), 1);
    switch (draw(&c->random) % 4) {
    case 0:
        loam_sleep(draw(&c->random) % 200 * LOAM_MICROSECOND);
        break;
    case 1:
        loam_yield();
        break;
    case 2:
        loam_blocking(block, &c->random);
        break;
    default:
        break;
    }
    is_on();
    add(&c->ended, 1);
    if (draw(&c->random) % 4 == 0)
        loam_goexit();
}

static void *call_on(void *arg)
{
    uint64_t r = (uintptr_t)arg;
    while (load(&go_on)) {
        /* Not on the stack: TSan does not know that whoever was cancelled is not there any more. */
        struct call *c = calloc(1, sizeof *c);
        CHECK(c != NULL);
        c->random = draw(&r);
        int err = loam_call(called, c);
        int begun = load(&c->begun), ended = load(&c->ended);
        switch (err) {
        case 0:
            CHECK(begun == 1 && ended == 1);
            add(&results[0], 1);
            break;
        case -EINVAL:
            CHECK(begun == 0 && ended == 0);
            add(&results[1], 1);
            usleep(20);
            break;
        case -ECANCELED:
            usleep(100); /* nobody goes on with it */
            CHECK_EQ(load(&c->begun), begun);
            CHECK_EQ(load(&c->ended), ended);
            add(&results[2], 1);
            break;
        default:
            FAIL("loam_call: %d, %s", err, loam_error_text());
        }
        if (err != -ECANCELED || !TEST_TSAN)
            free(c);
    }
    return NULL;
}

static void arrive(void *arg)
{
    (void)arg;
    is_on();
    add(&arrived, 1);
}

static void arrive_copied(void *arg)
{
    CHECK_EQ(*(uint64_t *)arg, 0x1234567890abcdef);
    arrive(NULL);
}

static void *start_always(void *arg)
{
    uint64_t r = (uintptr_t)arg;
    struct loam_go_options big = {.name = "big", .stack_size = 1 << 20};
    while (load(&go_on)) {
        uint64_t copy = 0x1234567890abcdef;
        uint32_t kind = draw(&r) % 16;
        add(&accepted, 1); /* before it may arrive */
        int err = kind < 8    ? loam_go(arrive, NULL)
                  : kind < 15 ? loam_go_copy(arrive_copied, &copy, sizeof copy)
                              : loam_go_with(&big, arrive, NULL);
        if (err != 0)
            add(&accepted, -1);
        if (err != 0 && err != -EINVAL)
            FAIL("start: %d, %s", err, loam_error_text());
        CHECK(loam_num_goroutine() >= 0);
        if (err != 0 || kind == 0)
            usleep(20);
        if (kind == 1)
            (void)loam_gomaxprocs(1 + (int)(draw(&r) % 4));
    }
    return NULL;
}

/* ---- Starts and stops ----------------------------------------------------------------------------------- */

/* Stops it for certain, now and then after attempts without the patience. */
static void stop(uint64_t *r)
{
    static const int64_t patience[] = {-1, 0, 1000, 100000, 5 * LOAM_MILLISECOND};
    int err;
    do {
        err = loam_stop(patience[draw(r) % 5]);
        if (err != 0 && err != -EBUSY)
            FAIL("loam_stop: %d, %s", err, loam_error_text());
        if (err == -EBUSY) { /* then it goes on */
            add(&accepted, 1);
            CHECK_EQ(loam_call(arrive, NULL), 0);
        }
    } while (err != 0);
}

static void one(uint64_t *r)
{
    static char args[2 * KINDS];
    struct loam_config config = {.maxprocs = (int)(draw(r) % 5)};
    int64_t calls = load(&results[0]), arrivals = load(&arrived);
    bool wait = draw(r) % 4 != 0;
    add(&era, 1);
    int err = loam_start(&config);
    if (err != 0)
        FAIL("loam_start: %d, %s", err, loam_error_text());
    CHECK_EQ(loam_start(NULL), -EALREADY);
    for (int i = 0; i < 2 * KINDS; i++)
        if (draw(r) % 2 == 0)
            go(kinds[i % KINDS], &args[i]);
    if (wait) /* else it is stopped while it starts */
        AWAIT_THREAD(load(&results[0]) > calls && load(&arrived) > arrivals);
    usleep(draw(r) % 300);
    stop(r);
    add(&era, 1);
    CHECK_EQ(loam_stop(0), -EINVAL);
    CHECK_EQ(loam_num_goroutine(), 0);
    if (draw(r) % 4 == 0) {
        int64_t before = load(&arrived);
        usleep(200);
        CHECK_EQ(load(&arrived), before);
    }
}

static void storm(uint64_t *r)
{
    pthread_t thread[CALLERS + STARTERS];
    char arg[CALLERS + STARTERS];
    store(&go_on, 1);
    for (int i = 0; i < CALLERS + STARTERS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, i < CALLERS ? call_on : start_always, &arg[i]),
                 0);
    for (int64_t i = 0; i < times(RESTARTS); i++)
        one(r);
    store(&go_on, 0);
    for (int i = 0; i < CALLERS + STARTERS; i++)
        pthread_join(thread[i], NULL);
    CHECK(load(&arrived) <= load(&accepted));
}

int main(void)
{
    static struct process was;
    uint64_t r = 42;
    storm(&r); /* the first one makes what libc keeps */
    if (!TEST_TSAN)
        process_look(&was);
    storm(&r);
    /* The table sets libc's cache of thread stacks to nothing; what sanitizers map is theirs. */
    if (!TEST_TSAN)
        process_same(&was, getenv("GLIBC_TUNABLES") != NULL && !TEST_ASAN);
    CHECK(results[0] > 0 && results[1] + results[2] > 0);
    return 0;
}
