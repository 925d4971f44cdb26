/* Quality that takes no sampling: the likelihood of one part of a document given another, or given
   that of another document; of an image of patches, how well it is seen behind noise. */
#include "harness/floors.h"
#include "harness/quality.h"
#include "harness/scored.h"
#include "workloads/slots.h"

#include "base/file.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CANDIDATES = 50, FEWEST = 10, UNITS_PER_SECOND = 25 };

typedef struct group { /* documents that are measured apart */
    enum mb_split split;
    enum mb_section section;
    const char *name;
} group;

static const group groups[] = {
    { MB_VAL, MB_PAIRS, "val" },
    { MB_VAL, MB_HUMAN, "val-human" },
    { MB_VAL, MB_SYNTHETIC, "val-synthetic" },
    { MB_TEST, MB_SYNTHETIC, "test-synthetic" },
    { MB_TEST, MB_UNSEEN, "test-unseen" },
};
enum { GROUPS = sizeof groups / sizeof *groups, SEEN = 3, UNSEEN = 4 };

typedef struct measuring {
    const mb_loaded *l;
    const mb_quality_plan *plan;
    mb_quality *q;
    mb_floors floors;
    double said_bits;     /* the entropy of what captions say; NaN: not known */
    double seen_voice[2]; /* loss of speech, nats a token, given text and nothing; NaN: not known */
    const group *group;
    mb_direction way;
    mb_parts *document; /* (n) */
    int64_t *at;        /* (n) which of the split */
    int64_t n;
} measuring;

/* Whether answers are patches: then losses are squared errors, not nats. */
static bool is_of_patches(const measuring *m)
{
    return mb_data_patch(m->l->data) > 0 && m->way.answer == MB_IMAGE;
}

static void close_documents(measuring *m)
{
    for (int64_t i = 0; i < m->n; i++)
        mb_parts_free(&m->document[i]);
    free(m->document);
    free(m->at);
    m->document = NULL;
    m->at = NULL;
    m->n = 0;
}

static mb_err open_documents(measuring *m)
{
    mb_generate_plan plan = { .direction = m->way,
                              .split = m->group->split,
                              .sections = 1u << m->group->section,
                              .n = m->plan->documents };
    int64_t n;
    mb_err err;

    MB_TRY(mb_generate_prompts(m->l->data, &plan, &m->at, &n));
    m->document = mb_zalloc((size_t)n + 1, sizeof *m->document);
    for (err = MB_OK; !err && m->n < n; m->n += !err)
        err = mb_data_parts(m->l->data, m->group->split, m->at[m->n], &m->document[m->n]);
    return err;
}

enum { NO_PROMPT = -1 };

/* The answer of document ANSWER after the prompt of document PROMPT: behind the same noise,
   whatever the prompt. */
static void make(const measuring *m, int64_t prompt, int64_t answer, mb_scored *out)
{
    const mb_segment *before =
        prompt == NO_PROMPT ? NULL : &m->document[prompt].part[m->way.prompt];
    uint64_t key = mb_key(0, "scored", (uint64_t)m->group->split, (uint64_t)m->at[answer]);

    mb_scored_make(m->l, m->way.prompt, before, m->way.answer,
                   &m->document[answer].part[m->way.answer], key, out);
}

/* ---- losses and gains ----------------------------------------------------------------------- */

typedef struct sums {
    double own, other, alone; /* losses given the own prompt, another document's, none */
    int64_t n, tokens;        /* documents where all fit, and tokens (patches) of their answers */
} sums;

enum { OWN, OTHER, ALONE, WAYS };

static mb_err score_ways(const measuring *m, sums *out)
{
    mb_scored *list = mb_zalloc((size_t)(WAYS * m->n), sizeof *list);
    mb_err err;

    for (int64_t i = 0; i < m->n; i++) {
        make(m, i, i, &list[WAYS * i + OWN]);
        make(m, (i + 1) % m->n, i, &list[WAYS * i + OTHER]);
        make(m, NO_PROMPT, i, &list[WAYS * i + ALONE]);
    }
    err = mb_scored_all(m->l, list, WAYS * m->n);
    *out = (sums){ 0 };
    for (int64_t i = 0; !err && i < m->n; i++) {
        const mb_scored *s = &list[WAYS * i];

        if (s[OWN].n == 0 || s[OTHER].n == 0)
            continue;
        out->own += s[OWN].loss;
        out->other += s[OTHER].loss;
        out->alone += s[ALONE].loss;
        out->tokens += s[OWN].n - s[OWN].from;
        out->n++;
    }
    mb_scored_free(list, WAYS * m->n);
    return err;
}

/* Of a loss a token or patch: the better of those that there are. */
static void baseline(const measuring *m, double *value, const char **what)
{
    const mb_denoisers *linear = &m->floors.linear;
    bool patches = is_of_patches(m);
    double better = patches ? linear->image : m->floors.position[m->way.answer],
           plain = patches ? linear->patch : m->floors.unigram[m->way.answer];

    *value = isnan(better) ? plain : better;
    *what = isnan(*value) ? NULL : "baseline";
}

/* What a loss is held against: a baseline or, of a voice that training does not hear, the loss on
   those that it does. */
static void bound_of(measuring *m, double loss, bool alone, double *value, const char **what)
{
    baseline(m, value, what);
    if (m->group == &groups[SEEN])
        m->seen_voice[alone] = loss;
    if (m->group == &groups[UNSEEN] && !isnan(m->seen_voice[alone])) {
        *value = m->seen_voice[alone];
        *what = "floor";
    }
}

/* Rows of documents' losses, which are S->own or S->alone. */
static void add_loss(measuring *m, const sums *s, bool alone)
{
    int given = alone ? MB_GIVEN_NOTHING : m->way.prompt;
    double loss = (alone ? s->alone : s->own) / (double)s->tokens, bound, bits, seconds;
    const char *what;

    bound_of(m, loss, alone, &bound, &what);
    bits = (double)s->tokens / log(2);
    seconds =
        (double)(s->tokens - s->n) / UNITS_PER_SECOND; /* units have an end mark beside them */
    mb_quality_add(m->q, alone ? "loss given nothing" : "loss", given, m->way.answer,
                   m->group->name, loss, s->tokens, bound, what);
    if (m->way.answer == MB_IMAGE && !alone && !is_of_patches(m))
        mb_quality_add(m->q, "bits per image", given, MB_IMAGE, m->group->name,
                       loss * bits / (double)s->n, s->n, bound * bits / (double)s->n, what);
    if (m->way.answer == MB_SPEECH)
        mb_quality_add(m->q, alone ? "bits per second given nothing" : "bits per second", given,
                       MB_SPEECH, m->group->name, loss * bits / seconds, s->n,
                       bound * bits / seconds, what);
}

/* What an answer is likelier by for its prompt: than with none, where what captions say is the most
   that they can tell of an image (an image tells a text more: that it is a caption at all); than
   with another document's, which misleads and so may cost more than that. */
static void add_gains(measuring *m, const sums *s)
{
    bool told = m->group->section == MB_PAIRS && m->way.answer == MB_IMAGE && !isnan(m->said_bits);
    double n = (double)s->n * log(2);

    mb_quality_add(m->q, "gain in bits", m->way.prompt, m->way.answer, m->group->name,
                   (s->alone - s->own) / n, s->n, told ? m->said_bits : 0,
                   told ? "ceiling" : "baseline");
    mb_quality_add(m->q, "gain over another in bits", m->way.prompt, m->way.answer, m->group->name,
                   (s->other - s->own) / n, s->n, 0, "baseline");
}

/* The same of what is not in bits. */
static void add_gains_of_patches(measuring *m, const sums *s)
{
    double n = (double)s->tokens;

    mb_quality_add(m->q, "gain in squared error", m->way.prompt, MB_IMAGE, m->group->name,
                   (s->alone - s->own) / n, s->n, 0, "baseline");
    mb_quality_add(m->q, "gain over another in squared error", m->way.prompt, MB_IMAGE,
                   m->group->name, (s->other - s->own) / n, s->n, 0, "baseline");
}

static mb_err measure_losses(measuring *m)
{
    sums s;

    MB_TRY(score_ways(m, &s));
    if (s.n == 0)
        return MB_OK;
    add_loss(m, &s, false);
    if (m->group->section == MB_PAIRS || m->way.prompt == MB_TEXT)
        add_loss(m, &s, true);
    if (is_of_patches(m))
        add_gains_of_patches(m, &s);
    else
        add_gains(m, &s);
    return MB_OK;
}

/* ---- retrieval ------------------------------------------------------------------------------ */

/* The chance of being among the first K of those that BETTER are before, EQUAL of which are like
   it, itself among them. */
static double chance_in_first(int64_t k, int64_t better, int64_t equal)
{
    double places = (double)(k - better) / (double)equal;

    return places < 0 ? 0 : places > 1 ? 1 : places;
}

static bool same_prompt(const measuring *m, int64_t a, int64_t b)
{
    const mb_segment *x = &m->document[a].part[m->way.prompt],
                     *y = &m->document[b].part[m->way.prompt];

    if (x->n != y->n)
        return false;
    if (x->patch)
        return !memcmp(x->patch, y->patch, (size_t)x->n * mb_data_patch_bytes(m->l->data));
    for (int64_t i = 0; i < x->n; i++)
        if (x->token[i] != y->token[i])
            return false;
    return true;
}

static void add_recall(measuring *m, const mb_scored *list, int64_t n, int64_t k, const char *name)
{
    double found = 0, best = 0;

    for (int64_t i = 0; i < n; i++) {
        int64_t better = 0, equal = 0, alike = 0;

        for (int64_t j = 0; j < n; j++) {
            better += list[i * n + j].loss < list[i * n + i].loss;
            equal += list[i * n + j].loss == list[i * n + i].loss;
            alike += same_prompt(m, i, j);
        }
        found += chance_in_first(k, better, equal) / (double)n;
        best += chance_in_first(k, 0, alike) / (double)n;
    }
    mb_quality_add(m->q, name, m->way.prompt, m->way.answer, m->group->name, found, n, best,
                   "ceiling");
}

/* Which of the prompts of N documents makes each one's answer likeliest, or best seen? */
static mb_err measure_retrieval(measuring *m)
{
    int64_t n = m->n < CANDIDATES ? m->n : CANDIDATES, fit = 0;
    mb_scored *list;
    mb_err err;

    if (n < FEWEST)
        return MB_OK;
    list = mb_zalloc((size_t)(n * n), sizeof *list);
    for (int64_t i = 0; i < n * n; i++) {
        make(m, i % n, i / n, &list[i]);
        fit += list[i].n > 0;
    }
    err = fit == n * n ? mb_scored_all(m->l, list, n * n) : MB_OK;
    if (!err && fit == n * n) {
        add_recall(m, list, n, 1, "recall at 1");
        add_recall(m, list, n, 5, "recall at 5");
    }
    mb_scored_free(list, n * n);
    return err;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static mb_err measure(measuring *m)
{
    mb_err err = open_documents(m);

    if (!err && m->n > 1)
        err = measure_losses(m);
    if (!err && m->group->split == MB_VAL)
        err = measure_retrieval(m);
    close_documents(m);
    return err;
}

/* The entropy of all slots together over captions of the train split. */
static mb_err measure_captions(const mb_data *d, double *bits)
{
    mb_slots slots = mb_data_slots(d);
    int64_t n = mb_data_section(d, MB_TRAIN, MB_PAIRS), *count, kinds = 1;
    mb_render *r;
    mb_err err;

    *bits = NAN;
    if (slots.n == 0 || n == 0)
        return MB_OK;
    MB_TRY(mb_render_open(d, &r));
    for (int s = 0; s < slots.n; s++)
        kinds *= slots.slot[s].values + 1;
    count = mb_zalloc((size_t)kinds, sizeof *count);
    err = mb_slots_count(d, r, MB_TRAIN, count);
    mb_render_close(r);
    *bits = 0;
    for (int64_t k = 0; k < kinds; k++)
        if (count[k] > 0)
            *bits -= (double)count[k] / (double)n * log2((double)count[k] / (double)n);
    free(count);
    return err;
}

mb_err mb_quality_of_losses(const mb_loaded *l, const mb_quality_plan *plan, mb_quality *q)
{
    measuring m = { .l = l, .plan = plan, .q = q, .seen_voice = { NAN, NAN } };

    MB_TRY(measure_captions(l->data, &m.said_bits));
    MB_TRY(mb_floors_measure(l->data, &l->described.settings->mixture, &m.floors));
    for (int i = 0; i < GROUPS * MB_DIRECTIONS; i++) {
        m.group = &groups[i / MB_DIRECTIONS];
        m.way = mb_directions[i % MB_DIRECTIONS];
        if (m.group->split == MB_TEST && m.way.answer != MB_SPEECH)
            continue;
        MB_TRY(measure(&m));
    }
    return MB_OK;
}
