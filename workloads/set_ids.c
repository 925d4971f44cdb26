#include "base/half.h"
#include "workloads/image_tokens.h"
#include "workloads/set.h"

enum mb_id_kind mb_id_kind(const mb_ids *ids, int64_t id)
{
    if (id < 0 || id >= ids->vocab)
        return MB_ID_BAD;
    if (id == ids->bos)
        return MB_ID_BOS;
    if (id == ids->eos)
        return MB_ID_EOS;
    if (id == ids->boi)
        return MB_ID_BOI;
    if (id == ids->eoi)
        return MB_ID_EOI;
    if (id == ids->boa)
        return MB_ID_BOA;
    if (id == ids->eoa)
        return MB_ID_EOA;
    if (id >= ids->image[0] && id < ids->image[1])
        return MB_ID_IMAGE;
    if (id >= ids->speech[0] && id < ids->speech[1])
        return MB_ID_SPEECH;
    return id >= ids->text[0] && id < ids->text[1] ? MB_ID_TEXT : MB_ID_BAD;
}

mb_ids mb_ids_make(int text, int images, int units, int tokens_per_image)
{
    int first = text + images + units;

    return (mb_ids){ .vocab = first + (units ? 6 : 4),
                     .text = { 0, text },
                     .image = { text, text + images },
                     .speech = { text + images, first },
                     .bos = first,
                     .eos = first + 1,
                     .boi = first + 2,
                     .eoi = first + 3,
                     .boa = units ? first + 4 : -1,
                     .eoa = units ? first + 5 : -1,
                     .tokens_per_image = tokens_per_image };
}

static mb_err check_range(const char *name, const int range[2], int vocab)
{
    if (range[0] < 0 || range[0] > range[1] || range[1] > vocab)
        return mb_fail(MB_EINVAL, "%s [%d, %d] is not a range of ids within [0, %d]", name,
                       range[0], range[1], vocab);
    return MB_OK;
}

static mb_err check_apart(const char *name, const int range[2], const char *other_name,
                          const int other[2])
{
    if (range[0] < other[1] && other[0] < range[1])
        return mb_fail(MB_EINVAL, "the ranges of %s and %s ids overlap", name, other_name);
    return MB_OK;
}

mb_err mb_ids_check(const mb_ids *ids)
{
    static const char *const name[] = { "bos", "eos", "boi", "eoi", "boa", "eoa" };
    const int single[] = { ids->bos, ids->eos, ids->boi, ids->eoi, ids->boa, ids->eoa };

    if (ids->vocab < 1 || ids->vocab > 1 << 24)
        return mb_fail(MB_EINVAL, "vocab %d is not within 1 .. %d", ids->vocab, 1 << 24);
    MB_TRY(check_range("text", ids->text, ids->vocab));
    MB_TRY(check_range("image", ids->image, ids->vocab));
    MB_TRY(check_range("speech", ids->speech, ids->vocab));
    MB_TRY(check_apart("text", ids->text, "image", ids->image));
    MB_TRY(check_apart("text", ids->text, "speech", ids->speech));
    MB_TRY(check_apart("image", ids->image, "speech", ids->speech));
    for (int i = 0; i < 6; i++) {
        if (single[i] < -1 || single[i] >= ids->vocab)
            return mb_fail(MB_EINVAL, "%s %d is not below vocab %d", name[i], single[i],
                           ids->vocab);
        for (int j = 0; j < i; j++) {
            if (single[i] >= 0 && single[i] == single[j])
                return mb_fail(MB_EINVAL, "%s and %s are both %d", name[j], name[i], single[i]);
        }
    }
    if (ids->image[0] < ids->image[1] && (ids->boi < 0 || ids->eoi < 0))
        return mb_fail(MB_EINVAL, "image ids need boi and eoi");
    if (ids->speech[0] < ids->speech[1] && (ids->boa < 0 || ids->eoa < 0))
        return mb_fail(MB_EINVAL, "speech ids need boa and eoa");
    if (ids->bos < 0 && ids->eos < 0)
        return mb_fail(MB_EINVAL, "documents need bos, eos or both");
    if (ids->tokens_per_image < 0)
        return mb_fail(MB_EINVAL, "tokens_per_image %d is negative", ids->tokens_per_image);
    if (ids->patch < 0 ||
        (ids->patch > 0 && (ids->patch > MB_LARGEST_PATCH || !ids->tokens_per_image)))
        return mb_fail(MB_EINVAL,
                       "patches of %d numbers, %d an image: expected 0, or up to %d and some",
                       ids->patch, ids->tokens_per_image, MB_LARGEST_PATCH);
    return MB_OK;
}

float mb_patch_number(const mb_ids *ids, const uint8_t *from, int64_t i)
{
    uint16_t half;

    if (!ids->half)
        return mb_pixel_number(from[i]);
    memcpy(&half, from + i * 2, sizeof half);
    return mb_half_to_float(half);
}
