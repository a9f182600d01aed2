/* Starts and stops the runtime twice, with goroutines on small and large stacks that switch often and
 * leave nothing behind: what Valgrind looks at. */
#include <loam.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 8, ROUNDS = 20 };

static void check(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", loam_error_text());
        exit(1);
    }
}

static void copies(void *p)
{
    memcpy(p, "called", 7);
}

/* It uses much of its stack, so that every switch is a far jump of the stack pointer. */
static void answers(void *arg)
{
    char big[100000];
    memset(big, 1, sizeof big);
    loam_chan(int) *c = arg;
    for (int v; loam_recv_ok(c[0], &v);)
        loam_send(c[1], v + big[v]);
}

static void asks(void *arg)
{
    struct loam_waitgroup *all = arg;
    loam_chan(int) c[2] = {loam_chan_make(int, 0), loam_chan_make(int, 1)};
    struct loam_waitgroup answered = {0};
    check(loam_waitgroup_go(&answered, answers, c));
    char *text = malloc(7);
    for (int i = 0; i < ROUNDS; i++) {
        loam_send(c[0], i);
        if (loam_recv(c[1]) != i + 1)
            abort();
        loam_yield();
    }
    loam_blocking(copies, text);
    if (strcmp(text, "called") != 0)
        abort();
    free(text);
    loam_sleep(100000);
    loam_close(c[0]);
    loam_waitgroup_wait(&answered);
    loam_chan_free(c[0]);
    loam_chan_free(c[1]);
    loam_waitgroup_done(all);
    loam_goexit();
}

static void runs(void *arg)
{
    (void)arg;
    struct loam_waitgroup all = {0};
    loam_waitgroup_add(&all, 2 * PAIRS);
    for (int i = 0; i < PAIRS; i++) {
        check(loam_go(asks, &all));
        check(loam_go_with(&(struct loam_go_options){.stack_size = 4 << 20}, asks, &all));
    }
    loam_waitgroup_wait(&all);
}

int main(void)
{
    for (int i = 0; i < 2; i++) {
        check(loam_start(NULL));
        check(loam_call(runs, NULL));
        check(loam_stop(-1));
    }
    puts("done");
    return 0;
}
