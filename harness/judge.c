/* pixels -> SwiGLU -> SwiGLU -> 128 features, normed -> classes. Six passes over the training
   images, each shifted by up to two pixels, so that copies of them are not what it likes best. */
#include "harness/judge.h"

#include "base/file.h"
#include "base/npy.h"
#include "base/random.h"
#include "models/kernels/op.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    HIDDEN = 192,
    BATCH = 128,
    PASSES = 6,
    FEWEST_STEPS = 600,
    MOST_STEPS = 2600,
    SHIFT = 2,
    SEED = 1
};
enum { FIRST, SECOND, NORM, HEAD, PARAMS };
#define EPS 1e-5f

struct mb_judge {
    mb_ctx *ctx;
    mb_image_shape shape;
    int classes;
    mb_tensor w[PARAMS];
    float *data; /* all of them, their gradients, two moments; in memory of the ctx */
    int64_t count;
    float *pixels; /* (BATCH, bytes of an image) */
    char *path;    /* of the trained matrices */
};

/* ---- the network ---------------------------------------------------------------------------- */

static mb_tensor param(const char *name, int64_t rows, int64_t cols)
{
    return (mb_tensor){ .name = name,
                        .slices = 1,
                        .rows = rows,
                        .cols = cols,
                        .rank = 2,
                        .wants = true,
                        .parameter = true };
}

static mb_err make_params(mb_judge *j)
{
    int64_t at = 0;

    j->w[FIRST] = param("first", 2 * HIDDEN, (int64_t)mb_image_bytes(j->shape));
    j->w[SECOND] = param("second", 2 * MB_FEATURES, HIDDEN);
    j->w[NORM] = param("norm", 1, MB_FEATURES);
    j->w[HEAD] = param("head", j->classes, MB_FEATURES);
    for (int i = 0; i < PARAMS; i++)
        j->count += mb_count(&j->w[i]);
    j->data = mb_ctx_alloc(j->ctx, 4 * (size_t)j->count * sizeof *j->data);
    if (!j->data)
        return mb_fail_in(MB_ENOMEM, "the judge of images");
    for (int i = 0; i < PARAMS; at += mb_count(&j->w[i++])) {
        j->w[i].data = j->data + at;
        j->w[i].grad = j->data + j->count + at;
    }
    return MB_OK;
}

static void draw_params(mb_judge *j)
{
    for (int i = 0; i < PARAMS; i++) {
        uint64_t key = mb_key(SEED, j->w[i].name, 0, 0);
        double std = 1 / sqrt((double)j->w[i].cols);

        for (int64_t k = 0; k < mb_count(&j->w[i]); k++)
            mb_f32(&j->w[i])[k] = i == NORM ? 1 : (float)(std * mb_normal(key, (uint64_t)k));
    }
    mb_ctx_weights_changed(j->ctx);
}

/* Features (n, MB_FEATURES) of j->pixels. */
static mb_tensor *features(mb_judge *j, int64_t n)
{
    mb_ctx *c = j->ctx;
    const mb_route *all = mb_route_all(c, n);
    mb_tensor *x = mb_wrap(c, "pixels", n, (int64_t)mb_image_bytes(j->shape), j->pixels);

    x = mb_swiglu(c, mb_gemm(c, x, &j->w[FIRST], all));
    x = mb_swiglu(c, mb_gemm(c, x, &j->w[SECOND], all));
    return mb_norm(c, x, &j->w[NORM], NULL, EPS);
}

/* IMAGE, moved by (DX, DY), as numbers from -1 to 1; what comes in is black. */
static void put_pixels(mb_judge *j, int64_t at, const uint8_t *image, int dx, int dy)
{
    int side = j->shape.side, c = j->shape.channels;
    float *to = j->pixels + at * (int64_t)mb_image_bytes(j->shape);

    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            for (int k = 0; k < c; k++) {
                int sy = y - dy, sx = x - dx;
                bool in = sy >= 0 && sy < side && sx >= 0 && sx < side;

                *to++ = in ? (float)image[(sy * side + sx) * c + k] / 127.5f - 1 : -1;
            }
}

/* ---- training ------------------------------------------------------------------------------- */

typedef struct examples { /* images whose class is known */
    uint8_t *image;
    int32_t *label;
    int64_t n;
} examples;

static void free_examples(examples *e)
{
    free(e->image);
    free(e->label);
}

static mb_err load_examples(const mb_judge *j, const mb_data *d, const mb_render *r, examples *out)
{
    int64_t all = mb_data_section(d, MB_TRAIN, MB_PAIRS);
    size_t bytes = mb_image_bytes(j->shape);
    mb_err err = MB_OK;

    *out = (examples){ .image = mb_alloc((size_t)all * bytes + 1),
                       .label = mb_alloc((size_t)all * sizeof *out->label + 1) };
    for (int64_t i = 0; !err && i < all; i++) {
        int value[MB_SLOTS];
        mb_parts p;
        char *text;

        err = mb_data_parts(d, MB_TRAIN, i, &p);
        if (err)
            break;
        text = mb_render_text(r, p.part[MB_TEXT].token, p.part[MB_TEXT].n);
        mb_slots_read(d, text, value);
        if (value[0] >= 0) {
            mb_render_image(r, &p.part[MB_IMAGE], out->image + (size_t)out->n * bytes);
            out->label[out->n++] = value[0];
        }
        free(text);
        mb_parts_free(&p);
    }
    if (!err && out->n < BATCH)
        err = mb_fail(MB_EINVAL, "%s: %lld images with a class: too few to train a judge",
                      mb_data_name(d), (long long)out->n);
    return err;
}

static mb_err train_step(mb_judge *j, const examples *e, int64_t step, int64_t steps)
{
    int32_t label[BATCH];
    float loss[BATCH];
    mb_adamw how = { .lr = (float)(2e-3 * (1 - (double)step / (double)steps)),
                     .beta1 = 0.9f,
                     .beta2 = 0.99f,
                     .eps = 1e-8f,
                     .decay = 0.05f,
                     .step = step + 1 };

    for (int64_t i = 0; i < BATCH; i++) {
        uint64_t at = (uint64_t)(step * BATCH + i), n = (uint64_t)e->n, epoch = at / n;
        uint64_t pick = mb_permute(mb_key(SEED, "judge", epoch, 0), n, at % n);
        uint64_t key = mb_key(SEED, "shift", at, 0);

        put_pixels(j, i, e->image + pick * mb_image_bytes(j->shape),
                   (int)mb_below(key, 0, 2 * SHIFT + 1) - SHIFT,
                   (int)mb_below(key, 1, 2 * SHIFT + 1) - SHIFT);
        label[i] = e->label[pick];
    }
    mb_ctx_record(j->ctx, true);
    mb_classify(j->ctx, features(j, BATCH), &j->w[HEAD], label, 1.0f / BATCH, 0, loss);
    mb_backward(j->ctx);
    mb_ctx_record(j->ctx, false);
    mb_adamw_step(j->ctx, j->data, j->data + j->count, j->data + 2 * j->count,
                  j->data + 3 * j->count, j->count, &how);
    mb_ctx_weights_changed(j->ctx);
    MB_TRY(mb_ctx_sync(j->ctx));
    mb_ctx_reset(j->ctx);
    return MB_OK;
}

static mb_err train(mb_judge *j, const mb_data *d, const mb_render *r)
{
    examples e;
    mb_err err = load_examples(j, d, r, &e);
    int64_t steps = PASSES * e.n / BATCH;

    steps = steps > MOST_STEPS ? MOST_STEPS : steps < FEWEST_STEPS ? FEWEST_STEPS : steps;
    draw_params(j);
    for (int64_t i = 0; !err && i < steps; i++)
        err = train_step(j, &e, i, steps);
    free_examples(&e);
    return err;
}

/* ---- opening -------------------------------------------------------------------------------- */

static mb_err load(mb_judge *j)
{
    mb_npy n;
    mb_err err;

    MB_TRY(mb_npy_open(j->path, &n));
    err = n.kind == 'f' && n.count == j->count
              ? MB_OK
              : mb_fail(MB_ECORRUPT, "%s: %lld numbers, expected %lld: remove it", j->path,
                        (long long)n.count, (long long)j->count);
    for (int64_t i = 0; !err && i < j->count; i++)
        j->data[i] = (float)mb_npy_float(&n, i);
    mb_npy_close(&n);
    mb_ctx_weights_changed(j->ctx);
    return err;
}

static mb_err open_judge(mb_judge *j, const mb_data *d, const mb_render *r)
{
    mb_slots slots = mb_data_slots(d);

    if (slots.n == 0 || j->shape.side == 0)
        return mb_fail(MB_EINVAL, "%s: no images with captions that a judge could learn from",
                       mb_data_name(d));
    j->classes = slots.slot[0].values;
    j->path = mb_format("%s/judge-v1.npy", mb_data_folder(d));
    j->pixels = mb_alloc(BATCH * mb_image_bytes(j->shape) * sizeof *j->pixels);
    MB_TRY(mb_ctx_open("cpu", MB_FP32, 1, &j->ctx));
    MB_TRY(make_params(j));
    if (mb_exists(j->path))
        return load(j);
    MB_TRY(train(j, d, r));
    return mb_npy_write_f32(j->path, j->data, 1, &j->count);
}

mb_err mb_judge_open(const mb_data *d, const mb_render *r, mb_judge **out)
{
    mb_judge *j = mb_zalloc(1, sizeof *j);
    mb_err err;

    j->shape = mb_render_shape(r);
    err = open_judge(j, d, r);
    *out = err ? NULL : j;
    if (err)
        mb_judge_close(j);
    return err;
}

void mb_judge_close(mb_judge *j)
{
    if (!j)
        return;
    if (j->ctx)
        mb_ctx_free(j->ctx, j->data);
    mb_ctx_close(j->ctx);
    free(j->pixels);
    free(j->path);
    free(j);
}

/* ---- judging -------------------------------------------------------------------------------- */

static int best_of(const float *logit, int n)
{
    int best = 0;

    for (int i = 1; i < n; i++)
        best = logit[i] > logit[best] ? i : best;
    return best;
}

mb_err mb_judge_look(mb_judge *j, const uint8_t *image, int64_t n, int *class, float *feature)
{
    float logit[BATCH * 64];

    assert(j->classes <= 64);
    for (int64_t at = 0; at < n; at += BATCH) {
        int64_t now = n - at < BATCH ? n - at : BATCH;
        mb_tensor *x, *y;

        for (int64_t i = 0; i < now; i++)
            put_pixels(j, i, image + (size_t)(at + i) * mb_image_bytes(j->shape), 0, 0);
        x = features(j, now);
        y = mb_logits(j->ctx, x, &j->w[HEAD], mb_route_all(j->ctx, now));
        mb_ctx_fetch(j->ctx, feature + at * MB_FEATURES, mb_f32(x),
                     (size_t)(now * MB_FEATURES) * sizeof *feature);
        mb_ctx_fetch(j->ctx, logit, mb_f32(y), (size_t)(now * j->classes) * sizeof *logit);
        MB_TRY(mb_ctx_sync(j->ctx));
        mb_ctx_reset(j->ctx);
        for (int64_t i = 0; i < now; i++)
            class[at + i] = best_of(logit + i * j->classes, j->classes);
    }
    return MB_OK;
}
