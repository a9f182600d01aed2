/* What counts against the limit of a stack, and what does not any more. argv[1]: what to do. */
#include <alloca.h>
#include <loam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long rounds;
static int recurse(const void *a, const void *b)
{
    int v[2] = {*(const int *)a, *(const int *)b};
    rounds++;
    qsort(v, 2, sizeof v[0], recurse); /* line 13 */
    return 0;
}

static void foreign(void)
{
    int v[2] = {2, 1};
    qsort(v, 2, sizeof v[0], recurse);
}

/* Each round's VLAs are gone when it ends: together they would be many times the limit. */
__attribute__((noipa)) static long vlas(size_t n)
{
    long sum = 0;
    for (size_t i = 0; i < 400; i++) {
        char a[n + i];
        memset(a, 1, sizeof a);
        for (size_t k = 0; k < 2; k++) {
            char b[n + k];
            memset(b, 2, sizeof b);
            sum += a[i] + b[k];
        }
        sum += a[n - 1];
    }
    return sum;
}

/* Memory of alloca lives until its function returns, VLAs around it or not. */
__attribute__((noipa)) static long allocas(size_t n)
{
    char *p[30];
    long sum = 0;
    for (int i = 0; i < 30; i++) {
        char vla[n];
        memset(vla, 0x55, n);
        p[i] = NULL;
        sum += vla[n - 1] - 0x55;
    }
    for (int i = 0; i < 30; i++) {
        p[i] = alloca(n);
        memset(p[i], i, n);
    }
    for (int i = 0; i < 30; i++)
        for (size_t k = 0; k < n; k += 100)
            sum += p[i][k] - i;
    return sum;
}

/* From every place of a segment. */
static int good = 1;
__attribute__((noipa)) static int sink(int depth)
{
    volatile char b[16];
    b[0] = 1;
    if (depth > 0)
        return sink(depth - 1) + b[0];
    good &= vlas(10000) == 400 * 7 && allocas(10000) == 0;
    return 0;
}

static void freed(void)
{
    for (int depth = 0; depth < 60; depth++)
        sink(depth);
    puts(good ? "ok" : "wrong");
}

/* Calls that are tail calls, registered and foreign ones, by name and by pointer, take no stack. */
static long even(long n, long sum);
static long odd(long n, long sum);
static long (*volatile by_pointer)(long, long) = even;

__attribute__((noipa)) static long odd(long n, long sum)
{
    return n == 0 ? -1 : by_pointer(n - 1, sum + 1);
}

__attribute__((noipa)) static long even(long n, long sum)
{
    return n == 0 ? sum : odd(n - 1, sum + 1);
}

static void tails(void)
{
    puts(even(4000000, 0) == 4000000 ? "ok" : "wrong");
}

static void worker(void *arg)
{
    (*(void (**)(void))arg)();
}

static int run(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(void);
        size_t limit;
    } tests[] = {
        {"foreign", foreign, 64 << 20}, {"freed", freed, 2 << 20}, {"tails", tails, 1 << 20}};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (argc > 1 && strcmp(argv[1], tests[i].name) == 0) {
            loam_set_max_stack(tests[i].limit);
            loam_call(worker, (void *)&tests[i].fn);
        }
    return 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
