/* Functions of all the shapes that the ABI has, once as registered code and once, with the prefix
 * foreign_, as code that was compiled without -fsplit-stack. Each returns what its arguments say, so that a
 * caller sees one that went wrong. */
#ifndef SHAPES_H
#define SHAPES_H

#include <complex.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

struct pair {
    long a, b;
};
struct mixed {
    double d;
    long l;
};
struct doubles {
    double x, y;
};
struct big {
    long v[20];
};
struct aligned {
    _Alignas(64) long v[8];
};
typedef float vec4 __attribute__((vector_size(16)));

#define SHAPES(X)                                                                                  \
    X(long, ints, (int a, long b, short c, char d, unsigned e, long f, long g, int h, bool i))     \
    X(double, reals,                                                                               \
      (double a, double b, double c, double d, double e, double f, double g, double h, double i,   \
       double j))                                                                                  \
    X(double, floats, (float a, int b, float c, long double d, float e, long double f))            \
    X(long, variadic, (int n, ...))                                                                \
    X(long double, variadic_reals, (const char *kinds, ...))                                       \
    X(struct pair, pair, (struct pair p, long k))                                                  \
    X(struct mixed, mixed, (struct mixed m, struct mixed n))                                       \
    X(struct doubles, doubles, (struct doubles d, double k))                                       \
    X(struct big, big, (struct big b, long k))                                                     \
    X(long, big_between, (long a, struct big b, long c, struct big d, double e))                   \
    X(long, aligned,                                                                               \
      (long a, struct aligned b, int c, struct pair d, struct pair e, struct pair f))              \
    X(long double, ldouble, (long double a, long double b))                                        \
    X(double complex, dcomplex, (double complex a, double complex b))                              \
    X(long double complex, ldcomplex, (long double complex a, long double complex b))              \
    X(float complex, fcomplex, (float complex a, int k))                                           \
    X(__int128, int128, (__int128 a, __int128 b, long c, long d, __int128 e))                      \
    X(vec4, vector, (vec4 a, vec4 b, float c))                                                     \
    X(long, frame, (long k))                                                                       \
    X(long, callback, (long (*fn)(long), long k))

#define SHAPE(type, name, args) type name args;
SHAPES(SHAPE)
#undef SHAPE
#define SHAPE(type, name, args) type foreign_##name args;
SHAPES(SHAPE)
#undef SHAPE

#endif
