/* Images that a model of latents has made, for the user's own decoder. */
#include "harness/gallery.h"

#include "base/file.h"
#include "base/npy.h"

#include <stdlib.h>

mb_err mb_gallery_latents(const char *path, const mb_render *r, const mb_generated *g)
{
    int64_t shape[4] = { g->n }, each;
    float *all;
    mb_err err;

    mb_render_latents(r, shape + 1);
    each = shape[1] * shape[2] * shape[3];
    all = mb_alloc((size_t)(g->n * each) * sizeof *all);
    for (int64_t i = 0; i < g->n; i++)
        mb_render_latent(r, g->sample[i].patch, all + i * each);
    err = mb_npy_write_f32(path, all, 4, shape);
    free(all);
    return err;
}
