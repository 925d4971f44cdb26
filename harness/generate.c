#include "harness/generate.h"

#include "base/random.h"
#include "profiles/clock.h"

#include <stdlib.h>
#include <string.h>

const mb_direction mb_directions[MB_DIRECTIONS] = {
    { MB_TEXT, MB_IMAGE },  { MB_IMAGE, MB_TEXT },   { MB_TEXT, MB_SPEECH },
    { MB_SPEECH, MB_TEXT }, { MB_IMAGE, MB_SPEECH }, { MB_SPEECH, MB_IMAGE },
};

/* ---- prompts -------------------------------------------------------------------------------- */

static bool is_in_sections(const mb_data *d, const mb_generate_plan *plan, int64_t document)
{
    for (int s = 0; s < MB_SECTIONS; s++) {
        int64_t start = mb_data_section_start(d, plan->split, s);

        if ((plan->sections >> s & 1) && document >= start &&
            document < start + mb_data_section(d, plan->split, s))
            return true;
    }
    return plan->sections == 0;
}

mb_err mb_generate_prompts(const mb_data *d, const mb_generate_plan *plan, int64_t **document,
                           int64_t *n)
{
    int64_t all = mb_data_documents(d, plan->split);
    uint64_t key = mb_key(0, "prompts", (uint64_t)plan->split, 0);

    *n = 0;
    *document = mb_alloc((size_t)(plan->n + 1) * sizeof **document);
    for (int64_t i = 0; i < all && *n < plan->n; i++) {
        int64_t at = (int64_t)mb_permute(key, (uint64_t)all, (uint64_t)i);
        mb_parts p;
        mb_err err;

        if (!is_in_sections(d, plan, at))
            continue;
        err = mb_data_parts(d, plan->split, at, &p);
        if (err) {
            free(*document);
            *n = 0;
            return err;
        }
        if (!p.mixed && p.part[plan->direction.prompt].n && p.part[plan->direction.answer].n)
            (*document)[(*n)++] = at;
        mb_parts_free(&p);
    }
    return MB_OK;
}

uint64_t mb_generate_key(const mb_generate_plan *plan, int64_t document)
{
    const mb_direction *way = &plan->direction;

    return mb_key(plan->seed, mb_modality_name[way->answer], (uint64_t)document,
                  (uint64_t)way->prompt);
}

mb_err mb_generate_open(const mb_loaded *l, const mb_generate_plan *plan, const mb_sampled *s,
                        mb_opening *opening)
{
    const mb_direction *way = &plan->direction;
    mb_parts p;

    MB_TRY(mb_data_parts(l->data, plan->split, s->document, &p));
    mb_opening_make(l, way->prompt, &p.part[way->prompt], way->answer, 0, opening);
    mb_parts_free(&p);
    if (opening->n > l->described.settings->len) {
        free(opening->token);
        return mb_fail(MB_EINVAL, "document %lld: a prompt of %lld tokens, expected at most %lld",
                       (long long)s->document, (long long)opening->n,
                       (long long)l->described.settings->len);
    }
    return MB_OK;
}

/* ---- sequences side by side ----------------------------------------------------------------- */

typedef struct sequence {
    mb_sampled *to; /* NULL: none */
    uint64_t key;
    bool done;
} sequence;

typedef struct generation {
    const mb_loaded *l;
    const mb_generate_plan *plan;
    mb_segment_kind answer;
    mb_decoder *decoder;
    int64_t len;        /* most tokens of a sequence */
    int64_t vocab;      /* of the model: there may be more than the data have */
    int patch;          /* numbers of one; 0: images are ids */
    sequence *sequence; /* (at_once) */
    float *logits;      /* (at_once, V) */
    /* rows of the next call */
    int32_t *token, *of; /* (at_once * len) */
    uint8_t *modality;
    int32_t *noise; /* and noisy (at_once * len, S): NULL unless prompts are patches */
    float *noisy;
    int64_t rows, *fed; /* fed: (at_once) tokens of each so far */
} generation;

static void add_row(generation *g, int64_t b, int32_t id)
{
    if (id < 0 || g->fed[b] == g->len)
        return;
    g->token[g->rows] = id;
    g->of[g->rows] = (int32_t)b;
    g->modality[g->rows] = g->l->described.modality[id];
    if (g->noise)
        g->noise[g->rows] = -1;
    g->rows++;
    g->fed[b]++;
}

/* The rows from FIRST on are those of an opening: its patches are clean. */
static void show_image(generation *g, int64_t first, const mb_opening *o)
{
    for (int64_t i = 0; o->patch && i < o->patches; i++)
        g->noise[first + o->first + i] = 0;
    if (o->patch)
        mb_data_patches_read(g->l->data, o->patch, o->patches * g->patch,
                             g->noisy + (first + o->first) * g->patch);
}

static mb_err begin_sequence(generation *g, int64_t b, mb_sampled *to)
{
    int64_t first = g->rows;
    mb_opening o;

    MB_TRY(mb_generate_open(g->l, g->plan, to, &o));
    g->fed[b] = 0;
    g->sequence[b] = (sequence){ .to = to, .key = mb_generate_key(g->plan, to->document) };
    to->answer = mb_alloc((size_t)g->len * sizeof *to->answer);
    for (int64_t i = 0; i < o.n; i++)
        add_row(g, b, o.token[i]);
    show_image(g, first, &o);
    free(o.token);
    return MB_OK;
}

/* Takes the next token of sequence B from its logits; done when that ends the answer. */
static void sample_one(generation *g, int64_t b)
{
    sequence *s = &g->sequence[b];
    mb_sampled *to = s->to;
    mb_allowed allowed = { g->answer.first, g->answer.past,
                           g->answer.exactly || to->n == 0 ? -1 : g->answer.end };
    int32_t id =
        mb_sample(g->logits + b * g->vocab, allowed, &g->plan->sampling, s->key, (uint64_t)to->n);

    s->done = id == g->answer.end;
    if (s->done)
        return;
    to->answer[to->n++] = id;
    s->done = to->n == g->answer.exactly;
    to->cut = !s->done && g->fed[b] == g->len;
    s->done |= to->cut;
    if (!s->done)
        add_row(g, b, id);
}

static mb_err feed(generation *g, int64_t *tokens, int64_t *ns)
{
    mb_feed rows = { g->token, g->modality, g->of, g->rows, g->noise, g->noisy };
    int64_t start = mb_wall_ns();
    mb_err err = mb_decoder_feed(g->decoder, &rows, g->logits);

    *ns += mb_wall_ns() - start;
    *tokens += g->rows;
    g->rows = 0;
    return err;
}

/* The next AT_ONCE samples from FIRST on. Drawing tokens is part of decoding's time. */
static mb_err generate_batch(generation *g, mb_generated *out, int64_t first)
{
    int64_t n = out->n - first < g->plan->at_once ? out->n - first : g->plan->at_once;

    mb_decoder_clear(g->decoder);
    for (int64_t b = 0; b < n; b++)
        MB_TRY(begin_sequence(g, b, &out->sample[first + b]));
    MB_TRY(feed(g, &out->prefill_tokens, &out->prefill_ns));
    for (;;) {
        int64_t start = mb_wall_ns();

        for (int64_t b = 0; b < n; b++)
            if (!g->sequence[b].done)
                sample_one(g, b);
        out->decode_ns += mb_wall_ns() - start;
        if (g->rows == 0)
            return MB_OK;
        MB_TRY(feed(g, &out->decode_tokens, &out->decode_ns));
    }
}

/* The first call of a model makes copies of weights and threads, which no speed should show. */
static mb_err warm_up(generation *g)
{
    int64_t tokens = 0, ns = 0;

    g->fed[0] = 0;
    add_row(g, 0, mb_data_bos(g->l->data));
    return feed(g, &tokens, &ns);
}

static mb_err open_generation(generation *g)
{
    size_t rows = (size_t)(g->plan->at_once * g->len), patch = (size_t)g->patch;

    MB_TRY(mb_decoder_open(g->l->model, g->plan->at_once, g->len, &g->decoder));
    g->sequence = mb_zalloc((size_t)g->plan->at_once, sizeof *g->sequence);
    g->fed = mb_zalloc((size_t)g->plan->at_once, sizeof *g->fed);
    g->logits = mb_alloc((size_t)g->plan->at_once * (size_t)g->vocab * sizeof *g->logits);
    g->token = mb_alloc(rows * sizeof *g->token);
    g->of = mb_alloc(rows * sizeof *g->of);
    g->modality = mb_alloc(rows);
    if (patch > 0 && g->plan->direction.prompt == MB_IMAGE) {
        g->noise = mb_alloc(rows * sizeof *g->noise);
        g->noisy = mb_zalloc(rows * patch, sizeof *g->noisy);
    }
    return warm_up(g);
}

static void close_generation(generation *g)
{
    mb_decoder_close(g->decoder);
    free(g->sequence);
    free(g->fed);
    free(g->logits);
    free(g->token);
    free(g->of);
    free(g->modality);
    free(g->noise);
    free(g->noisy);
}

/* Answers of ids, one by one. */
static mb_err decode(const mb_loaded *l, const mb_generate_plan *plan, mb_generated *out)
{
    generation g = { .l = l,
                     .plan = plan,
                     .answer = mb_data_segment_kind(l->data, plan->direction.answer),
                     .len = l->described.settings->len,
                     .vocab = mb_model_settings(l->model)->vocab,
                     .patch = l->described.sizes.patch };
    mb_err err = open_generation(&g);

    for (int64_t i = 0; !err && i < out->n; i += plan->at_once)
        err = generate_batch(&g, out, i);
    if (!err)
        out->cache_bytes = (int64_t)mb_decoder_bytes(g.decoder);
    close_generation(&g);
    return err;
}

bool mb_generate_paints(const mb_loaded *l, const mb_generate_plan *plan)
{
    return l->described.sizes.patch > 0 && plan->direction.answer == MB_IMAGE;
}

char *mb_generate_how(const mb_loaded *l, const mb_generate_plan *plan)
{
    return mb_generate_paints(l, plan)
               ? mb_diffuse_how(&plan->diffuse)
               : mb_format("temperature %g, top p %g", plan->sampling.temperature,
                           plan->sampling.top_p);
}

mb_err mb_generate(const mb_loaded *l, const mb_generate_plan *plan, mb_generated *out)
{
    int64_t *document;
    mb_err err;

    *out = (mb_generated){ 0 };
    MB_TRY(mb_generate_prompts(l->data, plan, &document, &out->n));
    out->sample = mb_zalloc((size_t)out->n + 1, sizeof *out->sample);
    for (int64_t i = 0; i < out->n; i++)
        out->sample[i].document = document[i];
    free(document);
    err = mb_generate_paints(l, plan) ? mb_generate_paint(l, plan, out) : decode(l, plan, out);
    out->held_bytes = out->cache_bytes + (int64_t)mb_ctx_held(l->ctx) +
                      (int64_t)(mb_model_params_total(l->model) * sizeof(float));
    if (err)
        mb_generated_free(out);
    return err;
}

mb_segment mb_sampled_segment(const mb_sampled *s)
{
    return (mb_segment){ s->answer, s->n, s->patch };
}

void mb_generated_free(mb_generated *g)
{
    for (int64_t i = 0; i < g->n; i++) {
        free(g->sample[i].answer);
        free(g->sample[i].patch);
    }
    free(g->sample);
    *g = (mb_generated){ 0 };
}
