/* The semaphore under load: never more out than there is, nothing lost by cancellations. */
#include "stress.h"

enum { SIZE = 10, GOROUTINES = 10 };

static struct loam_semaphore sem;
static int64_t out; /* atomic: units acquired */
static int64_t got, cancelled, late;

static void acquire(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int64_t i = times(1500); i > 0; i--) {
        int64_t n = draw(&seed) % SIZE + 1;
        struct loam_context *ctx = NULL;
        int how = (int)(draw(&seed) % 4);
        if (how == 1) {
            ctx = loam_context_with_timeout(NULL, draw(&seed) % 200 * LOAM_MICROSECOND);
        } else if (how == 2) {
            ctx = loam_context_with_cancel(NULL);
        } else if (how == 3) {
            if (!loam_semaphore_try_acquire(&sem, n))
                continue;
        }
        int err = how == 3 ? 0 : loam_semaphore_acquire(&sem, n, ctx);
        if (err == 0) {
            add(&got, 1);
            CHECK(add(&out, n) <= SIZE);
            disturb(&seed);
            add(&out, -n);
            loam_semaphore_release(&sem, n);
        } else {
            CHECK(ctx != NULL && err == loam_context_err(ctx));
            add(err == -ETIMEDOUT ? &late : &cancelled, 1);
        }
        loam_context_free(ctx);
    }
}

/* One waits, another cancels, a third releases: all at once. Whoever wins, nothing is lost. */
struct race {
    struct loam_context *ctx;
    int64_t units;
};

static void wait_for_it(void *arg)
{
    struct race *r = arg;
    if (loam_semaphore_acquire(&sem, SIZE, r->ctx) == 0) {
        add(&got, 1);
        loam_semaphore_release(&sem, SIZE);
    } else {
        add(&cancelled, 1);
    }
}

static void cancel_it(void *arg)
{
    struct race *r = arg;
    loam_context_cancel(r->ctx, 0);
}

static void release_it(void *arg)
{
    struct race *r = arg;
    loam_semaphore_release(&sem, r->units);
}

static void races(void)
{
    for (int64_t i = times(3000); i > 0; i--) {
        struct race r = {loam_context_with_cancel(NULL), 1 + i % SIZE};
        struct loam_waitgroup wg = {0};
        CHECK_EQ(loam_semaphore_acquire(&sem, r.units, NULL), 0);
        loam_waitgroup_go(&wg, wait_for_it, &r);
        loam_waitgroup_go(&wg, wait_for_it, &r);
        if (i % 3 != 0)
            loam_yield();
        loam_waitgroup_go(&wg, cancel_it, &r);
        loam_waitgroup_go(&wg, release_it, &r);
        loam_waitgroup_wait(&wg);
        CHECK_EQ(sem.used, 0);
        CHECK(sem.head == NULL && sem.tail == NULL);
        loam_context_free(r.ctx);
    }
}

static void all(void)
{
    struct loam_waitgroup wg = {0};
    CHECK_EQ(loam_semaphore_init(&sem, SIZE), 0);
    for (int i = 0; i < GOROUTINES; i++)
        CHECK_EQ(loam_waitgroup_go(&wg, acquire, (void *)(intptr_t)(i + 1)), 0);
    loam_waitgroup_wait(&wg);
    CHECK_EQ(load(&out), 0);
    CHECK_EQ(sem.used, 0);
    CHECK(sem.head == NULL && sem.tail == NULL);
    CHECK(load(&got) > 0);
    races();
}

static int stress_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return for_each_procs(all);
}

int main(int argc, char **argv)
{
    return loam_run(stress_main, argc, argv);
}
