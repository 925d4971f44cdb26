/* The Fourier transform of 512 points. */
#ifndef MB_WORKLOADS_FOURIER_H
#define MB_WORKLOADS_FOURIER_H

enum { MB_FOURIER_POINTS = 512 };

/* Of RE + i IM in place. With the two exchanged it is the inverse, times 512. */
void mb_fourier(double *re, double *im);

#endif
