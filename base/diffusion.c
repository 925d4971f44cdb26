#include "base/diffusion.h"

#include <assert.h>
#include <math.h>

/* cos^2 of the way from the offset to a right angle. */
static double cosine(int t)
{
    const double offset = 0.008;
    double c = cos((t / (double)MB_NOISE_STEPS + offset) / (1 + offset) * M_PI / 2);

    return c * c;
}

double mb_noise_kept(int t)
{
    const double least =
        1 - 0.999; /* kept by one step; only the last one would keep less: nothing */

    assert(t >= 0 && t <= MB_NOISE_STEPS);
    return t < MB_NOISE_STEPS ? cosine(t) / cosine(0) : least * cosine(t - 1) / cosine(0);
}

float mb_noise_mix(double kept, float x, float e)
{
    return (float)(sqrt(kept) * x + sqrt(1 - kept) * e);
}

float mb_noise_wanted(enum mb_prediction what, double kept, float x, float e)
{
    return what == MB_EPSILON ? e : (float)(sqrt(kept) * e - sqrt(1 - kept) * x);
}

void mb_noise_split(enum mb_prediction what, double kept, double z, double predicted, double *x,
                    double *e)
{
    double image = sqrt(kept), noise = sqrt(1 - kept);

    if (what == MB_EPSILON) {
        *e = predicted;
        *x = (z - noise * predicted) / image;
    } else {
        *x = image * z - noise * predicted;
        *e = noise * z + image * predicted;
    }
}
