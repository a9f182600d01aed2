/* Channels and select. A program that ends after its repetition need not free what it made, any more
 * than Go's does. */
#include "bench_loam.h"

struct echo {
    int_chan there, back;
};

static void echo(void *arg)
{
    struct echo *e = arg;
    for (int64_t v; loam_recv_ok(e->there, &v);)
        loam_send(e->back, v + 1);
    loam_close(e->back);
}

static struct outcome chan_sync(void)
{
    const int64_t ops = 2400000;
    struct echo e = {loam_chan_make(int64_t, 0), loam_chan_make(int64_t, 0)};
    start(echo, &e);
    uint64_t sum = 0;
    int64_t begin = bench_now();
    for (int64_t i = 0; i < ops; i++) {
        loam_send(e.there, i);
        sum += (uint64_t)loam_recv(e.back);
    }
    struct outcome got = {bench_ns_per(begin, ops), sum};
    loam_close(e.there);
    (void)loam_recv(e.back);
    return got;
}

/* One producer or consumer of the pairs at one channel. */
struct end {
    int_chan c;
    struct loam_waitgroup *wg;
    int64_t ops;
    uint64_t sum;
};

static void produce(void *arg)
{
    struct end *p = arg;
    for (int64_t i = 0; i < p->ops; i++)
        loam_send(p->c, i);
    loam_waitgroup_done(p->wg);
}

static void consume(void *arg)
{
    struct end *p = arg;
    uint64_t sum = 0;
    for (int64_t v; loam_recv_ok(p->c, &v);)
        sum += (uint64_t)v;
    p->sum = sum;
    loam_waitgroup_done(p->wg);
}

static struct outcome chan_buf(int pairs, int64_t ops)
{
    int_chan c = loam_chan_make(int64_t, 128);
    struct end producer[4], consumer[4];
    struct loam_waitgroup producers = {0}, consumers = {0};
    loam_waitgroup_add(&producers, pairs);
    loam_waitgroup_add(&consumers, pairs);
    int64_t begin = bench_now();
    for (int k = 0; k < pairs; k++) {
        producer[k] = (struct end){c, &producers, ops / pairs, 0};
        consumer[k] = (struct end){c, &consumers, 0, 0};
        start(produce, &producer[k]);
        start(consume, &consumer[k]);
    }
    loam_waitgroup_wait(&producers);
    loam_close(c);
    loam_waitgroup_wait(&consumers);
    struct outcome got = {bench_ns_per(begin, ops), 0};
    for (int k = 0; k < pairs; k++)
        got.checksum += consumer[k].sum;
    return got;
}

static struct outcome chan_buf_1x1(void)
{
    return chan_buf(1, 20000000);
}

static struct outcome chan_buf_4x4(void)
{
    return chan_buf(4, 16000000);
}

enum { FEEDERS = 4 };

struct feeder {
    int_chan c;
    int64_t ops, first;
};

static void feed(void *arg)
{
    struct feeder *f = arg;
    for (int64_t i = 0; i < f->ops; i++)
        loam_send(f->c, i * FEEDERS + f->first);
}

static struct outcome select4(void)
{
    const int64_t ops = 2000000;
    /* Not on this stack: a feeder looks at its own once more after its last value was received. */
    struct feeder *f = bench_alloc(FEEDERS, sizeof *f);
    for (int k = 0; k < FEEDERS; k++)
        f[k] = (struct feeder){loam_chan_make(int64_t, 0), ops / FEEDERS, k};
    int64_t begin = bench_now();
    for (int k = 0; k < FEEDERS; k++)
        start(feed, &f[k]);
    int_chan a = f[0].c, b = f[1].c, c = f[2].c, d = f[3].c;
    uint64_t sum = 0;
    for (int64_t i = 0; i < ops; i++) {
        int64_t v;
        loam_select(loam_on_recv(a, &v), loam_on_recv(b, &v), loam_on_recv(c, &v),
                    loam_on_recv(d, &v));
        sum += (uint64_t)v;
    }
    return (struct outcome){bench_ns_per(begin, ops), sum};
}

static struct outcome select_default(void)
{
    const int64_t ops = 120000000;
    int_chan c = loam_chan_make(int64_t, 1);
    uint64_t empty = 0;
    int64_t begin = bench_now();
    for (int64_t i = 0; i < ops; i++) {
        int64_t v;
        if (loam_select_default(loam_on_recv(c, &v)) >= 0)
            return (struct outcome){0, 0};
        empty++;
    }
    return (struct outcome){bench_ns_per(begin, ops), empty};
}

struct node {
    int_chan in, out, end;
    int64_t number;
};

static void node(void *arg)
{
    struct node *n = arg;
    for (int64_t token; loam_recv_ok(n->in, &token);) {
        if (token == 0)
            loam_send(n->end, n->number);
        else
            loam_send(n->out, token - 1);
    }
}

/* Each node passes the token on until its count runs out; the node where that happens is the
 * checksum. The first lap is not timed: it starts the nodes. */
static struct outcome ring10000(void)
{
    const int64_t nodes = 10000, hops = 3000003;
    struct node *ring = bench_alloc((uint64_t)nodes, sizeof *ring);
    int_chan end = loam_chan_make(int64_t, 0);
    for (int64_t i = 0; i < nodes; i++)
        ring[i] = (struct node){loam_chan_make(int64_t, 0), NULL, end, i};
    for (int64_t i = 0; i < nodes; i++) {
        ring[i].out = ring[(i + 1) % nodes].in;
        start(node, &ring[i]);
    }
    loam_send(ring[0].in, nodes);
    (void)loam_recv(end);
    int64_t begin = bench_now();
    loam_send(ring[0].in, hops);
    int64_t last = loam_recv(end);
    return (struct outcome){bench_ns_per(begin, hops), (uint64_t)last};
}

struct filter {
    int_chan in, out;
    int64_t prime;
};

static void generate(void *arg)
{
    int_chan out = *(int_chan *)arg;
    for (int64_t i = 2;; i++)
        loam_send(out, i);
}

static void filter(void *arg)
{
    struct filter *f = arg;
    for (;;) {
        int64_t i = loam_recv(f->in);
        if (i % f->prime != 0)
            loam_send(f->out, i);
    }
}

/* The chain is left running: the program ends with the last prime. */
static struct outcome sieve2500(void)
{
    const int primes = 2500;
    int64_t begin = bench_now();
    int_chan in = loam_chan_make(int64_t, 0);
    if (loam_go_copy(generate, &in, sizeof in) != 0)
        bench_fail("loam_go_copy: %s", loam_error_text());
    uint64_t sum = 0;
    for (int i = 0; i < primes; i++) {
        struct filter next = {in, loam_chan_make(int64_t, 0), loam_recv(in)};
        sum += (uint64_t)next.prime;
        if (loam_go_copy(filter, &next, sizeof next) != 0)
            bench_fail("loam_go_copy: %s", loam_error_text());
        in = next.out;
    }
    return (struct outcome){bench_ms_since(begin), sum};
}

/* clang-format off */
const struct bench chan_benches[] = {
    {"chan_sync", "ns", chan_sync},
    {"chan_buf_1x1", "ns", chan_buf_1x1},
    {"chan_buf_4x4", "ns", chan_buf_4x4},
    {"select4", "ns", select4},
    {"select_default", "ns", select_default},
    {"ring10000", "ns", ring10000},
    {"sieve2500", "ms", sieve2500},
    {NULL, NULL, NULL},
};
/* clang-format on */
