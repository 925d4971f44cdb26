/* What an open set says about itself. */
#include "base/half.h"
#include "workloads/image_tokens.h"
#include "workloads/set.h"

#include <assert.h>

int mb_data_vocab(const mb_data *d)
{
    return d->ids.vocab;
}

int mb_data_modalities(const mb_data *d)
{
    if (d->ids.speech[0] < d->ids.speech[1])
        return MB_SPEECH + 1;
    return d->ids.image[0] < d->ids.image[1] ? MB_IMAGE + 1 : MB_TEXT + 1;
}

int mb_data_patch(const mb_data *d)
{
    return d->ids.patch;
}

double mb_data_patch_limit(const mb_data *d)
{
    enum { DEVIATIONS = 5 }; /* further off lies one of a million normal numbers, or none */

    return d->ids.half ? DEVIATIONS : 1;
}

size_t mb_data_patch_bytes(const mb_data *d)
{
    return mb_patch_size(&d->ids);
}

void mb_data_patches_read(const mb_data *d, const uint8_t *patch, int64_t n, float *number)
{
    for (int64_t i = 0; i < n; i++)
        number[i] = mb_patch_number(&d->ids, patch, i);
}

void mb_data_patches_write(const mb_data *d, const float *number, int64_t n, uint8_t *patch)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;

        if (d->ids.half) {
            half = mb_half_from_float(number[i]);
            memcpy(patch + i * 2, &half, sizeof half);
        } else {
            patch[i] = mb_pixel_byte(number[i]);
        }
    }
}

const char *mb_data_name(const mb_data *d)
{
    return d->name;
}

const char *mb_data_hash(const mb_data *d)
{
    return d->hash;
}

const char *mb_data_folder(const mb_data *d)
{
    return d->folder;
}

int64_t mb_data_tokens(const mb_data *d, enum mb_split split, int modality)
{
    assert(modality >= 0 && modality < MB_MODALITIES);
    return d->split[split].modality[modality];
}

int64_t mb_data_documents(const mb_data *d, enum mb_split split)
{
    return d->split[split].documents;
}

int64_t mb_data_section(const mb_data *d, enum mb_split split, enum mb_section section)
{
    return d->split[split].section[section];
}

int mb_data_modality(const mb_data *d, int32_t token, int boundary)
{
    switch (mb_id_kind(&d->ids, token)) {
    case MB_ID_IMAGE:
        return MB_IMAGE;
    case MB_ID_SPEECH:
        return MB_SPEECH;
    case MB_ID_BOI:
    case MB_ID_EOI:
        return boundary == MB_TEXT ? MB_TEXT : MB_IMAGE;
    case MB_ID_BOA:
    case MB_ID_EOA:
        return boundary == MB_TEXT ? MB_TEXT : MB_SPEECH;
    default:
        return MB_TEXT;
    }
}

const char *mb_data_manifest(const mb_data *d)
{
    return d->manifest;
}

int mb_data_bos(const mb_data *d)
{
    return d->ids.bos;
}
