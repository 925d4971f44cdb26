/* Answers that are images of patches: many at once out of noise, by the sampler of
   models/diffuse.c. */
#include "harness/generate.h"

#include "base/file.h"
#include "profiles/clock.h"

#include <stdlib.h>

typedef struct painting {
    const mb_loaded *l;
    const mb_generate_plan *plan;
    mb_diffuse how;
    mb_canvas canvas;
    int64_t numbers;     /* of an image */
    mb_opening bare;     /* of an image without a caption */
    mb_opening *opening; /* (at_once) */
    mb_prompt *prompt;   /* (at_once) */
    uint8_t *modality;   /* (at_once + 1, len) of the prompts' ids, then of the bare one */
    float *image;        /* (at_once, patches, S) */
} painting;

/* What the sampler wants to know of an opening, whose modalities go to place AT. */
static mb_prompt show_prompt(const painting *p, const mb_opening *o, int64_t at, uint64_t key)
{
    uint8_t *modality = p->modality + at * p->l->described.settings->len;

    for (int64_t i = 0; i < o->n; i++)
        modality[i] = p->l->described.modality[o->token[i]];
    return (mb_prompt){ o->token, modality, o->n, key };
}

/* Image I as the answer of a sample. */
static void keep_image(const painting *p, int64_t i, mb_sampled *to)
{
    to->n = p->canvas.patches;
    to->answer = mb_alloc((size_t)to->n * sizeof *to->answer);
    to->patch = mb_alloc((size_t)to->n * mb_data_patch_bytes(p->l->data));
    for (int64_t k = 0; k < to->n; k++)
        to->answer[k] = p->canvas.token;
    mb_data_patches_write(p->l->data, p->image + i * p->numbers, p->numbers, to->patch);
}

static mb_err open_prompts(painting *p, const mb_sampled *sample, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        mb_opening o;

        MB_TRY(mb_generate_open(p->l, p->plan, &sample[i], &o));
        free(p->opening[i].token);
        p->opening[i] = o;
        p->prompt[i] = show_prompt(p, &o, i, mb_generate_key(p->plan, sample[i].document));
    }
    return MB_OK;
}

static mb_err paint_batch(painting *p, mb_generated *out, int64_t first)
{
    int64_t n = out->n - first < p->plan->at_once ? out->n - first : p->plan->at_once, start;
    mb_prompt bare = show_prompt(p, &p->bare, p->plan->at_once, 0);

    MB_TRY(open_prompts(p, out->sample + first, n));
    start = mb_wall_ns();
    MB_TRY(mb_diffuse_images(p->l->model, &p->how, p->prompt, n, &bare, p->canvas, p->image));
    out->decode_ns += mb_wall_ns() - start;
    out->decode_tokens += n * p->canvas.patches;
    for (int64_t i = 0; i < n; i++)
        keep_image(p, i, &out->sample[first + i]);
    return MB_OK;
}

/* The first call of a model makes copies of weights and threads, which no speed should show. */
static mb_err warm_up(painting *p)
{
    mb_diffuse once = p->how;
    mb_prompt bare = show_prompt(p, &p->bare, p->plan->at_once, 0);

    once.steps = 1;
    return mb_diffuse_images(p->l->model, &once, &bare, 1, &bare, p->canvas, p->image);
}

static void open_painting(painting *p)
{
    size_t n = (size_t)p->plan->at_once;

    mb_opening_make(p->l, p->plan->direction.prompt, NULL, MB_IMAGE, 0, &p->bare);
    p->opening = mb_zalloc(n, sizeof *p->opening);
    p->prompt = mb_zalloc(n, sizeof *p->prompt);
    p->modality = mb_alloc((n + 1) * (size_t)p->l->described.settings->len);
    p->image = mb_alloc(n * (size_t)p->numbers * sizeof *p->image);
}

static void close_painting(painting *p)
{
    for (int64_t i = 0; i < p->plan->at_once; i++)
        free(p->opening[i].token);
    free(p->opening);
    free(p->bare.token);
    free(p->prompt);
    free(p->modality);
    free(p->image);
}

mb_err mb_generate_paint(const mb_loaded *l, const mb_generate_plan *plan, mb_generated *out)
{
    mb_segment_kind kind = mb_data_segment_kind(l->data, MB_IMAGE);
    painting p = { .l = l,
                   .plan = plan,
                   .how = plan->diffuse,
                   .canvas = { kind.first, kind.exactly },
                   .numbers = (int64_t)kind.exactly * l->described.sizes.patch };
    mb_err err;

    p.how.prediction = l->described.settings->mixture.prediction;
    p.how.limit = mb_data_patch_limit(l->data);
    open_painting(&p);
    err = warm_up(&p);
    for (int64_t i = 0; !err && i < out->n; i += plan->at_once)
        err = paint_batch(&p, out, i);
    close_painting(&p);
    return err;
}
