/* One layer, the pass that it belongs to, and what a model is made of. Private to models/. */
#ifndef MB_MODELS_BLOCK_H
#define MB_MODELS_BLOCK_H

#include "models/model.h"

/* Parameters of one layer; a part by modality has M slices, a routed one E, any other one. */
typedef struct mb_layer {
    mb_tensor *norm1, *qkv, *qnorm, *knorm, *out; /* qnorm, knorm NULL without QK-norm */
    mb_tensor *norm2, *router, *up, *down;        /* router NULL unless ffn is MB_BY_ROUTER */
} mb_layer;

enum { MB_TIME_FEATURES = 32 }; /* K: numbers that tell the step of a patch */

/* The patches of a pass (models/patches.c); with a size of 0 there are none. */
typedef struct mb_patches {
    int64_t size;                /* S */
    const mb_route *all, *noisy; /* rows of the hidden state that hold one; one behind noise */
    const float *in;             /* (all, S + K) */
    const float *wanted;         /* (noisy, S) */
    float *loss;                 /* (noisy), in order of positions */
} mb_patches;

/* One pass over one batch. Rows of the hidden state are in home order: sorted by modality when any
   part is routed by modality, else in order of positions. Only attention needs to know. */
typedef struct mb_pass {
    mb_ctx *c;
    const mb_arch *arch;
    const mb_model_config *config;
    bool training;
    double share;        /* of this micro-batch in the step: scales auxiliary losses */
    uint64_t seed, draw; /* keys of this pass */
    int64_t rows;        /* T = B L */
    const int32_t *token, *target, *position;  /* (T), home order */
    const uint8_t *modality, *target_modality; /* (T), home order */
    const uint8_t *norm_slice;                 /* modality, or NULL when norms have one slice */
    const mb_route *route[MB_BY_ROUTER];       /* MB_BY_NONE, MB_BY_MODALITY */
    mb_span span;
    mb_routed *routed; /* (N) what each layer's learned route did */
    float *loss;       /* (T), home order */
    mb_patches patches;
} mb_pass;

/* Layer number INDEX on x (T, D); returns the new hidden state. */
mb_tensor *mb_block(mb_pass *p, const mb_layer *l, int index, mb_tensor *x);

struct mb_model {
    mb_ctx *c;
    const mb_arch *arch;
    mb_model_config config;
    uint64_t seed;
    mb_param *params; /* in documented order */
    size_t n_params;
    mb_tensor *embed, *norm, *head;  /* into params, like the layers' */
    mb_tensor *patch_in, *patch_out; /* NULL when images are ids */
    mb_layer *layers;
    /* All parameters in one array, matrices first, then embeddings, then norms, so that what decays
       alike is contiguous; gradients and both moments in arrays of the same layout. */
    float *data, *grad, *moment[2]; /* one allocation, which starts at data */
    double *squares;                /* of the gradient; in the same allocation */
    int64_t total, n_matrices, n_embeddings;
};

/* Starts a pass over BATCH: sorts rows by modality where the architecture wants that, makes the
   known routes. The arrays live until mb_ctx_reset(). */
void mb_pass_begin(mb_pass *p, mb_model *m, const mb_batch *batch);

/* The patches of BATCH, whose rows P has sorted. */
void mb_patches_begin(mb_pass *p, const mb_batch *batch);
/* x (T, D) with the patches' embeddings added to their rows. */
mb_tensor *mb_patches_in(mb_pass *p, const mb_model *m, mb_tensor *x);
/* What is predicted of noisy patches (noisy, S), from what the head reads. */
mb_tensor *mb_patches_out(mb_pass *p, const mb_model *m, mb_tensor *x);

/* Embedding, layers and final norm: the hidden state (T, D) that the head reads. */
mb_tensor *mb_pass_forward(mb_pass *p, const mb_model *m);

#endif
