/* The fast CPU backend: its table, opening and closing, workspace. fp32; matrix products on the
   micro-kernels of tile.h, everything else in C for OpenMP and the compiler's vectoriser. The
   kernels are in the other files of this folder. */
#include "models/kernels/cpu/cpu.h"

#include "base/file.h"
#include "models/kernels/bf16.h"
#include "models/kernels/cpu/tile.h"

#include <omp.h>
#include <stdlib.h>

static mb_err cpu_open(mb_precision precision, int threads, mb_ctx **out)
{
    cpu_ctx *c = mb_zalloc(1, sizeof *c);

    c->base.be = &mb_cpu;
    c->base.threads = threads > 0 ? threads : omp_get_max_threads();
    *out = &c->base;
    return MB_OK;
}

static void cpu_close(mb_ctx *base)
{
    cpu_ctx *c = (cpu_ctx *)base;

    if (!c)
        return;
    rotations_free(&c->rotations);
    weights_free(c);
    free(c->space);
    free(c);
}

void cpu_note_own(cpu_ctx *c)
{
    c->base.own = (size_t)c->space_count * sizeof(float) + c->weights.peak;
}

float *cpu_space(mb_ctx *base, int64_t count)
{
    cpu_ctx *c = (cpu_ctx *)base;

    if (count > c->space_count) {
        free(c->space);
        c->space = mb_host_alloc(base, (size_t)count * sizeof(float));
        if (!c->space)
            abort();
        c->space_count = count;
        cpu_note_own(c);
    }
    return c->space;
}

void as_operands(const mb_ctx *c, float *x, int64_t n)
{
    if (c->precision == MB_FP32)
        return;
    for (int64_t i = 0; i < n; i++)
        x[i] = mb_bf16_of(x[i]);
}

bool in_pairs(const mb_ctx *c)
{
    return TILE_PAIRS && c->precision == MB_BF16;
}

int64_t steps_of(const mb_ctx *c, int64_t k)
{
    return in_pairs(c) ? (k + 1) / 2 : k;
}

int64_t slices_in(const uint8_t *slice, int64_t t)
{
    uint8_t last = 0;

    for (int64_t i = 0; slice && i < t; i++)
        last = slice[i] > last ? slice[i] : last;
    return last + 1;
}

void add_partials(float *total, const float *partial, int64_t blocks, int64_t stride, int64_t n)
{
    for (int64_t b = 0; b < blocks; b++) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++)
            total[j] += partial[b * stride + j];
    }
}

const mb_backend mb_cpu = {
    .name = "cpu",
    .computes = true,
    .bf16 = true,
    .copies = 2 * sizeof(float), /* weights.c: both layouts */
    .few = FEW_ROWS,
    .many = MANY_ROWS,
    .head_rows = 96, /* classify.c */
    .open = cpu_open,
    .close = cpu_close,
    MB_HOST_SLOTS,
    .weights_changed = cpu_weights_changed,
    .embed = cpu_embed,
    .embed_bwd = cpu_embed_bwd,
    .gemm = cpu_gemm,
    .gemm_dx = cpu_gemm_dx,
    .gemm_dw = cpu_gemm_dw,
    .gather = cpu_gather,
    .gather_bwd = cpu_gather_bwd,
    .unfold = cpu_unfold,
    .unfold_bwd = cpu_unfold_bwd,
    .combine = cpu_combine,
    .combine_bwd = cpu_combine_bwd,
    .norm = cpu_norm,
    .norm_bwd = cpu_norm_bwd,
    .rope = cpu_rope,
    .rope_bwd = cpu_rope_bwd,
    .attend = cpu_attend,
    .attend_bwd = cpu_attend_bwd,
    .attend_cached = cpu_attend_cached,
    .swiglu = cpu_swiglu,
    .swiglu_bwd = cpu_swiglu_bwd,
    .jitter = cpu_jitter,
    .jitter_bwd = cpu_jitter_bwd,
    .classify = cpu_classify,
    .regress = cpu_regress,
    .sum_squares = cpu_sum_squares,
    .adamw = cpu_adamw,
};
