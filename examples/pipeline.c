/* pipeline: stages connected by channels, one of them spread over several goroutines.
 *
 *     loam run examples/pipeline.c -- [HOW MANY [SQUARERS]]
 *
 *     generate --numbers--> square, square, ... --squares--> sum (main)
 *
 * prints the sum of the squares of 1 .. HOW MANY, checked against the closed formula.
 *
 * What it shows of Loam, beside the Go form:
 *   for n := range numbers { ... }        for (int64_t n; loam_recv_ok(numbers, &n);) ...
 *   close(numbers)                        loam_close(numbers): the sender says that no more come
 *   var wg sync.WaitGroup; wg.Go(square)  struct loam_waitgroup wg = {0}; loam_waitgroup_go(&wg, ...)
 *   go func() { wg.Wait(); close(out) }   a goroutine of its own: whoever fans in closes, once all
 *                                           senders are done
 *   the channels are collected            loam_chan_free: every object has one owner who frees it */
#include <loam.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { HOW_MANY = 1000, SQUARERS = 4, BUFFER = 16 };

struct pipeline {
    int64_t how_many;
    loam_chan(int64_t) numbers;
    loam_chan(int64_t) squares;
    struct loam_waitgroup squarers;
};

static void generate(void *arg)
{
    struct pipeline *p = arg;
    for (int64_t n = 1; n <= p->how_many; n++)
        loam_send(p->numbers, n);
    loam_close(p->numbers);
}

static void square(void *arg)
{
    struct pipeline *p = arg;
    for (int64_t n; loam_recv_ok(p->numbers, &n);)
        loam_send(p->squares, n * n);
}

static void close_squares(void *arg)
{
    struct pipeline *p = arg;
    loam_waitgroup_wait(&p->squarers);
    loam_close(p->squares);
}

static void check(int err)
{
    if (err != 0)
        loam_panic("%s", loam_error_text());
}

static int pipeline_main(int argc, char **argv)
{
    struct pipeline p = {
        .how_many = argc > 1 ? atoll(argv[1]) : HOW_MANY,
        .numbers = loam_chan_make(int64_t, BUFFER),
        .squares = loam_chan_make(int64_t, BUFFER),
    };
    int squarers = argc > 2 ? atoi(argv[2]) : SQUARERS;

    check(loam_go(generate, &p));
    for (int i = 0; i < squarers; i++)
        check(loam_waitgroup_go(&p.squarers, square, &p));
    check(loam_go(close_squares, &p));

    int64_t sum = 0;
    for (int64_t s; loam_recv_ok(p.squares, &s);)
        sum += s;

    int64_t n = p.how_many, expected = n * (n + 1) * (2 * n + 1) / 6;
    printf("sum of squares 1..%" PRId64 ": %" PRId64 "\n", n, sum);
    if (sum != expected)
        fprintf(stderr, "pipeline: the formula says %" PRId64 "\n", expected);
    /* All goroutines have ended or will not touch the channels again: squares is closed, so they have
     * seen the end of numbers. */
    loam_chan_free(p.numbers);
    loam_chan_free(p.squares);
    return sum != expected;
}

int main(int argc, char **argv)
{
    return loam_run(pipeline_main, argc, argv);
}
