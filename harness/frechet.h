/* The Frechet distance between two samples, taken for Gaussians (Heusel et al. 2017):
   |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2). It shrinks with the size of the samples: compare equal
   ones only. */
#ifndef MB_HARNESS_FRECHET_H
#define MB_HARNESS_FRECHET_H

#include <stdint.h>

/* Samples A (na, d) and B (nb, d), two rows each at least. */
double mb_frechet(const float *a, int64_t na, const float *b, int64_t nb, int d);

#endif
