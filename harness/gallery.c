#include "harness/gallery.h"

#include "base/file.h"
#include "workloads/picture.h"
#include "workloads/sound.h"

#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 8, SCALE = 2, GAP = 8, BETWEEN = 2, BACKGROUND = 64 };

typedef struct gallery {
    const mb_loaded *l;
    const mb_generate_plan *plan;
    const mb_generated *g;
    mb_render *render;
    mb_image_shape shape; /* side 0: images cannot be shown */
    char *base;           /* of file names */
    double *heard_s;      /* (n) where samples begin in the sound file, or NULL: there is none */
} gallery;

static mb_err parts_of(const gallery *a, int64_t i, mb_parts *out)
{
    return mb_data_parts(a->l->data, a->plan->split, a->g->sample[i].document, out);
}

/* ---- text ----------------------------------------------------------------------------------- */

static void write_part(const gallery *a, const char *who, int modality, const int32_t *token,
                       int64_t n, FILE *f)
{
    mb_segment_kind kind = mb_data_segment_kind(a->l->data, modality);

    fprintf(f, "      %-8s", who);
    if (modality == MB_TEXT) {
        char *text = mb_render_text(a->render, token, n);

        for (char *c = text; *c; c++) /* one line each */
            *c = (unsigned char)*c < ' ' ? ' ' : *c;
        fputs(text, f);
        free(text);
    } else if (modality == MB_IMAGE && a->shape.side) {
        fputs("see the grid", f);
    } else if (modality == MB_IMAGE && a->l->described.sizes.patch > 0) {
        fputs("latents", f);
    } else { /* speech that is also heard, or ids that nobody can show */
        for (int64_t i = 0; i < n; i++)
            fprintf(f, "%s%d", i ? " " : "", token[i] - kind.first);
    }
    fputs("\n", f);
}

static mb_err write_one(const gallery *a, int64_t i, FILE *f)
{
    const mb_direction *way = &a->plan->direction;
    const mb_sampled *s = &a->g->sample[i];
    const mb_segment *prompt, *answer;
    mb_parts p;

    MB_TRY(parts_of(a, i, &p));
    prompt = &p.part[way->prompt];
    answer = &p.part[way->answer];
    fprintf(f, "%4lld  (document %lld", (long long)i + 1, (long long)s->document);
    if (a->heard_s)
        fprintf(f, ", heard at %.1f s", a->heard_s[i]);
    fputs(")\n", f);
    write_part(a, "prompt", way->prompt, prompt->token, prompt->n, f);
    write_part(a, "its own", way->answer, answer->token, answer->n, f);
    write_part(a, s->cut ? "model..." : "model", way->answer, s->answer, s->n, f);
    mb_parts_free(&p);
    return MB_OK;
}

static mb_err write_text(const gallery *a)
{
    const mb_generate_plan *plan = a->plan;
    char *path = mb_format("%s.txt", a->base), *how = mb_generate_how(a->l, plan);
    mb_replace r;
    mb_err err = mb_replace_open(path, &r);

    if (!err) {
        fprintf(r.file, "%s to %s, %s of %s, split %s, %s, seed %llu\n\n",
                mb_modality_name[plan->direction.prompt], mb_modality_name[plan->direction.answer],
                a->l->arch, a->l->workload, mb_split_name[plan->split], how,
                (unsigned long long)plan->seed);
        for (int64_t i = 0; !err && i < a->g->n; i++)
            err = write_one(a, i, r.file);
        if (err)
            mb_replace_abort(&r);
        else
            err = mb_replace_commit(&r);
    }
    free(path);
    free(how);
    return err;
}

/* ---- grid ----------------------------------------------------------------------------------- */

typedef struct grid {
    mb_image_shape shape;
    int per;           /* images of a sample, side by side */
    int columns;       /* samples in a row */
    int width, height; /* pixels */
    uint8_t *pixel;
} grid;

static grid make_grid(mb_image_shape shape, int per, int64_t n)
{
    int side = shape.side * SCALE, columns = n < COLUMNS ? (int)n : COLUMNS;
    int rows = (int)((n + columns - 1) / columns);
    grid g = { .shape = shape,
               .per = per,
               .columns = columns,
               .width = columns * (per * (side + BETWEEN) + GAP) + GAP,
               .height = rows * (side + GAP) + GAP };
    size_t bytes = (size_t)g.width * (size_t)g.height * (size_t)shape.channels;

    g.pixel = mb_alloc(bytes);
    memset(g.pixel, BACKGROUND, bytes);
    return g;
}

/* Image K of sample I. */
static void put(grid *g, int64_t i, int k, const uint8_t *image)
{
    int side = g->shape.side, big = side * SCALE, c = g->shape.channels;
    int64_t left = GAP + i % g->columns * (g->per * (big + BETWEEN) + GAP) + k * (big + BETWEEN);
    int64_t top = GAP + i / g->columns * (big + GAP);

    for (int y = 0; y < big; y++)
        for (int x = 0; x < big; x++)
            memcpy(g->pixel + ((top + y) * g->width + left + x) * c,
                   image + (y / SCALE * side + x / SCALE) * c, (size_t)c);
}

/* Of each sample the document's image, and the model's where that is the answer. */
static mb_err fill_grid(const gallery *a, grid *g)
{
    uint8_t *image = mb_alloc(mb_image_bytes(g->shape));
    mb_err err = MB_OK;

    for (int64_t i = 0; !err && i < a->g->n; i++) {
        mb_parts p;

        err = parts_of(a, i, &p);
        if (err)
            break;
        mb_render_image(a->render, &p.part[MB_IMAGE], image);
        put(g, i, 0, image);
        if (g->per > 1) {
            const mb_segment made = mb_sampled_segment(&a->g->sample[i]);

            mb_render_image(a->render, &made, image);
            put(g, i, 1, image);
        }
        mb_parts_free(&p);
    }
    free(image);
    return err;
}

static mb_err write_grid(const gallery *a)
{
    int per = a->plan->direction.answer == MB_IMAGE ? 2 : 1;
    grid g = make_grid(a->shape, per, a->g->n);
    char *path = mb_format("%s.png", a->base);
    mb_err err = fill_grid(a, &g);

    if (!err)
        err = mb_picture_write(path, g.pixel, g.width, g.height, g.shape.channels);
    free(path);
    free(g.pixel);
    return err;
}

static mb_err write_sound(gallery *a)
{
    char *path = mb_format("%s.wav", a->base);
    mb_err err;

    a->heard_s = mb_alloc((size_t)a->g->n * sizeof *a->heard_s);
    err = mb_gallery_speak(path, a->render, a->l, a->plan, a->g, a->heard_s);
    free(path);
    return err;
}

static mb_err write_latents(const gallery *a)
{
    char *path = mb_format("%s.npy", a->base);
    mb_err err = mb_gallery_latents(path, a->render, a->g);

    free(path);
    return err;
}

static bool occurs(const mb_direction *way, int modality)
{
    return way->prompt == modality || way->answer == modality;
}

mb_err mb_gallery_write(const char *folder, const mb_loaded *l, const mb_generate_plan *plan,
                        const mb_generated *g, const char **endings)
{
    static const char *const kinds[] = { "txt", "{txt,png}", "{txt,wav}", "{txt,png,wav}",
                                         "{txt,npy}" };
    const mb_direction *way = &plan->direction;
    bool images, speech, latents;
    int64_t latent[3];
    gallery a = { .l = l, .plan = plan, .g = g };
    mb_err err = mb_make_folders(folder);

    if (!err)
        err = mb_render_open(l->data, &a.render);
    if (err)
        return err;
    a.base =
        mb_format("%s/%s-%s", folder, mb_modality_name[way->prompt], mb_modality_name[way->answer]);
    a.shape = mb_render_shape(a.render);
    images = occurs(way, MB_IMAGE) && g->n > 0 && a.shape.side > 0 && mb_media_check() == MB_OK;
    speech = occurs(way, MB_SPEECH) && g->n > 0 && mb_render_speaks(a.render);
    latents = mb_generate_paints(l, plan) && g->n > 0 && mb_render_latents(a.render, latent);
    *endings = kinds[images + 2 * speech + 4 * latents]; /* latents come without the others */
    if (images)
        err = write_grid(&a);
    if (!err && latents)
        err = write_latents(&a);
    if (!err && speech)
        err = write_sound(&a);
    if (!err)
        err = write_text(&a);
    mb_render_close(a.render);
    free(a.heard_s);
    free(a.base);
    return err;
}
