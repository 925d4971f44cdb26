#include "workloads/patches.h"

#include "base/random.h"

const uint8_t *mb_patches_of(const mb_data *d, const mb_set_split *s, int64_t i)
{
    return s->patch.data + i * d->ids.tokens_per_image * (int64_t)mb_patch_size(&d->ids);
}

/* N numbers of PATCH, and behind noise what is wanted of them. */
static void fill(const mb_ids *ids, const uint8_t *patch, int64_t n, const mb_noising *how,
                 float *noisy, float *wanted)
{
    double kept = mb_noise_kept(how->step);

    for (int64_t i = 0; i < n; i++) {
        float x = mb_patch_number(ids, patch, i), e;

        noisy[i] = x;
        if (how->step == 0)
            continue;
        e = (float)mb_normal(how->key, (uint64_t)i);
        noisy[i] = mb_noise_mix(kept, x, e);
        wanted[i] = mb_noise_wanted(how->prediction, kept, x, e);
    }
}

static void place_image(const mb_ids *ids, mb_batch *b, int64_t to, int64_t n, const uint8_t *patch,
                        const mb_noising *how)
{
    for (int64_t i = to; i < to + n; i++) {
        b->noise[i] = how->step;
        b->target[i] = -1;
        b->hi[i] = (int32_t)((to + n - 1) % b->len);
    }
    if (to % b->len > 0) /* what begins the image does not predict it */
        b->target[to - 1] = -1;
    fill(ids, patch, n * b->patch, how, b->noisy + to * b->patch, b->wanted + to * b->patch);
}

void mb_batch_place_image(mb_batch *b, int64_t to, int64_t n, const mb_data *d,
                          const uint8_t *patch, const mb_noising *how)
{
    place_image(&d->ids, b, to, n, patch, how);
}

/* The image's first position, counted from 0; -1 when it is not there as a whole. */
static int64_t find_image(const mb_ids *ids, const int32_t *id, int64_t n)
{
    int64_t first = 0, end;

    while (first < n && mb_id_kind(ids, id[first]) != MB_ID_IMAGE)
        first++;
    for (end = first; end < n && mb_id_kind(ids, id[end]) == MB_ID_IMAGE; end++)
        ;
    return end - first == ids->tokens_per_image ? first : -1;
}

mb_err mb_patches_place(const mb_ids *ids, const uint8_t *patch, uint64_t key,
                        enum mb_prediction prediction, mb_batch *b, int64_t to, int64_t n)
{
    int64_t first = find_image(ids, b->token + to, n);
    mb_noising how = { 1 + (int32_t)mb_below(mb_key(key, "step", 0, 0), 0, MB_NOISE_STEPS),
                       mb_key(key, "noise", 0, 0), prediction };

    if (first < 0)
        return mb_fail(MB_ECORRUPT, "a document without one image of %d patches",
                       ids->tokens_per_image);
    memset(b->target_modality + to, MB_TEXT, (size_t)n); /* ids of an image are no targets */
    place_image(ids, b, to + first, ids->tokens_per_image, patch, &how);
    return MB_OK;
}
