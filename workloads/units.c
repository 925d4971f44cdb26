/* Points are bytes, a tenth of the spread within a phone apart: so coarse that differences of
   libraries and processors in the last digits seldom change a unit, and what follows is exact. */
#include "workloads/units.h"
#include "workloads/kmeans.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLE = 200000, ROUNDS = 12, SEED = 1, LDA_UTTERANCES = 4000 };

static const double steps = 10; /* to a standard deviation within a phone */

static uint8_t to_byte(double x)
{
    double at = floor(128.5 + steps * x);

    return at < 0 ? 0 : at > 255 ? 255 : (uint8_t)at;
}

double mb_units_value(uint8_t byte)
{
    return (byte - 128) / steps;
}

static int64_t count_units(const mb_utterances *u)
{
    int64_t n = 0;

    for (size_t i = 0; i < u->count; i++)
        n += mb_utterances_units(u, i);
    return n;
}

/* The points of utterance I, (units, MB_LDA_OUT). */
static void make_points(const mb_lda *l, const mb_utterances *u, size_t i, uint8_t *out)
{
    int64_t frames = u->frame_start[i + 1] - u->frame_start[i], n = mb_utterances_units(u, i);
    double *x = mb_alloc((size_t)(frames + 1) * MB_LDA_OUT * sizeof *x);

    mb_lda_project(l, u, i, x);
    for (int64_t p = 0; p < n; p++) {
        for (int d = 0; d < MB_LDA_OUT; d++) {
            const double *two = x + MB_FRAMES_PER_UNIT * p * MB_LDA_OUT + d;

            out[p * MB_LDA_OUT + d] = to_byte((two[0] + two[MB_LDA_OUT]) / 2);
        }
    }
    free(x);
}

/* All points, (units, MB_LDA_OUT); the caller frees. */
static uint8_t *all_points(const mb_lda *l, const mb_utterances *u, int64_t *n)
{
    int64_t *start = mb_alloc((u->count + 1) * sizeof *start);
    uint8_t *point;

    start[0] = 0;
    for (size_t i = 0; i < u->count; i++)
        start[i + 1] = start[i] + mb_utterances_units(u, i);
    *n = start[u->count];
    point = mb_alloc((size_t)(*n + 1) * MB_LDA_OUT);
#pragma omp parallel for schedule(dynamic, 64)
    for (size_t i = 0; i < u->count; i++)
        make_points(l, u, i, point + start[i] * MB_LDA_OUT);
    free(start);
    return point;
}

/* Every STEP-th point of a list behind those that are there. */
static void take_points(uint8_t *to, int64_t *n, const uint8_t *from, int64_t count, int64_t step)
{
    for (int64_t i = 0; i < count; i += step)
        memcpy(to + (*n)++ * MB_LDA_OUT, from + i * MB_LDA_OUT, MB_LDA_OUT);
}

mb_err mb_units_fit(const mb_utterances *labelled, const mb_utterances *human, int k, mb_units *out)
{
    int64_t n_labelled, n_human, n = 0, step;
    uint8_t *a, *b, *both;

    memset(out, 0, sizeof *out);
    MB_TRY(mb_lda_fit(labelled, labelled->count / LDA_UTTERANCES + 1, &out->lda));
    if (count_units(labelled) == 0)
        return mb_fail(MB_EINVAL, "no utterance is long enough for a unit");
    a = all_points(&out->lda, labelled, &n_labelled);
    b = all_points(&out->lda, human, &n_human);
    both = mb_alloc((size_t)(n_labelled + n_human) * MB_LDA_OUT);
    step = n_human > 0 && n_human < n_labelled ? n_labelled / n_human : 1;
    take_points(both, &n, a, n_labelled, step);
    take_points(both, &n, b, n_human, 1);
    out->k = k;
    out->centroid = mb_zalloc((size_t)k, MB_LDA_OUT);
    mb_kmeans_fit(both, n, MB_LDA_OUT, k, SAMPLE, ROUNDS, SEED, out->centroid);
    free(both);
    free(b);
    free(a);
    return MB_OK;
}

void mb_units_free(mb_units *u)
{
    free(u->centroid);
    memset(u, 0, sizeof *u);
}

uint16_t *mb_units_assign(const mb_units *units, const mb_utterances *u)
{
    int64_t n;
    uint8_t *point = all_points(&units->lda, u, &n);
    uint16_t *code = mb_alloc((size_t)(n + 1) * sizeof *code);

    mb_kmeans_assign(point, n, MB_LDA_OUT, units->centroid, units->k, code);
    free(point);
    return code;
}

mb_err mb_units_write(const mb_units *u, mb_set_writer *w)
{
    MB_TRY(mb_set_bytes(w, "units.u8", u->centroid, (size_t)u->k * MB_LDA_OUT));
    return mb_set_bytes(w, "lda.f64", &u->lda, sizeof u->lda);
}

static mb_err read_whole(const char *folder, const char *name, void *out, size_t size)
{
    char *path = mb_format("%s/%s", folder, name);
    mb_map map;
    mb_err err = mb_map_open(path, &map);

    if (!err) {
        if (map.size == size)
            memcpy(out, map.data, size);
        else
            err = mb_fail(MB_ECORRUPT, "%s: %zu bytes found, expected %zu", path, map.size, size);
        mb_map_close(&map);
    }
    free(path);
    return err;
}

mb_err mb_units_read(const char *folder, int k, mb_units *out)
{
    size_t size = (size_t)k * MB_LDA_OUT;
    mb_err err;

    *out = (mb_units){ .k = k, .centroid = mb_alloc(size) };
    err = read_whole(folder, "units.u8", out->centroid, size);
    if (!err)
        err = read_whole(folder, "lda.f64", &out->lda, sizeof out->lda);
    if (err)
        mb_units_free(out);
    return err;
}
