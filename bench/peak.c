/* Register-only multiply-adds. Vectors are the compiler's own (no intrinsics), as wide as the build
   allows; enough of them are under way at once to hide the latency of the units. */
#include "bench/peak.h"

#include <stdint.h>
#include <time.h>

#if defined __AVX512F__
enum { LANES = 16, CHAINS = 24 }; /* 32 registers */
#else
enum { LANES = 8, CHAINS = 12 }; /* 16 registers; 4 cycles of latency, 2 units: 8 would do */
#endif

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

/* Moves towards 1 from any start: neither overflow nor denormal numbers, however long it runs. */
static float chains(int64_t times, float start)
{
    lanes x[CHAINS], a = (lanes){ 0 } + 0.999f, b = (lanes){ 0 } + 0.001f, sum = { 0 };
    float total = 0;

    for (int i = 0; i < CHAINS; i++)
        x[i] = (lanes){ 0 } + start + (float)i;
    for (int64_t n = 0; n < times; n++)
        for (int i = 0; i < CHAINS; i++)
            x[i] = x[i] * a + b; /* fused: the Makefile asks for that in this file alone */
    for (int i = 0; i < CHAINS; i++)
        sum += x[i];
    for (int i = 0; i < LANES; i++)
        total += sum[i];
    return total;
}

/* Multiply-adds per nanosecond of the processor time of the calling thread, the best of PARTS: what
   disturbs a part is not the machine's, and a step is long enough to have its share of it. */
static double rate(void)
{
    enum { PARTS = 8, TIMES = 1 << 16 }; /* 2.5 ms each at 100 GFLOP/s */
    volatile float point = 0; /* read and written between the clocks: so the loop stays there */
    double best = 0;

    for (int i = 0; i < PARTS; i++) {
        struct timespec begun, ended;
        double each;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begun);
        point = chains(TIMES, point);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ended);
        each = (double)LANES * CHAINS * TIMES /
               (double)((ended.tv_sec - begun.tv_sec) * 1000000000 + ended.tv_nsec - begun.tv_nsec);
        best = each > best ? each : best;
    }
    return best;
}

double mb_peak(int threads)
{
    double sum = 0;

#pragma omp parallel num_threads(threads) reduction(+ : sum)
    {
#pragma omp barrier /* all at once: cores may share units, and their clock falls with the load */
        sum += rate();
    }
    return 2e9 * sum;
}
