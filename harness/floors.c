#include "harness/floors.h"

#include "base/file.h"
#include "workloads/parts.h"

#include <math.h>
#include <stdlib.h>

enum { DOCUMENTS = 1 << 18 /* counted of a split, at most about */, NEVER = 255 };

typedef struct counts {
    const mb_data *d;
    uint8_t *modality; /* (V) of every id; NEVER of those that are not predicted */
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

            if (c->modality[p.token[t]] != NEVER)
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

/* Where images are patches every id that is predicted counts as text. */
static uint8_t modality_of(const mb_data *d, int32_t id, int boundary)
{
    mb_segment_kind image = mb_data_segment_kind(d, MB_IMAGE);

    if (mb_data_patch(d) == 0)
        return (uint8_t)mb_data_modality(d, id, boundary);
    return id == image.end || (id >= image.first && id < image.past) ? NEVER : MB_TEXT;
}

static int places_of(const mb_data *d, int boundary)
{
    return boundary == MB_TEXT && mb_data_patch(d) == 0 ? mb_data_segment_kind(d, MB_IMAGE).exactly
                                                        : 0;
}

mb_err mb_floors_measure(const mb_data *d, const mb_mixture *mixture, mb_floors *out)
{
    counts c = { .d = d, .vocab = mb_data_vocab(d), .places = places_of(d, mixture->boundary) };
    mb_err err;

    *out = (mb_floors){ 0 };
    c.modality = mb_alloc((size_t)c.vocab);
    c.token = mb_zalloc((size_t)c.vocab, sizeof *c.token);
    c.place = mb_zalloc((size_t)(c.places * c.vocab + 1), sizeof *c.place);
    for (int32_t id = 0; id < c.vocab; id++) {
        c.modality[id] = modality_of(d, id, mixture->boundary);
        if (c.modality[id] != NEVER)
            c.kinds[c.modality[id]]++;
    }
    err = walk(&c, MB_TRAIN, count, out);
    if (!err)
        err = walk(&c, MB_VAL, lose, out);
    finish(&c, out);
    free(c.modality);
    free(c.token);
    free(c.place);
    return err ? err : mb_denoisers_measure(d, mixture->prediction, &out->linear);
}

typedef struct floor_rows {
    mb_quality_row row[2 * MB_MODALITIES + 2];
    size_t n;
} floor_rows;

static void add_row(floor_rows *f, const char *metric, int modality, double value, int64_t n)
{
    if (!isnan(value))
        f->row[f->n++] = (mb_quality_row){
            metric, mb_modality_name[modality], mb_split_name[MB_VAL], value, n, 0, NULL
        };
}

mb_err mb_floors_store(mb_store *s, int64_t run, const mb_data *d, const mb_mixture *mixture)
{
    floor_rows rows = { .n = 0 };
    mb_floors f;

    MB_TRY(mb_floors_measure(d, mixture, &f));
    for (int m = 0; m < MB_MODALITIES; m++) {
        add_row(&rows, "unigram loss", m, f.unigram[m], f.n[m]);
        add_row(&rows, "position loss", m, f.position[m], f.n[m]);
    }
    add_row(&rows, "linear patch loss", MB_IMAGE, f.linear.patch, f.linear.images);
    add_row(&rows, "linear image loss", MB_IMAGE, f.linear.image, f.linear.images);
    return mb_store_quality(s, run, "counts and covariances of the train split", rows.row, rows.n);
}
