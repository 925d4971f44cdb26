#include "bench/task.h"

#include "base/file.h"
#include "base/random.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- words --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t at, size; /* size 0: an int from 1 */
} names[] = {
#define TEXT(x)                                                                                    \
    {                                                                                              \
#x, offsetof(mb_task, x), sizeof((mb_task *)0)->x                                          \
    }
#define NUMBER(x)                                                                                  \
    {                                                                                              \
#x, offsetof(mb_task, x), 0                                                                \
    }
    TEXT(arch),   TEXT(backend), TEXT(precision), TEXT(recompute), TEXT(mix),
    TEXT(export), NUMBER(width), NUMBER(layers),  NUMBER(heads),   NUMBER(batch),
    NUMBER(len),  NUMBER(vocab), NUMBER(experts), NUMBER(threads),
#undef TEXT
#undef NUMBER
};

static mb_err read_word(mb_task *t, const char *word)
{
    const char *value = strchr(word, '=');
    size_t n = value ? (size_t)(value++ - word) : 0;

    for (size_t i = 0; n && i < sizeof names / sizeof *names; i++) {
        void *to = (char *)t + names[i].at;
        char *end;
        long x;

        if (strlen(names[i].name) != n || memcmp(names[i].name, word, n))
            continue;
        if (names[i].size) {
            if (strlen(value) >= names[i].size)
                return mb_fail(MB_EINVAL, "'%s': longer than %zu letters", word, names[i].size - 1);
            strcpy(to, value);
            return MB_OK;
        }
        x = strtol(value, &end, 10);
        if (end == value || *end || x < 1 || x > 1 << 20)
            return mb_fail(MB_EINVAL, "'%s': expected a number from 1 to %d", word, 1 << 20);
        *(int *)to = (int)x;
        return MB_OK;
    }
    return mb_fail(MB_EINVAL, "'%s': expected name=value, names as in bench/task.c", word);
}

/* Shares of the modalities, in per cent; returns how many there are, 0 when MIX makes no sense. */
static int read_mix(const char *mix, int share[MB_MODALITIES])
{
    int sum = 0, n = 0;
    char *end;

    for (const char *at = mix; n < MB_MODALITIES; at = end + 1) {
        long x = strtol(at, &end, 10);

        if (end == at || x < 0 || x > 100)
            return 0;
        sum += share[n++] = (int)x;
        if (!*end)
            return sum == 100 ? n : 0;
        if (*end != ',')
            return 0;
    }
    return 0;
}

mb_err mb_task_read(mb_task *out, char **words, int n)
{
    int share[MB_MODALITIES];

    *out = (mb_task){ .arch = "dense",
                      .backend = "cpu",
                      .precision = "fp32",
                      .recompute = "none",
                      .mix = "50,50",
                      .width = 128,
                      .layers = 6,
                      .heads = 4,
                      .batch = 8,
                      .len = 256,
                      .vocab = 2048,
                      .experts = 4,
                      .threads = 1 };
    for (int i = 0; i < n; i++)
        MB_TRY(read_word(out, words[i]));
    if (!mb_arch_find(out->arch))
        return mb_fail(MB_EINVAL, "arch '%s': there is no such row in the table", out->arch);
    if (strcmp(out->recompute, "none") && strcmp(out->recompute, "layer"))
        return mb_fail(MB_EINVAL, "recompute '%s': expected none or layer", out->recompute);
    if (!read_mix(out->mix, share))
        return mb_fail(MB_EINVAL, "mix '%s': expected up to %d shares that sum to 100", out->mix,
                       MB_MODALITIES);
    if (out->vocab < MB_MODALITIES)
        return mb_fail(MB_EINVAL, "vocab %d: expected at least %d", out->vocab, MB_MODALITIES);
    return MB_OK;
}

/* ---- model and batch ----------------------------------------------------------------------- */

enum { SEED = 1 };

mb_err mb_task_model(const mb_task *t, mb_ctx *c, mb_model **out)
{
    const mb_arch *arch = mb_arch_find(t->arch);
    int share[MB_MODALITIES];
    mb_model_config config = { .vocab = t->vocab,
                               .modalities = read_mix(t->mix, share),
                               .width = t->width,
                               .layers = t->layers,
                               .heads = t->heads,
                               .ffn_multiple = 32,
                               .recompute = strcmp(t->recompute, "layer") ? MB_RECOMPUTE_NONE
                                                                          : MB_RECOMPUTE_LAYER,
                               .qk_norm = true,
                               .norm_eps = 1e-5f,
                               .rope_base = 10000,
                               .experts = t->experts,
                               .capacity = arch->capacity,
                               .balance = arch->balance,
                               .score = arch->score,
                               .batch = t->batch,
                               .len = t->len };

    return mb_model_open(c, arch, &config, SEED, out);
}

mb_optimizer_config mb_task_optimizer(void)
{
    return (mb_optimizer_config){
        .lr = 3e-4f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .decay = 0.1f, .clip = 1.0f
    };
}

/* The modality of each position of a sequence. */
static void fill_modality(uint8_t *modality, int64_t len, const int *share, int n)
{
    int64_t end = 0, at = 0;
    int sum = 0;

    for (int m = 0; m < n; m++) {
        sum += share[m];
        for (end = len * sum / 100; at < end; at++)
            modality[at] = (uint8_t)m;
    }
}

static void fill_sequence(mb_batch *b, int64_t start, uint64_t key, const int *share, int n,
                          int vocab)
{
    int64_t each = vocab / n;

    fill_modality(b->modality + start, b->len, share, n);
    for (int64_t p = 0; p < b->len; p++) {
        int64_t i = start + p;

        b->token[i] =
            (int32_t)(b->modality[i] * each + (int64_t)mb_below(key, (uint64_t)i, (uint64_t)each));
        b->position[i] = b->hi[i] = (int32_t)p;
        b->target[i] = -1;
        b->target_modality[i] = b->modality[i];
        if (p) {
            b->target[i - 1] = b->token[i];
            b->target_modality[i - 1] = b->modality[i];
        }
    }
}

mb_batch mb_task_batch(const mb_task *t)
{
    int64_t n = (int64_t)t->batch * t->len;
    int32_t *ints = mb_zalloc((size_t)(5 * n), sizeof *ints);
    uint8_t *bytes = mb_zalloc((size_t)(2 * n), 1);
    mb_batch b = { .batch = t->batch,
                   .len = t->len,
                   .token = ints,
                   .target = ints + n,
                   .position = ints + 2 * n,
                   .lo = ints + 3 * n,
                   .hi = ints + 4 * n,
                   .modality = bytes,
                   .target_modality = bytes + n };
    int share[MB_MODALITIES], modalities = read_mix(t->mix, share);

    for (int64_t s = 0; s < b.batch; s++)
        fill_sequence(&b, s * b.len, mb_key(SEED, "tokens", 0, 0), share, modalities, t->vocab);
    return b;
}

void mb_task_free_batch(mb_batch *b)
{
    free(b->token);
    free(b->modality);
}

static mb_err write_batch(const char *path, const mb_batch *b)
{
    size_t n = (size_t)(b->batch * b->len);
    FILE *f = fopen(path, "wb");
    bool ok;

    if (!f)
        return mb_fail(MB_EIO, "%s: %s", path, strerror(errno));
    ok = fwrite(b->token, sizeof *b->token, n, f) == n;
    for (size_t i = 0; i < n; i++) {
        int32_t m = b->modality[i];

        ok = fwrite(&m, sizeof m, 1, f) == 1 && ok;
    }
    return fclose(f) || !ok ? mb_fail(MB_EIO, "%s: cannot be written", path) : MB_OK;
}

mb_err mb_task_export(const mb_task *t, mb_model *m, const mb_batch *b)
{
    char *weights = mb_format("%s/weights.safetensors", t->export);
    char *batch = mb_format("%s/batch.i32", t->export);
    mb_err err = mb_checkpoint_save(weights, m, NULL);

    if (!err)
        err = write_batch(batch, b);
    free(weights);
    free(batch);
    return err;
}
