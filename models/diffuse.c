#include "models/diffuse.h"

#include "base/file.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* x is guessed, kept to where images lie, and put behind the noise of the earlier step: DDIM's eq.
   12, with sigma as in its eq. 16. */
double mb_diffuse_step(const mb_diffuse *how, int from, int to, double z, double predicted,
                       double draw)
{
    double kept = mb_noise_kept(from), next = mb_noise_kept(to), x, e, sigma;

    mb_noise_split(how->prediction, kept, z, predicted, &x, &e);
    x = fmin(fmax(x, -how->limit), how->limit);
    e = (z - sqrt(kept) * x) / sqrt(1 - kept);
    sigma = how->eta * sqrt((1 - next) / (1 - kept) * (1 - kept / next));
    return sqrt(next) * x + sqrt(fmax(1 - next - sigma * sigma, 0)) * e + sigma * draw;
}

char *mb_diffuse_how(const mb_diffuse *how)
{
    return mb_format("%s, %d steps, guidance %g", how->eta > 0 ? "ddpm" : "ddim", how->steps,
                     how->guidance);
}

/* Sequences under way: one for each prompt, then, with guidance, a bare one for each. */
typedef struct sampling {
    const mb_diffuse *how;
    const mb_prompt *prompt, *bare;
    mb_canvas canvas;
    int64_t n, numbers; /* images; numbers of one */
    mb_batch batch;
    float *z;         /* (n, patches, S) */
    float *predicted; /* (sequences, patches, S) */
} sampling;

static const mb_prompt *prompt_of(const sampling *s, int64_t sequence)
{
    return sequence < s->n ? &s->prompt[sequence] : s->bare;
}

/* A document of prompt and image; what is left of the sequence are documents of one position. */
static void fill_sequence(sampling *s, int64_t sequence)
{
    const mb_prompt *p = prompt_of(s, sequence);
    mb_batch *b = &s->batch;
    int64_t end = p->n + s->canvas.patches;

    for (int64_t i = 0; i < b->len; i++) {
        int64_t to = sequence * b->len + i;
        bool prompt = i < p->n, patch = !prompt && i < end;

        b->token[to] = prompt ? p->token[i] : s->canvas.token;
        b->modality[to] = prompt ? p->modality[i] : patch ? MB_IMAGE : MB_TEXT;
        b->target[to] = -1;
        b->position[to] = (int32_t)(i < end ? i : 0);
        b->lo[to] = (int32_t)(i < end ? 0 : i);
        b->hi[to] = (int32_t)(patch ? end - 1 : i);
        b->noise[to] = -1;
    }
}

/* The images as they are now, at step STEP, into every sequence. */
static void show(sampling *s, int step)
{
    mb_batch *b = &s->batch;

    for (int64_t q = 0; q < b->batch; q++) {
        int64_t to = q * b->len + prompt_of(s, q)->n;

        memcpy(b->noisy + to * b->patch, s->z + q % s->n * s->numbers,
               (size_t)s->numbers * sizeof *s->z);
        for (int64_t i = 0; i < s->canvas.patches; i++)
            b->noise[to + i] = step;
    }
}

static void advance(sampling *s, int from, int to)
{
    const mb_diffuse *how = s->how;

    for (int64_t i = 0; i < s->n; i++) {
        uint64_t key = mb_key(s->prompt[i].key, "noise again", 0, (uint64_t)from);
        const float *with = s->predicted + i * s->numbers, *without = with + s->n * s->numbers;
        float *z = s->z + i * s->numbers;

        for (int64_t j = 0; j < s->numbers; j++) {
            double predicted = with[j], draw = how->eta > 0 ? mb_normal(key, (uint64_t)j) : 0;

            if (how->guidance != 1)
                predicted = without[j] + how->guidance * (predicted - without[j]);
            z[j] = (float)mb_diffuse_step(how, from, to, z[j], predicted, draw);
        }
    }
}

static void start(sampling *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        uint64_t key = mb_key(s->prompt[i].key, "noise", 0, 0);

        for (int64_t j = 0; j < s->numbers; j++)
            s->z[i * s->numbers + j] = (float)mb_normal(key, (uint64_t)j);
    }
}

static mb_err sample(mb_model *m, sampling *s)
{
    int steps = s->how->steps;

    start(s);
    for (int k = steps; k > 0; k--) {
        int from = (int)((int64_t)k * MB_NOISE_STEPS / steps);
        int to = (int)((int64_t)(k - 1) * MB_NOISE_STEPS / steps);

        show(s, from);
        MB_TRY(mb_model_predict(m, &s->batch, s->predicted));
        advance(s, from, to);
    }
    return MB_OK;
}

static mb_err check(const mb_model *m, const mb_diffuse *how, int64_t n, mb_canvas canvas)
{
    if (mb_model_settings(m)->patch == 0)
        return mb_fail(MB_EINVAL, "a model whose images are ids: expected one of patches");
    if (how->steps < 1 || how->steps > MB_NOISE_STEPS)
        return mb_fail(MB_EINVAL, "%d sampling steps: expected 1 to %d", how->steps,
                       MB_NOISE_STEPS);
    if (!(how->eta >= 0 && how->eta <= 1) || !isfinite(how->guidance) || !(how->limit > 0))
        return mb_fail(MB_EINVAL,
                       "eta %g, guidance %g, limit %g: expected 0 to 1, a finite number and one "
                       "above 0",
                       how->eta, how->guidance, how->limit);
    if (n < 1 || canvas.patches < 1)
        return mb_fail(MB_EINVAL, "%lld images of %lld patches: expected some", (long long)n,
                       (long long)canvas.patches);
    return MB_OK;
}

mb_err mb_diffuse_images(mb_model *m, const mb_diffuse *how, const mb_prompt *prompt, int64_t n,
                         const mb_prompt *bare, mb_canvas canvas, float *out)
{
    int64_t sequences = how->guidance != 1 ? 2 * n : n, longest = 0, size;
    int patch = mb_model_settings(m)->patch;
    sampling s = { .how = how, .prompt = prompt, .bare = bare, .canvas = canvas, .n = n, .z = out };
    mb_err err;

    MB_TRY(check(m, how, n, canvas));
    for (int64_t q = 0; q < sequences; q++)
        longest = prompt_of(&s, q)->n > longest ? prompt_of(&s, q)->n : longest;
    s.numbers = canvas.patches * patch;
    mb_batch_make(sequences, longest + canvas.patches, patch, &s.batch);
    size = sequences * s.numbers;
    s.predicted = mb_alloc((size_t)size * sizeof *s.predicted);
    for (int64_t q = 0; q < sequences; q++)
        fill_sequence(&s, q);
    err = sample(m, &s);
    mb_batch_free(&s.batch);
    free(s.predicted);
    return err;
}
