/* sieve: prime numbers by a chain of goroutines, one filter a prime.
 *
 *     loam run examples/sieve.c -- [HOW MANY]
 *
 * The classic of Go's early talks; examples/go/sieve.go is the same program in Go, and both print the
 * same. Every number travels down the chain until a filter drops it as a multiple of its prime; what
 * gets through is the next prime, and a new filter is hung on.
 *
 * What it shows of Loam, beside the Go form:
 *   ch := make(chan int)          loam_chan(int) ch = loam_chan_make(int, 0);
 *   ch <- i                       loam_send(ch, i);
 *   i := <-in                     int i = loam_recv(in);
 *   go filter(in, out, prime)     loam_go_copy(filter, &(struct filter){in, out, prime}, sizeof ...):
 *                                   a C goroutine has one argument, a pointer, so several are copied
 *                                   to the new goroutine's stack, as Go copies them
 *   the end of main ends all      so it does here: the filters are still waiting then */
#include <loam.h>

#include <stdio.h>
#include <stdlib.h>

enum { HOW_MANY = 100 };

struct generator {
    loam_chan(int) out;
};

struct filter {
    loam_chan(int) in;
    loam_chan(int) out;
    int prime;
};

/* Sends 2, 3, 4, ... */
static void generate(void *arg)
{
    struct generator *g = arg;
    for (int i = 2;; i++)
        loam_send(g->out, i);
}

/* Passes on what its prime does not divide. */
static void filter(void *arg)
{
    struct filter *f = arg;
    for (;;) {
        int i = loam_recv(f->in);
        if (i % f->prime != 0)
            loam_send(f->out, i);
    }
}

static void go(void (*fn)(void *), const void *args, size_t size)
{
    if (loam_go_copy(fn, args, size) != 0)
        loam_panic("%s", loam_error_text());
}

static int sieve_main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : HOW_MANY;
    loam_chan(int) ch = loam_chan_make(int, 0);
    struct generator g = {ch};
    go(generate, &g, sizeof g);
    for (int i = 0; i < n; i++) {
        int prime = loam_recv(ch);
        printf("%d\n", prime);
        loam_chan(int) next = loam_chan_make(int, 0);
        struct filter f = {.in = ch, .out = next, .prime = prime};
        go(filter, &f, sizeof f);
        ch = next;
    }
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(sieve_main, argc, argv);
}
