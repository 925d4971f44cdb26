#include "base/batch.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

const char *const mb_modality_name[MB_MODALITIES] = { "text",      "image",     "speech",
                                                      "modality3", "modality4", "modality5",
                                                      "modality6", "modality7" };

static void make_patches(mb_batch *b, int patch)
{
    size_t n = (size_t)(b->batch * b->len);

    b->patch = patch;
    b->noise = mb_zalloc(n, sizeof *b->noise);
    b->noisy = mb_zalloc(n * (size_t)patch, sizeof *b->noisy);
    b->wanted = mb_zalloc(n * (size_t)patch, sizeof *b->wanted);
}

void mb_batch_make(int64_t batch, int64_t len, int patch, mb_batch *out)
{
    size_t n = (size_t)batch * (size_t)len;

    *out = (mb_batch){
        .batch = batch,
        .len = len,
        .token = mb_zalloc(n, sizeof *out->token),
        .target = mb_zalloc(n, sizeof *out->target),
        .modality = mb_zalloc(n, sizeof *out->modality),
        .target_modality = mb_zalloc(n, sizeof *out->target_modality),
        .position = mb_zalloc(n, sizeof *out->position),
        .lo = mb_zalloc(n, sizeof *out->lo),
        .hi = mb_zalloc(n, sizeof *out->hi),
    };
    if (patch > 0)
        make_patches(out, patch);
}

void mb_batch_hold_patches(mb_batch *b, int patch)
{
    make_patches(b, patch);
    memset(b->noise, -1, (size_t)(b->batch * b->len) * sizeof *b->noise);
    memset(b->target_modality, MB_TEXT, (size_t)(b->batch * b->len));
}

void mb_batch_free(mb_batch *b)
{
    free(b->token);
    free(b->target);
    free(b->modality);
    free(b->target_modality);
    free(b->position);
    free(b->lo);
    free(b->hi);
    free(b->noise);
    free(b->noisy);
    free(b->wanted);
    memset(b, 0, sizeof *b);
}

void mb_batch_copy(mb_batch *to, const mb_batch *from)
{
    size_t n = (size_t)(from->batch * from->len), numbers = n * (size_t)from->patch;

    memcpy(to->token, from->token, n * sizeof *to->token);
    memcpy(to->target, from->target, n * sizeof *to->target);
    memcpy(to->modality, from->modality, n);
    memcpy(to->target_modality, from->target_modality, n);
    memcpy(to->position, from->position, n * sizeof *to->position);
    memcpy(to->lo, from->lo, n * sizeof *to->lo);
    memcpy(to->hi, from->hi, n * sizeof *to->hi);
    if (from->patch == 0)
        return;
    memcpy(to->noise, from->noise, n * sizeof *to->noise);
    memcpy(to->noisy, from->noisy, numbers * sizeof *to->noisy);
    memcpy(to->wanted, from->wanted, numbers * sizeof *to->wanted);
}
