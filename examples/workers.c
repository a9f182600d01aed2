/* workers: a pool of goroutines that share a search; who finds it cancels the others.
 *
 *     loam run examples/workers.c -- [SECRET [MILLISECONDS]]
 *
 * Looks for the number whose 64-bit hash is that of SECRET, by trying all of them in blocks. The
 * first worker that finds it cancels the context of all; a deadline does the same.
 *
 * What it shows of Loam, beside the Go form:
 *   ctx, cancel := context.WithTimeout(...)   ctx = loam_context_with_timeout(NULL, ns)
 *   cancel()                                  loam_context_cancel(ctx, 0)
 *   select { case blocks <- b:                switch (loam_select(loam_on_send(blocks, &b),
 *            case <-ctx.Done(): }                         loam_on_recv(loam_context_done(ctx), NULL)))
 *   ctx.Err() == context.DeadlineExceeded     loam_context_err(ctx) == -ETIMEDOUT
 *   defer cancel()                            loam_context_free(ctx), which cancels too
 *   loops are preempted                       hand-written C gives up its processor where it calls
 *                                               the runtime: a worker looks at the context once a
 *                                               block, and lets others run there */
#include <loam.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORKERS = 8, BLOCK = 10000, SECRET = 1234567, PATIENCE_MS = 10000 };

struct search {
    uint64_t hash;
    struct loam_context *ctx;
    loam_chan(uint64_t) blocks; /* the first number of each */
    loam_chan(uint64_t) found;
    struct loam_waitgroup workers;
    uint64_t tried; /* atomic: blocks */
};

/* A bijection of 64-bit numbers (the finalizer of MurmurHash3): only one number has the hash. */
static uint64_t hash(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    x ^= x >> 33;
    return x;
}

static void hand_out(void *arg)
{
    struct search *s = arg;
    for (uint64_t first = 0;; first += BLOCK) {
        if (loam_select(loam_on_send(s->blocks, &first),
                        loam_on_recv(loam_context_done(s->ctx), NULL)) == 1)
            break;
    }
    loam_close(s->blocks);
}

static void work(void *arg)
{
    struct search *s = arg;
    for (uint64_t first; loam_context_err(s->ctx) == 0 && loam_recv_ok(s->blocks, &first);) {
        __atomic_fetch_add(&s->tried, 1, __ATOMIC_RELAXED); /* a statistic: orders nothing */
        for (uint64_t x = first; x < first + BLOCK; x++) {
            if (hash(x) == s->hash) {
                loam_send(s->found, x); /* has room: there is one such number */
                loam_context_cancel(s->ctx, 0);
                return;
            }
        }
    }
}

static void check(int err)
{
    if (err != 0)
        loam_panic("%s", loam_error_text());
}

static int workers_main(int argc, char **argv)
{
    uint64_t secret = argc > 1 ? strtoull(argv[1], NULL, 10) : SECRET;
    int64_t ms = argc > 2 ? atoll(argv[2]) : PATIENCE_MS;
    struct search s = {
        .hash = hash(secret),
        .ctx = loam_context_with_timeout(NULL, ms * LOAM_MILLISECOND),
        .blocks = loam_chan_make(uint64_t, WORKERS),
        .found = loam_chan_make(uint64_t, 1),
    };
    if (s.ctx == NULL)
        loam_panic("out of memory");
    check(loam_waitgroup_go(&s.workers, hand_out, &s));
    for (int i = 0; i < WORKERS; i++)
        check(loam_waitgroup_go(&s.workers, work, &s));
    loam_waitgroup_wait(&s.workers);

    uint64_t x;
    bool found = loam_try_recv(s.found, &x);
    if (found)
        printf("%016" PRIx64 " is the hash of %" PRIu64 "\n", s.hash, x);
    else
        printf("%016" PRIx64 ": not found, %s\n", s.hash,
               loam_context_err(s.ctx) == -ETIMEDOUT ? "deadline exceeded" : "canceled");
    fprintf(stderr, "%" PRIu64 " blocks tried by %d workers\n", s.tried, WORKERS);
    loam_chan_free(s.blocks);
    loam_chan_free(s.found);
    loam_context_free(s.ctx);
    return found ? 0 : 1;
}

int main(int argc, char **argv)
{
    return loam_run(workers_main, argc, argv);
}
