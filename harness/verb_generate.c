/* motbench generate: samples of a stored run's model, as files to look at, and how fast they came.
 */
#include "harness/command.h"
#include "harness/gallery.h"
#include "harness/options.h"
#include "harness/saved.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEMPERATURE = 256, TOP_P, PROMPT, ANSWER, SPLIT, AT_ONCE, SEED, BACKEND, THREADS };
enum { ANY = -1 };

typedef struct generate_options {
    mb_common common;
    const char *run, *folder, *backend;
    int threads;
    mb_generate_plan plan; /* its direction: ANY where nothing was asked for */
} generate_options;

static const struct argp_option options[] = {
    { NULL, 'n', "N", 0, "Samples in each direction (default: 16)", 0 },
    { "prompt", PROMPT, "MODALITY", 0, "Only with prompts of text, image or speech", 0 },
    { "answer", ANSWER, "MODALITY", 0, "Only answers of text, image or speech", 0 },
    { "split", SPLIT, "NAME", 0, "Where prompts come from: train, val (default) or test", 0 },
    { "seed", SEED, "N", 0, "Decides what is drawn (default: 1)", 0 },
    { "temperature", TEMPERATURE, "T", 0,
      "Divides logits (default: 1); 0 takes the likeliest token", 0 },
    { "top-p", TOP_P, "P", 0,
      "Draws among the fewest tokens that are together so likely (default: 1)", 0 },
    { "at-once", AT_ONCE, "N", 0, "Sequences side by side (default: 64)", 0 },
    { "output", 'o', "FOLDER", 0, "Where files go (default: DATABASE.samples/RUN)", 0 },
    { "backend", BACKEND, "NAME", 0, "cpu (default), cuda or ref", 0 },
    { "threads", THREADS, "N", 0, "Threads (default: all cores)", 0 },
    { 0 },
};

/* Which of LIST (N names) TEXT is; anything else ends the program. */
static int parse_name(const struct argp_state *state, const char *option, const char *text,
                      const char *const *list, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i], text))
            return i;
    argp_error(state, "%s %s: expected %s, %s or %s", option, text, list[0], list[1], list[2]);
    return 0;
}

static error_t parse_sampling(int key, char *arg, struct argp_state *state, mb_generate_plan *plan)
{
    switch (key) {
    case SEED:
        plan->seed = (uint64_t)mb_parse_count(state, "--seed", arg, INT32_MAX);
        break;
    case TEMPERATURE:
        plan->sampling.temperature = mb_parse_number(state, "--temperature", arg, 0, 100);
        break;
    case TOP_P:
        plan->sampling.top_p = mb_parse_number(state, "--top-p", arg, 1e-6, 1);
        break;
    case AT_ONCE:
        plan->at_once = mb_parse_count(state, "--at-once", arg, 4096);
        break;
    case 'n':
        plan->n = mb_parse_count(state, "-n", arg, 1000000);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    generate_options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->child_inputs[1] = &o->common;
        state->child_inputs[2] = &o->plan.diffuse;
        break;
    case PROMPT:
        o->plan.direction.prompt = parse_name(state, "--prompt", arg, mb_modality_name, 3);
        break;
    case ANSWER:
        o->plan.direction.answer = parse_name(state, "--answer", arg, mb_modality_name, 3);
        break;
    case SPLIT:
        o->plan.split = (enum mb_split)parse_name(state, "--split", arg, mb_split_name, MB_SPLITS);
        break;
    case 'o':
        o->folder = arg;
        break;
    case BACKEND:
        o->backend = mb_parse_backend(state, arg);
        break;
    case THREADS:
        o->threads = mb_parse_count(state, "--threads", arg, 1024);
        break;
    case ARGP_KEY_ARG:
        if (o->run)
            argp_error(state, "one argument too many: '%s'", arg);
        o->run = arg;
        break;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "expected a run, as `motbench list runs` shows them");
        break;
    default:
        return parse_sampling(key, arg, state, &o->plan);
    }
    return 0;
}

/* ---- what is printed and stored ------------------------------------------------------------- */

static const mb_table_column columns[] = {
    { .name = "prompt" },
    { .name = "answer" },
    { .name = "samples", .show = MB_SHOW_PLAIN },
    { .name = "cut", .show = MB_SHOW_PLAIN },
    { .name = "prefill_tokens_per_s", .title = "prefill tokens/s", .show = MB_SHOW_SI },
    { .name = "decode_tokens_per_s", .title = "decode tokens/s", .show = MB_SHOW_SI },
    { .name = "cache_bytes", .title = "cache", .show = MB_SHOW_SI },
    { .name = "memory_bytes", .title = "memory", .show = MB_SHOW_SI },
    { .name = "file" },
};

static double per_second(int64_t tokens, int64_t ns)
{
    return ns > 0 ? (double)tokens / ((double)ns / 1e9) : NAN;
}

static void add_row(mb_table *t, const mb_generate_plan *plan, const mb_generated *g,
                    const char *file)
{
    int64_t cut = 0;

    for (int64_t i = 0; i < g->n; i++)
        cut += g->sample[i].cut;
    mb_table_text(t, mb_modality_name[plan->direction.prompt]);
    mb_table_text(t, mb_modality_name[plan->direction.answer]);
    mb_table_integer(t, g->n);
    mb_table_integer(t, cut);
    mb_table_real(t, per_second(g->prefill_tokens, g->prefill_ns));
    mb_table_real(t, per_second(g->decode_tokens, g->decode_ns));
    mb_table_real(t, g->cache_bytes > 0 ? (double)g->cache_bytes : NAN);
    mb_table_integer(t, g->held_bytes);
    mb_table_text(t, file);
}

/* Speeds and memory, by the modality of the answer; nothing of what was not there. */
static mb_err store_speed(mb_store *s, const mb_loaded *l, const mb_generate_plan *plan,
                          const mb_generated *g, const char *backend)
{
    const char *modality = mb_modality_name[plan->direction.answer],
               *split = mb_split_name[plan->split];
    const mb_quality_row all[] = {
        { "prefill_tokens_per_s", modality, split, per_second(g->prefill_tokens, g->prefill_ns),
          g->prefill_tokens, NAN, NULL },
        { "decode_tokens_per_s", modality, split, per_second(g->decode_tokens, g->decode_ns),
          g->decode_tokens, NAN, NULL },
        { "cache_bytes", modality, split, (double)g->cache_bytes, plan->at_once, NAN, NULL },
        { "generate_bytes", modality, split, (double)g->held_bytes, plan->at_once, NAN, NULL },
    };
    mb_quality_row rows[sizeof all / sizeof *all];
    size_t n = 0;
    char *drawn = mb_generate_how(l, plan);
    char *how = mb_format("given %s, %lld samples, %lld at once, %s, %s, %d threads",
                          mb_modality_name[plan->direction.prompt], (long long)g->n,
                          (long long)plan->at_once, drawn, backend, mb_ctx_threads(l->ctx));
    mb_err err;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].value > 0)
            rows[n++] = all[i];
    err = mb_store_quality(s, l->run, how, rows, n);
    free(drawn);
    free(how);
    return err;
}

/* ---- the verb ------------------------------------------------------------------------------- */

static mb_err generate(const generate_options *o, mb_store *s, const mb_loaded *l,
                       mb_direction direction, const char *folder, mb_table *t)
{
    mb_generate_plan plan = o->plan;
    mb_generated g;
    const char *endings;
    char *file = mb_format("%s/%s-%s", folder, mb_modality_name[direction.prompt],
                           mb_modality_name[direction.answer]);
    mb_err err;

    plan.direction = direction;
    err = mb_generate(l, &plan, &g);
    if (!err && g.n > 0) {
        err = mb_gallery_write(folder, l, &plan, &g, &endings);
        if (!err && !mb_store_read_only(s))
            err = store_speed(s, l, &plan, &g, o->backend);
        if (!err) {
            char *shown = mb_format("%s.%s", file, endings);

            add_row(t, &plan, &g, shown);
            free(shown);
        }
    }
    mb_generated_free(&g);
    free(file);
    return err;
}

static bool is_asked(int asked, int modality)
{
    return asked == ANY || asked == modality;
}

static mb_err generate_all(const generate_options *o, mb_store *s, const mb_loaded *l,
                           const char *folder, mb_table *t, int *directions)
{
    for (int i = 0; i < MB_DIRECTIONS; i++) {
        mb_direction d = mb_directions[i];
        int modalities = mb_data_modalities(l->data);

        if (!is_asked(o->plan.direction.prompt, d.prompt) ||
            !is_asked(o->plan.direction.answer, d.answer) || d.prompt >= modalities ||
            d.answer >= modalities)
            continue;
        MB_TRY(generate(o, s, l, d, folder, t));
        ++*directions;
    }
    return MB_OK;
}

static void note_sampler(const generate_options *o, const mb_loaded *l, mb_table *t)
{
    char *how = mb_diffuse_how(&o->plan.diffuse);

    if (mb_data_patch(l->data) > 0)
        mb_table_note(t, "Patches count as tokens: finished ones, by %s.", how);
    free(how);
}

static mb_err run(const generate_options *o, mb_store *s, const mb_loaded *l)
{
    mb_table *t = mb_table_new(columns, sizeof columns / sizeof *columns);
    char *samples = mb_saved_beside(o->common.db, "samples");
    char *folder =
        o->folder ? mb_format("%s", o->folder) : mb_format("%s/%lld", samples, (long long)l->run);
    int directions = 0;
    mb_err err = generate_all(o, s, l, folder, t, &directions);

    if (!err && directions == 0)
        err = mb_fail(MB_EINVAL, "run %lld: its data (%s) have no such prompts and answers",
                      (long long)l->run, mb_data_name(l->data));
    mb_table_note(t,
                  "%s of %s. Decoding's time includes drawing. cut: samples that filled the "
                  "sequence before they ended.",
                  l->arch, l->workload);
    note_sampler(o, l, t);
    if (!err)
        err = mb_table_print(t, o->common.format, stdout);
    mb_table_free(t);
    free(folder);
    free(samples);
    return err;
}

mb_err mb_command_generate(int argc, char **argv)
{
    static const struct argp_child children[] = { { &mb_db_argp, 0, NULL, 0 },
                                                  { &mb_format_argp, 0, NULL, 0 },
                                                  { &mb_sampler_argp, 0, NULL, 0 },
                                                  { 0 } };
    static const struct argp argp = {
        options,
        parse,
        "RUN",
        "Lets a stored run's model answer prompts: images for captions, captions for images, "
        "speech "
        "for texts and back."
        "\vPrompts are documents of a split, the same for every run on the same data. What is "
        "drawn "
        "for a document depends on seed, direction and document alone. Experts that choose take "
        "tokens by cuts learned from the training split, since their own choice sees later tokens.",
        children,
        NULL,
        NULL,
    };
    generate_options o = { .backend = "cpu",
                           .plan = { .direction = { ANY, ANY },
                                     .split = MB_VAL,
                                     .n = 16,
                                     .at_once = 64,
                                     .seed = 1,
                                     .sampling = { 1, 1 } } };
    mb_loaded l = { 0 };
    mb_store *s = NULL;
    mb_err err;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    err = mb_store_open(o.common.db, false, &s);
    if (!err)
        err = mb_loaded_open(s, o.run, o.backend, o.threads, &l);
    if (!err)
        err = run(&o, s, &l);
    mb_loaded_close(&l);
    mb_store_close(s);
    return err;
}
