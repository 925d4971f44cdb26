/* Weights as the matrix products take them: packed, on the way to one product or as copies. The
   copy of a parameter is made when a product first asks for it and then serves all products, of all
   passes and micro-batches, until the parameters change. The copies lie in one arena, which the
   change empties: a steady training step fills the memory of the step before. */
#include "models/kernels/cpu/cpu.h"

#include "models/kernels/arena.h"
#include "models/kernels/cpu/tile.h"

#include <stdlib.h>

typedef struct panels_copy {
    mb_tensor of;
    enum layout layout;
    float *panels;
} panels_copy;

static int64_t panels_of(const mb_tensor *w, enum layout layout)
{
    return ((layout == TURNED ? w->rows : w->cols) + TILE_COLS - 1) / TILE_COLS;
}

int64_t slice_size(const mb_tensor *w, enum layout layout)
{
    return panels_of(w, layout) * TILE_COLS * (layout == TURNED ? w->cols : w->rows);
}

void pack_part(const mb_ctx *c, float *to, const mb_tensor *w, enum layout layout, int64_t slice,
               int64_t j, int64_t k, int64_t depth)
{
    const float *from = mb_f32(w) + slice * w->rows * w->cols;

    if (layout == TURNED) {
        const float *row[TILE_COLS];

        for (int64_t i = 0; i < TILE_COLS; i++)
            row[i] = from + (j + i) * w->cols + k;
        pack_turned(to, row, w->rows - j, depth);
    } else
        pack_panel(to, from + k * w->cols + j, depth, w->cols, w->cols - j);
    as_tile_operands(c, to, depth, TILE_COLS);
}

void ask_for_part(const mb_tensor *w, enum layout layout, int64_t slice, int64_t j, int64_t k,
                  int64_t depth, int64_t begin, int64_t n)
{
    const float *from = mb_f32(w) + slice * w->rows * w->cols;

    for (int64_t i = begin; i < smaller(begin + n, depth); i++)
        if (layout == STRAIGHT)
            __builtin_prefetch(from + (k + i) * w->cols + j, 0, 2);
        else
            __builtin_prefetch(from + (j + i % TILE_COLS) * w->cols + k + i / TILE_COLS * LINE, 0,
                               2);
}

static void pack(mb_ctx *c, float *to, const mb_tensor *w, enum layout layout)
{
    int64_t panels = panels_of(w, layout), depth = layout == TURNED ? w->cols : w->rows;

#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < w->slices * panels; i++)
        pack_part(c, to + i * depth * TILE_COLS, w, layout, i / panels, i % panels * TILE_COLS, 0,
                  depth);
}

static panels_copy *find(const cpu_ctx *c, const mb_tensor *w, enum layout layout)
{
    for (int i = 0; i < c->n_copies; i++) {
        panels_copy *p = &c->copies[i];

        if (p->of.data == w->data && p->layout == layout && p->of.slices == w->slices &&
            p->of.rows == w->rows && p->of.cols == w->cols)
            return p;
    }
    return NULL;
}

static panels_copy *add(cpu_ctx *c, const mb_tensor *w, enum layout layout)
{
    size_t bytes = (size_t)(w->slices * slice_size(w, layout)) * sizeof(float);

    if (c->n_copies == c->max_copies) {
        c->max_copies = c->max_copies ? 2 * c->max_copies : 64;
        c->copies = realloc(c->copies, (size_t)c->max_copies * sizeof *c->copies);
        if (!c->copies)
            abort();
    }
    c->copies[c->n_copies] = (panels_copy){ *w, layout, mb_arena_take(&c->weights, bytes) };
    cpu_note_own(c);
    return &c->copies[c->n_copies++];
}

const float *packed_weights(mb_ctx *base, const mb_tensor *w, enum layout layout)
{
    cpu_ctx *c = (cpu_ctx *)base;
    panels_copy *p = find(c, w, layout);
    bool known = p && w->parameter; /* others change without a word */

    if (!p)
        p = add(c, w, layout);
    if (!known)
        pack(base, p->panels, w, layout);
    return p->panels;
}

void cpu_weights_changed(mb_ctx *base)
{
    cpu_ctx *c = (cpu_ctx *)base;

    c->n_copies = 0;
    mb_arena_reset(&c->weights);
}

void weights_free(cpu_ctx *c)
{
    mb_arena_free(&c->weights);
    free(c->copies);
}
