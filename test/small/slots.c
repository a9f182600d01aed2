/* Goroutines with slots, for which a stack size was asked, start such with small stacks and see them end:
 * what is done for those on a slot goes by the system stack as well. */
#include <loam.h>
#include <stdio.h>
#include <stdlib.h>

enum { SLOTS = 4, ROUNDS = 3, CHILDREN = 1500 }; /* more than all caches hold */

static struct loam_waitgroup children, slots;
static loam_chan(int) gate;

__attribute__((noipa)) static int deep(int n)
{
    volatile char b[200];
    b[0] = 1;
    return n == 0 ? 0 : deep(n - 1) + b[0];
}

static void child(void *arg)
{
    (void)arg;
    if (deep(40) != 40)
        abort();
    loam_recv(gate);
    loam_waitgroup_done(&children);
}

static void on_slot(void *arg)
{
    (void)arg;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CHILDREN; i++)
            if (loam_go(child, NULL) != 0)
                abort();
        for (int i = 0; i < CHILDREN; i++)
            loam_send(gate, i);
    }
    loam_waitgroup_done(&slots);
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct loam_go_options options = {.stack_size = 100000};
    gate = loam_chan_make(int, 0);
    loam_waitgroup_add(&slots, SLOTS);
    loam_waitgroup_add(&children, SLOTS * ROUNDS * CHILDREN);
    for (int i = 0; i < SLOTS; i++)
        if (loam_go_with(&options, on_slot, NULL) != 0)
            return 2;
    loam_waitgroup_wait(&slots);
    loam_waitgroup_wait(&children);
    loam_chan_free(gate);
    puts("ok");
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
