#include "workloads/document.h"
#include "workloads/array.h"

#include <stdlib.h>

static void reserve(mb_document *d, int64_t more)
{
    while (d->room < (size_t)(d->n + more))
        d->token = mb_grow(d->token, d->room, &d->room, sizeof *d->token);
}

void mb_document_add(mb_document *d, int32_t id)
{
    reserve(d, 1);
    d->token[d->n++] = id;
}

void mb_document_begin(mb_document *d)
{
    d->n = 0;
    d->patch_bytes = 0;
    mb_document_add(d, d->ids->bos);
}

void mb_document_text(mb_document *d, const char *text, size_t size)
{
    reserve(d, (int64_t)size);
    d->n += mb_bpe_encode(d->bpe, text, size, d->token + d->n);
}

static void add_codes(mb_document *d, int begin, int first, const uint16_t *code, int64_t n,
                      int end)
{
    reserve(d, n + 2);
    d->token[d->n++] = begin;
    for (int64_t i = 0; i < n; i++)
        d->token[d->n++] = first + code[i];
    d->token[d->n++] = end;
}

void mb_document_image(mb_document *d, const uint16_t *code, int64_t n)
{
    add_codes(d, d->ids->boi, d->ids->image[0], code, n, d->ids->eoi);
}

void mb_document_patches(mb_document *d, const void *patch)
{
    mb_document_add(d, d->ids->boi);
    for (int i = 0; i < d->ids->tokens_per_image; i++)
        mb_document_add(d, d->ids->image[0]);
    mb_document_add(d, d->ids->eoi);
    d->patch = patch;
    d->patch_bytes = (size_t)d->ids->tokens_per_image * mb_patch_size(d->ids);
}

void mb_document_speech(mb_document *d, const uint16_t *unit, int64_t n)
{
    add_codes(d, d->ids->boa, d->ids->speech[0], unit, n, d->ids->eoa);
}

mb_err mb_document_end(mb_document *d, enum mb_section section, mb_set_writer *w)
{
    mb_document_add(d, d->ids->eos);
    return mb_set_document(w, section, d->token, d->n);
}

void mb_document_free(mb_document *d)
{
    free(d->token);
    d->token = NULL;
    d->room = 0;
}
