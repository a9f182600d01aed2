/* Foreign code that is left by longjmp: its own, as a library's errors are (FOREIGN: that library, compiled
 * without split stacks), and the program's. Nothing is lost, and what one goroutine took is not counted for
 * another. argv[1]: how much more stack there may be, when each call has a segment. */
#include <setjmp.h>

#ifdef FOREIGN
static __thread jmp_buf *errors;

int library_try(void (*fn)(void *), void *arg)
{
    jmp_buf env, *outer = errors;
    errors = &env;
    int err = _setjmp(env);
    if (err == 0)
        fn(arg);
    errors = outer;
    return err;
}

void library_error(int err)
{
    _longjmp(*errors, err);
}

#else
#include <alloca.h>
#include <loam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int library_try(void (*fn)(void *), void *arg);
void library_error(int err);

enum { LIMIT = 16 << 20, FRAME = 1000, ERRORS = 500 };

static uint64_t segments(void)
{
    struct loam_sched_stats s;
    loam_read_sched_stats(&s);
    return s.stack_segments;
}

__attribute__((noipa)) static long deep(long frames, int err)
{
    volatile char b[FRAME];
    b[0] = 0;
    if (frames > 0)
        return deep(frames - 1, err) + b[0];
    if (err != 0)
        library_error(err);
    return b[0];
}

static void fails(void *frames)
{
    deep(*(long *)frames, 3);
}

/* From beyond the library's segment, and from that. */
static int errors_of_library(void)
{
    uint64_t before = segments();
    for (long i = 0; i < ERRORS; i++) {
        long frames = i % 2 != 0 ? 400 : 2;
        if (library_try(fails, &frames) != 3)
            return 0;
    }
    return segments() < before + 50;
}

static long callback_frames;
static int goes_deep(const void *a, const void *b)
{
    (void)b;
    deep(callback_frames, 0);
    return *(const int *)a;
}

__attribute__((noipa)) static void sorts(long frames)
{
    int v[2] = {0, 0};
    callback_frames = frames;
    qsort(v, 2, sizeof v[0], goes_deep);
}

__attribute__((noipa)) static int sorts_below(long frames)
{
    volatile char b[FRAME];
    b[0] = 0;
    if (frames == 0)
        sorts(400);
    else
        sorts_below(frames - 1);
    return b[0];
}

/* The segments that a callback took behind the foreign one are not the next goroutine's. */
static int limit_of_many(void)
{
    return sorts_below(LIMIT / 4 / FRAME) == 0;
}
static int limit_of_few(void)
{
    sorts(LIMIT / 2 / FRAME);
    return 1;
}

static jmp_buf env;
static int allocates_and_leaves(const void *a, const void *b)
{
    (void)a, (void)b;
    volatile size_t bytes = 400000;
    char *p = alloca(bytes);
    memset(p, 1, bytes);
    longjmp(env, 1);
}

static int leaves_memory(void)
{
    int v[2] = {0, 0};
    if (setjmp(env) == 0)
        qsort(v, 2, sizeof v[0], allocates_and_leaves);
    return 1;
}

/* Calls foreign code, then needs memory. */
static int needs_memory(void)
{
    char *volatile p = strdup("x");
    free(p);
    return deep(LIMIT / 4 / FRAME, 0) == 0;
}

/* Its kind of function keeps rsi and rdi, even if it goes on on another segment. */
__attribute__((ms_abi, noipa)) static long of_ms_abi(long n)
{
    volatile char b[300];
    b[0] = 1;
    return n <= 0 ? 0 : of_ms_abi(n - 1) + b[0];
}

__attribute__((noipa)) static int keeps_registers(long n)
{
    volatile char b[40];
    b[0] = 0;
    if (n > 0)
        return keeps_registers(n - 1) + b[0];
    register long si __asm__("rsi") = 0x1111, di __asm__("rdi") = 0x2222;
    __asm__ volatile("" : "+r"(si), "+r"(di));
    long sum = of_ms_abi(20);
    __asm__ volatile("" : "+r"(si), "+r"(di));
    return sum == 20 && si == 0x1111 && di == 0x2222;
}

static int ms_abi(void)
{
    int good = 1;
    for (long n = 0; n < 40; n++)
        good &= keeps_registers(n);
    return good;
}

static int (*const tests[])(void) = {errors_of_library, limit_of_many, limit_of_few,
                                     leaves_memory,     needs_memory,  ms_abi};
static int good;

static void worker(void *arg)
{
    int (*const *test)(void) = arg;
    good += (*test)();
}

static int run(int argc, char **argv)
{
    int n = (int)(sizeof tests / sizeof *tests);
    loam_gomaxprocs(1); /* the next goroutine gets what the one before gave back */
    loam_set_max_stack((argc > 1 ? strtoul(argv[1], NULL, 0) : 1) * LIMIT);
    for (int i = 0; i < n; i++)
        loam_call(worker, (void *)&tests[i]);
    (void)needs_memory();
    printf("%d of %d\n", good, n);
    return good != n;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
#endif
