/* The table of the reference backend. */
#include "models/kernels/ref/ref.h"

#include "base/file.h"

static mb_err ref_open(mb_precision precision, int threads, mb_ctx **out)
{
    *out = mb_zalloc(1, sizeof **out);
    (*out)->be = &mb_ref;
    (*out)->threads = 1; /* whatever was asked: the order of every sum is the order of the loops */
    return MB_OK;
}

static void ref_close(mb_ctx *c)
{
    free(c);
}

static void weights_changed(mb_ctx *c)
{
    /* reads the parameters themselves */
}

const mb_backend mb_ref = {
    .name = "ref",
    .computes = true,
    .bf16 = true,
    .open = ref_open,
    .close = ref_close,
    MB_HOST_SLOTS,
    .weights_changed = weights_changed,
    .embed = mb_ref_embed,
    .embed_bwd = mb_ref_embed_bwd,
    .gemm = mb_ref_gemm,
    .gemm_dx = mb_ref_gemm_dx,
    .gemm_dw = mb_ref_gemm_dw,
    .gather = mb_ref_gather,
    .gather_bwd = mb_ref_gather_bwd,
    .unfold = mb_ref_unfold,
    .unfold_bwd = mb_ref_unfold_bwd,
    .combine = mb_ref_combine,
    .combine_bwd = mb_ref_combine_bwd,
    .norm = mb_ref_norm,
    .norm_bwd = mb_ref_norm_bwd,
    .rope = mb_ref_rope,
    .rope_bwd = mb_ref_rope_bwd,
    .attend = mb_ref_attend,
    .attend_bwd = mb_ref_attend_bwd,
    .attend_cached = mb_ref_attend_cached,
    .swiglu = mb_ref_swiglu,
    .swiglu_bwd = mb_ref_swiglu_bwd,
    .jitter = mb_ref_jitter,
    .jitter_bwd = mb_ref_jitter_bwd,
    .classify = mb_ref_classify,
    .regress = mb_ref_regress,
    .sum_squares = mb_ref_sum_squares,
    .adamw = mb_ref_adamw,
};
