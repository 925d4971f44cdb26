/* The U-Net between patches and the hidden state [Transfusion 4.3, after Ronneberger et al. 2015].

   Down: a convolution of an image's pixels, then at every scale a residual block, and a convolution
   that makes one row of four, until a row is a patch. Up: the same way back, where every scale also
   gets what it was on the way down; out of a patch's pixels come the numbers that are predicted.
   What is published is the idea and the size; this form of it is ours, in few parts. It sees images
   alone, and is the same for every architecture. It is not told a step by an adaptive norm: an
   embedding of it is added.

   All pixels of a batch are rows. Those of a patch lie together, in Z-order: the four that become
   one are neighbours, and rows of the next scale are these rows, seen as longer ones. An image is a
   square of patches, in lines: of n patches, of the least whole side whose square holds n.

   Letters: S numbers of a patch of P x P pixels, C numbers of a row, K of a step. */
#include "models/block.h"

#include "base/file.h"

#include <string.h>

enum { SIDE_MAX = 16, SCALES = 5, PLACES = 9 }; /* P; log2(P) + 1; of a 3 x 3 convolution */

typedef struct residual { /* parameters of a residual block */
    mb_tensor *time, *norm, *gated, *conv;
} residual;

struct mb_unet {
    int last; /* the scale of patches: log2(P) */
    struct {
        residual down, up;
        mb_tensor *halve, *skip, *twice;
    } scale[SCALES];
    mb_tensor *pixels, *down_norm, *enter, *up_norm;
};

typedef struct grid {            /* all images at one scale */
    const int32_t *around;       /* (rows, PLACES) */
    const mb_route *all, *patch; /* every row; the patch of every row */
    mb_tensor *skip;             /* (rows, C) on the way down */
} grid;

struct mb_grids {
    const float *pixels;   /* (all P P, S / P P) */
    const float *step;     /* (all, K) */
    mb_tensor *time;       /* the same */
    const mb_route *noisy; /* patches behind noise, among all */
    grid scale[SCALES];
};

/* ---- parameters ----------------------------------------------------------------------------- */

static int last_scale(const mb_model_config *m)
{
    int scale = 0;

    while (1 << scale < m->patch_side)
        scale++;
    return scale;
}

static int pixels_of(const mb_model_config *m)
{
    return m->patch_side * m->patch_side;
}

static mb_err check(const mb_model_config *m)
{
    if (m->patch_side < 1 || m->patch_side > SIDE_MAX || 1 << last_scale(m) != m->patch_side)
        return mb_fail(MB_EINVAL, "model: patch_side %d: expected a power of two, %d at most",
                       m->patch_side, SIDE_MAX);
    if (m->patch % pixels_of(m) != 0)
        return mb_fail(MB_EINVAL, "model: patches of %d numbers: expected a multiple of %d x %d",
                       m->patch, m->patch_side, m->patch_side);
    if (m->unet_channels < 1 || m->unet_channels > 1 << 16)
        return mb_fail(MB_EINVAL, "model: unet_channels %d: expected 1 to %d", m->unet_channels,
                       1 << 16);
    if (m->batch * m->len > INT32_MAX / pixels_of(m))
        return mb_fail(MB_EINVAL, "model: %lld patches of %d pixels: expected at most %d in all",
                       (long long)(m->batch * m->len), pixels_of(m), INT32_MAX);
    return MB_OK;
}

static void make_residual(mb_model *m, residual *r, const char *way, int scale)
{
    int64_t c = m->config.unet_channels;

    r->time = mb_model_matrix(m, c, MB_TIME_FEATURES, mb_format("unet.%s.%d.time", way, scale));
    r->norm = mb_model_norm(m, c, mb_format("unet.%s.%d.norm", way, scale));
    r->gated = mb_model_matrix(m, 2 * c, PLACES * c, mb_format("unet.%s.%d.gated", way, scale));
    r->conv = mb_model_matrix(m, c, PLACES * c, mb_format("unet.%s.%d.conv", way, scale));
}

static void make(mb_model *m)
{
    const mb_model_config *g = &m->config;
    int64_t c = g->unet_channels, d = g->width, s = g->patch;
    struct mb_unet *u = m->unet = mb_zalloc(1, sizeof *u);
    int last = u->last = last_scale(g);

    u->pixels = mb_model_matrix(m, c, PLACES * s / pixels_of(g), mb_format("unet.pixels"));
    for (int i = 0; i <= last; i++) {
        make_residual(m, &u->scale[i].down, "down", i);
        if (i < last)
            u->scale[i].halve = mb_model_matrix(m, c, 4 * c, mb_format("unet.down.%d.halve", i));
    }
    u->down_norm = mb_model_norm(m, c, mb_format("unet.down.norm"));
    m->patch_in = mb_model_matrix(m, d, c, mb_format("patch.in"));
    u->enter = mb_model_matrix(m, c, d, mb_format("unet.enter"));
    for (int i = last; i >= 0; i--) {
        u->scale[i].skip = mb_model_matrix(m, c, c, mb_format("unet.up.%d.skip", i));
        make_residual(m, &u->scale[i].up, "up", i);
        if (i > 0)
            u->scale[i].twice = mb_model_matrix(m, 4 * c, c, mb_format("unet.up.%d.twice", i));
    }
    u->up_norm = mb_model_norm(m, c, mb_format("unet.up.norm"));
    m->patch_out = mb_model_matrix(m, s, pixels_of(g) * c, mb_format("patch.out"));
}

/* ---- images as grids ------------------------------------------------------------------------ */

typedef struct image { /* patches FIRST .. FIRST + N - 1 of a pass, ACROSS of them in a line */
    int64_t first, n, across;
} image;

/* Where a pixel is among those of its patch, row-major otherwise: bits of X and Y in turns. */
static int32_t z_place(int y, int x)
{
    int32_t place = 0;

    for (int bit = 0; 1 << bit < SIDE_MAX; bit++)
        place |= (x >> bit & 1) << 2 * bit | (y >> bit & 1) << (2 * bit + 1);
    return place;
}

/* The row of a pixel of an image whose patches are SIDE wide; -1 beyond its edge. */
static int32_t row_at(const image *of, int side, const int32_t *place, int64_t y, int64_t x)
{
    int64_t patch = y / side * of->across + x / side;

    if (y < 0 || x < 0 || x >= of->across * side || patch >= of->n)
        return -1;
    return (int32_t)((of->first + patch) * side * side) + place[y % side * side + x % side];
}

/* The rows around those of patch I of an image, in lines from above. */
static void look_around(const image *of, int64_t i, int side, const int32_t *place, int32_t *around)
{
    int64_t top = i / of->across * side, left = i % of->across * side;

    for (int64_t y = top; y < top + side; y++)
        for (int64_t x = left; x < left + side; x++) {
            int32_t *to = around + (int64_t)PLACES * row_at(of, side, place, y, x);

            for (int k = 0; k < PLACES; k++)
                to[k] = row_at(of, side, place, y + k / 3 - 1, x + k % 3 - 1);
        }
}

static grid make_grid(mb_ctx *c, const image *images, int64_t n, int64_t patches, int side)
{
    int64_t pixels = side * side, rows = patches * pixels;
    int32_t *around = mb_ctx_host(c, (size_t)(rows * PLACES) * sizeof *around);
    int32_t *patch = mb_ctx_host(c, (size_t)rows * sizeof *patch);
    int32_t place[SIDE_MAX * SIDE_MAX];

    for (int i = 0; i < pixels; i++)
        place[i] = z_place(i / side, i % side);
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < images[k].n; i++)
            look_around(&images[k], i, side, place, around);
    for (int64_t i = 0; i < rows; i++)
        patch[i] = (int32_t)(i / pixels);
    return (grid){ .around = around,
                   .all = mb_route_all(c, rows),
                   .patch =
                       side == 1 ? mb_route_all(c, rows) : mb_route_rows(c, patches, patch, rows) };
}

/* Patches at positions in a row that see as far are an image. Returns how many there are. */
static int64_t find_images(const mb_pass *p, const mb_batch *b, image *out)
{
    int64_t n = 0, patch = 0;

    for (int64_t i = 0; i < p->tokens; i++) {
        bool goes_on = i % b->len > 0 && b->noise[i - 1] >= 0 && b->hi[i - 1] == b->hi[i] &&
                       b->position[i - 1] + 1 == b->position[i];

        if (b->noise[i] < 0)
            continue;
        if (!goes_on)
            out[n++] = (image){ .first = patch, .across = 1 };
        patch++;
        if (++out[n - 1].n > out[n - 1].across * out[n - 1].across)
            out[n - 1].across++;
    }
    return n;
}

/* The pixels of a patch, which come in lines, in Z-order. */
static void order_pixels(const mb_model_config *m, const float *from, float *to)
{
    int side = m->patch_side;
    size_t n = (size_t)(m->patch / pixels_of(m));

    for (int i = 0; i < pixels_of(m); i++)
        memcpy(to + (size_t)z_place(i / side, i % side) * n, from + (size_t)i * n, n * sizeof *to);
}

static const mb_route *read_patches(mb_pass *p, const mb_batch *b, float *pixels, float *step)
{
    int32_t *noisy = mb_ctx_host(p->c, (size_t)p->patches.all->rows * sizeof *noisy);
    int64_t patch = 0, n = 0;

    for (int64_t i = 0; i < p->tokens; i++) {
        if (b->noise[i] < 0)
            continue;
        order_pixels(p->config, b->noisy + i * b->patch, pixels + patch * b->patch);
        mb_time_features(b->noise[i], step + patch * MB_TIME_FEATURES);
        if (b->noise[i] > 0)
            noisy[n++] = (int32_t)patch;
        patch++;
    }
    return mb_route_rows(p->c, patch, noisy, n);
}

static void begin(mb_pass *p, const mb_model *m, const mb_batch *batch)
{
    int64_t patches = p->patches.all->rows, n;
    struct mb_grids *g = p->patches.grids = mb_ctx_host(p->c, sizeof *g);
    image *images = mb_ctx_host(p->c, (size_t)patches * sizeof *images);
    float *pixels = mb_ctx_host(p->c, (size_t)(patches * batch->patch) * sizeof *pixels);
    float *step = mb_ctx_host(p->c, (size_t)(patches * MB_TIME_FEATURES) * sizeof *step);

    n = find_images(p, batch, images);
    *g = (struct mb_grids){ .pixels = pixels, .step = step };
    g->noisy = read_patches(p, batch, pixels, step);
    for (int i = 0; i <= m->unet->last; i++)
        g->scale[i] = make_grid(p->c, images, n, patches, m->config.patch_side >> i);
}

/* ---- the network ---------------------------------------------------------------------------- */

typedef struct place { /* of a residual block in a pass */
    const mb_pass *pass;
    const residual *w;
    const grid *g;
} place;

/* x + time, then with that + conv(swiglu(conv(norm(x)))). */
static mb_tensor *block(void *arg, mb_tensor *x)
{
    const place *at = arg;
    const struct mb_grids *grids = at->pass->patches.grids;
    const grid *g = at->g;
    mb_ctx *c = at->pass->c;
    mb_tensor *h;

    h = mb_gemm(c, grids->time, at->w->time, mb_route_all(c, grids->time->rows));
    x = mb_combine(c, x, mb_gather(c, h, g->patch), NULL, NULL, 0, g->all);
    h = mb_norm(c, x, at->w->norm, NULL, at->pass->config->norm_eps);
    h = mb_swiglu(c, mb_gemm(c, mb_unfold(c, h, g->around, PLACES), at->w->gated, g->all));
    h = mb_gemm(c, mb_unfold(c, h, g->around, PLACES), at->w->conv, g->all);
    return mb_combine(c, x, h, NULL, NULL, 0, g->all);
}

static mb_tensor *block_at(const mb_pass *p, const residual *w, const grid *g, mb_tensor *x)
{
    place *at = mb_ctx_host(p->c, sizeof *at);

    *at = (place){ p, w, g };
    return p->config->recompute == MB_RECOMPUTE_NONE ? block(at, x)
                                                     : mb_recompute(p->c, block, at, x);
}

static mb_tensor *in(mb_pass *p, const mb_model *m)
{
    const struct mb_unet *u = m->unet;
    struct mb_grids *g = p->patches.grids;
    int64_t ch = m->config.unet_channels, patches = p->patches.all->rows;
    int64_t channels = m->config.patch / pixels_of(&m->config);
    mb_ctx *c = p->c;
    mb_tensor *x;

    g->time = mb_input(c, "steps", patches, MB_TIME_FEATURES, g->step);
    x = mb_input(c, "patches", g->scale[0].all->rows, channels, g->pixels);
    x = mb_gemm(c, mb_unfold(c, x, g->scale[0].around, PLACES), u->pixels, g->scale[0].all);
    for (int i = 0;; i++) {
        x = g->scale[i].skip = block_at(p, &u->scale[i].down, &g->scale[i], x);
        if (i == u->last)
            break;
        x = mb_reshape(c, x, x->rows / 4, 4 * ch);
        x = mb_gemm(c, x, u->scale[i].halve, g->scale[i + 1].all);
    }
    x = mb_norm(c, x, u->down_norm, NULL, m->config.norm_eps);
    return mb_gemm(c, x, m->patch_in, g->scale[u->last].all);
}

static mb_tensor *out(mb_pass *p, const mb_model *m, mb_tensor *x)
{
    const struct mb_unet *u = m->unet;
    const struct mb_grids *g = p->patches.grids;
    int64_t ch = m->config.unet_channels, patches = p->patches.all->rows;
    mb_ctx *c = p->c;
    mb_tensor *skip;

    x = mb_gemm(c, mb_gather(c, x, p->patches.all), u->enter, g->scale[u->last].all);
    for (int i = u->last;; i--) {
        /* both side by side under one matrix, of which one half is in what made x */
        skip = mb_gemm(c, g->scale[i].skip, u->scale[i].skip, g->scale[i].all);
        x = mb_combine(c, x, skip, NULL, NULL, 0, g->scale[i].all);
        x = block_at(p, &u->scale[i].up, &g->scale[i], x);
        if (i == 0)
            break;
        x = mb_gemm(c, x, u->scale[i].twice, g->scale[i].all);
        x = mb_reshape(c, x, 4 * x->rows, ch);
    }
    x = mb_norm(c, x, u->up_norm, NULL, m->config.norm_eps);
    x = mb_reshape(c, x, patches, pixels_of(&m->config) * ch);
    return mb_logits(c, mb_gather(c, x, g->noisy), m->patch_out, mb_route_all(c, g->noisy->rows));
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Numbers for each of a scale's rows. A block: its step, the same for each row, two sums, a norm,
   two unfolded, gated and not, a product. Else: the skip, its sum, what is halved and doubled.
   Gradients: of what is unfolded and gated, and of what waits for its other uses. */
enum { OF_BLOCK = 26, OF_SCALE = 3, OF_GRADIENTS = 16 };

static mb_patch_memory memory(const mb_model_config *m)
{
    int64_t c = m->unet_channels, q = pixels_of(m), block = (OF_BLOCK * q + 1) * c;
    bool again = m->recompute == MB_RECOMPUTE_LAYER;
    mb_patch_memory n = { .kept = 3 * m->width + (3 + PLACES) * m->patch + MB_TIME_FEATURES +
                                  (2 + 3 * q) * c,
                          .under = again ? block : 0,
                          .bytes = 64 + 8 * m->patch + 4 * MB_TIME_FEATURES };

    for (; q > 0; q /= 4) {
        n.kept += 2 * (again ? q : OF_BLOCK * q + 1) * c + OF_SCALE * q * c;
        n.under += OF_GRADIENTS * q * c;
        n.bytes += (4 * PLACES + 8) * q;
    }
    return n;
}

const mb_coder mb_unet_coder = {
    .params = 6 + 11 * SCALES,
    .check = check,
    .make = make,
    .begin = begin,
    .in = in,
    .out = out,
    .memory = memory,
};
