/* Streams: which document comes next, and how documents are packed into sequences.

   Drawing. Train: each draw decides the part (pairs or texts) by the mixture's weights and takes
   the next document of that part's keyed permutation, epoch after epoch. Val and test: every
   document of the parts with weight once, the parts interleaved evenly.

   Packing. Pairs are never cut. One that does not fit into what is left of a sequence waits for the
   beginning of the next; the gap is filled with texts, which are taken early and so are owed: later
   draws of a text are skipped until the balance is even, and the mixture stays what it should be. A
   text that reaches the end of a sequence goes on in the next one, after a pair that waits, with
   its positions from 0 again; the last input before the cut still has its target, so that every
   prediction of a document is made exactly once. Fewer than SHORTEST_CUT positions at the end, and
   all gaps when there are no texts, are padding: spans of one position without a target. */
#include "base/random.h"
#include "workloads/batch_make.h"
#include "workloads/set.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHORTEST_CUT = 8, BAD = 255 };
enum { PAIRS, TEXTS, PARTS };
static const char *const order_name[PARTS] = { "order of pairs", "order of texts" };

typedef struct part {
    int64_t first, count; /* documents */
    int64_t tokens;
    double weight;
    int64_t drawn; /* documents so far, over all epochs */
} part;

/* A document, or what is left of one. */
typedef struct piece {
    int64_t first, n; /* tokens of the split; n == 0: no piece */
    bool pair, image_first;
} piece;

struct mb_stream {
    const mb_data *d;
    const mb_set_split *split;
    bool endless; /* train */
    uint64_t seed;
    double image_first;
    part part[PARTS];
    int64_t draws, owed;
    piece waiting;     /* a pair that did not fit */
    piece carried;     /* the rest of a text */
    uint8_t *modality; /* of every id, BAD for ids without meaning */
    int32_t *document; /* the piece being placed, and its next token, -1 at the end */
    mb_batch batch;
    bool dry; /* skipping: move on, write nothing */
};

/* ---- drawing --------------------------------------------------------------------------------- */

static int64_t remaining(const mb_stream *s, int which)
{
    const part *p = &s->part[which];

    if (p->weight <= 0)
        return 0;
    return s->endless ? INT64_MAX : p->count - p->drawn;
}

/* The next document of a part. */
static mb_err take(mb_stream *s, int which, piece *out)
{
    part *p = &s->part[which];
    uint64_t count = (uint64_t)p->count, epoch = (uint64_t)p->drawn / count;
    uint64_t key = mb_key(s->seed, order_name[which], epoch, 0);
    uint64_t i = mb_permute(key, count, (uint64_t)p->drawn % count);

    p->drawn++;
    out->pair = which == PAIRS;
    out->image_first = mb_uniform(mb_key(s->seed, "image first", epoch, i), 0) < s->image_first;
    return mb_set_find(s->split, p->first + (int64_t)i, &out->first, &out->n);
}

/* The next document by the mixture; out->n == 0 when there is none. */
static mb_err draw(mb_stream *s, piece *out)
{
    uint64_t key = mb_key(s->seed, "mixture", 0, 0);
    double pairs = s->part[PAIRS].weight, texts = s->part[TEXTS].weight;
    bool pair, owed;

    *out = (piece){ 0 };
    do {
        if (!s->endless) {
            pairs = (double)remaining(s, PAIRS);
            texts = (double)remaining(s, TEXTS);
        }
        if (pairs + texts <= 0)
            return MB_OK;
        pair = mb_uniform(key, (uint64_t)s->draws++) * (pairs + texts) < pairs;
        owed = !pair && s->owed > 0;
        s->owed -= owed;
    } while (owed);
    return take(s, pair ? PAIRS : TEXTS, out);
}

/* A text for a gap that no pair fits; out->n == 0 when there is none. */
static mb_err draw_filler(mb_stream *s, int64_t gap, piece *out)
{
    *out = (piece){ 0 };
    if (gap < SHORTEST_CUT || remaining(s, TEXTS) == 0)
        return MB_OK;
    s->owed += s->endless;
    return take(s, TEXTS, out);
}

/* ---- packing --------------------------------------------------------------------------------- */

static void reverse(int32_t *t, int64_t n)
{
    for (int64_t i = 0; i < n / 2; i++) {
        int32_t swap = t[i];

        t[i] = t[n - 1 - i];
        t[n - 1 - i] = swap;
    }
}

/* Puts the image of a pair before or behind its caption. Documents with several images, with text
   on both sides or without any stay as they are. */
static void arrange(const mb_ids *ids, int32_t *t, int64_t n, bool image_first)
{
    int64_t begin = t[0] == ids->bos, end = n - (t[n - 1] == ids->eos), boi = -1, eoi = -1, left;

    for (int64_t i = begin; i < end; i++) {
        if (t[i] == ids->boi && boi >= 0)
            return;
        if (t[i] == ids->boi)
            boi = i;
        if (t[i] == ids->eoi)
            eoi = i;
    }
    if (boi < 0 || eoi < boi || (boi > begin) == (eoi + 1 < end) || image_first == (boi == begin))
        return;
    left = (boi == begin ? eoi + 1 : boi) - begin; /* rotate by this much */
    reverse(t + begin, left);
    reverse(t + begin + left, end - begin - left);
    reverse(t + begin, end - begin);
}

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
    if (p->pair)
        arrange(&s->d->ids, s->document, n, p->image_first);
    return MB_OK;
}

/* Writes the first N tokens of a piece to positions AT .. of ROW. */
static mb_err place(mb_stream *s, int64_t row, int64_t at, const piece *p, int64_t n)
{
    mb_batch *b = &s->batch;
    int64_t to = row * b->len + at;
    int32_t next;

    if (s->dry || !n)
        return MB_OK;
    MB_TRY(load(s, p, n));
    next = s->document[n];
    memcpy(b->token + to, s->document, (size_t)n * sizeof *b->token);
    memcpy(b->target + to, s->document + 1, (size_t)n * sizeof *b->target);
    for (int64_t i = 0; i < n; i++)
        b->modality[to + i] = s->modality[s->document[i]];
    memcpy(b->target_modality + to, b->modality + to + 1, (size_t)n - 1);
    b->target_modality[to + n - 1] = next < 0 ? MB_TEXT : s->modality[next];
    for (int64_t i = 0; i < n; i++) {
        b->position[to + i] = (int32_t)i;
        b->lo[to + i] = (int32_t)at;
        b->hi[to + i] = (int32_t)(at + i);
    }
    return MB_OK;
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
        if (p.pair && p.n > gap) {
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
    if (!s->waiting.n && !s->carried.n && !remaining(s, PAIRS) && !remaining(s, TEXTS))
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
    return MB_OK;
}

static mb_err set_parts(mb_stream *s, const mb_mixture *m)
{
    const mb_set_split *v = s->split;
    bool natural = m->pair_weight < 0;
    int64_t pair_tokens = v->tokens, n = 0;

    if (v->texts)
        MB_TRY(mb_set_find(v, v->pairs, &pair_tokens, &n));
    s->part[PAIRS] = (part){ .count = v->pairs, .tokens = pair_tokens };
    s->part[TEXTS] =
        (part){ .first = v->pairs, .count = v->texts, .tokens = v->tokens - pair_tokens };
    s->part[PAIRS].weight = natural ? (double)v->pairs : m->pair_weight;
    s->part[TEXTS].weight = natural ? (double)v->texts : m->text_weight;
    for (int i = 0; i < PARTS; i++) {
        if (s->part[i].count == 0) /* a split need not have both */
            s->part[i].weight = 0;
    }
    if (s->part[PAIRS].weight + s->part[TEXTS].weight <= 0)
        return mb_fail(MB_EMISSING, "%s: no documents of the kind that the mixture asks for",
                       v->token_path);
    return MB_OK;
}

static mb_err check_shape(const mb_stream *s, int64_t batch, int64_t len)
{
    if (batch < 1 || len < SHORTEST_CUT || batch > INT32_MAX / len)
        return mb_fail(MB_EINVAL, "batch %lld, length %lld: expected at least 1 and %d",
                       (long long)batch, (long long)len, SHORTEST_CUT);
    if (s->part[PAIRS].weight > 0 && s->split->longest_pair > len)
        return mb_fail(MB_EINVAL,
                       "length %lld: the longest document with an image has %lld tokens and is "
                       "never cut; the length must be at least that",
                       (long long)len, (long long)s->split->longest_pair);
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
    err = set_parts(s, mixture);
    if (!err)
        err = check_shape(s, batch, len);
    if (err) {
        mb_stream_close(s);
        return err;
    }
    set_modalities(s, mixture->boundary);
    s->document = mb_alloc((size_t)(len + 1) * sizeof *s->document);
    mb_batch_make(batch, len, &s->batch);
    *out = s;
    return MB_OK;
}

void mb_stream_close(mb_stream *s)
{
    if (!s)
        return;
    free(s->modality);
    free(s->document);
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
    const part *pairs = &s->part[PAIRS], *texts = &s->part[TEXTS], *larger = pairs;

    if (pairs->weight <= 0 || (texts->weight > 0 && texts->tokens > pairs->tokens))
        larger = texts;
    return (double)larger->drawn / (double)larger->count;
}
