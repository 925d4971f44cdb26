/* Checkpoints: what is saved comes back, training goes on as if never interrupted, and a file that
   is not the model's is refused. */
#include "tests/tiny.h"

#include "base/file.h"
#include "models/safetensors.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/motbench-checkpoint-XXXXXX";
static char *path;

static void setup(void)
{
    cr_assert(mkdtemp(folder));
    path = mb_format("%s/x.safetensors", folder);
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
    free(path);
}

TestSuite(checkpoint, .init = setup, .fini = teardown);

static void train(mb_model *m, int from, int to)
{
    mb_batch batch = tiny_batch(mb_model_settings(m), 1, 0.4);
    mb_optimizer_config how = tiny_optimizer(1e-2f);
    mb_losses losses;

    how.decay = 0.1f;
    how.clip = 0.5f;
    for (int step = from; step < to; step++)
        cr_assert_eq(mb_model_step(m, &batch, 1, &how, step, &losses), MB_OK);
    tiny_free(&batch);
}

static mb_model *open_model(mb_ctx *c, const char *arch, uint64_t seed)
{
    mb_model_config config = tiny_config(mb_arch_find(arch));

    config.jitter = 0.01; /* draws are keyed by the step: they must not depend on the past */
    return tiny_model(c, mb_arch_find(arch), &config, seed);
}

static void expect_same_parameters(mb_model *a, mb_model *b)
{
    int64_t n, k;
    float *x = tiny_copy(a, 0, &n), *y = tiny_copy(b, 0, &k);

    cr_assert_eq(n, k);
    cr_expect_eq(memcmp(x, y, (size_t)n * sizeof *x), 0, "%s", mb_model_arch(a)->name);
    free(x);
    free(y);
}

Test(checkpoint, weights_come_back)
{
    static const char *const notes[] = { "model.width", "8", NULL };

    for (const mb_arch *a = mb_archs; a->name; a++) {
        mb_ctx *c = tiny_ctx("cpu");
        mb_model *m = open_model(c, a->name, 1), *other = open_model(c, a->name, 2);
        char *value;

        cr_assert_eq(mb_checkpoint_save(path, m, notes), MB_OK, "%s", mb_message());
        cr_assert_eq(mb_checkpoint_load(path, other), MB_OK, "%s", mb_message());
        expect_same_parameters(m, other);
        cr_assert_eq(mb_checkpoint_metadata(path, "model.width", &value), MB_OK);
        cr_expect_str_eq(value, "8");
        free(value);
        cr_assert_eq(mb_checkpoint_metadata(path, "model.height", &value), MB_OK);
        cr_expect_null(value);
        mb_model_close(m);
        mb_model_close(other);
        mb_ctx_close(c);
    }
}

Test(checkpoint, resumed_training_gives_the_same_bits)
{
    for (const mb_arch *a = mb_archs; a->name; a++) {
        mb_ctx *c = tiny_ctx("cpu");
        mb_model *through = open_model(c, a->name, 1), *stopped = open_model(c, a->name, 1);
        mb_model *resumed;
        int64_t step;

        train(through, 0, 6);
        train(stopped, 0, 3);
        cr_assert_eq(mb_checkpoint_save_state(path, stopped, 3, NULL), MB_OK, "%s", mb_message());
        resumed = open_model(c, a->name, 1);
        cr_assert_eq(mb_checkpoint_load_state(path, resumed, &step), MB_OK, "%s", mb_message());
        cr_expect_eq(step, 3);
        train(resumed, 3, 6);
        expect_same_parameters(through, resumed);
        mb_model_close(through);
        mb_model_close(stopped);
        mb_model_close(resumed);
        mb_ctx_close(c);
    }
}

/* Loading into a model of ARCH fails and says WHAT. */
static void expect_refused(mb_ctx *c, const char *arch, const char *what)
{
    mb_model *m = open_model(c, arch, 1);

    cr_expect_eq(mb_checkpoint_load(path, m), MB_ECORRUPT);
    cr_expect(strstr(mb_message(), path), "%s", mb_message());
    cr_expect(strstr(mb_message(), what), "%s", mb_message());
    mb_model_close(m);
}

Test(checkpoint, another_models_file_is_refused)
{
    mb_ctx *c = tiny_ctx("cpu");
    mb_model *m = open_model(c, "mot", 1);
    int64_t step;

    cr_assert_eq(mb_checkpoint_save(path, m, NULL), MB_OK);
    expect_refused(c, "dense", "attention.norm");
    expect_refused(c, "switch", "tensors");
    cr_expect_eq(mb_checkpoint_load_state(path, m, &step), MB_ECORRUPT, "weights are no state");
    cr_assert_eq(mb_checkpoint_save_state(path, m, 3, NULL), MB_OK);
    expect_refused(c, "mot", "tensors");
    cr_assert_eq(unlink(path), 0);
    cr_expect_eq(mb_checkpoint_load(path, m), MB_EMISSING);
    mb_model_close(m);
    mb_ctx_close(c);
}

/* The weights of M in a file whose tensor I is changed by hand. */
static void save_changed(mb_model *m, size_t i, const char *name, const char *dtype, int rank)
{
    mb_safetensors *s;
    mb_st_tensor *tensors;
    size_t n;

    cr_assert_eq(mb_checkpoint_save(path, m, NULL), MB_OK);
    cr_assert_eq(mb_safetensors_open(path, &s), MB_OK);
    n = mb_safetensors_count(s);
    tensors = mb_zalloc(n, sizeof *tensors);
    for (size_t j = 0; j < n; j++)
        tensors[j] = *mb_safetensors_at(s, j);
    if (name)
        tensors[i].name = name;
    if (dtype)
        tensors[i].dtype = dtype;
    for (; tensors[i].rank < rank; tensors[i].rank++)
        tensors[i].shape[tensors[i].rank] = 1;
    cr_assert_eq(mb_safetensors_write(path, tensors, n, NULL), MB_OK);
    free(tensors);
    mb_safetensors_close(s);
}

Test(checkpoint, a_wrong_name_dtype_or_shape_is_named)
{
    mb_ctx *c = tiny_ctx("cpu");
    mb_model *m = open_model(c, "dense", 1);

    save_changed(m, 0, "embedding", NULL, 0);
    expect_refused(c, "dense", "'embed'");
    save_changed(m, 0, NULL, "I32", 0);
    expect_refused(c, "dense", "I32");
    save_changed(m, 0, NULL, NULL, 3);
    expect_refused(c, "dense", "'embed'");
    mb_model_close(m);
    mb_ctx_close(c);
}

Test(checkpoint, a_refused_file_changes_nothing)
{
    mb_ctx *c = tiny_ctx("cpu");
    mb_model *m = open_model(c, "dense", 1), *same = open_model(c, "dense", 1);
    mb_model *other = open_model(c, "dense", 2);
    size_t n;

    mb_model_params(other, &n);
    save_changed(other, n - 1, "tail", NULL, 0);
    cr_expect_eq(mb_checkpoint_load(path, m), MB_ECORRUPT);
    expect_same_parameters(m, same);
    mb_model_close(m);
    mb_model_close(same);
    mb_model_close(other);
    mb_ctx_close(c);
}

Test(checkpoint, a_flipped_bit_anywhere_in_a_weight_is_noticed)
{
    mb_ctx *c = tiny_ctx("cpu");
    mb_model *m = open_model(c, "mot", 1);
    FILE *f;
    int byte;

    cr_assert_eq(mb_checkpoint_save(path, m, NULL), MB_OK, "%s", mb_message());
    f = fopen(path, "r+b");
    cr_assert(f && !fseek(f, -2, SEEK_END));
    byte = getc(f);
    cr_assert(!fseek(f, -2, SEEK_END) && putc(byte ^ 1, f) != EOF);
    cr_assert_eq(fclose(f), 0);
    expect_refused(c, "mot", "the file is damaged");
    mb_model_close(m);
    mb_ctx_close(c);
}

Test(checkpoint, a_state_without_a_step_is_refused)
{
    static const char *const steps[] = { "", "-1", "3x", "99999999999999999999", NULL };
    mb_ctx *c = tiny_ctx("cpu");
    mb_model *m = open_model(c, "dense", 1);
    int64_t step;

    for (int i = 0; i < 5; i++) {
        const char *const metadata[] = { "step", steps[i], NULL };
        mb_safetensors *s;
        mb_st_tensor *tensors;
        size_t n;

        cr_assert_eq(mb_checkpoint_save_state(path, m, 3, NULL), MB_OK);
        cr_assert_eq(mb_safetensors_open(path, &s), MB_OK);
        n = mb_safetensors_count(s);
        tensors = mb_zalloc(n, sizeof *tensors);
        for (size_t j = 0; j < n; j++)
            tensors[j] = *mb_safetensors_at(s, j);
        cr_assert_eq(mb_safetensors_write(path, tensors, n, steps[i] ? metadata : NULL), MB_OK);
        free(tensors);
        mb_safetensors_close(s);
        cr_expect_eq(mb_checkpoint_load_state(path, m, &step), MB_ECORRUPT, "step '%s'",
                     steps[i] ? steps[i] : "(none)");
    }
    mb_model_close(m);
    mb_ctx_close(c);
}
