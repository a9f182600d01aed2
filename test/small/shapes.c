/* The functions of shapes.h; compiled twice, see there. FOREIGN: uses 60 KB of stack in each. */
#include "shapes.h"

#ifdef FOREIGN
#define NAME(n) foreign_##n
#define USE                                                                                        \
    volatile char much[60000];                                                                     \
    for (int at = 0; at < 60000; at += 512)                                                        \
        much[at] = 1;
#else
#define NAME(n) n
#define USE                                                                                        \
    __attribute__((unused)) volatile char some[40];                                                \
    some[0] = 1;
#endif
#define FUNCTION __attribute__((noipa))

FUNCTION long NAME(ints)(int a, long b, short c, char d, unsigned e, long f, long g, int h, bool i)
{
    USE return a + 2 * b + 3 * c + 4 * d + 5 * (long)e + 6 * f + 7 * g + 8 * h + 9 * i;
}

FUNCTION double NAME(reals)(double a, double b, double c, double d, double e, double f, double g,
                            double h, double i, double j)
{
    USE return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j;
}

FUNCTION double NAME(floats)(float a, int b, float c, long double d, float e, long double f)
{
    USE return a + 2.0 * b + 3.0 * c + 4.0 * (double)d + 5.0 * e + 6.0 * (double)f;
}

FUNCTION long NAME(variadic)(int n, ...)
{
    USE va_list ap;
    va_start(ap, n);
    long sum = 0;
    for (int i = 1; i <= n; i++)
        sum += i * va_arg(ap, long);
    va_end(ap);
    return sum;
}

FUNCTION long double NAME(variadic_reals)(const char *kinds, ...)
{
    USE va_list ap, copy;
    va_start(ap, kinds);
    va_copy(copy, ap);
    long double sum = 0;
    for (int round = 0; round < 2; round++)
        for (const char *k = kinds; *k != '\0'; k++) {
            va_list *v = round == 0 ? &ap : &copy;
            if (*k == 'i')
                sum += va_arg(*v, int);
            else if (*k == 'd')
                sum += 2 * (long double)va_arg(*v, double);
            else if (*k == 'L')
                sum += 3 * va_arg(*v, long double);
            else
                sum += va_arg(*v, struct big).v[19];
        }
    va_end(copy);
    va_end(ap);
    return sum;
}

FUNCTION struct pair NAME(pair)(struct pair p, long k)
{
    USE return (struct pair){p.a * k, p.b + k};
}

FUNCTION struct mixed NAME(mixed)(struct mixed m, struct mixed n)
{
    USE return (struct mixed){m.d * n.d, m.l + n.l};
}

FUNCTION struct doubles NAME(doubles)(struct doubles d, double k)
{
    USE return (struct doubles){d.x * k, d.y + k};
}

FUNCTION struct big NAME(big)(struct big b, long k)
{
    USE for (int i = 0; i < 20; i++) b.v[i] += k * i;
    return b;
}

FUNCTION long NAME(big_between)(long a, struct big b, long c, struct big d, double e)
{
    USE return a + b.v[0] + 2 * b.v[19] + 3 * c + 4 * d.v[0] + 5 * d.v[19] + (long)e;
}

FUNCTION long NAME(aligned)(long a, struct aligned b, int c, struct pair d, struct pair e,
                            struct pair f)
{
    USE uintptr_t at = (uintptr_t)&b;
    __asm__("" : "+r"(at)); /* else the compiler knows already */
    if (at % 64 != 0)
        return -1;
    return a + b.v[0] + 2 * b.v[7] + c + d.a + e.b + 10 * f.b;
}

FUNCTION long double NAME(ldouble)(long double a, long double b)
{
    USE return a / b;
}

FUNCTION double complex NAME(dcomplex)(double complex a, double complex b)
{
    USE return a + b * 2;
}

FUNCTION long double complex NAME(ldcomplex)(long double complex a, long double complex b)
{
    USE return a + b * 2;
}

FUNCTION float complex NAME(fcomplex)(float complex a, int k)
{
    USE return a * k;
}

FUNCTION __int128 NAME(int128)(__int128 a, __int128 b, long c, long d, __int128 e)
{
    USE return a * b + c + d + e;
}

FUNCTION vec4 NAME(vector)(vec4 a, vec4 b, float c)
{
    USE return a * b + c;
}

FUNCTION long NAME(frame)(long k)
{
    volatile char b[10000];
    b[0] = (char)k;
    b[9999] = 1;
    return k + b[9999] + b[0];
}

FUNCTION long NAME(callback)(long (*fn)(long), long k)
{
    USE return fn(k) + fn(k + 1);
}
