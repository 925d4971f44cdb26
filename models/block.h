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
    struct mb_grids *grids;      /* images as the U-Net sees them */
} mb_patches;

/* One pass over one batch. Rows of the hidden state are in home order: sorted by modality when any
   part is routed by modality, else in order of positions. Only attention and what leads to it need
   to know. With padded groups R >= T rows: those that are no position's have token 0 and no target,
   so that nothing flows back from them. */
typedef struct mb_pass {
    mb_ctx *c;
    const mb_arch *arch;
    const mb_model_config *config;
    bool training;
    double share;         /* of this micro-batch in the step: scales auxiliary losses */
    uint64_t seed, draw;  /* keys of this pass */
    int64_t tokens, rows; /* T = B L, R */
    const int32_t *token, *target, *position;  /* (R), home order */
    const uint8_t *modality, *target_modality; /* (R), home order */
    const uint8_t *norm_slice;                 /* modality, or NULL when norms have one slice */
    const mb_route *route[MB_BY_ROUTER];       /* MB_BY_NONE, MB_BY_MODALITY */
    mb_span span;
    const mb_cache *cache; /* (N) what the layers keep of sequences that grow; NULL: a span */
    mb_places places;      /* of the rows, with a cache */
    const float *cut;      /* (N, E) of mb_router; NULL: none */
    float *least;          /* (N, E) of mb_router; NULL: not wanted */
    mb_routed *routed;     /* (N) what each layer's learned route did */
    float *loss;           /* (R), home order */
    mb_patches patches;
} mb_pass;

/* Whether any part goes by modality, so that rows are sorted. */
bool mb_arch_by_modality(const mb_arch *a);

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
    struct mb_unet *unet;            /* NULL where no U-Net stands between */
    mb_layer *layers;
    /* All parameters in one array, matrices first, then embeddings, then norms, so that what decays
       alike is contiguous; gradients and both moments in arrays of the same layout. */
    float *data, *grad, *moment[2]; /* one allocation, which starts at data */
    double *squares;                /* of the gradient; in the same allocation */
    float *cut;                     /* (N, E) of mb_model_learn_cuts(); NULL: none */
    int64_t total, n_matrices, n_embeddings;
};

/* Says how much memory M takes, what would take less, and why it cannot be had: the message there
   is. MB_ENOMEM. */
mb_err mb_model_refuse(const mb_model *m);

/* Starts a pass over BATCH: sorts rows by modality where the architecture wants that, makes the
   known routes. The arrays live until mb_ctx_reset(). */
void mb_pass_begin(mb_pass *p, mb_model *m, const mb_batch *batch);

/* Equal for passes that ask the backend for the same calls on the same shapes: of the same model,
   on batches that are alike in size, rows by modality and kind of spans. LAST: the optimiser's
   calls follow. */
uint64_t mb_pass_key(const mb_pass *p, const mb_model *m, bool last);

/* ROW (T) in home order; NULL for NULL. Passes without targets have no padding. */
const int32_t *mb_pass_order(const mb_pass *p, const int32_t *row);

/* Adds a parameter (rows, cols), or a norm's weight (1, cols), of one slice to those of M, which
   has room for it. Takes NAME. */
mb_tensor *mb_model_matrix(mb_model *m, int64_t rows, int64_t cols, char *name);
mb_tensor *mb_model_norm(mb_model *m, int64_t cols, char *name);

typedef struct mb_patch_memory { /* that one patch takes */
    int64_t kept;                /* elements of activations, */
    int64_t under; /* and of those that its backward alone has: gradients, what is made again */
    int64_t bytes; /* of memory of the host */
} mb_patch_memory;

/* What makes rows of the hidden state of patches, and predictions of what the head would read. */
typedef struct mb_coder {
    int params; /* that it has at most */
    mb_err (*check)(const mb_model_config *config);
    void (*make)(mb_model *m); /* its parameters, patch_in and patch_out among them */
    void (*begin)(mb_pass *p, const mb_model *m, const mb_batch *batch);
    mb_tensor *(*in)(mb_pass *p, const mb_model *m);                /* (all, D) */
    mb_tensor *(*out)(mb_pass *p, const mb_model *m, mb_tensor *x); /* (noisy, S) of x (R, D) */
    mb_patch_memory (*memory)(const mb_model_config *config);
} mb_coder;

extern const mb_coder mb_linear_coder, mb_unet_coder;
const mb_coder *mb_coder_of(const mb_model_config *config);

/* What tells a coder STEP of a patch. */
void mb_time_features(int32_t step, float out[MB_TIME_FEATURES]);

/* The patches of BATCH, whose rows P has sorted. */
void mb_patches_begin(mb_pass *p, const mb_model *m, const mb_batch *batch);
/* x (T, D) with the patches' embeddings added to their rows. */
mb_tensor *mb_patches_in(mb_pass *p, const mb_model *m, mb_tensor *x);
/* What is predicted of noisy patches (noisy, S), from what the head reads. */
mb_tensor *mb_patches_out(mb_pass *p, const mb_model *m, mb_tensor *x);

/* Embedding, layers and final norm: the hidden state (R, D) that the head reads. */
mb_tensor *mb_pass_forward(mb_pass *p, const mb_model *m);

#endif
