/* Random numbers for choices of the runtime: fast, not secret. */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include "base/base.h"

/* xorshift64+ on two 32-bit halves (Marsaglia, Xorshift RNGs, 2003; shifts 17, 7, 16). */
static inline uint32_t rand_next(uint32_t s[2])
{
    uint32_t s1 = s[0], s0 = s[1];
    s1 ^= s1 << 17;
    s1 = s1 ^ s0 ^ s1 >> 7 ^ s0 >> 16;
    s[0] = s0;
    s[1] = s1;
    return s0 + s1;
}

/* Uniform in [0, n) without division (Lemire, 2016; the bias is below n / 2^32). */
static inline uint32_t rand_below(uint32_t s[2], uint32_t n)
{
    return (uint32_t)(((uint64_t)rand_next(s) * n) >> 32);
}

/* Seeds so that close seeds give far streams (splitmix64's finalizer; Steele et al., 2014). */
static inline void rand_seed(uint32_t s[2], uint64_t seed)
{
    uint64_t z = seed + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    s[0] = (uint32_t)z | 1; /* both zero would stay zero */
    s[1] = (uint32_t)(z >> 32);
}

#endif
