/* Batches: their arrays, and one around tokens of the caller. */
#include "base/file.h"
#include "workloads/data.h"

#include <stdlib.h>
#include <string.h>

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
        .patch = patch,
    };
    if (patch > 0) {
        out->noise = mb_zalloc(n, sizeof *out->noise);
        out->noisy = mb_zalloc(n * (size_t)patch, sizeof *out->noisy);
        out->wanted = mb_zalloc(n * (size_t)patch, sizeof *out->wanted);
    }
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

static mb_err check_tokens(const int32_t *token, const uint8_t *modality, int64_t batch,
                           int64_t len, int vocab)
{
    for (int64_t i = 0; i < batch * len; i++) {
        if (token[i] < 0 || token[i] >= vocab)
            return mb_fail(MB_EINVAL, "sequence %lld, position %lld: id %d is not below %d",
                           (long long)(i / len), (long long)(i % len), token[i], vocab);
        if (modality && modality[i] >= MB_MODALITIES)
            return mb_fail(MB_EINVAL, "sequence %lld, position %lld: modality %d is not below %d",
                           (long long)(i / len), (long long)(i % len), modality[i], MB_MODALITIES);
    }
    return MB_OK;
}

mb_err mb_batch_from_tokens(const int32_t *token, const uint8_t *modality, int64_t batch,
                            int64_t len, int vocab, int bos, mb_batch *out)
{
    memset(out, 0, sizeof *out);
    if (batch < 1 || len < 1 || batch > INT32_MAX / len)
        return mb_fail(MB_EINVAL, "%lld x %lld is not a size of a batch", (long long)batch,
                       (long long)len);
    MB_TRY(check_tokens(token, modality, batch, len, vocab));
    mb_batch_make(batch, len, 0, out);
    for (int64_t i = 0; i < batch * len; i++) {
        int32_t p = (int32_t)(i % len);
        bool begins = p == 0 || token[i] == bos;
        bool last = p + 1 == len || token[i + 1] == bos;

        out->token[i] = token[i];
        out->target[i] = last ? -1 : token[i + 1];
        out->modality[i] = modality ? modality[i] : MB_TEXT;
        out->target_modality[i] = last || !modality ? MB_TEXT : modality[i + 1];
        out->lo[i] = begins ? p : out->lo[i - 1];
        out->hi[i] = p;
        out->position[i] = p - out->lo[i];
    }
    return MB_OK;
}
