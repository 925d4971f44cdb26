/* The models against PyTorch: logits, losses, every gradient, and parameters after ten AdamW steps,
   for the cases of tests/golden (made by its generate.py, explained in its README). */
#include "models/model.h"
#include "models/safetensors.h"
#include "tests/kernels_support.h"

#include "base/diffusion.h"
#include "base/file.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Largest difference over largest value, of a tensor and of a loss. The generator keeps only cases
   in which PyTorch's own float32 differs from its float64 by less than 1.5e-6. In bf16 every
   operand of a product is off by up to 2^-9 of it, and the cases are so small that little averages
   out: logits were off by 0.02, gradients by 0.05, losses by 0.002 at most, squared errors of
   patches by 0.0051. Ten steps at the rates of these cases, and what a router chooses, take any
   such difference further: these are not compared in bf16. A U-Net is many layers more: where a
   device also keeps activations so, gradients were off by 0.12. */
static const struct allowed {
    double tensor, loss;
} allowed[] = { [MB_FP32] = { 1e-5, 1e-5 }, [MB_BF16] = { 0.08, 0.01 } },
  allowed_unet_bf16 = { 0.16, 0.01 };

/* clang-format off */
static const char *const cases[] = {
    "dense-post", "dense-pre", "switch-post", "switch-pre", "moe-ec-post", "moe-ec-pre", "mot-post",
    "mot-pre", "gshard-post", "mot-ffn-post", "mot-ffn-qkv-pre", "switch-gate-inside",
    "switch-router-losses", "switch-drops", "moe-ec-softmax", "dense-z-loss", "dense-no-qk-norm",
    "dense-decay-all", "dense-clip", "mot-accumulate", "dense-patches", "switch-patches",
    "moe-ec-patches", "mot-patches", "mot-unet", "dense-unet",
};
/* clang-format on */
static const char *const backends[] = { "ref", "cpu", "cuda" };
enum { CASES = sizeof cases / sizeof *cases, BACKENDS = sizeof backends / sizeof *backends };

static const char *where = "";          /* the case, for messages */
static const struct allowed *tolerance; /* of its precision */

struct golden_case { /* arrays: parameters are copied between processes */
    char name[32], backend[8];
    mb_precision precision;
};

/* ---- what a file says ---------------------------------------------------------------------- */

static const char *text(const mb_safetensors *s, const char *key)
{
    const char *value = mb_safetensors_metadata(s, key);

    cr_assert(value, "no metadata '%s'", key);
    return value;
}

static double number(const mb_safetensors *s, const char *key)
{
    char *end;
    double x = strtod(text(s, key), &end);

    cr_assert(end != text(s, key) && !*end, "metadata '%s' is no number", key);
    return x;
}

static bool says(const mb_safetensors *s, const char *key, const char *value)
{
    return !strcmp(text(s, key), value);
}

static const mb_st_tensor *tensor(const mb_safetensors *s, const char *dtype, const char *format,
                                  const char *name)
{
    char *full = mb_format("%s%s", format, name);
    const mb_st_tensor *t = mb_safetensors_find(s, full);

    cr_assert(t, "no tensor '%s'", full);
    cr_assert_str_eq(t->dtype, dtype, "%s", full);
    free(full);
    return t;
}

static bool with_patches(const mb_safetensors *s)
{
    return mb_safetensors_metadata(s, "patch") != NULL;
}

static bool with_unet(const mb_safetensors *s)
{
    return mb_safetensors_metadata(s, "unet_channels") != NULL;
}

static mb_model_config config_of(const mb_safetensors *s)
{
    return (mb_model_config){
        .vocab = (int)number(s, "vocab"),
        .modalities = (int)number(s, "modalities"),
        .width = (int)number(s, "width"),
        .layers = (int)number(s, "layers"),
        .heads = (int)number(s, "heads"),
        .ffn_width = (int)number(s, "ffn_width"),
        .norm = says(s, "norm", "pre") ? MB_PRE : MB_POST,
        .gate = says(s, "gate", "inside") ? MB_INSIDE : MB_OUTSIDE,
        .qk_norm = number(s, "qk_norm") != 0,
        .norm_eps = (float)number(s, "norm_eps"),
        .rope_base = (float)number(s, "rope_base"),
        .z_loss = (float)number(s, "z_loss"),
        .experts = (int)number(s, "experts"),
        .capacity = number(s, "capacity"),
        .eval_capacity = number(s, "eval_capacity"),
        .balance = number(s, "balance"),
        .router_z = number(s, "router_z"),
        .score = says(s, "score", "sigmoid") ? MB_SIGMOID : MB_SOFTMAX,
        .group = says(s, "group", "sequence") ? MB_GROUP_SEQUENCE : MB_GROUP_BATCH,
        .batch = (int64_t)number(s, "batch"),
        .len = (int64_t)number(s, "len"),
        .patch = with_patches(s) ? (int)number(s, "patch") : 0,
        .patch_weight = with_patches(s) ? (float)number(s, "patch_weight") : 0,
        .patch_coder = with_unet(s) ? MB_PATCH_UNET : MB_PATCH_LINEAR,
        .patch_side = with_unet(s) ? (int)number(s, "patch_side") : 0,
        .unet_channels = with_unet(s) ? (int)number(s, "unet_channels") : 0,
    };
}

static mb_optimizer_config optimizer_of(const mb_safetensors *s)
{
    return (mb_optimizer_config){
        .lr = (float)number(s, "lr"),
        .beta1 = (float)number(s, "beta1"),
        .beta2 = (float)number(s, "beta2"),
        .eps = (float)number(s, "eps"),
        .decay = (float)number(s, "decay"),
        .clip = (float)number(s, "clip"),
        .decay_norms = number(s, "decay_norms") != 0,
        .decay_embeddings = number(s, "decay_embeddings") != 0,
    };
}

/* Patches of micro-batch I, which the file has without their noise: put behind it as streams do. */
static void add_patches(const mb_safetensors *s, int i, mb_batch *b)
{
    enum { MOST = 512 };
    static float noisy[2][MOST], wanted[2][MOST];
    int64_t n = b->batch * b->len, patch = (int64_t)number(s, "patch");
    const float *clean = (const float *)tensor(s, "F32", "", "clean")->data + i * n * patch;
    const float *drawn = (const float *)tensor(s, "F32", "", "drawn")->data + i * n * patch;
    enum mb_prediction what = says(s, "prediction", "v") ? MB_VELOCITY : MB_EPSILON;

    cr_assert(i < 2 && n * patch <= MOST);
    b->patch = (int)patch;
    b->noise = (int32_t *)tensor(s, "I32", "", "noise")->data + i * n;
    b->noisy = noisy[i];
    b->wanted = wanted[i];
    for (int64_t j = 0; j < n * patch; j++) {
        int32_t step = b->noise[j / patch];
        double kept = mb_noise_kept(step < 0 ? 0 : step);

        noisy[i][j] = mb_noise_mix(kept, clean[j], drawn[j]);
        wanted[i][j] = mb_noise_wanted(what, kept, clean[j], drawn[j]);
    }
}

/* Micro-batch I, pointing into the file but for patches. */
static mb_batch batch_of(const mb_safetensors *s, int i)
{
    int64_t b = (int64_t)number(s, "batch"), l = (int64_t)number(s, "len"), at = i * b * l;

#define ROWS(type, dtype, name) ((type *)tensor(s, dtype, "", name)->data + at)
    mb_batch out = { .batch = b,
                     .len = l,
                     .token = ROWS(int32_t, "I32", "token"),
                     .target = ROWS(int32_t, "I32", "target"),
                     .modality = ROWS(uint8_t, "U8", "modality"),
                     .target_modality = ROWS(uint8_t, "U8", "target_modality"),
                     .position = ROWS(int32_t, "I32", "position"),
                     .lo = ROWS(int32_t, "I32", "lo"),
                     .hi = ROWS(int32_t, "I32", "hi") };
#undef ROWS
    if (with_patches(s))
        add_patches(s, i, &out);
    return out;
}

/* ---- comparing ----------------------------------------------------------------------------- */

static void expect_close(const float *have, const mb_st_tensor *want)
{
    const float *x = want->data;
    double difference = 0, scale = 0;

    for (size_t i = 0; i < want->size / sizeof *x; i++) {
        difference = fmax(difference, fabs((double)have[i] - x[i]));
        scale = fmax(scale, fabs((double)x[i]));
        difference = isnan(have[i]) ? INFINITY : difference;
    }
    cr_expect(difference <= tolerance->tensor * scale, "%s: %s: differs by %.2g of %.2g", where,
              want->name, difference, scale);
}

static void expect_near(double have, double want, const char *what, size_t row)
{
    cr_expect(fabs(have - want) <= tolerance->loss * fabs(want),
              "%s: losses[%zu]: %s is %.9g, not %.9g", where, row, what, have, want);
}

static void expect_losses(const mb_losses *have, const mb_safetensors *s, size_t row)
{
    const double *want = (const double *)tensor(s, "F64", "", "losses")->data + 7 * row;

    expect_near(have->sum[MB_TEXT], want[0], "text", row);
    expect_near(have->sum[MB_IMAGE], want[1], "image", row);
    expect_near(have->balance, want[2], "balance", row);
    expect_near(have->router_z, want[3], "router z", row);
    cr_expect_eq((double)have->asked, want[4], "%s: losses[%zu]: asked", where, row);
    cr_expect_eq((double)have->dropped, want[5], "%s: losses[%zu]: dropped", where, row);
    if (row > 0) /* only a step reports the norm */
        expect_near(have->grad_norm, want[6], "norm", row);
}

/* Numbers like WANT's from the memory of C; caller frees. */
static float *fetched(mb_ctx *c, const float *from, const mb_st_tensor *want)
{
    float *x = mb_alloc(want->size);

    mb_ctx_fetch(c, x, from, want->size);
    cr_assert_eq(mb_ctx_sync(c), MB_OK, "%s", mb_message());
    return x;
}

static void expect_close_to(mb_ctx *c, const float *from, const mb_st_tensor *want)
{
    float *x = fetched(c, from, want);

    expect_close(x, want);
    free(x);
}

/* The file's weights into the model. */
static void set_weights(mb_ctx *c, mb_model *m, const mb_safetensors *s)
{
    size_t n;
    mb_param *p = mb_model_params(m, &n);

    for (size_t i = 0; i < n; i++) {
        const mb_tensor *t = &p[i].t;
        const mb_st_tensor *w = tensor(s, "F32", "param.", t->name);
        int64_t shape[] = { t->slices, t->rows, t->cols };

        cr_assert_eq(w->rank, t->rank, "%s", t->name);
        cr_assert_arr_eq(w->shape, shape + 3 - t->rank, (size_t)t->rank * sizeof *shape, "%s",
                         t->name);
        mb_ctx_write(c, t->data, w->data, w->size);
    }
}

static void expect_evaluation(mb_model *m, const mb_safetensors *s)
{
    const mb_st_tensor *want = tensor(s, "F32", "", "logits");
    const double *sums = tensor(s, "F64", "", "evaluation")->data;
    float *logits = mb_alloc(want->size);
    mb_batch batch = batch_of(s, 0);
    mb_losses losses = { 0 };

    cr_assert_eq(mb_model_logits(m, &batch, logits), MB_OK, "%s", mb_message());
    expect_close(logits, want);
    free(logits);
    cr_assert_eq(mb_model_evaluate(m, &batch, &losses), MB_OK, "%s", mb_message());
    expect_near(losses.sum[MB_TEXT], sums[0], "text in evaluation", 0);
    expect_near(losses.sum[MB_IMAGE], sums[1], "image in evaluation", 0);
    cr_expect_eq((double)losses.asked, sums[2], "%s: asked in evaluation", where);
    cr_expect_eq((double)losses.dropped, sums[3], "%s: dropped in evaluation", where);
}

static void expect_prediction(mb_model *m, const mb_safetensors *s)
{
    const mb_st_tensor *want = tensor(s, "F32", "", "predicted");
    mb_batch batch = batch_of(s, 0);
    float *predicted = mb_alloc(want->size);

    cr_assert_eq(mb_model_predict(m, &batch, predicted), MB_OK, "%s", mb_message());
    expect_close(predicted, want);
    free(predicted);
}

static void expect_gradients(mb_ctx *c, mb_model *m, const mb_safetensors *s)
{
    mb_batch batch = batch_of(s, 0);
    mb_losses losses;
    size_t n;
    mb_param *p = mb_model_params(m, &n);

    cr_assert_eq(mb_model_gradients(m, &batch, 0, &losses), MB_OK, "%s", mb_message());
    expect_losses(&losses, s, 0);
    for (size_t i = 0; i < n; i++) {
        expect_close_to(c, p[i].t.grad, tensor(s, "F32", "grad.", p[i].t.name));
        mb_ctx_clear(c, p[i].t.grad, mb_bytes(&p[i].t)); /* a step adds */
    }
}

static void expect_training(mb_ctx *c, mb_model *m, const mb_safetensors *s)
{
    mb_optimizer_config how = optimizer_of(s);
    int micro = (int)number(s, "micro_batches");
    mb_batch batches[2];
    mb_losses losses;
    size_t n;
    mb_param *p = mb_model_params(m, &n);

    cr_assert(micro <= 2);
    for (int i = 0; i < micro; i++)
        batches[i] = batch_of(s, i);
    for (int step = 0; step < 10; step++) {
        cr_assert_eq(mb_model_step(m, batches, micro, &how, step, &losses), MB_OK, "%s",
                     mb_message());
        expect_losses(&losses, s, (size_t)step + 1);
    }
    for (size_t i = 0; i < n; i++)
        expect_close_to(c, mb_f32(&p[i].t), tensor(s, "F32", "after.", p[i].t.name));
}

static bool has_router(const char *name)
{
    return !strncmp(name, "switch", 6) || !strncmp(name, "moe-ec", 6) ||
           !strncmp(name, "gshard", 6);
}

ParameterizedTestParameters(golden, agrees_with_pytorch)
{
    static struct golden_case all[2 * CASES * BACKENDS];
    size_t n = 0;

    for (int i = 0; i < 2 * CASES * BACKENDS; i++) {
        struct golden_case g = { .precision = (mb_precision)(i % 2) };

        strcpy(g.name, cases[i / 2 / BACKENDS]);
        strcpy(g.backend, backends[i / 2 % BACKENDS]);
        if (g.precision == MB_FP32 || !has_router(g.name))
            all[n++] = g;
    }
    return cr_make_param_array(struct golden_case, all, n);
}

ParameterizedTest(struct golden_case *g, golden, agrees_with_pytorch)
{
    char *path = mb_format("tests/golden/%s.safetensors", g->name);
    char *label = mb_format("%s on %s in %s", g->name, g->backend, mb_precision_name[g->precision]);
    mb_safetensors *s;
    mb_model_config config;
    mb_arch arch;
    mb_ctx *c;
    mb_model *m;

    where = label;
    tolerance = &allowed[g->precision];
    cr_assert_eq(mb_safetensors_open(path, &s), MB_OK, "%s", mb_message());
    if (with_unet(s) && g->precision == MB_BF16)
        tolerance = &allowed_unet_bf16;
    config = config_of(s);
    arch = *mb_arch_find(text(s, "arch"));
    arch.random_second = false; /* the one draw that no other program can repeat */
    c = test_open_if_there(g->backend, g->precision);
    if (!c) {
        mb_safetensors_close(s);
        cr_skip_test("%s", mb_message());
    }
    cr_assert_eq(mb_model_open(c, &arch, &config, 1, &m), MB_OK, "%s", mb_message());
    set_weights(c, m, s);
    expect_evaluation(m, s);
    if (with_patches(s))
        expect_prediction(m, s);
    expect_gradients(c, m, s);
    if (g->precision == MB_FP32)
        expect_training(c, m, s);
    mb_model_close(m);
    mb_ctx_close(c);
    mb_safetensors_close(s);
    free(path);
    free(label);
}
