/* Images out of noise: samplers for models of patches (DDIM, Song et al. 2021; with eta = 1 DDPM,
   Ho et al. 2020). Every step runs the whole sequence; what attention could keep is made again. */
#ifndef MB_MODELS_DIFFUSE_H
#define MB_MODELS_DIFFUSE_H

#include "base/diffusion.h"
#include "models/model.h"

typedef struct mb_diffuse {
    int steps;                     /* 1 .. MB_NOISE_STEPS, evenly spaced */
    double eta;                    /* noise that every step adds again: 0 none, 1 as much as DDPM */
    double guidance;               /* w of u + w (c - u), from what is predicted with the prompt (c)
                                      and with the bare one (u); 1: with the prompt alone */
    enum mb_prediction prediction; /* what the model was trained to say */
    double limit;                  /* images lie in -limit .. limit, and so does what is guessed */
} mb_diffuse;

typedef struct mb_prompt {   /* what stands before an image, to its BOI */
    const int32_t *token;    /* (n) */
    const uint8_t *modality; /* (n) */
    int64_t n;
    uint64_t key; /* of what is drawn for its image */
} mb_prompt;

typedef struct mb_canvas { /* what stands where the image is to be */
    int32_t token;         /* the id at every patch */
    int64_t patches;
} mb_canvas;

/* OUT (n, patches, S): an image for each of N prompts. BARE is the prompt of an
   image without a caption, looked at when guidance is not 1. An image depends on its prompt and the
   prompt's key, and where experts choose without cuts on the others, too. */
mb_err mb_diffuse_images(mb_model *m, const mb_diffuse *how, const mb_prompt *prompt, int64_t n,
                         const mb_prompt *bare, mb_canvas canvas, float *out);

/* "ddim, 25 steps, guidance 1". Caller frees. */
char *mb_diffuse_how(const mb_diffuse *how);

/* One number's way from step FROM to the earlier step TO: z at FROM, what is predicted of it, and a
   standard normal DRAW, of which eta decides how much is used. */
double mb_diffuse_step(const mb_diffuse *how, int from, int to, double z, double predicted,
                       double draw);

#endif
