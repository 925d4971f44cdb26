/* The noise schedule and what is predicted. */
#include "base/diffusion.h"

#include <criterion/criterion.h>
#include <math.h>

/* Computed with Python from the formula: f(t) = cos^2((t/1000 + 0.008) / 1.008 pi/2), beta = min(1
   - f(t)/f(t-1), 0.999), and the product of 1 - beta. */
Test(diffusion, the_schedule_is_the_cosine_of_the_paper)
{
    static const struct {
        int t;
        double kept;
    } known[] = { { 1, 0.999958715775178 },      { 2, 0.999912575927368 },
                  { 250, 0.847012161326905 },    { 500, 0.493843590440638 },
                  { 750, 0.144272102385736 },    { 998, 9.71504403616987e-06 },
                  { 999, 2.42876690703485e-06 }, { 1000, 2.42876690703486e-09 } };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        cr_expect(fabs(mb_noise_kept(known[i].t) / known[i].kept - 1) < 1e-9, "step %d: %.17g",
                  known[i].t, mb_noise_kept(known[i].t));
}

Test(diffusion, every_step_keeps_less_and_none_nothing)
{
    cr_expect_eq(mb_noise_kept(0), 1);
    for (int t = 1; t <= MB_NOISE_STEPS; t++) {
        double beta = 1 - mb_noise_kept(t) / mb_noise_kept(t - 1);

        cr_expect(beta > 0 && beta < 0.999 + 1e-12, "step %d: %g", t, beta);
    }
}

/* Whatever is predicted, image and noise come out of it again. */
Test(diffusion, splitting_is_the_inverse_of_mixing)
{
    for (int what = MB_EPSILON; what <= MB_VELOCITY; what++)
        for (int t = 1; t <= MB_NOISE_STEPS; t += 111) {
            double kept = mb_noise_kept(t), x, e;
            float z = mb_noise_mix(kept, 0.25f, -1.5f);
            float wanted = mb_noise_wanted((enum mb_prediction)what, kept, 0.25f, -1.5f);

            mb_noise_split((enum mb_prediction)what, kept, z, wanted, &x, &e);
            cr_expect(fabs(x - 0.25) < 1e-6 / sqrt(kept) && fabs(e + 1.5) < 1e-6, "step %d: %g, %g",
                      t, x, e);
        }
    cr_expect_float_eq(mb_noise_wanted(MB_VELOCITY, 0.25, 1, 0), -sqrt(0.75), 1e-6);
    cr_expect_float_eq(mb_noise_wanted(MB_VELOCITY, 0.25, 0, 1), 0.5, 1e-6);
}
