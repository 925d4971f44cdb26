/* What the best linear guess of the noise in front of images loses, in closed form: lines that a
   model of patches should pass. */
#ifndef MB_HARNESS_DENOISER_H
#define MB_HARNESS_DENOISER_H

#include "base/diffusion.h"
#include "workloads/data.h"

typedef struct mb_denoisers { /* NaN where there is nothing to measure */
    double patch;             /* of guesses from a patch, wherever it lies in an image */
    double image;   /* from a whole image; NaN where there are too few images for their numbers */
    int64_t images; /* of the train split behind it, all or evenly taken */
} mb_denoisers;

/* Mean squared errors, over all steps of noise, of what is PREDICTED. Images that are patches only.
 */
mb_err mb_denoisers_measure(const mb_data *d, enum mb_prediction predicted, mb_denoisers *out);

/* The same of numbers with a known COVARIANCE (n, n), which is overwritten:
   of the noise, mean over steps of 1 - (1-a) tr((a C + (1-a))^-1) / n, with a what a step keeps. */
double mb_denoiser_loss(double *covariance, int n, enum mb_prediction predicted);

#endif
