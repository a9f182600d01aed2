/* ring: a token goes around a ring of goroutines.
 *
 *     loam run examples/ring.c -- [GOROUTINES [HOPS]]
 *
 * Every goroutine waits for the token on its own channel and hands it on with one hop less; the one
 * that gets 0 prints its place. Nobody runs but who has the token, so this is what a hand-over costs:
 * with LOAMMAXPROCS=1 every hop is one direct switch from stack to stack.
 *
 * What it shows of Loam, beside the Go form:
 *   nodes := make([]node, n)       an array of structs, each with its channel
 *   go run(&nodes[i])              loam_go(run, &nodes[i])
 *   fmt.Println(n.place)           loam_send(n->done, n->place): only main prints
 *   goroutines cost 2 KB each      a goroutine's stack is 256 KB of addresses here, of which it uses
 *                                    about 4.6 KB of memory: a million of them are no problem either
 *   runtime.NumGoroutine()         loam_num_goroutine() */
#include <loam.h>

#include <stdio.h>
#include <stdlib.h>

enum { GOROUTINES = 503, HOPS = 100000 };

struct node {
    int place;
    loam_chan(int) token;
    struct node *next;
    loam_chan(int) done;
};

static void run(void *arg)
{
    struct node *n = arg;
    for (;;) {
        int hops = loam_recv(n->token);
        if (hops == 0)
            loam_send(n->done, n->place);
        else
            loam_send(n->next->token, hops - 1);
    }
}

static int ring_main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : GOROUTINES;
    int hops = argc > 2 ? atoi(argv[2]) : HOPS;
    if (n < 1 || hops < 0) {
        fputs("usage: ring [GOROUTINES [HOPS]]\n", stderr);
        return 2;
    }
    struct node *nodes = calloc((size_t)n, sizeof *nodes);
    loam_chan(int) done = loam_chan_make(int, 0);
    if (nodes == NULL)
        loam_panic("out of memory");
    for (int i = 0; i < n; i++) {
        nodes[i] = (struct node){.place = i + 1,
                                 .token = loam_chan_make(int, 1),
                                 .next = &nodes[(i + 1) % n],
                                 .done = done};
        if (loam_go(run, &nodes[i]) != 0)
            loam_panic("%s", loam_error_text());
    }
    int64_t begin = loam_now();
    loam_send(nodes[0].token, hops);
    printf("%d\n", loam_recv(done));
    if (hops > 0)
        fprintf(stderr, "%.0f ns a hop\n", (double)(loam_now() - begin) / hops);
    /* The nodes are still used by goroutines that wait: the end of main ends all. */
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(ring_main, argc, argv);
}
