/* Precision bf16 on backends that keep floats: operands of products are rounded, and nothing else.
 */
#include "models/kernels/bf16.h"

#include "models/kernels/backend.h"
#include "tests/kernels_support.h"
#include "tests/tiny.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

Test(bf16, is_the_nearest_number_of_eight_bits_and_of_two_the_even_one)
{
    cr_expect_eq(mb_bf16_of(1), 1);
    cr_expect_eq(mb_bf16_of(-0x1.02p0f), -0x1.02p0f);
    cr_expect_eq(mb_bf16_of(0x1.01p0f), 1);           /* a tie */
    cr_expect_eq(mb_bf16_of(0x1.03p0f), 0x1.04p0f);   /* a tie */
    cr_expect_eq(mb_bf16_of(0x1.0102p0f), 0x1.02p0f); /* above it */
    cr_expect_eq(mb_bf16_of(0x1.00fep0f), 1);         /* below it */
    cr_expect_eq(mb_bf16_of(0x1.fffffep127f), INFINITY);
    cr_expect_eq(mb_bf16_of(-INFINITY), -INFINITY);
    cr_expect(isnan(mb_bf16_of(NAN)));
    cr_expect(signbit(mb_bf16_of(-0.0f)));
}

static mb_ctx *open_bf16(const char *backend)
{
    mb_ctx *c;

    cr_assert_eq(mb_ctx_open(backend, MB_BF16, 1, &c), MB_OK, "%s", mb_message());
    return c;
}

/* Operands lose their ninth bit; the sum, the bias of what was there, and the result do not. */
Test(bf16, rounds_operands_and_not_results)
{
    static const char *const backends[] = { "ref", "cpu" };

    for (int i = 0; i < 2; i++) {
        mb_ctx *c = open_bf16(backends[i]);
        const mb_route *r = mb_route_all(c, 1);
        float x[2] = { 0x1.01p0f, 0x1.02p0f }, w[2] = { 3, 0x1.02p0f }, dw[2] = { 0x1.01p-9f, 0 };
        float y, dx[2], dy = 0x1.01p0f;
        mb_tensor t = { .slices = 1, .rows = 1, .cols = 2, .data = w, .grad = dw };

        c->be->gemm(c, &y, x, &t, r);
        cr_expect_eq(y, 3 + 0x1.02p0f * 0x1.02p0f);
        c->be->gemm_dx(c, dx, &dy, &t, r, false);
        cr_expect_eq(dx[1], 0x1.02p0f);
        c->be->gemm_dw(c, &t, &dy, x, r);
        cr_expect_eq(dw[0], 1 + 0x1.01p-9f);
        mb_ctx_close(c);
    }
}

static double distance_of_gradients(mb_model *a, mb_model *b, const mb_batch *batch)
{
    mb_losses losses;
    float *x, *y;
    int64_t n;
    double distance;

    cr_assert_eq(mb_model_gradients(a, batch, 0, &losses), MB_OK);
    cr_assert_eq(mb_model_gradients(b, batch, 0, &losses), MB_OK);
    x = tiny_copy(a, 1, &n);
    y = tiny_copy(b, 1, &n);
    distance = test_distance(x, y, n);
    free(x);
    free(y);
    return distance;
}

static void compare_gradients(const mb_arch *arch)
{
    mb_model_config config = tiny_config(arch);
    mb_batch batch = tiny_batch(&config, 1, 0.5);
    mb_ctx *c[3] = { open_bf16("cpu"), open_bf16("ref"), tiny_ctx("ref") };
    mb_model *m[3];
    double own, precise;

    for (int i = 0; i < 3; i++) {
        m[i] = tiny_model(c[i], arch, &config, 1);
        tiny_spread(m[i]);
        mb_ctx_weights_changed(c[i]);
    }
    own = distance_of_gradients(m[0], m[1], &batch);
    precise = distance_of_gradients(m[0], m[2], &batch);
    cr_expect(own < 1e-5, "%s: %.3g from ref in bf16", arch->name, own);
    cr_expect(precise > 1e-6 && precise < 1e-2, "%s: %.3g from fp32", arch->name, precise);
    for (int i = 0; i < 3; i++) {
        mb_model_close(m[i]);
        mb_ctx_close(c[i]);
    }
    tiny_free(&batch);
}

/* cpu against ref, both in bf16: 1e-5, as operands that were computed may round another way. bf16
   against fp32: within 1e-2, the models are tiny, but
   not nothing. Where a router chooses by what was rounded, a choice
   may differ, and with it the gradient. */
Test(bf16, gradients_are_those_of_ref_and_near_those_of_fp32)
{
    for (const mb_arch *arch = mb_archs; arch->name; arch++)
        if (arch->ffn != MB_BY_ROUTER)
            compare_gradients(arch);
}
