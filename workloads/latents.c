#include "workloads/latents.h"
#include "base/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void mb_latents_free(mb_latents *t)
{
    free(t->mean);
    free(t->deviation);
    free(t->half);
    memset(t, 0, sizeof *t);
}

static mb_err begin(mb_latents *t, const mb_latent *l)
{
    if (l->side % t->patch)
        return mb_fail(MB_ECORRUPT, "%d x %d positions cannot be cut into patches of %d x %d",
                       l->side, l->side, t->patch, t->patch);
    if ((int64_t)t->patch * t->patch * l->channels > MB_LARGEST_PATCH)
        return mb_fail(MB_ECORRUPT, "patches of %d x %d x %d numbers, expected at most %d",
                       t->patch, t->patch, l->channels, MB_LARGEST_PATCH);
    t->side = l->side;
    t->channels = l->channels;
    t->mean = mb_zalloc((size_t)t->channels, sizeof *t->mean);
    t->deviation = mb_zalloc((size_t)t->channels, sizeof *t->deviation);
    t->half = mb_alloc((size_t)(t->side * t->side) * (size_t)t->channels * sizeof *t->half);
    return MB_OK;
}

mb_err mb_latents_check(mb_latents *t, const mb_latent *l)
{
    int64_t n = (int64_t)l->side * l->side * l->channels;

    if (!t->side)
        MB_TRY(begin(t, l));
    if (l->side != t->side || l->channels != t->channels)
        return mb_fail(MB_ECORRUPT,
                       "%d channels of %d x %d, expected %d of %d x %d as in the first one",
                       l->channels, l->side, l->side, t->channels, t->side, t->side);
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(l->number[i]))
            return mb_fail(MB_ECORRUPT,
                           "channel %d, row %d, column %d: found %g, expected a number",
                           (int)(i % l->channels), (int)(i / l->channels / l->side),
                           (int)(i / l->channels % l->side), (double)l->number[i]);
    }
    return MB_OK;
}

/* The moments of one image join those of all before (Chan et al. 1983): sums over everything would
   lose what makes a small deviation around a large mean. */
void mb_latents_see(mb_latents *t, const mb_latent *l)
{
    int64_t n = (int64_t)t->side * t->side;
    double before = (double)t->count, all = (double)(t->count + n);

    for (int c = 0; c < t->channels; c++) {
        const float *x = l->number + c;
        double mean = 0, square = 0, apart;

        for (int64_t i = 0; i < n; i++)
            mean += (double)x[i * t->channels] / (double)n;
        for (int64_t i = 0; i < n; i++)
            square += pow((double)x[i * t->channels] - mean, 2);
        apart = mean - t->mean[c];
        t->deviation[c] += square + apart * apart * before * (double)n / all;
        t->mean[c] += apart * (double)n / all;
    }
    t->count += n;
}

static json_t *to_json(const double *list, int n)
{
    json_t *out = json_array();

    for (int i = 0; i < n; i++)
        json_array_append_new(out, json_real(list[i]));
    return out;
}

mb_err mb_latents_learn(mb_latents *t, mb_set_writer *w)
{
    if (t->count == 0)
        return mb_fail(MB_EINVAL, "no latents in train, expected some as in the other splits");
    for (int c = 0; c < t->channels; c++) {
        t->deviation[c] = sqrt(t->deviation[c] / (double)t->count);
        if (!(t->deviation[c] > 0 && isfinite(t->deviation[c])))
            return mb_fail(MB_EINVAL, "channel %d has deviation %g in train: nothing to be learnt",
                           c, t->deviation[c]);
    }
    mb_set_parameter(w, "latents",
                     json_pack("{si si si so so}", "side", t->side, "channels", t->channels,
                               "patch", t->patch, "mean", to_json(t->mean, t->channels),
                               "deviation", to_json(t->deviation, t->channels)));
    return MB_OK;
}

int mb_latents_per_image(const mb_latents *t)
{
    int across = t->side ? t->side / t->patch : 0;

    return across * across;
}

int mb_latents_patch(const mb_latents *t)
{
    return t->patch * t->patch * t->channels;
}

/* Which position of an image, row by row, is position I of patch P. */
static int64_t position(const mb_latents *t, int p, int i)
{
    int across = t->side / t->patch, row = p / across * t->patch + i / t->patch;

    return (int64_t)row * t->side + p % across * t->patch + i % t->patch;
}

const uint16_t *mb_latents_cut(mb_latents *t, const mb_latent *l)
{
    uint16_t *to = t->half;

    for (int p = 0; p < mb_latents_per_image(t); p++) {
        for (int i = 0; i < t->patch * t->patch; i++) {
            const float *from = l->number + position(t, p, i) * t->channels;

            for (int c = 0; c < t->channels; c++)
                *to++ =
                    mb_half_from_float((float)(((double)from[c] - t->mean[c]) / t->deviation[c]));
        }
    }
    return t->half;
}

static mb_err read_channels(const json_t *list, int n, double *out)
{
    if ((int)json_array_size(list) != n)
        return mb_fail(MB_ECORRUPT, "expected %d channels", n);
    for (int i = 0; i < n; i++)
        out[i] = json_number_value(json_array_get(list, (size_t)i));
    return MB_OK;
}

mb_err mb_latents_open(const mb_data *d, mb_latents *out)
{
    json_t *j = json_object_get(json_object_get(d->json, "parameters"), "latents"), *mean,
           *deviation;
    mb_err err;

    *out = (mb_latents){ 0 };
    if (!j)
        return MB_OK;
    if (json_unpack(j, "{si si si so so}", "side", &out->side, "channels", &out->channels, "patch",
                    &out->patch, "mean", &mean, "deviation", &deviation) ||
        out->patch < 1 || out->side < 1 || out->channels < 1 ||
        mb_latents_patch(out) != d->ids.patch ||
        mb_latents_per_image(out) != d->ids.tokens_per_image)
        return mb_fail(MB_ECORRUPT, "%s/manifest.json: latents that are not those of its ids",
                       d->folder);
    out->mean = mb_zalloc((size_t)out->channels, sizeof *out->mean);
    out->deviation = mb_zalloc((size_t)out->channels, sizeof *out->deviation);
    err = read_channels(mean, out->channels, out->mean);
    if (!err)
        err = read_channels(deviation, out->channels, out->deviation);
    if (err) {
        mb_latents_free(out);
        return mb_fail_in(err, "%s/manifest.json: latents", d->folder);
    }
    return MB_OK;
}

void mb_latents_join(const mb_latents *t, const mb_ids *ids, const uint8_t *patch, float *out)
{
    int64_t places = (int64_t)t->side * t->side, from = 0;

    for (int p = 0; p < mb_latents_per_image(t); p++) {
        for (int i = 0; i < t->patch * t->patch; i++) {
            for (int c = 0; c < t->channels; c++) {
                double x = (double)mb_patch_number(ids, patch, from++);

                out[c * places + position(t, p, i)] = (float)(t->mean[c] + t->deviation[c] * x);
            }
        }
    }
}
