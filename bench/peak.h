/* The most that the multiply-add units of this machine give, measured: the yardstick beside every
   timed step. */
#ifndef MB_BENCH_PEAK_H
#define MB_BENCH_PEAK_H

/* FLOP/s of fp32 multiply-adds on registers alone, on THREADS threads at once for about 20 ms: the
   sum of the best that each reaches in its own processor time. */
double mb_peak(int threads);

#endif
