/* Keyed randomness: every draw is a pure function of (seed, name, numbers, index).

   There is no stream and no state, so the order of evaluation never matters and a resumed run draws
   what an uninterrupted one would have drawn. The generator is splitmix64's finaliser (Steele, Lea
   & Flood, OOPSLA 2014) over a key and a counter. */
#ifndef MB_BASE_RANDOM_H
#define MB_BASE_RANDOM_H

#include <stdint.h>

/* A key for NAME under SEED; A and B separate uses of one name (layer, step, document, ...). */
uint64_t mb_key(uint64_t seed, const char *name, uint64_t a, uint64_t b);

/* Draw number I of KEY: 64 uniform bits. */
uint64_t mb_random(uint64_t key, uint64_t i);

/* Uniform in [0, 1), from the upper 53 bits. */
double mb_uniform(uint64_t key, uint64_t i);

/* Uniform in {0, ..., N-1}, N > 0. */
uint64_t mb_below(uint64_t key, uint64_t i, uint64_t n);

/* Standard normal (Box-Muller over draws 2i and 2i+1). */
double mb_normal(uint64_t key, uint64_t i);

/* Element I of a keyed permutation of {0, ..., N-1}: a Feistel network with cycle walking, so that
   a shuffled epoch needs no array and can be entered at any point. */
uint64_t mb_permute(uint64_t key, uint64_t n, uint64_t i);

#endif
