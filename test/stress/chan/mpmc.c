/* Many producers and consumers on one channel: nothing lost, doubled or torn, and each consumer sees
 * each producer's values in the order of their sending. */
#include "../../unit/chan/chan_test.h"

enum { MOST = 8 };

/* Of a size that the configuration says; the fields from `check` on exist only in large ones. */
struct value {
    uint32_t producer, seq;
    uint64_t check;
    uint8_t more[84];
};

static uint64_t check_of(uint32_t producer, uint32_t seq)
{
    return ((uint64_t)producer << 32 | seq) * UINT64_C(0x9e3779b97f4a7c15);
}

struct config {
    int producers, consumers;
    int64_t cap;
    size_t size;
};

struct end {
    struct loam_hchan *c, *never;
    const struct config *f;
    struct loam_waitgroup *wg;
    uint32_t id;
    int64_t n;
    uint64_t count, sum;
};

static void produce(void *arg)
{
    struct end *e = arg;
    for (int64_t i = 0; i < e->n; i++) {
        struct value v = {e->id, (uint32_t)i, check_of(e->id, (uint32_t)i), {0}};
        memset(v.more, (int)(v.check >> 56), sizeof v.more);
        struct loam_case cases[] = {{e->never, NULL, NULL, 0}, {e->c, &v, NULL, 1}};
        switch (e->id % 4) {
        case 0:
        case 1:
            loam_chan_send(e->c, &v);
            break;
        case 2:
            while (loam_chan_try_send(e->c, &v) != 1)
                loam_yield();
            break;
        default:
            CHECK_EQ(loam_select_n(cases, 2, 0), 1);
        }
    }
    loam_waitgroup_done(e->wg);
}

/* False: closed. */
static bool receive(struct end *e, struct value *v)
{
    bool ok = false;
    struct loam_case cases[] = {{e->never, NULL, NULL, 0}, {e->c, v, &ok, 0}};
    int got;
    switch (e->id % 4) {
    case 0:
    case 1:
        return loam_chan_recv(e->c, v);
    case 2:
        while ((got = loam_chan_try_recv(e->c, v)) == -EAGAIN)
            loam_yield();
        return got == 1;
    default:
        CHECK_EQ(loam_select_n(cases, 2, 0), 1);
        return ok;
    }
}

static void consume(void *arg)
{
    struct end *e = arg;
    int64_t last[MOST];
    for (int i = 0; i < MOST; i++)
        last[i] = -1;
    for (struct value v; receive(e, &v);) {
        CHECK(v.producer < (uint32_t)e->f->producers);
        if ((int64_t)v.seq <= last[v.producer])
            FAIL("producer %u: %u after %d", v.producer, v.seq, (int)last[v.producer]);
        last[v.producer] = v.seq;
        uint64_t check = check_of(v.producer, v.seq);
        if (e->f->size >= 16)
            CHECK_EQ(v.check, check);
        if (e->f->size == sizeof v)
            for (size_t i = 0; i < sizeof v.more; i++)
                CHECK_EQ(v.more[i], check >> 56);
        e->count++;
        e->sum += check;
    }
    loam_waitgroup_done(e->wg);
}

static void one(const struct config *f, int64_t n)
{
    snprintf(where, sizeof where, "%d producers, %d consumers, capacity %d, %zu bytes",
             f->producers, f->consumers, (int)f->cap, f->size);
    struct loam_hchan *c = loam_chan_new_or_panic(f->size, f->cap);
    struct loam_hchan *never = loam_chan_new_or_panic(1, 0);
    struct loam_waitgroup producers = {0}, consumers = {0};
    loam_waitgroup_add(&producers, f->producers);
    loam_waitgroup_add(&consumers, f->consumers);
    struct end in[MOST], out[MOST];
    for (int i = 0; i < MOST; i++) {
        if (i < f->producers) {
            in[i] = (struct end){c, never, f, &producers, (uint32_t)i, n / f->producers, 0, 0};
            go(produce, &in[i]);
        }
        if (i < f->consumers) {
            out[i] = (struct end){c, never, f, &consumers, (uint32_t)i, 0, 0, 0};
            go(consume, &out[i]);
        }
    }
    loam_waitgroup_wait(&producers);
    loam_chan_close(c);
    loam_waitgroup_wait(&consumers);
    uint64_t count = 0, sum = 0, want = 0;
    for (int i = 0; i < f->consumers; i++) {
        count += out[i].count;
        sum += out[i].sum;
    }
    for (int i = 0; i < f->producers; i++)
        for (int64_t k = 0; k < n / f->producers; k++)
            want += check_of((uint32_t)i, (uint32_t)k);
    CHECK_EQ(count, n / f->producers * f->producers);
    CHECK_EQ(sum, want);
    loam_chan_delete(c);
    loam_chan_delete(never);
}

static void body(void)
{
    static const int64_t caps[] = {0, 1, 2, 7, 128};
    static const size_t sizes[] = {8, 16, sizeof(struct value)};
    static const int ends[][2] = {{1, 1}, {1, 4}, {4, 1}, {4, 4}, {8, 8}};
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
            for (size_t l = 0; l < sizeof ends / sizeof ends[0]; l++)
                one(&(struct config){ends[l][0], ends[l][1], caps[i], sizes[k]}, times(60000));
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
