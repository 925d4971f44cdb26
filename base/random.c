#include "base/random.h"

#include <assert.h>
#include <math.h>

static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t mb_key(uint64_t seed, const char *name, uint64_t a, uint64_t b)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a of the name */

    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return mix(mix(mix(mix(seed) ^ h) ^ a) ^ b);
}

uint64_t mb_random(uint64_t key, uint64_t i)
{
    return mix(key ^ mix(i));
}

double mb_uniform(uint64_t key, uint64_t i)
{
    return (double)(mb_random(key, i) >> 11) * 0x1p-53;
}

uint64_t mb_below(uint64_t key, uint64_t i, uint64_t n)
{
    assert(n > 0);
    return (uint64_t)((unsigned __int128)mb_random(key, i) * n >> 64);
}

double mb_normal(uint64_t key, uint64_t i)
{
    double u = 1.0 - mb_uniform(key, 2 * i); /* in (0, 1], so that the logarithm is finite */
    double v = mb_uniform(key, 2 * i + 1);

    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

uint64_t mb_permute(uint64_t key, uint64_t n, uint64_t i)
{
    unsigned half = 1;
    uint64_t mask;

    assert(i < n);
    while (half < 32 && (uint64_t)1 << (2 * half) < n)
        half++;
    mask = ((uint64_t)1 << half) - 1;
    do { /* the network permutes 0 .. 4^half-1 < 4n; walk the cycle until it lands below n */
        uint64_t left = i >> half, right = i & mask;

        for (uint64_t round = 0; round < 4; round++) {
            uint64_t next = left ^ (mb_random(key + round, right) & mask);

            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}
