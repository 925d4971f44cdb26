#include "harness/floors.h"

#include "base/file.h"
#include "workloads/parts.h"

#include <math.h>
#include <stdlib.h>

enum { DOCUMENTS = 1 << 18 /* counted of a split, at most about */ };

typedef struct counts {
    const mb_data *d;
    uint8_t *modality; /* (V) of every id */
    int vocab, places; /* places: ids of an image; 0: not told apart */
    double *token;     /* (V) */
    double *place;     /* (places, V) */
    double all[MB_MODALITIES], kinds[MB_MODALITIES]; /* tokens, and different ids */
} counts;

typedef void each_token(counts *c, int32_t id, int place, mb_floors *out);

/* PLACE is that within an image, or -1. */
static mb_err walk(counts *c, enum mb_split split, each_token *each, mb_floors *out)
{
    int64_t n = mb_data_documents(c->d, split), step = n / DOCUMENTS + 1;

    for (int64_t i = 0; i < n; i += step) {
        mb_parts p;
        int place = 0;

        MB_TRY(mb_data_parts(c->d, split, i, &p));
        for (int64_t t = 1; t < p.n; t++) {
            bool image = c->places && mb_data_modality(c->d, p.token[t], MB_TEXT) == MB_IMAGE;

            each(c, p.token[t], image ? place++ % c->places : -1, out);
        }
        mb_parts_free(&p);
    }
    return MB_OK;
}

static void count(counts *c, int32_t id, int place, mb_floors *out)
{
    c->token[id]++;
    c->all[c->modality[id]]++;
    if (place >= 0)
        c->place[(int64_t)place * c->vocab + id]++;
}

static void lose(counts *c, int32_t id, int place, mb_floors *out)
{
    int m = c->modality[id];

    out->unigram[m] -= log((c->token[id] + 1) / (c->all[m] + c->kinds[m]));
    out->n[m]++;
    if (place >= 0) {
        const double *row = c->place + (int64_t)place * c->vocab;

        out->position[m] -= log((row[id] + 1) / (c->all[m] / c->places + c->kinds[m]));
    }
}

static void finish(const counts *c, mb_floors *out)
{
    for (int m = 0; m < MB_MODALITIES; m++) {
        out->unigram[m] = out->n[m] ? out->unigram[m] / (double)out->n[m] : NAN;
        out->position[m] =
            m == MB_IMAGE && c->places && out->n[m] ? out->position[m] / (double)out->n[m] : NAN;
    }
}

mb_err mb_floors_measure(const mb_data *d, int boundary, mb_floors *out)
{
    counts c = { .d = d,
                 .vocab = mb_data_vocab(d),
                 .places = boundary == MB_TEXT ? mb_data_segment_kind(d, MB_IMAGE).exactly : 0 };
    mb_err err;

    *out = (mb_floors){ 0 };
    c.modality = mb_alloc((size_t)c.vocab);
    c.token = mb_zalloc((size_t)c.vocab, sizeof *c.token);
    c.place = mb_zalloc((size_t)(c.places * c.vocab + 1), sizeof *c.place);
    for (int32_t id = 0; id < c.vocab; id++) {
        c.modality[id] = (uint8_t)mb_data_modality(d, id, boundary);
        c.kinds[c.modality[id]]++;
    }
    err = walk(&c, MB_TRAIN, count, out);
    if (!err)
        err = walk(&c, MB_VAL, lose, out);
    finish(&c, out);
    free(c.modality);
    free(c.token);
    free(c.place);
    return err;
}

mb_err mb_floors_store(mb_store *s, int64_t run, const mb_data *d, int boundary)
{
    mb_quality_row rows[2 * MB_MODALITIES];
    size_t n = 0;
    mb_floors f;

    MB_TRY(mb_floors_measure(d, boundary, &f));
    for (int m = 0; m < MB_MODALITIES; m++) {
        const char *name = mb_modality_name[m], *val = mb_split_name[MB_VAL];

        if (!isnan(f.unigram[m]))
            rows[n++] =
                (mb_quality_row){ "unigram loss", name, val, f.unigram[m], f.n[m], 0, NULL };
        if (!isnan(f.position[m]))
            rows[n++] =
                (mb_quality_row){ "position loss", name, val, f.position[m], f.n[m], 0, NULL };
    }
    return mb_store_quality(s, run, "counts of the train split", rows, n);
}
