/* For Gaussian numbers x of covariance C the best guess of e from z = sqrt(a) x + sqrt(1-a) e is
   linear, and for others no linear guess is better. Its squared error needs the trace of an inverse
   for each step: of a tridiagonal matrix that has C's eigenvalues. Since z is known, e = (z -
   sqrt(a) x) / sqrt(1-a) and v = (sqrt(a) z - x) / sqrt(1-a) are missed by as much as x is, each
   with its factor: v's squared error is e's divided by a. */
#include "harness/denoiser.h"

#include "base/file.h"
#include "workloads/parts.h"

#include <math.h>
#include <stdlib.h>

enum {
    IMAGES = 1 << 16, /* measured, at most about */
    CHUNK = 512,      /* vectors at a time */
    UNIT = 255,       /* parts of 1: of a chunk's products the sum fits 32 bits */
    MOST = 2047,
    LARGEST = 1024, /* numbers of an image, or of a patch */
    PER_NUMBER = 10 /* images that a covariance of theirs takes, at least */
};

/* ---- closed form ---------------------------------------------------------------------------- */

/* Householder: the last row of A (n, n), symmetric, becomes one number beside its diagonal.
   U and W (n) are space; returns that number. */
static double reflect(double *a, int n, int stride, double *u, double *w)
{
    double *row = a + (n - 1) * stride, sum = 0, dot = 0, beside;
    int m = n - 1;

    for (int i = 0; i < m; i++)
        sum += (u[i] = row[i]) * row[i];
    beside = u[m - 1] > 0 ? -sqrt(sum) : sqrt(sum);
    u[m - 1] -= beside;
    sum = sum - 2 * row[m - 1] * beside + beside * beside; /* of u's squares */
    if (sum == 0)
        return 0;
    for (int i = 0; i < m; i++) {
        double product = 0;

        for (int j = 0; j < m; j++)
            product += a[i * stride + j] * u[j];
        w[i] = 2 * product / sum;
        dot += w[i] * u[i] / sum;
    }
    for (int i = 0; i < m; i++)
        w[i] -= dot * u[i];
    for (int i = 0; i < m; i++)
        for (int j = 0; j < m; j++)
            a[i * stride + j] -= u[i] * w[j] + w[i] * u[j];
    return beside;
}

/* The trace of T^-1 / n for T = KEPT (D, B) + 1 - KEPT, with D (n) on the diagonal and B (n - 1)
   beside it: pivots from both ends meet in each row. UP (n) is space. */
static double mean_of_inverse(const double *d, const double *b, int n, double kept, double *up)
{
    double sum = 0, down = 0;

    for (int i = n - 1; i >= 0; i--) {
        double beside = i < n - 1 ? kept * b[i] : 0;

        up[i] = kept * d[i] + 1 - kept - (i < n - 1 ? beside * beside / up[i + 1] : 0);
    }
    for (int i = 0; i < n; i++) {
        double at = kept * d[i] + 1 - kept, beside = i > 0 ? kept * b[i - 1] : 0;

        down = at - (i > 0 ? beside * beside / down : 0);
        sum += 1 / (down + up[i] - at);
    }
    return sum / n;
}

double mb_denoiser_loss(double *covariance, int n, enum mb_prediction predicted)
{
    double *diagonal = mb_alloc(4 * (size_t)n * sizeof *diagonal), *beside = diagonal + n,
           *u = beside + n, *w = u + n, loss = 0;

    for (int k = n; k > 1; k--)
        beside[k - 2] = reflect(covariance, k, n, u, w);
    for (int i = 0; i < n; i++)
        diagonal[i] = covariance[i * n + i];
    for (int t = 1; t <= MB_NOISE_STEPS; t++) {
        double kept = mb_noise_kept(t);
        double error = 1 - (1 - kept) * mean_of_inverse(diagonal, beside, n, kept, u);

        loss += predicted == MB_VELOCITY ? error / kept : error;
    }
    free(diagonal);
    return loss / MB_NOISE_STEPS;
}

/* ---- covariances ---------------------------------------------------------------------------- */

typedef struct moments { /* of vectors of SIZE numbers, in parts of UNIT */
    int size;
    int64_t n;
    double *sum, *product; /* (size), (size, size): the lower half */
    int16_t *chunk;        /* (size, CHUNK) */
    int filled;
} moments;

static moments make_moments(int size)
{
    return (moments){ .size = size,
                      .sum = mb_zalloc((size_t)size, sizeof(double)),
                      .product = mb_zalloc((size_t)size * (size_t)size, sizeof(double)),
                      .chunk = mb_zalloc((size_t)size * CHUNK, sizeof(int16_t)) };
}

static void free_moments(moments *m)
{
    free(m->sum);
    free(m->product);
    free(m->chunk);
}

/* Whole numbers: the order of vectors is not seen. */
static void empty_chunk(moments *m)
{
    for (int i = 0; i < m->size; i++) {
        const int16_t *x = m->chunk + i * CHUNK;

        for (int k = 0; k < m->filled; k++)
            m->sum[i] += x[k];
        for (int j = 0; j <= i; j++) {
            const int16_t *y = m->chunk + j * CHUNK;
            int32_t sum = 0;

            for (int k = 0; k < m->filled; k++)
                sum += x[k] * y[k];
            m->product[i * m->size + j] += sum;
        }
    }
    m->n += m->filled;
    m->filled = 0;
}

/* Exact for pixels, which are odd numbers of parts; latents beyond 8 deviations are cut off. */
static void add_vector(moments *m, const float *number)
{
    for (int i = 0; i < m->size; i++) {
        long parts = lrintf(number[i] * UNIT);

        parts = parts < -MOST ? -MOST : parts > MOST ? MOST : parts;
        m->chunk[i * CHUNK + m->filled] = (int16_t)parts;
    }
    if (++m->filled == CHUNK)
        empty_chunk(m);
}

/* Turns products into covariances, and these into a loss. */
static double loss_of(moments *m, enum mb_prediction predicted)
{
    double n, unit = UNIT * UNIT;

    empty_chunk(m);
    n = (double)m->n;
    for (int i = 0; i < m->size; i++)
        for (int j = 0; j <= i; j++) {
            double c = m->product[i * m->size + j] / n - m->sum[i] / n * (m->sum[j] / n);

            m->product[i * m->size + j] = m->product[j * m->size + i] = c / unit;
        }
    return mb_denoiser_loss(m->product, m->size, predicted);
}

static mb_err walk(const mb_data *d, int64_t patches, moments *patch, moments *image, float *number)
{
    int64_t n = mb_data_section(d, MB_TRAIN, MB_PAIRS), step = n / IMAGES + 1;

    for (int64_t i = 0; i < n; i += step) {
        mb_parts p;

        MB_TRY(mb_data_parts(d, MB_TRAIN, i, &p));
        mb_data_patches_read(d, p.part[MB_IMAGE].patch, patches * patch->size, number);
        mb_parts_free(&p);
        for (int64_t k = 0; k < patches; k++)
            add_vector(patch, number + k * patch->size);
        if (image->size > 0)
            add_vector(image, number);
    }
    return MB_OK;
}

mb_err mb_denoisers_measure(const mb_data *d, enum mb_prediction predicted, mb_denoisers *out)
{
    int64_t patches = mb_data_segment_kind(d, MB_IMAGE).exactly;
    int64_t numbers = patches * mb_data_patch(d), n = mb_data_section(d, MB_TRAIN, MB_PAIRS);
    bool enough = numbers <= LARGEST && n >= PER_NUMBER * numbers;
    moments patch, image;
    float *number;
    mb_err err;

    *out = (mb_denoisers){ .patch = NAN, .image = NAN };
    if (numbers == 0 || n == 0 || mb_data_patch(d) > LARGEST)
        return MB_OK;
    patch = make_moments(mb_data_patch(d));
    image = make_moments(enough ? (int)numbers : 0);
    number = mb_alloc((size_t)numbers * sizeof *number);
    err = walk(d, patches, &patch, &image, number);
    free(number);
    if (!err) {
        out->patch = loss_of(&patch, predicted);
        out->image = enough ? loss_of(&image, predicted) : NAN;
        out->images = patch.n / patches;
    }
    free_moments(&patch);
    free_moments(&image);
    return err;
}
