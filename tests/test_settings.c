#include "base/file.h"
#include "harness/settings.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static mb_err set(mb_settings *s, const char *section, const char *key, const char *value)
{
    return mb_settings_set(s, "here:1", true, section, key, value);
}

static bool says(const char *part)
{
    return strstr(mb_message(), part) != NULL;
}

Test(settings, every_row_holds_its_default_and_reads_it_back)
{
    mb_settings *s = mb_settings_new(), *again = mb_settings_new();
    char text[MB_TEXT_MAX], second[MB_TEXT_MAX];
    const mb_setting *row;
    mb_arch_settings *a, *b;

    cr_assert(eq(int, mb_settings_arch(s, "here", "switch", &a), MB_OK));
    cr_assert(eq(int, mb_settings_arch(again, "here", "switch", &b), MB_OK));
    for (row = mb_setting_table; row->section; row++) {
        const char *section = strcmp(row->section, "arch") ? row->section : "arch switch";

        mb_settings_text(s, a, row, text);
        if (row->fallback)
            cr_expect(eq(str, text, (char *)row->fallback), "%s.%s", row->section, row->key);
        cr_assert(eq(int, set(again, section, row->key, text), MB_OK), "%s", mb_message());
        mb_settings_text(again, b, row, second);
        cr_expect(eq(str, text, second), "%s.%s", row->section, row->key);
    }
    cr_assert(le(int, (int)(row - mb_setting_table), MB_SETTINGS_MAX));
    mb_settings_free(s);
    mb_settings_free(again);
}

Test(settings, an_architecture_begins_with_the_defaults_of_its_row)
{
    mb_settings *s = mb_settings_new();
    mb_arch_settings *a;

    cr_assert(eq(int, mb_settings_arch(s, "here", "switch", &a), MB_OK));
    cr_assert(eq(dbl, a->capacity, mb_arch_find("switch")->capacity));
    cr_assert(eq(dbl, a->balance, mb_arch_find("switch")->balance));
    mb_settings_free(s);
}

static const struct {
    const char *section, *key, *value, *expected;
} refused[] = {
    { "model", "width", "12x",
      "here:1: key 'width': found '12x', expected a whole number in 2 .. " },
    { "model", "width", "", "expected a whole number" },
    { "model", "width", " 8", "expected a whole number" },
    { "model", "width", "64.0", "expected a whole number" },
    { "model", "layers", "0", "in 1 .. 1000" },
    { "workload", "steps", "99999999999999999999", "expected a whole number" },
    { "optimizer", "lr", "fast", "expected a number in 0 .. 10" },
    { "optimizer", "lr", "nan", "expected a number" },
    { "optimizer", "lr", "inf", "expected a number" },
    { "optimizer", "lr", "-0.1", "expected a number" },
    { "optimizer", "schedule", "cosin", "expected one of cosine, linear, constant" },
    { "optimizer", "decay_norms", "2", "expected true or false" },
    { "arch switch", "experts", "0", "expected a whole number in 1 .. 1024" },
    { "arch switch", "capacity", "nan", "expected a number" },
    { "arch dense", "experts", "4", "which has no router" },
    { "arch dance", "experts", "4", "arch 'dance' is not known, expected one of dense, " },
    { "arch", "experts", "4", "section [arch] is not known" },
    { "modle", "width", "4", "section [modle] is not known, expected workload, " },
    { "model", "widht", "4",
      "key 'widht' is not known in [model], expected one of vocab, width, " },
    { "seeds", "list", "1,x", "found 'x'" },
    { "seeds", "list", "1,1", "every number once" },
    { "seeds", "list", "", "expected a whole number" },
    { "seeds", "list", "1,-2", "found '-2'" },
    { "seeds", "list", "1,", "expected a whole number" },
    { "seeds", "list", "1,,2", "found '', expected a whole number" },
    { "seeds", "list", "1 2", "found '1 2'" },
};

Test(settings, a_value_that_is_not_acceptable_is_refused_with_its_place)
{
    size_t i;

    for (i = 0; i < sizeof refused / sizeof *refused; i++) {
        mb_settings *s = mb_settings_new();

        cr_expect(eq(int, set(s, refused[i].section, refused[i].key, refused[i].value), MB_EINVAL),
                  "%s = %s", refused[i].key, refused[i].value);
        cr_expect(says(refused[i].expected), "%s", mb_message());
        cr_expect(says("here:1: "), "%s", mb_message());
        mb_settings_free(s);
    }
}

Test(settings, a_string_longer_than_its_place_is_refused)
{
    mb_settings *s = mb_settings_new();
    char value[MB_STRING_MAX + 1];

    memset(value, 'a', MB_STRING_MAX);
    value[MB_STRING_MAX] = '\0';
    cr_assert(eq(int, set(s, "workload", "path", value), MB_EINVAL));
    cr_assert(eq(int, set(s, "workload", "path", value + 1), MB_OK));
    mb_settings_free(s);
}

Test(settings, a_file_sets_a_key_once_and_overrides_set_it_again)
{
    mb_settings *s = mb_settings_new();

    cr_assert(eq(int, set(s, "model", "width", "32"), MB_OK));
    cr_assert(eq(int, set(s, "model", "width", "32"), MB_EINVAL));
    cr_assert(says("set a second time, first at here:1"));
    cr_assert(eq(int, mb_settings_override(s, "model.width=48"), MB_OK));
    cr_assert(eq(int, mb_settings_override(s, "model.width=96"), MB_OK));
    cr_assert(eq(int, s->model.width, 96));
    mb_settings_free(s);
}

Test(settings, an_override_names_section_key_and_value)
{
    mb_settings *s = mb_settings_new();

    cr_assert(eq(int, mb_settings_override(s, "arch switch.capacity=1.5"), MB_OK));
    cr_assert(eq(dbl, s->arch[0].capacity, 1.5));
    cr_assert(eq(int, mb_settings_override(s, "width=3"), MB_EINVAL));
    cr_assert(says("-S width=3: expected section.key=value"));
    cr_assert(eq(int, mb_settings_override(s, "model.width"), MB_EINVAL));
    cr_assert(eq(int, mb_settings_override(s, "optimizer.lr=1e-3x"), MB_EINVAL));
    cr_assert(says("-S optimizer.lr=1e-3x: key 'lr'"));
    mb_settings_free(s);
}

static const struct {
    const char *section, *key, *value, *expected;
} unfit[] = {
    { "model", "heads", "3", "here:1: key 'heads': found 3, expected a divisor of the width 64" },
    { "model", "width", "36", "key 'heads': found 4, expected" }, /* heads of 9: odd */
    { "workload", "text_vocab", "255", "here:1: key 'text_vocab': found 255, expected 0 or" },
    { "workload", "data", "shards", "need key 'path'" },
    { "arch switch", "score", "sigmoid", "key 'score': sigmoid has no balance" },
    { "arch gshard", "experts", "1", "here:1: key 'experts': found 1, expected at least 2" },
};

Test(settings, values_that_do_not_fit_together_are_refused_with_their_place)
{
    size_t i;

    for (i = 0; i < sizeof unfit / sizeof *unfit; i++) {
        mb_settings *s = mb_settings_new();
        mb_arch_settings *a;

        cr_assert(eq(int, mb_settings_arch(s, "here", "dense", &a), MB_OK));
        cr_assert(eq(int, set(s, unfit[i].section, unfit[i].key, unfit[i].value), MB_OK), "%s",
                  mb_message());
        cr_expect(eq(int, mb_settings_check(s), MB_EINVAL), "%s", unfit[i].expected);
        cr_expect(says(unfit[i].expected), "%s", mb_message());
        mb_settings_free(s);
    }
}

/* Defaults of one kind, which give way to what is asked for. */
Test(settings, transfusion_has_norms_before_and_captions_first)
{
    for (int asked = 0; asked < 2; asked++) {
        mb_settings *s = mb_settings_new();
        mb_arch_settings *a;

        cr_assert(eq(int, mb_settings_arch(s, "here", "dense", &a), MB_OK));
        cr_assert(eq(int, set(s, "workload", "kind", "transfusion"), MB_OK));
        if (asked) {
            cr_assert(eq(int, set(s, "model", "norm", "post"), MB_OK));
            cr_assert(eq(int, set(s, "workload", "image_first", "0.5"), MB_OK));
        }
        cr_assert(eq(int, mb_settings_check(s), MB_OK), "%s", mb_message());
        cr_expect_eq(s->model.norm, asked ? MB_POST : MB_PRE);
        cr_expect_eq(s->mixture.image_first, asked ? 0.5 : 0.2);
        cr_expect_eq(s->model.patch_weight, 5);
        cr_expect_eq(s->mixture.prediction, MB_EPSILON);
        mb_settings_free(s);
    }
}

Test(settings, a_step_of_more_tokens_than_memory_could_hold_is_refused)
{
    mb_settings *s = mb_settings_new();
    mb_arch_settings *a;

    cr_assert(eq(int, mb_settings_arch(s, "here", "dense", &a), MB_OK));
    cr_assert(eq(int, set(s, "workload", "batch", "65536"), MB_OK));
    cr_assert(eq(int, set(s, "workload", "seq_len", "1024"), MB_OK));
    cr_expect(eq(int, mb_settings_check(s), MB_OK), "%s", mb_message());
    cr_assert(eq(int, set(s, "workload", "accumulate", "2"), MB_OK));
    cr_expect(eq(int, mb_settings_check(s), MB_EINVAL));
    cr_expect(says("here:1: key 'batch': 65536 x seq_len 1024 x accumulate 2"), "%s", mb_message());
    mb_settings_free(s);
}

Test(settings, without_an_architecture_there_is_nothing_to_run)
{
    mb_settings *s = mb_settings_new();

    cr_assert(eq(int, mb_settings_check(s), MB_EINVAL));
    cr_assert(says("[arch NAME]"));
    mb_settings_free(s);
}

Test(settings, what_is_recorded_is_complete_and_what_decides_leaves_out_the_incidental)
{
    mb_settings *s = mb_settings_new();
    mb_arch_settings *dense, *router;
    size_t all, decisive, routed, i;
    mb_pair *pairs;

    cr_assert(eq(int, mb_settings_arch(s, "here", "dense", &dense), MB_OK));
    cr_assert(eq(int, mb_settings_arch(s, "here", "switch", &router), MB_OK));
    pairs = mb_settings_pairs(s, dense, false, &all);
    mb_pairs_free(pairs, all);
    pairs = mb_settings_pairs(s, router, false, &routed);
    mb_pairs_free(pairs, routed);
    cr_assert(eq(sz, routed, all + 8)); /* [arch NAME] has eight keys */
    pairs = mb_settings_pairs(s, dense, true, &decisive);
    cr_assert(lt(sz, decisive, all));
    cr_assert(eq(str, (char *)pairs[0].value, "dense"));
    for (i = 0; i < decisive; i++)
        cr_expect(ne(str, (char *)pairs[i].key, "workload.checkpoint_every"));
    mb_pairs_free(pairs, decisive);
    mb_settings_free(s);
}

Test(settings, the_learning_rate_warms_up_then_falls_to_its_end)
{
    mb_settings *s = mb_settings_new();

    s->steps = 100;
    s->warmup = 10;
    s->optimizer.lr = 1;
    s->min_lr = 0.1;
    cr_assert(epsilon_eq(flt, mb_settings_lr(s, 0), 0.1f, 1e-6f));
    cr_assert(epsilon_eq(flt, mb_settings_lr(s, 9), 1.0f, 1e-6f));
    cr_assert(epsilon_eq(flt, mb_settings_lr(s, 10), 1.0f, 1e-6f));
    cr_assert(epsilon_eq(flt, mb_settings_lr(s, 55), 0.55f, 1e-6f)); /* half of the way */
    cr_assert(lt(flt, mb_settings_lr(s, 99), 0.101f));
    s->schedule = MB_LINEAR;
    cr_assert(epsilon_eq(flt, mb_settings_lr(s, 55), 0.55f, 1e-6f));
    cr_assert(epsilon_eq(flt, mb_settings_lr(s, 99), 0.11f, 1e-6f));
    s->schedule = MB_CONSTANT;
    cr_assert(eq(flt, mb_settings_lr(s, 99), 1.0f));
    mb_settings_free(s);
}

Test(settings, a_warm_up_longer_than_the_run_only_rises)
{
    mb_settings *s = mb_settings_new();

    s->steps = 5;
    s->warmup = 10;
    s->optimizer.lr = 1;
    cr_assert(epsilon_eq(flt, mb_settings_lr(s, 4), 0.5f, 1e-6f));
    mb_settings_free(s);
}

/* Each workload file that is shipped must be accepted as a whole. */
Test(settings, shipped_workloads_are_valid)
{
    static const char *const paths[] = { "workloads/demo.ini", "workloads/chameleon.ini",
                                         "workloads/smoke.ini" };
    size_t i;

    for (i = 0; i < sizeof paths / sizeof *paths; i++) {
        mb_settings *s = mb_settings_new();

        cr_expect(eq(int, mb_settings_load(s, paths[i]), MB_OK), "%s", mb_message());
        cr_expect(eq(int, mb_settings_check(s), MB_OK), "%s", mb_message());
        mb_settings_free(s);
    }
}
