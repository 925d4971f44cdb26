#include "harness/frechet.h"

#include "base/eigen.h"
#include "base/file.h"

#include <math.h>
#include <stdlib.h>

static void moments(const float *x, int64_t n, int d, double *mean, double *covariance)
{
    for (int i = 0; i < d; i++)
        mean[i] = 0;
    for (int i = 0; i < d * d; i++)
        covariance[i] = 0;
    for (int64_t r = 0; r < n; r++)
        for (int i = 0; i < d; i++)
            mean[i] += x[r * d + i] / (double)n;
    for (int64_t r = 0; r < n; r++)
        for (int i = 0; i < d; i++)
            for (int j = 0; j <= i; j++)
                covariance[i * d + j] += (x[r * d + i] - mean[i]) * (x[r * d + j] - mean[j]);
    for (int i = 0; i < d; i++)
        for (int j = 0; j <= i; j++)
            covariance[i * d + j] = covariance[j * d + i] = covariance[i * d + j] / (double)(n - 1);
}

/* OUT = A B, all (d, d). */
static void multiply(double *out, const double *a, const double *b, int d)
{
    for (int i = 0; i < d; i++)
        for (int j = 0; j < d; j++) {
            double sum = 0;

            for (int k = 0; k < d; k++)
                sum += a[i * d + k] * b[k * d + j];
            out[i * d + j] = sum;
        }
}

/* ROOT = S^1/2 of a covariance S, which is overwritten; V is space. */
static void square_root(double *root, double *s, double *v, int d)
{
    mb_eigen(s, v, d);
    for (int i = 0; i < d; i++)
        for (int j = 0; j < d; j++) {
            double sum = 0;

            for (int k = 0; k < d; k++)
                sum += v[i * d + k] * sqrt(fmax(s[k * d + k], 0)) * v[j * d + k];
            root[i * d + j] = sum;
        }
}

/* tr (A B)^1/2 = tr (A^1/2 B A^1/2)^1/2, the latter symmetric. A is overwritten. */
static double trace_of_root(double *a, const double *b, double *space, int d)
{
    double *root = space, *half = space + d * d, *whole = space + 2 * d * d, trace = 0;

    square_root(root, a, half, d);
    multiply(half, root, b, d);
    multiply(whole, half, root, d);
    mb_eigen(whole, half, d);
    for (int i = 0; i < d; i++)
        trace += sqrt(fmax(whole[i * d + i], 0));
    return trace;
}

double mb_frechet(const float *a, int64_t na, const float *b, int64_t nb, int d)
{
    size_t square = (size_t)d * (size_t)d;
    double *space = mb_alloc((5 * square + 2 * (size_t)d) * sizeof *space);
    double *sa = space + 3 * square, *sb = sa + square, *ma = sb + square, *mb = ma + d;
    double distance = 0;

    moments(a, na, d, ma, sa);
    moments(b, nb, d, mb, sb);
    for (int i = 0; i < d; i++)
        distance += (ma[i] - mb[i]) * (ma[i] - mb[i]) + sa[i * d + i] + sb[i * d + i];
    distance -= 2 * trace_of_root(sa, sb, space, d);
    free(space);
    return distance;
}
