#include "workloads/patches.h"

#include "base/random.h"

/* The numbers of an image at PATCH behind noise, and what is wanted of them. */
static void add_noise(const mb_ids *ids, const uint8_t *patch, int32_t step, uint64_t key,
                      enum mb_prediction prediction, float *noisy, float *wanted)
{
    double kept = mb_noise_kept(step);

    for (int64_t i = 0; i < (int64_t)ids->tokens_per_image * ids->patch; i++) {
        float x = mb_patch_number(ids, patch, i), e = (float)mb_normal(key, (uint64_t)i);

        noisy[i] = mb_noise_mix(kept, x, e);
        wanted[i] = mb_noise_wanted(prediction, kept, x, e);
    }
}

static bool is_image(const mb_ids *ids, int32_t id)
{
    return mb_id_kind(ids, id) == MB_ID_IMAGE;
}

/* The image's first position, counted from 0; -1 when it is not there as a whole. */
static int64_t find_image(const mb_ids *ids, const int32_t *id, int64_t n)
{
    int64_t first = 0, end;

    while (first < n && !is_image(ids, id[first]))
        first++;
    for (end = first; end < n && is_image(ids, id[end]); end++)
        ;
    return end - first == ids->tokens_per_image ? first : -1;
}

mb_err mb_patches_place(const mb_ids *ids, const uint8_t *patch, uint64_t key,
                        enum mb_prediction prediction, mb_batch *b, int64_t to, int64_t at,
                        int64_t n)
{
    int64_t first = find_image(ids, b->token + to, n), end = first + ids->tokens_per_image;
    int32_t step = 1 + (int32_t)mb_below(mb_key(key, "step", 0, 0), 0, MB_NOISE_STEPS);

    if (first < 0)
        return mb_fail(MB_ECORRUPT, "a document without one image of %d patches",
                       ids->tokens_per_image);
    for (int64_t i = 0; i < n; i++) {
        bool inside = i >= first && i < end;

        b->noise[to + i] = inside ? step : -1;
        b->target_modality[to + i] = MB_TEXT; /* ids of an image are no targets */
        if (inside || (b->target[to + i] >= 0 && is_image(ids, b->target[to + i])))
            b->target[to + i] = -1;
        if (inside)
            b->hi[to + i] = (int32_t)(at + end - 1);
    }
    add_noise(ids, patch, step, mb_key(key, "noise", 0, 0), prediction,
              b->noisy + (to + first) * ids->patch, b->wanted + (to + first) * ids->patch);
    return MB_OK;
}
