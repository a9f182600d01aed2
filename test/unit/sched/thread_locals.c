/* Goroutines that use errno and a variable of their thread one after the other, with nothing but that
 * thread to order them: each reads what it wrote, and TSan has nothing to say. */
#include "../../check.h"

static __thread int64_t local;
static struct loam_waitgroup wg;

static __attribute__((noinline)) int64_t *local_here(void)
{
    /* found anew: the goroutine may be on another thread; without the statement the compiler knows the
     * function to be constant, and calls it once */
    __asm__ volatile("");
    return &local;
}

static void use(void *arg)
{
    for (int i = 1; i <= 200; i++) {
        int mine = (int)(intptr_t)arg * 1000 + i;
        *local_here() = mine;
        errno = mine;
        CHECK_EQ(errno, mine);
        CHECK_EQ(*local_here(), mine);
        loam_yield();
        errno = 0;
    }
    loam_waitgroup_done(&wg);
}

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    enum { N = 8 };
    loam_waitgroup_add(&wg, N);
    for (int i = 0; i < N; i++)
        go(use, (void *)(intptr_t)i);
    loam_waitgroup_wait(&wg);
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
