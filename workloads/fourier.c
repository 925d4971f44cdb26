/* Radix 2. */
#include "workloads/fourier.h"

#include <math.h>
#include <pthread.h>

enum { POINTS = MB_FOURIER_POINTS };

static struct table {
    double cos[POINTS / 2], sin[POINTS / 2];
} table;

static void make_table(void)
{
    for (int i = 0; i < POINTS / 2; i++) {
        table.cos[i] = cos(2 * M_PI * i / POINTS);
        table.sin[i] = -sin(2 * M_PI * i / POINTS);
    }
}

static void swap(double *a, double *b)
{
    double t = *a;

    *a = *b;
    *b = t;
}

/* Puts element i where i's bits in reverse say. */
static void reorder(double *re, double *im)
{
    for (int i = 1, j = 0; i < POINTS; i++) {
        int bit = POINTS / 2;

        for (; j & bit; bit /= 2)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            swap(&re[i], &re[j]);
            swap(&im[i], &im[j]);
        }
    }
}

void mb_fourier(double *re, double *im)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_table);
    reorder(re, im);
    for (int half = 1; half < POINTS; half *= 2) {
        for (int block = 0; block < POINTS; block += 2 * half) {
            for (int k = 0; k < half; k++) {
                int even = block + k, odd = even + half, turn = k * (POINTS / 2 / half);
                double x = re[odd] * table.cos[turn] - im[odd] * table.sin[turn];
                double y = re[odd] * table.sin[turn] + im[odd] * table.cos[turn];

                re[odd] = re[even] - x;
                im[odd] = im[even] - y;
                re[even] += x;
                im[even] += y;
            }
        }
    }
}
