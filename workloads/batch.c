/* A batch around tokens of the caller. */
#include "workloads/data.h"

#include <stdlib.h>
#include <string.h>

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
