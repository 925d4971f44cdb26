/* What follows from all settings together: cross-checks, records, and configurations for data and
   models. */
#include "base/file.h"
#include "harness/settings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *source_of(const mb_settings *s)
{
    return s->file ? s->file : s->name;
}

const char *mb_settings_place(const mb_settings *s, const mb_arch_settings *a, const char *section,
                              const char *key)
{
    const mb_setting *row = mb_setting_find(section, key);
    const char *place = (a ? a->place : s->place)[row - mb_setting_table];

    return place ? place : source_of(s);
}

/* Rows of a batch are numbered with 32 bits, and a whole step is kept in memory. */
enum { STEP_TOKENS_MAX = 1 << 26, TEXT_VOCAB_MIN = 256 };

static mb_err check_sizes(const mb_settings *s)
{
    if (s->batch * s->len > STEP_TOKENS_MAX / s->accumulate)
        return mb_fail(MB_EINVAL,
                       "%s: key 'batch': %lld x seq_len %lld x accumulate %d tokens in a step, "
                       "expected at most %d",
                       mb_settings_place(s, NULL, "workload", "batch"), (long long)s->batch,
                       (long long)s->len, s->accumulate, STEP_TOKENS_MAX);
    if (s->text_vocab > 0 && s->text_vocab < TEXT_VOCAB_MIN)
        return mb_fail(
            MB_EINVAL, "%s: key 'text_vocab': found %d, expected 0 or at least %d, one id a byte",
            mb_settings_place(s, NULL, "workload", "text_vocab"), s->text_vocab, TEXT_VOCAB_MIN);
    return MB_OK;
}

mb_err mb_settings_find_data(const mb_settings *s)
{
    return mb_data_known(s->source) ? mb_fail_in(MB_EINVAL, "%s: key 'data'",
                                                 mb_settings_place(s, NULL, "workload", "data"))
                                    : MB_OK;
}

static mb_err check_data(mb_settings *s)
{
    if (!strcmp(s->source, "shards") && !*s->path)
        return mb_fail(MB_EINVAL, "%s: key 'data': shards need key 'path', the user's own data",
                       mb_settings_place(s, NULL, "workload", "data"));
    if (s->mixture.pair_weight == 0 && s->mixture.text_weight == 0)
        return mb_fail(MB_EINVAL, "%s: key 'pair_weight': 0 like text_weight, expected one above 0",
                       mb_settings_place(s, NULL, "workload", "pair_weight"));
    if (s->text_vocab == 0)
        s->text_vocab = mb_data_text_vocab(s->source);
    return MB_OK;
}

static mb_err check_model(const mb_settings *s)
{
    int width = s->model.width, heads = s->model.heads;

    if (width % heads || width / heads % 2)
        return mb_fail(MB_EINVAL,
                       "%s: key 'heads': found %d, expected a divisor of the width %d into parts "
                       "of even size",
                       mb_settings_place(s, NULL, "model", "heads"), heads, width);
    if (s->model.patch_coder == MB_PATCH_UNET && s->model.patch_side & (s->model.patch_side - 1))
        return mb_fail(MB_EINVAL, "%s: key 'patch_side': found %d, expected a power of two",
                       mb_settings_place(s, NULL, "model", "patch_side"), s->model.patch_side);
    if (s->model.gate == MB_INSIDE && s->model.norm == MB_PRE)
        return mb_fail(MB_EINVAL, "%s: key 'gate': inside needs norm = post",
                       mb_settings_place(s, NULL, "model", "gate"));
    return MB_OK;
}

static mb_err check_arch(const mb_settings *s, const mb_arch_settings *a)
{
    if (a->arch->ffn != MB_BY_ROUTER)
        return MB_OK;
    if (a->experts < a->arch->top_k)
        return mb_fail(MB_EINVAL, "%s: key 'experts': found %d, expected at least %d for arch '%s'",
                       mb_settings_place(s, a, "arch", "experts"), a->experts, a->arch->top_k,
                       a->arch->name);
    if (a->score == MB_SIGMOID && (a->balance > 0 || a->router_z > 0))
        return mb_fail(MB_EINVAL,
                       "%s: key 'score': sigmoid has no balance or z-loss, expected balance = 0 "
                       "and router_z = 0 with it",
                       mb_settings_place(s, a, "arch", "score"));
    return MB_OK;
}

static bool is_set(const mb_settings *s, const char *section, const char *key)
{
    return s->place[mb_setting_find(section, key) - mb_setting_table] != NULL;
}

/* Defaults that are another kind's: Transfusion's norm and order of pairs. */
static void complete_kind(mb_settings *s)
{
    if (s->kind != MB_TRANSFUSION)
        return;
    if (!is_set(s, "model", "norm"))
        s->model.norm = MB_PRE;
    if (!is_set(s, "workload", "image_first"))
        s->mixture.image_first = 0.2;
}

mb_err mb_settings_check(mb_settings *s)
{
    int i;

    complete_kind(s);
    MB_TRY(check_sizes(s));
    MB_TRY(check_data(s));
    MB_TRY(check_model(s));
    if (!s->archs)
        return mb_fail(MB_EINVAL, "%s: no [arch NAME] section, expected one or -a", source_of(s));
    for (i = 0; i < s->archs; i++)
        MB_TRY(check_arch(s, &s->arch[i]));
    return MB_OK;
}

mb_pair *mb_settings_pairs(const mb_settings *s, const mb_arch_settings *a, bool decisive,
                           size_t *n)
{
    mb_pair *pairs = mb_zalloc(MB_SETTINGS_MAX + 1, sizeof *pairs);
    const mb_setting *row;
    char text[MB_TEXT_MAX];

    pairs[0] = (mb_pair){ mb_format("arch.name"), mb_format("%s", a->arch->name) };
    *n = 1;
    for (row = mb_setting_table; row->section; row++) {
        if (!strcmp(row->section, "arch") && a->arch->ffn != MB_BY_ROUTER)
            continue;
        if (decisive && (row->incidental || row->type == MB_SET_LIST))
            continue;
        mb_settings_text(s, a, row, text);
        pairs[(*n)++] =
            (mb_pair){ mb_format("%s.%s", row->section, row->key), mb_format("%s", text) };
    }
    return pairs;
}

void mb_pairs_free(mb_pair *pairs, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        free((char *)pairs[i].key);
        free((char *)pairs[i].value);
    }
    free(pairs);
}

mb_data_request mb_settings_data(const mb_settings *s)
{
    return (mb_data_request){
        .source = s->source,
        .text_vocab = s->text_vocab,
        .path = *s->path ? s->path : NULL,
        .fashion_dir = *s->fashion_dir ? s->fashion_dir : NULL,
        .wordnet_dir = *s->wordnet_dir ? s->wordnet_dir : NULL,
        .stamps_dir = *s->stamps_dir ? s->stamps_dir : NULL,
    };
}

/* Patches of as many numbers as the settings say, or of some for each pixel. */
static mb_err fit_patches(const mb_settings *s, const mb_data *d)
{
    int patch = mb_data_patch(d), pixels = s->model.patch_side * s->model.patch_side;
    bool unet = s->model.patch_coder == MB_PATCH_UNET;

    if (s->patch_channels > 0 ? patch != pixels * s->patch_channels : unet && patch % pixels != 0)
        return mb_fail(MB_EINVAL,
                       "%s: key 'patch_side': found %d, patch_channels = %d, but %s has patches of "
                       "%d numbers",
                       mb_settings_place(s, NULL, "model", "patch_side"), s->model.patch_side,
                       s->patch_channels, mb_data_name(d), patch);
    return MB_OK;
}

mb_err mb_settings_fit(const mb_settings *s, const mb_data *d)
{
    static const char *const holds[] = { [MB_CHAMELEON] = "no speech",
                                         [MB_CHAMELEON_SPEECH] = "some speech",
                                         [MB_TRANSFUSION] = "images as patches" };
    enum mb_workload_kind fits = mb_data_patch(d) > 0                ? MB_TRANSFUSION
                                 : mb_data_modalities(d) > MB_SPEECH ? MB_CHAMELEON_SPEECH
                                                                     : MB_CHAMELEON;

    if (s->kind != fits)
        return mb_fail(MB_EINVAL, "%s: key 'data': %s has %s, expected kind = %s",
                       mb_settings_place(s, NULL, "workload", "data"), mb_data_name(d), holds[fits],
                       mb_setting_find("workload", "kind")->names[fits]);
    if (s->model.vocab > 0 && s->model.vocab < mb_data_vocab(d))
        return mb_fail(MB_EINVAL,
                       "%s: key 'vocab': found %d, expected 0 or at least the %d ids of %s",
                       mb_settings_place(s, NULL, "model", "vocab"), s->model.vocab,
                       mb_data_vocab(d), mb_data_name(d));
    return s->kind == MB_TRANSFUSION ? fit_patches(s, d) : MB_OK;
}

mb_data_sizes mb_settings_sizes(const mb_data *d)
{
    return (mb_data_sizes){ mb_data_vocab(d), mb_data_modalities(d), mb_data_patch(d) };
}

mb_model_config mb_settings_model(const mb_settings *s, const mb_arch_settings *a,
                                  mb_data_sizes sizes)
{
    mb_model_config c = s->model;

    if (c.vocab < sizes.vocab) /* larger than need be: as if the data had more ids */
        c.vocab = sizes.vocab;
    c.modalities = sizes.modalities;
    c.patch = sizes.patch;
    c.experts = a->experts;
    c.capacity = a->capacity;
    c.eval_capacity = a->eval_capacity;
    c.balance = a->balance;
    c.router_z = a->router_z;
    c.jitter = a->jitter;
    c.score = a->score;
    c.group = a->group;
    c.batch = s->batch;
    c.len = s->len;
    return c;
}

float mb_settings_lr(const mb_settings *s, int64_t step)
{
    double lr = s->optimizer.lr, low = s->min_lr * lr, done;

    if (step < s->warmup)
        return (float)(lr * (double)(step + 1) / (double)s->warmup);
    done = (double)(step - s->warmup) / (double)(s->steps - s->warmup);
    if (s->schedule == MB_COSINE)
        return (float)(low + (lr - low) * 0.5 * (1 + cos(M_PI * done)));
    if (s->schedule == MB_LINEAR)
        return (float)(low + (lr - low) * (1 - done));
    return (float)lr;
}

int64_t mb_settings_tokens(const mb_settings *s)
{
    return s->batch * s->len * s->accumulate;
}
