/* Streams: which document comes next, and how documents are packed into sequences.

   Drawing. Train: each draw decides the section (pairs, texts, human speech, ...) by the mixture's
   weights and takes the next document of that section's keyed permutation, epoch after epoch. Val
   and test: every document of the sections with weight once, the sections interleaved evenly.

   Packing. Only texts are cut. Another document that does not fit into what is left of a sequence
   waits for the beginning of the next; the gap is filled with texts, which are taken early and so
   are owed: later draws of a text are skipped until the balance is even, and the mixture stays what
   it should be. A text that reaches the end of a sequence goes on in the next one, after a document
   that waits, with its positions from 0 again; the last input before the cut still has its target,
   so that every prediction of a document is made exactly once. Fewer than SHORTEST_CUT positions at
   the end, and all gaps when there are no texts, are padding: spans of one position without a
   target. */
#include "base/random.h"
#include "workloads/arrange.h"
#include "workloads/patches.h"
#include "workloads/set.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHORTEST_CUT = 8, BAD = 255 };
static const char *const order_name[MB_SECTIONS] = { "order of pairs", "order of texts",
                                                     "order of human speech",
                                                     "order of synthetic speech",
                                                     "order of unseen voices" };

typedef struct section {
    int64_t first, count; /* documents */
    int64_t tokens, longest;
    double weight;
    int64_t drawn; /* documents so far, over all epochs */
} section;

/* A document, or what is left of one. */
typedef struct piece {
    int64_t first, n; /* tokens of the split; n == 0: no piece */
    bool whole;       /* not to be cut: all but texts */
    bool image_first;
    int order;     /* of the parts of a document with speech: 0 .. 5 */
    bool bare;     /* an image without its caption, */
    int64_t all;   /* which leaves n of so many tokens */
    int64_t image; /* where images are patches: which one; -1: none */
    uint64_t key;  /* of its noise */
} piece;

struct mb_stream {
    const mb_data *d;
    const mb_set_split *split;
    bool endless; /* train */
    uint64_t seed;
    double image_first, drop_caption;
    enum mb_prediction prediction;
    section section[MB_SECTIONS];
    int64_t draws, owed;
    piece waiting;     /* a whole document that did not fit */
    piece carried;     /* the rest of a text */
    uint8_t *modality; /* of every id, BAD for ids without meaning */
    int32_t *document; /* the piece being placed, and its next token, -1 at the end */
    int32_t *arranged; /* the same while its parts are put in order */
    mb_batch batch;
    bool dry; /* skipping: move on, write nothing */
};

/* ---- drawing --------------------------------------------------------------------------------- */

static int64_t remaining(const mb_stream *s, int which)
{
    const section *p = &s->section[which];

    if (p->weight <= 0)
        return 0;
    return s->endless ? INT64_MAX : p->count - p->drawn;
}

/* What else is drawn for pair I where images are patches. */
static void take_image(const mb_stream *s, uint64_t i, uint64_t epoch, piece *out)
{
    const mb_ids *ids = &s->d->ids;
    uint64_t drop = mb_key(s->seed, "drop caption", epoch, i);

    out->image = (int64_t)i;
    out->key = mb_key(s->seed, "image", epoch, i);
    out->all = out->n;
    out->bare = s->endless && !out->image_first && mb_uniform(drop, 0) < s->drop_caption;
    if (out->bare) /* BOI and EOI, and what begins and ends a document */
        out->n = ids->tokens_per_image + 2 + (ids->bos >= 0) + (ids->eos >= 0);
}

/* The next document of a section. */
static mb_err take(mb_stream *s, int which, piece *out)
{
    section *p = &s->section[which];
    uint64_t count = (uint64_t)p->count, epoch = (uint64_t)p->drawn / count;
    uint64_t key = mb_key(s->seed, order_name[which], epoch, 0);
    uint64_t i = mb_permute(key, count, (uint64_t)p->drawn % count);

    p->drawn++;
    out->whole = which != MB_TEXTS;
    out->image_first = mb_uniform(mb_key(s->seed, "image first", epoch, i), 0) < s->image_first;
    out->order = (int)mb_below(mb_key(key, "order of parts", i, 0), 0, 6);
    MB_TRY(mb_set_find(s->split, p->first + (int64_t)i, &out->first, &out->n));
    out->image = -1;
    if (s->d->ids.patch > 0 && which == MB_PAIRS)
        take_image(s, i, epoch, out);
    return MB_OK;
}

/* The section that the next document is from, or -1 when there is none. */
static int draw_section(mb_stream *s)
{
    double weight[MB_SECTIONS], sum = 0, at;
    int last = -1;

    for (int i = 0; i < MB_SECTIONS; i++) {
        weight[i] = s->endless ? s->section[i].weight : (double)remaining(s, i);
        sum += weight[i];
    }
    if (sum <= 0)
        return -1;
    at = mb_uniform(mb_key(s->seed, "mixture", 0, 0), (uint64_t)s->draws++) * sum;
    for (int i = 0; i < MB_SECTIONS; i++) {
        if (weight[i] <= 0)
            continue;
        last = i; /* rounding may leave AT at the very end */
        if (at < weight[i])
            break;
        at -= weight[i];
    }
    return last;
}

/* The next document by the mixture; out->n == 0 when there is none. */
static mb_err draw(mb_stream *s, piece *out)
{
    int which;
    bool owed;

    *out = (piece){ 0 };
    do {
        which = draw_section(s);
        if (which < 0)
            return MB_OK;
        owed = which == MB_TEXTS && s->owed > 0;
        s->owed -= owed;
    } while (owed);
    return take(s, which, out);
}

/* A text for a gap that nothing whole fits; out->n == 0 when there is none. */
static mb_err draw_filler(mb_stream *s, int64_t gap, piece *out)
{
    *out = (piece){ 0 };
    if (gap < SHORTEST_CUT || remaining(s, MB_TEXTS) == 0)
        return MB_OK;
    s->owed += s->endless;
    return take(s, MB_TEXTS, out);
}

/* ---- packing --------------------------------------------------------------------------------- */

/* Loads the first N tokens of a piece, and what follows them. */
static mb_err load(mb_stream *s, const piece *p, int64_t n)
{
    int64_t with_next = n < p->n ? n + 1 : n;

    for (int64_t i = 0; i < with_next; i++) {
        int32_t id = mb_set_token(s->d, s->split, p->first + i);

        if (id < 0 || id >= s->d->ids.vocab || s->modality[id] == BAD)
            return mb_fail(MB_ECORRUPT, "%s: offset %lld: id %d has no meaning",
                           s->split->token_path, (long long)(p->first + i) * s->d->width, id);
        s->document[i] = id;
    }
    if (n == p->n)
        s->document[n] = -1;
    if (p->whole)
        mb_document_arrange(&s->d->ids, p->order, p->image_first, s->document, s->arranged, n);
    return MB_OK;
}

/* Loads an image without its caption. */
static mb_err load_bare(mb_stream *s, const piece *p)
{
    int64_t n = 0;

    for (int64_t i = 0; i < p->all && n < p->n; i++) {
        int32_t id = mb_set_token(s->d, s->split, p->first + i);

        if (mb_id_kind(&s->d->ids, id) != MB_ID_TEXT)
            s->document[n++] = id;
    }
    if (n < p->n)
        return mb_fail(MB_ECORRUPT, "%s: offset %lld: a pair without an image",
                       s->split->token_path, (long long)p->first * s->d->width);
    s->document[n] = -1;
    return MB_OK;
}

/* Gives the image of a piece at positions TO .. of the batch its patches. */
static mb_err place_patches(mb_stream *s, int64_t to, const piece *p)
{
    const mb_ids *ids = &s->d->ids;
    const uint8_t *patch = mb_patches_of(s->d, s->split, p->image);
    mb_err err = mb_patches_place(ids, patch, p->key, s->prediction, &s->batch, to, p->n);

    return err ? mb_fail_in(err, "%s: offset %lld", s->split->token_path,
                            (long long)p->first * s->d->width)
               : MB_OK;
}

/* Writes the first N tokens of a piece to positions AT .. of ROW. */
static mb_err place(mb_stream *s, int64_t row, int64_t at, const piece *p, int64_t n)
{
    mb_batch *b = &s->batch;
    int64_t to = row * b->len + at;
    const uint8_t *of = s->modality; /* copies, since a byte written might be any pointer's */
    uint8_t *modality = b->modality + to;
    const int32_t *id = s->document;
    int32_t next;

    if (s->dry || !n)
        return MB_OK;
    MB_TRY(p->bare ? load_bare(s, p) : load(s, p, n));
    next = id[n];
    memcpy(b->token + to, id, (size_t)n * sizeof *id);
    memcpy(b->target + to, id + 1, (size_t)n * sizeof *id);
    for (int64_t i = 0; i < n; i++)
        modality[i] = of[id[i]];
    memcpy(b->target_modality + to, modality + 1, (size_t)n - 1);
    b->target_modality[to + n - 1] = next < 0 ? MB_TEXT : of[next];
    for (int64_t i = 0; i < n; i++) {
        b->position[to + i] = (int32_t)i;
        b->lo[to + i] = (int32_t)at;
        b->hi[to + i] = (int32_t)(at + i);
    }
    for (int64_t i = 0; b->patch > 0 && i < n; i++)
        b->noise[to + i] = -1;
    return p->image >= 0 ? place_patches(s, to, p) : MB_OK;
}

static void pad(mb_stream *s, int64_t row, int64_t at)
{
    const mb_ids *ids = &s->d->ids;
    mb_batch *b = &s->batch;

    for (; !s->dry && at < b->len; at++) {
        int64_t to = row * b->len + at;

        b->token[to] = ids->eos >= 0 ? ids->eos : ids->bos;
        b->target[to] = -1;
        b->modality[to] = b->target_modality[to] = MB_TEXT;
        b->position[to] = 0;
        b->lo[to] = b->hi[to] = (int32_t)at;
        if (b->patch > 0)
            b->noise[to] = -1;
    }
}

/* What goes to position AT: what waits, what goes on, a filler, the next draw. */
static mb_err choose(mb_stream *s, int64_t at, piece *out)
{
    if (at == 0 && s->waiting.n) {
        *out = s->waiting;
        s->waiting.n = 0;
        return MB_OK;
    }
    if (s->carried.n) {
        *out = s->carried;
        s->carried.n = 0;
        return MB_OK;
    }
    return s->waiting.n ? draw_filler(s, s->batch.len - at, out) : draw(s, out);
}

static mb_err pack_row(mb_stream *s, int64_t row)
{
    int64_t at = 0, len = s->batch.len;

    while (at < len) {
        int64_t gap = len - at, n;
        piece p;

        MB_TRY(choose(s, at, &p));
        if (!p.n)
            break;
        if (p.whole && p.n > gap) {
            s->waiting = p;
            continue;
        }
        n = p.n <= gap ? p.n : gap < SHORTEST_CUT ? 0 : gap;
        MB_TRY(place(s, row, at, &p, n));
        at += n;
        if (n < p.n) {
            s->carried = p;
            s->carried.first += n;
            s->carried.n = p.n - n > 1 ? p.n - n : 0; /* a last token predicts nothing */
            break;
        }
    }
    pad(s, row, at);
    return MB_OK;
}

static mb_err pack_batch(mb_stream *s)
{
    bool more = s->waiting.n || s->carried.n;

    for (int i = 0; i < MB_SECTIONS; i++)
        more |= remaining(s, i) > 0;
    if (!more)
        return mb_fail(MB_EMISSING, "%s: the split ends here", s->split->token_path);
    for (int64_t row = 0; row < s->batch.batch; row++)
        MB_TRY(pack_row(s, row));
    return MB_OK;
}

/* ---- opening and walking --------------------------------------------------------------------- */

static mb_err check_mixture(const mb_mixture *m)
{
    bool natural = m->pair_weight < 0 && m->text_weight < 0;

    if (!isfinite(m->pair_weight) || !isfinite(m->text_weight) ||
        (!natural && (m->pair_weight < 0 || m->text_weight < 0)))
        return mb_fail(MB_EINVAL,
                       "weights of pairs %g and texts %g: expected two of at least 0, or "
                       "two below 0 for the natural mixture",
                       m->pair_weight, m->text_weight);
    if (!(m->image_first >= 0 && m->image_first <= 1))
        return mb_fail(MB_EINVAL, "image_first %g is not within 0 .. 1", m->image_first);
    if (m->boundary < 0 || m->boundary >= MB_MODALITIES)
        return mb_fail(MB_EINVAL, "boundary %d is not a modality", m->boundary);
    if (!(m->speech_share >= 0 && m->speech_share <= 1))
        return mb_fail(MB_EINVAL, "speech_share %g is not within 0 .. 1", m->speech_share);
    if (!(m->drop_caption >= 0 && m->drop_caption <= 1))
        return mb_fail(MB_EINVAL, "drop_caption %g is not within 0 .. 1", m->drop_caption);
    return MB_OK;
}

/* Where the sections lie, and how many tokens they and their longest documents have. */
static mb_err find_sections(mb_stream *s)
{
    const mb_set_split *v = s->split;
    int64_t i = 0, first, n;

    for (int p = 0; p < MB_SECTIONS; p++) {
        s->section[p] = (section){ .first = i, .count = v->section[p] };
        for (; i < s->section[p].first + v->section[p]; i++) {
            MB_TRY(mb_set_find(v, i, &first, &n));
            s->section[p].tokens += n;
            if (n > s->section[p].longest)
                s->section[p].longest = n;
        }
    }
    return MB_OK;
}

static mb_err set_weights(mb_stream *s, const mb_mixture *m)
{
    bool natural = m->pair_weight < 0;
    double others = 0, spoken = 0, sum = 0, speech;

    for (int i = 0; i < MB_SECTIONS; i++)
        s->section[i].weight = (double)s->section[i].count;
    for (int i = 0; i < MB_HUMAN; i++) {
        if (!natural && s->section[i].count > 0) /* a split need not have both */
            s->section[i].weight = i == MB_PAIRS ? m->pair_weight : m->text_weight;
        others += s->section[i].weight;
    }
    for (int i = MB_HUMAN; i < MB_SECTIONS; i++)
        spoken += s->section[i].weight;
    /* alone, spoken documents need no share but one above 0 */
    speech = others > 0 && m->speech_share < 1 ? others * m->speech_share / (1 - m->speech_share)
                                               : m->speech_share;
    for (int i = 0; i < MB_SECTIONS; i++) {
        if (i >= MB_HUMAN && spoken > 0)
            s->section[i].weight *= speech / spoken;
        else if (i < MB_HUMAN && m->speech_share == 1)
            s->section[i].weight = 0;
        if (m->sections && !(m->sections >> i & 1))
            s->section[i].weight = 0;
        sum += s->section[i].weight;
    }
    if (sum <= 0)
        return mb_fail(MB_EMISSING, "%s: no documents of the kind that the mixture asks for",
                       s->split->token_path);
    return MB_OK;
}

static mb_err check_shape(const mb_stream *s, int64_t batch, int64_t len)
{
    if (batch < 1 || len < SHORTEST_CUT || batch > INT32_MAX / len)
        return mb_fail(MB_EINVAL, "batch %lld, length %lld: expected at least 1 and %d",
                       (long long)batch, (long long)len, SHORTEST_CUT);
    for (int i = 0; i < MB_SECTIONS; i++) {
        if (i != MB_TEXTS && s->section[i].weight > 0 && s->section[i].longest > len)
            return mb_fail(MB_EINVAL,
                           "length %lld: the longest document with an image or speech has %lld "
                           "tokens and is never cut; the length must be at least that",
                           (long long)len, (long long)s->section[i].longest);
    }
    return MB_OK;
}

static void set_modalities(mb_stream *s, int boundary)
{
    const mb_data *d = s->d;

    s->modality = mb_alloc((size_t)d->ids.vocab);
    for (int32_t id = 0; id < d->ids.vocab; id++) {
        s->modality[id] =
            mb_id_kind(&d->ids, id) == MB_ID_BAD ? BAD : (uint8_t)mb_data_modality(d, id, boundary);
    }
}

mb_err mb_stream_open(const mb_data *d, enum mb_split split, const mb_mixture *mixture,
                      uint64_t seed, int64_t batch, int64_t len, mb_stream **out)
{
    mb_stream *s;
    mb_err err;

    *out = NULL;
    MB_TRY(check_mixture(mixture));
    if (!d->split[split].present)
        return mb_fail(MB_EMISSING, "%s has no split \"%s\"", d->name, mb_split_name[split]);
    s = mb_zalloc(1, sizeof *s);
    s->d = d;
    s->split = &d->split[split];
    s->endless = split == MB_TRAIN;
    s->seed = s->endless ? seed : 0;
    s->image_first = mixture->image_first;
    s->drop_caption = mixture->drop_caption;
    s->prediction = mixture->prediction;
    err = find_sections(s);
    if (!err)
        err = set_weights(s, mixture);
    if (!err)
        err = check_shape(s, batch, len);
    if (err) {
        mb_stream_close(s);
        return err;
    }
    set_modalities(s, mixture->boundary);
    s->document = mb_alloc((size_t)(len + 1) * sizeof *s->document);
    s->arranged = mb_alloc((size_t)(len + 1) * sizeof *s->arranged);
    mb_batch_make(batch, len, d->ids.patch, &s->batch);
    *out = s;
    return MB_OK;
}

void mb_stream_close(mb_stream *s)
{
    if (!s)
        return;
    free(s->modality);
    free(s->document);
    free(s->arranged);
    mb_batch_free(&s->batch);
    free(s);
}

mb_err mb_stream_next(mb_stream *s, mb_batch *out)
{
    MB_TRY(pack_batch(s));
    *out = s->batch;
    return MB_OK;
}

mb_err mb_stream_skip(mb_stream *s, int64_t n)
{
    mb_err err = MB_OK;

    s->dry = true;
    for (int64_t i = 0; !err && i < n; i++)
        err = pack_batch(s);
    s->dry = false;
    return err;
}

double mb_stream_epochs(const mb_stream *s)
{
    const section *largest = NULL;

    for (int i = 0; i < MB_SECTIONS; i++) {
        if (s->section[i].weight > 0 && (!largest || s->section[i].tokens > largest->tokens))
            largest = &s->section[i];
    }
    return (double)largest->drawn / (double)largest->count;
}
