/* Quality of what a model makes: images for captions, captions for images. */
#include "harness/cider.h"
#include "harness/frechet.h"
#include "harness/judge.h"
#include "harness/quality.h"

#include "base/file.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>

typedef struct looked_at { /* N images and what the judge thinks of them */
    uint8_t *image;
    int *class;
    float *feature;
    int64_t n;
} looked_at;

typedef struct judging {
    const mb_loaded *l;
    mb_quality *q;
    mb_render *render;
    mb_judge *judge;
    mb_slots slots;
    mb_generated made;
    int (*said)[MB_SLOTS]; /* (n) what the documents' captions say */
    char **caption;        /* (n) */
    looked_at own;         /* the documents' images */
} judging;

/* ---- images --------------------------------------------------------------------------------- */

static size_t image_bytes(const judging *j)
{
    return mb_image_bytes(mb_render_shape(j->render));
}

static looked_at make_images(const judging *j, int64_t n)
{
    return (looked_at){ .image = mb_alloc((size_t)n * image_bytes(j) + 1),
                        .class = mb_alloc((size_t)n * sizeof(int) + 1),
                        .feature = mb_alloc((size_t)n * MB_FEATURES * sizeof(float) + 1),
                        .n = n };
}

static void free_images(looked_at *a)
{
    free(a->image);
    free(a->class);
    free(a->feature);
    *a = (looked_at){ 0 };
}

static mb_err look(const judging *j, looked_at *a)
{
    return mb_judge_look(j->judge, a->image, a->n, a->class, a->feature);
}

/* The image of document I of a split as image AT. */
static mb_err load_image(const judging *j, enum mb_split split, int64_t i, looked_at *to,
                         int64_t at)
{
    mb_parts p;

    MB_TRY(mb_data_parts(j->l->data, split, i, &p));
    mb_render_image(j->render, &p.part[MB_IMAGE], to->image + (size_t)at * image_bytes(j));
    mb_parts_free(&p);
    return MB_OK;
}

/* The distance of as many training images from the documents' own. */
static mb_err real_distance(const judging *j, double *distance)
{
    uint64_t all = (uint64_t)mb_data_section(j->l->data, MB_TRAIN, MB_PAIRS);
    uint64_t key = mb_key(0, "real images", 0, 0);
    looked_at real;
    mb_err err = MB_OK;

    *distance = NAN;
    if (all < (uint64_t)j->own.n)
        return MB_OK;
    real = make_images(j, j->own.n);
    for (int64_t i = 0; !err && i < real.n; i++)
        err = load_image(j, MB_TRAIN, (int64_t)mb_permute(key, all, (uint64_t)i), &real, i);
    if (!err)
        err = look(j, &real);
    if (!err)
        *distance = mb_frechet(real.feature, real.n, j->own.feature, j->own.n, MB_FEATURES);
    free_images(&real);
    return err;
}

/* ---- what is right -------------------------------------------------------------------------- */

/* The share of images in which slot S is what the caption says. Class: to the judge; else by the
   rules of captions. NaN where no image shows it. */
static double share_right(const judging *j, const looked_at *a, int s, int64_t *n)
{
    int64_t right = 0;

    *n = 0;
    for (int64_t i = 0; i < a->n; i++) {
        int value[MB_SLOTS], said = j->said[i][s];

        if (s == 0)
            value[0] = a->class[i];
        else
            mb_slots_see(j->l->data, mb_render_shape(j->render),
                         a->image + (size_t)i * image_bytes(j), j->said[i][0], value);
        *n += said >= 0;
        right += said >= 0 && value[s] == said;
    }
    return *n ? (double)right / (double)*n : NAN;
}

static bool is_shown(const judging *j, int s)
{
    return s == 0 || j->slots.slot[s].seen;
}

static void add_consistency(judging *j, const looked_at *made)
{
    for (int s = 0; s < j->slots.n; s++) {
        int64_t n;
        double ceiling = share_right(j, &j->own, s, &n), value = share_right(j, made, s, &n);
        char *name = mb_format("%s consistency", j->slots.slot[s].name);

        if (is_shown(j, s) && n > 0)
            mb_quality_add(j->q, name, MB_TEXT, MB_IMAGE, "val", value, n, ceiling, "ceiling");
        free(name);
    }
}

static mb_err judge_images(judging *j)
{
    looked_at made = make_images(j, j->made.n);
    double distance, floor;
    mb_err err;

    for (int64_t i = 0; i < made.n; i++) {
        const mb_segment answer = mb_sampled_segment(&j->made.sample[i]);

        mb_render_image(j->render, &answer, made.image + (size_t)i * image_bytes(j));
    }
    err = look(j, &made);
    if (!err)
        err = real_distance(j, &floor);
    if (!err) {
        distance = mb_frechet(made.feature, made.n, j->own.feature, j->own.n, MB_FEATURES);
        mb_quality_add(j->q, "frechet distance", MB_TEXT, MB_IMAGE, "val", distance, made.n, floor,
                       isnan(floor) ? NULL : "floor");
        add_consistency(j, &made);
    }
    free_images(&made);
    return err;
}

/* ---- captions ------------------------------------------------------------------------------- */

/* The share of captions MADE that say of slot S what the document's own says. */
static double share_said(const judging *j, char *const *made, int s, int64_t *n)
{
    int64_t right = 0;

    *n = 0;
    for (int64_t i = 0; i < j->made.n; i++) {
        int value[MB_SLOTS];

        mb_slots_read(j->l->data, made[i], value);
        *n += j->said[i][s] >= 0;
        right += j->said[i][s] >= 0 && value[s] == j->said[i][s];
    }
    return *n ? (double)right / (double)*n : NAN;
}

/* The share of documents' captions that say the commonest value of slot S: what saying it always
   would get. */
static double commonest_share(const judging *j, int s)
{
    int64_t n = 0, most = 0;

    for (int value = 0; value < j->slots.slot[s].values; value++) {
        int64_t alike = 0;

        for (int64_t i = 0; i < j->made.n; i++)
            alike += j->said[i][s] == value;
        n += alike;
        most = alike > most ? alike : most;
    }
    return n ? (double)most / (double)n : NAN;
}

/* Against all wordings; the ceiling is what one more wording of the same would get. */
static void add_cider(judging *j, char *const *made)
{
    int64_t n = j->made.n;
    mb_described_image *image = mb_alloc((size_t)n * sizeof *image);
    char *(*reference)[MB_REFERENCES] = mb_zalloc((size_t)n, sizeof *reference);
    char **another = mb_zalloc((size_t)n, sizeof *another);
    double value, ceiling;

    for (int64_t i = 0; i < n; i++)
        image[i] = (mb_described_image){ made[i], (const char *const *)reference[i],
                                         mb_slots_references(
                                             j->l->data, MB_VAL, j->made.sample[i].document,
                                             j->caption[i], reference[i], &another[i]) };
    value = mb_cider(image, n);
    for (int64_t i = 0; i < n; i++)
        image[i].candidate = another[i] ? another[i] : j->caption[i];
    ceiling = mb_cider(image, n);
    mb_quality_add(j->q, "CIDEr-D", MB_IMAGE, MB_TEXT, "val", value, n, ceiling, "ceiling");
    for (int64_t i = 0; i < n; i++) {
        for (int r = 0; r < MB_REFERENCES; r++)
            free(reference[i][r]);
        free(another[i]);
    }
    free(another);
    free(reference);
    free(image);
}

static mb_err judge_captions(judging *j)
{
    char **made = mb_zalloc((size_t)j->made.n, sizeof *made);

    for (int64_t i = 0; i < j->made.n; i++)
        made[i] = mb_render_text(j->render, j->made.sample[i].answer, j->made.sample[i].n);
    add_cider(j, made);
    for (int s = 0; s < j->slots.n; s++) {
        int64_t n;
        bool shown = is_shown(j, s);
        double bound = shown ? share_right(j, &j->own, s, &n) : commonest_share(j, s);
        double value = share_said(j, made, s, &n);
        char *name = mb_format("%s said", j->slots.slot[s].name);

        if (n > 0)
            mb_quality_add(j->q, name, MB_IMAGE, MB_TEXT, "val", value, n, bound,
                           isnan(bound) ? NULL
                           : shown      ? "ceiling"
                                        : "baseline");
        free(name);
    }
    for (int64_t i = 0; i < j->made.n; i++)
        free(made[i]);
    free(made);
    return MB_OK;
}

/* ---- both ----------------------------------------------------------------------------------- */

/* What the prompts' documents show and say. */
static mb_err load_documents(judging *j)
{
    int64_t n = j->made.n;

    j->said = mb_alloc((size_t)n * sizeof *j->said);
    j->caption = mb_zalloc((size_t)n, sizeof *j->caption);
    j->own = make_images(j, n);
    for (int64_t i = 0; i < n; i++) {
        mb_parts p;

        MB_TRY(mb_data_parts(j->l->data, MB_VAL, j->made.sample[i].document, &p));
        j->caption[i] = mb_render_text(j->render, p.part[MB_TEXT].token, p.part[MB_TEXT].n);
        mb_slots_read(j->l->data, j->caption[i], j->said[i]);
        mb_parts_free(&p);
        MB_TRY(load_image(j, MB_VAL, j->made.sample[i].document, &j->own, i));
    }
    return look(j, &j->own);
}

static void forget_documents(judging *j)
{
    for (int64_t i = 0; j->caption && i < j->made.n; i++)
        free(j->caption[i]);
    free(j->caption);
    free(j->said);
    free_images(&j->own);
    mb_generated_free(&j->made);
    j->caption = NULL;
    j->said = NULL;
}

static mb_err judge_direction(judging *j, mb_direction way, const mb_quality_plan *plan)
{
    mb_generate_plan how = { .direction = way,
                             .split = MB_VAL,
                             .sections = 1u << MB_PAIRS,
                             .n = plan->samples,
                             .at_once = plan->at_once,
                             .seed = plan->seed,
                             .sampling = { 1, 1 },
                             .diffuse = plan->diffuse };
    mb_err err = mb_generate(j->l, &how, &j->made);

    if (!err && j->made.n > 1)
        err = load_documents(j);
    if (!err && j->made.n > 1)
        err = way.answer == MB_IMAGE ? judge_images(j) : judge_captions(j);
    forget_documents(j);
    return err;
}

mb_err mb_quality_of_samples(const mb_loaded *l, const mb_quality_plan *plan, mb_quality *q)
{
    judging j = { .l = l, .q = q, .slots = mb_data_slots(l->data) };
    mb_err err;

    MB_TRY(mb_render_open(l->data, &j.render));
    if (j.slots.n == 0 || mb_render_shape(j.render).side == 0) {
        mb_render_close(j.render);
        return MB_OK;
    }
    err = mb_judge_open(l->data, j.render, &j.judge);
    if (!err)
        err = judge_direction(&j, (mb_direction){ MB_TEXT, MB_IMAGE }, plan);
    if (!err)
        err = judge_direction(&j, (mb_direction){ MB_IMAGE, MB_TEXT }, plan);
    mb_judge_close(j.judge);
    mb_render_close(j.render);
    return err;
}
