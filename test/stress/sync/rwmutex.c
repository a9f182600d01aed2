/* The read-write mutex under load: a writer is alone, readers see whole writes, nobody is forgotten. */
#include "stress.h"

enum { READERS = 8, WRITERS = 3 };

static struct loam_rwmutex rw;
static int readers, writers;
static int64_t a, b; /* rw: equal outside a write; not atomic on purpose */

static void read_it(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int64_t i = times(5000); i > 0; i--) {
        if (draw(&seed) % 4 == 0) {
            if (!loam_rwmutex_try_rlock(&rw)) {
                loam_yield();
                continue;
            }
        } else {
            loam_rwmutex_rlock(&rw);
        }
        add(&readers, 1);
        CHECK_EQ(load(&writers), 0);
        int64_t seen = a;
        disturb(&seed);
        CHECK_EQ(b, seen);
        add(&readers, -1);
        loam_rwmutex_runlock(&rw);
        disturb(&seed);
    }
}

static int64_t written; /* rw */

static void write_it(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int64_t i = times(2000); i > 0; i--) {
        if (draw(&seed) % 4 == 0) {
            if (!loam_rwmutex_try_lock(&rw)) {
                loam_yield();
                continue;
            }
        } else {
            loam_rwmutex_lock(&rw);
        }
        CHECK_EQ(add(&writers, 1), 1);
        CHECK_EQ(load(&readers), 0);
        written++;
        a++;
        disturb(&seed);
        b++;
        CHECK_EQ(add(&writers, -1), 0);
        loam_rwmutex_unlock(&rw);
        disturb(&seed);
    }
}

static void all(void)
{
    struct loam_waitgroup wg = {0};
    a = b = written = 0;
    for (int i = 0; i < READERS; i++)
        CHECK_EQ(loam_waitgroup_go(&wg, read_it, (void *)(intptr_t)(i + 1)), 0);
    for (int i = 0; i < WRITERS; i++)
        CHECK_EQ(loam_waitgroup_go(&wg, write_it, (void *)(intptr_t)(i + 50)), 0);
    loam_waitgroup_wait(&wg);
    CHECK_EQ(a, written);
    CHECK_EQ(b, written);
    CHECK_EQ(rw.reader_count, 0);
    CHECK_EQ(rw.reader_wait, 0);
    CHECK_EQ(rw.reader.count, 0);
    CHECK_EQ(rw.writer.count, 0);
    CHECK_EQ(rw.w.state, 0);
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
