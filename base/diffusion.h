/* Diffusion: how much noise a step adds, and what a model is asked for. Both sides need it: streams
   put training images behind noise, samplers take it away again.

   At step t of MB_NOISE_STEPS an image x lies behind noise e, standard normal: z = sqrt(a) x +
   sqrt(1 - a) e with a = mb_noise_kept(t). */
#ifndef MB_BASE_DIFFUSION_H
#define MB_BASE_DIFFUSION_H

enum { MB_NOISE_STEPS = 1000 }; /* [Transfusion 4.1] */

/* What is predicted: the noise e [DDPM], or v = sqrt(a) e - sqrt(1 - a) x (Salimans & Ho 2022). */
enum mb_prediction { MB_EPSILON, MB_VELOCITY };

/* a: the share of the image in z's variance after step T, 0 .. MB_NOISE_STEPS; 1 at 0 and falling.
   The cosine schedule (Nichol & Dhariwal 2021, eq. 17: offset 0.008, beta at most 0.999). */
double mb_noise_kept(int t);

/* z and the prediction wanted, for image X and noise E; each may be one number of many. */
float mb_noise_mix(double kept, float x, float e);
float mb_noise_wanted(enum mb_prediction what, double kept, float x, float e);

/* X and E again from z and what was predicted: the inverse of both. kept > 0. */
void mb_noise_split(enum mb_prediction what, double kept, double z, double predicted, double *x,
                    double *e);

#endif
