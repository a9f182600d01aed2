/* The first program of the README: a goroutine sends three squares over a channel. */
#include <loam.h>
#include <stdio.h>

static void worker(void *arg)
{
    loam_chan(int) squares = arg;
    for (int i = 1; i <= 3; i++)
        loam_send(squares, i * i);
    loam_close(squares);
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    loam_chan(int) squares = loam_chan_make(int, 0);
    loam_go(worker, squares);
    for (int v; loam_recv_ok(squares, &v);)
        printf("%d\n", v);
    loam_chan_free(squares);
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
