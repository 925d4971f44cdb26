/* Register-only multiply-adds. Vectors are the compiler's own (no intrinsics), as wide as the build
   allows; enough of them are under way at once to hide the latency of the units. */
#include "bench/peak.h"

#include "profiles/clock.h"

#include <stdint.h>

#if defined __AVX512F__
enum { LANES = 16, CHAINS = 24 }; /* 32 registers */
#else
enum { LANES = 8, CHAINS = 12 }; /* 16 registers; 4 cycles of latency, 2 units: 8 would do */
#endif

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

/* Moves towards 1 from any start: neither overflow nor denormal numbers, however long it runs. */
static float chains(int64_t times)
{
    lanes x[CHAINS], a = (lanes){ 0 } + 0.999f, b = (lanes){ 0 } + 0.001f, sum = { 0 };
    float total = 0;

    for (int i = 0; i < CHAINS; i++)
        x[i] = (lanes){ 0 } + (float)i;
    for (int64_t n = 0; n < times; n++)
        for (int i = 0; i < CHAINS; i++)
            x[i] = x[i] * a + b; /* fused: the Makefile asks for that in this file alone */
    for (int i = 0; i < CHAINS; i++)
        sum += x[i];
    for (int i = 0; i < LANES; i++)
        total += sum[i];
    return total;
}

double mb_peak(int threads)
{
    enum { TIMES = 1 << 17 }; /* 25 M multiply-adds of 8 lanes: 5 ms at 100 GFLOP/s */
    mb_clock none = { .threads = 0 };
    mb_instant begun = mb_clock_read(&none), ended;
    volatile float sink = 0; /* the result is used: the loop stays */
    int64_t ns;

#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int i = 0; i < threads; i++) {
        float x = chains(TIMES);
#pragma omp critical
        sink = sink + x;
    }
    ended = mb_clock_read(&none);
    ns = threads == 1 ? ended.cpu_ns - begun.cpu_ns : ended.wall_ns - begun.wall_ns;
    return 2e9 * LANES * CHAINS * TIMES * threads / (double)ns;
}
