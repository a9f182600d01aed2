/* Calls every shape of shapes.h with the stack at every offset of the first segment, so that it goes on on
 * the next one exactly there: registered functions and foreign ones, by name and by pointer. */
#include <alloca.h>
#include <loam.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shapes.h"

static int failed;
static int offset;
#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond) && failed++ < 20)                                                              \
            fprintf(stderr, "offset %d, line %d: %s\n", offset, __LINE__, #cond);                  \
    } while (0)

static long down(long k)
{
    volatile char b[200];
    b[0] = 1;
    return k <= 0 ? 0 : b[0] + down(k - 1);
}

/* Deeper, and by a tail call if the compiler makes one. */
__attribute__((noipa)) static long tail(long (*fn)(long), long k)
{
    return fn(k + 1);
}

__attribute__((noipa)) static long tail_foreign(long a, long b, long c, long d, long e, long f,
                                                long g, long h)
{
    return foreign_variadic(8, a, b, c, d, e, f, g, h);
}

/* Nine words: the last two lie where tail_many's own arguments do. */
__attribute__((noipa)) static long tail_many(int a, long b, short c, char d, unsigned e, long f,
                                             long g, int h, bool i)
{
    return foreign_ints(a, b, c, d, e, f, g, h, i);
}

__attribute__((noipa)) static long nested(long k)
{
    long sum = k;
    __attribute__((noipa)) long inner(long n)
    {
        volatile char b[30];
        b[0] = 1;
        sum += b[0];
        return n <= 0 ? sum : inner(n - 1);
    }
    return inner(k);
}

__attribute__((noipa)) static long memory(int n)
{
    long sum = 0;
    for (int round = 0; round < 3; round++) {
        char vla[n + round];
        memset(vla, 1, sizeof vla);
        char *a = alloca((size_t)n);
        memset(a, 2, (size_t)n);
        for (int i = 0; i < n; i++)
            sum += vla[i] + a[i];
    }
    return sum - 9L * n;
}

static jmp_buf env;
__attribute__((noipa)) static long leap(long k)
{
    volatile char b[300];
    b[0] = 1;
    if (k == 0)
        longjmp(env, 7);
    return leap(k - 1) + b[0];
}

static long leap_from_callback(long k)
{
    return leap(k);
}

__attribute__((noipa)) static int jumps(long (*volatile how)(long (*)(long), long))
{
    volatile int kept = 5;
    int r = setjmp(env);
    if (r == 0)
        (void)how(leap_from_callback, 12);
    return r + kept;
}

#define BIG(k)                                                                                     \
    ((struct big){{k, k + 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, k + 19}})

/* P: nothing or foreign_; the function by name, and by a pointer that the compiler cannot see through. */
#define CALLS(P, BY)                                                                               \
    __attribute__((noipa)) static void P##calls_##BY(void)                                         \
    {                                                                                              \
        EXPECT(BY(P##ints)(1, 2, 3, 4, 5, 6, 7, 8, true) ==                                        \
               1 + 4 + 9 + 16 + 25 + 36 + 49 + 64 + 9);                                            \
        EXPECT(BY(P##reals)(1, 2, 3, 4, 5, 6, 7, 8, 9, 10) == 385);                                \
        EXPECT(BY(P##floats)(1, 2, 3, 4, 5, 6) == 91);                                             \
        EXPECT(BY(P##variadic)(9, 1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L, 9L) == 285);                     \
        EXPECT(BY(P##variadic_reals)("idLbdddddddddLi", 1, 2.0, 3.0L, BIG(4), 1.0, 1.0, 1.0, 1.0,  \
                                     1.0, 1.0, 1.0, 1.0, 1.0, 4.0L,                                \
                                     5) == 2 * (1 + 4 + 9 + 23 + 18 + 12 + 5));                    \
        struct pair p = BY(P##pair)((struct pair){2, 3}, 4);                                       \
        EXPECT(p.a == 8 && p.b == 7);                                                              \
        struct mixed m = BY(P##mixed)((struct mixed){2, 3}, (struct mixed){4, 5});                 \
        EXPECT(m.d == 8 && m.l == 8);                                                              \
        struct doubles d = BY(P##doubles)((struct doubles){2, 3}, 4);                              \
        EXPECT(d.x == 8 && d.y == 7);                                                              \
        struct big b = BY(P##big)(BIG(1), 2);                                                      \
        EXPECT(b.v[0] == 1 && b.v[1] == 4 && b.v[19] == 58);                                       \
        EXPECT(BY(P##big_between)(1, BIG(2), 3, BIG(4), 5) == 1 + 2 + 42 + 9 + 16 + 115 + 5);      \
        EXPECT(BY(P##aligned)(1, (struct aligned){{2, 0, 0, 0, 0, 0, 0, 3}}, 4,                    \
                              (struct pair){5, 6}, (struct pair){7, 8},                            \
                              (struct pair){9, 10}) == 126);                                       \
        EXPECT(BY(P##ldouble)(3, 2) == 1.5L);                                                      \
        EXPECT(BY(P##dcomplex)(1 + 2 * I, 3 + 4 * I) == 7 + 10 * I);                               \
        EXPECT(BY(P##ldcomplex)(1 + 2 * I, 3 + 4 * I) == 7 + 10 * I);                              \
        EXPECT(BY(P##fcomplex)(1 + 2 * I, 3) == 3 + 6 * I);                                        \
        EXPECT(BY(P##int128)((__int128)1 << 64, 3, 4, 5, 6) == ((__int128)3 << 64) + 15);          \
        vec4 v = BY(P##vector)((vec4){1, 2, 3, 4}, (vec4){5, 6, 7, 8}, 9);                         \
        EXPECT(v[0] == 14 && v[3] == 41);                                                          \
        EXPECT(BY(P##frame)(5) == 11);                                                             \
        EXPECT(BY(P##callback)(down, 20) == 41);                                                   \
    }                                                                                              \
    _Static_assert(true, "")
#define NAMED(f) f
#define POINTED(f) hide(f)
#define hide(f)                                                                                    \
    ({                                                                                             \
        __typeof__(&f) volatile fn_ = f;                                                           \
        fn_;                                                                                       \
    })
CALLS(, NAMED);
CALLS(foreign_, NAMED);
CALLS(, POINTED);
CALLS(foreign_, POINTED);

__attribute__((noipa)) static void all(void)
{
    calls_NAMED();
    calls_POINTED();
    foreign_calls_NAMED();
    foreign_calls_POINTED();
    EXPECT(tail(down, 9) == 10);
    EXPECT(tail_foreign(1, 2, 3, 4, 5, 6, 7, 8) == 204);
    EXPECT(tail_many(1, 2, 3, 4, 5, 6, 7, 8, true) == 213);
    EXPECT(nested(10) == 21);
    EXPECT(memory(300) == 0 && memory(5000) == 0);
    EXPECT(jumps(tail) == 12);
    EXPECT(jumps(foreign_callback) == 12);
}

/* Takes `bytes` of stack, about, then does it all: functions of 16 to 128 bytes of frame. */
static void sink(long bytes);
#define SINK(n)                                                                                    \
    __attribute__((noipa)) static void sink_##n(long bytes)                                        \
    {                                                                                              \
        volatile char b[n];                                                                        \
        b[0] = 1;                                                                                  \
        sink(bytes - (n)-b[0] + 1);                                                                \
        b[n - 1] = 2;                                                                              \
    }                                                                                              \
    _Static_assert(n >= 16, "")
SINK(16);
SINK(32);
SINK(48);
SINK(64);
SINK(80);
SINK(96);
SINK(112);
SINK(128);

__attribute__((noipa)) static void sink(long bytes)
{
    static void (*const by[])(long) = {sink_16, sink_32, sink_48,  sink_64,
                                       sink_80, sink_96, sink_112, sink_128};
    if (bytes < 16)
        all();
    else
        by[bytes >= 128 ? 7 : bytes / 16 - 1](bytes);
    EXPECT(bytes < 100000);
}

static void worker(void *arg)
{
    sink(*(int *)arg);
}

static int run(int argc, char **argv)
{
    int step = argc > 1 ? atoi(argv[1]) : 16;
    for (offset = 0; offset < 2048 && failed == 0; offset += step)
        loam_call(worker, &offset);
    if (failed == 0)
        puts("ok");
    return failed != 0;
}

int main(int argc, char **argv)
{
    return loam_run(run, argc, argv);
}
