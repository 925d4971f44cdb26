/* What this machine can do at most, measured: the lines of a roofline and the peaks of an MFU.

   Each takes many short rounds, since whatever else runs disturbs some of them, and checks what it
   computed. Rates are of THREADS threads together. */
#ifndef MB_PROFILES_CEILINGS_H
#define MB_PROFILES_CEILINGS_H

#include "base/err.h"
#include "models/kernels/tensor.h"

#include <stddef.h>

/* FLOP/s of fp32 multiply-adds between registers alone. The best round. */
mb_err mb_ceiling_fma(int threads, double *flops_per_s);

/* B/s of a[i] = b[i] + s c[i] over three arrays of doubles of SIZE bytes each, 24 bytes an element
   as STREAM counts them: the median round. SIZE should exceed the last cache. */
mb_err mb_ceiling_triad(int threads, size_t size, double *bytes_per_s);

/* FLOP/s of the backend's own product of square matrices of random numbers, WIDTH x WIDTH, which
   are warm: the best round. */
mb_err mb_ceiling_product(const char *backend, mb_precision precision, int threads, int width,
                          double *flops_per_s);

/* FLOP/s of dense products that the maker of a GPU promises, by its name somewhere in DEVICE; NaN:
   not known here. */
double mb_ceiling_datasheet(const char *device, mb_precision precision);

#endif
