#include "workloads/parts.h"

#include "workloads/bpe.h"
#include "workloads/latents.h"
#include "workloads/patches.h"
#include "workloads/set.h"
#include "workloads/speaker.h"

#include <math.h>
#include <stdlib.h>

/* ---- documents ------------------------------------------------------------------------------ */

mb_segment_kind mb_data_segment_kind(const mb_data *d, int modality)
{
    const mb_ids *i = &d->ids;

    switch (modality) {
    case MB_TEXT:
        return (mb_segment_kind){ -1, i->eos, i->text[0], i->text[1], 0 };
    case MB_IMAGE:
        return (mb_segment_kind){ i->boi, i->eoi, i->image[0], i->image[1], i->tokens_per_image };
    case MB_SPEECH:
        return (mb_segment_kind){ i->boa, i->eoa, i->speech[0], i->speech[1], 0 };
    default:
        return (mb_segment_kind){ -1, -1, 0, 0, 0 };
    }
}

static int modality_of(const mb_data *d, int32_t id)
{
    switch (mb_id_kind(&d->ids, id)) {
    case MB_ID_TEXT:
        return MB_TEXT;
    case MB_ID_IMAGE:
        return MB_IMAGE;
    case MB_ID_SPEECH:
        return MB_SPEECH;
    default:
        return -1;
    }
}

/* Runs of ids of one modality are its part. */
static void find_parts(const mb_data *d, mb_parts *p)
{
    int last = -1;

    for (int64_t i = 0; i < p->n; i++) {
        int m = modality_of(d, p->token[i]);

        if (m < 0) {
            last = -1;
            continue;
        }
        if (m != last && p->part[m].n > 0)
            p->mixed = true;
        else if (m != last)
            p->part[m].token = p->token + i;
        p->part[m].n += !p->mixed;
        last = m;
    }
}

mb_err mb_data_parts(const mb_data *d, enum mb_split split, int64_t i, mb_parts *out)
{
    const mb_set_split *s = &d->split[split];
    int64_t first, n;

    *out = (mb_parts){ 0 };
    MB_TRY(mb_set_find(s, i, &first, &n));
    out->token = mb_alloc((size_t)n * sizeof *out->token);
    out->n = n;
    for (int64_t t = 0; t < n; t++) {
        out->token[t] = mb_set_token(d, s, first + t);
        if (mb_id_kind(&d->ids, out->token[t]) == MB_ID_BAD) {
            mb_err err = mb_fail(MB_ECORRUPT, "%s: offset %lld: id %d has no meaning",
                                 s->token_path, (long long)(first + t) * d->width, out->token[t]);

            mb_parts_free(out);
            return err;
        }
    }
    find_parts(d, out);
    if (d->ids.patch > 0 && i < s->section[MB_PAIRS])
        out->part[MB_IMAGE].patch = mb_patches_of(d, s, i);
    return MB_OK;
}

void mb_parts_free(mb_parts *p)
{
    free(p->token);
    *p = (mb_parts){ 0 };
}

int64_t mb_data_section_start(const mb_data *d, enum mb_split split, enum mb_section section)
{
    int64_t start = 0;

    for (int s = 0; s < (int)section; s++)
        start += d->split[split].section[s];
    return start;
}

/* ---- what tokens stand for ------------------------------------------------------------------ */

struct mb_render {
    mb_ids ids;
    mb_bpe *bpe;          /* NULL: no texts */
    mb_map codebook;      /* (K, 16 * channels); none where images are patches */
    mb_image_shape shape; /* side 0: no images */
    mb_speaker *speaker;  /* NULL: no speech */
    mb_latents latents;   /* side 0: images are none */
};

/* Patches of an image side by side; 0: they are no square. */
static int patches_across(const mb_ids *ids)
{
    int across = (int)lround(sqrt(ids->tokens_per_image));

    return across * across == ids->tokens_per_image ? across : 0;
}

static mb_err open_codebook(mb_render *r, const char *path)
{
    size_t codes = (size_t)(r->ids.image[1] - r->ids.image[0]), pixels;
    int across = patches_across(&r->ids);

    MB_TRY(mb_map_open(path, &r->codebook));
    pixels = 16 * codes;
    if (codes == 0 || across == 0 || r->codebook.size == 0 || r->codebook.size % pixels != 0)
        return mb_fail(MB_ECORRUPT, "%s: %zu bytes: expected 16 or 48 for each of %zu image ids",
                       path, r->codebook.size, codes);
    r->shape = (mb_image_shape){ 4 * across, (int)(r->codebook.size / pixels) };
    return MB_OK;
}

mb_err mb_render_open(const mb_data *d, mb_render **out)
{
    char *merges = mb_format("%s/merges.txt", d->folder);
    char *codebook = mb_format("%s/codebook.u8", d->folder);
    char *units = mb_format("%s/units.u8", d->folder);
    mb_render *r = mb_zalloc(1, sizeof *r);
    mb_err err = MB_OK;

    r->ids = d->ids;
    if (mb_exists(merges))
        err = mb_bpe_load(merges, &r->bpe);
    if (d->ids.patch > 0 && !d->ids.half && d->ids.patch % 16 == 0)
        r->shape = (mb_image_shape){ 4 * patches_across(&d->ids), d->ids.patch / 16 };
    else if (!err && mb_exists(codebook))
        err = open_codebook(r, codebook);
    if (!err && mb_exists(units))
        err = mb_speaker_open(d->folder, d->ids.speech[1] - d->ids.speech[0], &r->speaker);
    if (!err)
        err = mb_latents_open(d, &r->latents);
    free(units);
    free(merges);
    free(codebook);
    *out = err ? NULL : r;
    if (err)
        mb_render_close(r);
    return err;
}

void mb_render_close(mb_render *r)
{
    if (!r)
        return;
    mb_bpe_free(r->bpe);
    mb_map_close(&r->codebook);
    mb_speaker_close(r->speaker);
    mb_latents_free(&r->latents);
    free(r);
}

char *mb_render_text(const mb_render *r, const int32_t *token, int64_t n)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    if (!f)
        abort();
    for (int64_t i = 0; i < n; i++) {
        int id = token[i] - r->ids.text[0];

        if (!r->bpe) {
            fprintf(f, "%s%d", i ? " " : "", token[i]);
        } else if (id < mb_bpe_vocab(r->bpe)) {
            size_t length;
            const char *bytes = mb_bpe_bytes(r->bpe, id, &length);

            fwrite(bytes, 1, length, f);
        } else {
            fprintf(f, "[%d] ", id - mb_bpe_vocab(r->bpe));
        }
    }
    if (fclose(f))
        abort();
    return text;
}

mb_image_shape mb_render_shape(const mb_render *r)
{
    return r->shape;
}

void mb_render_image(const mb_render *r, const mb_segment *segment, uint8_t *image)
{
    int patches = mb_image_patches(r->shape);
    uint16_t *code;

    if (segment->patch) {
        mb_image_join(r->shape, segment->patch, image);
        return;
    }
    code = mb_alloc((size_t)patches * sizeof *code);
    for (int i = 0; i < patches; i++)
        code[i] = (uint16_t)(segment->token[i] - r->ids.image[0]);
    mb_image_decode(r->shape, code, r->codebook.data, image);
    free(code);
}

bool mb_render_latents(const mb_render *r, int64_t shape[3])
{
    shape[0] = r->latents.channels;
    shape[1] = shape[2] = r->latents.side;
    return r->latents.side > 0;
}

void mb_render_latent(const mb_render *r, const uint8_t *patch, float *out)
{
    mb_latents_join(&r->latents, &r->ids, patch, out);
}

bool mb_render_speaks(const mb_render *r)
{
    return r->speaker != NULL;
}

void mb_render_speech(const mb_render *r, const int32_t *token, int64_t n, mb_sound *out)
{
    uint16_t *unit = mb_alloc((size_t)(n + 1) * sizeof *unit);

    for (int64_t i = 0; i < n; i++)
        unit[i] = (uint16_t)(token[i] - r->ids.speech[0]);
    mb_speaker_say(r->speaker, unit, n, out);
    free(unit);
}
