/* A model: a row of the architecture table and a size, with parameters made from a seed.

   Letters, fixed here for the whole project: T tokens of a batch (B sequences of length L), D
   width, H heads, F feed-forward width, G groups, E experts, M modalities, N layers, V vocabulary.
   S numbers of a patch. Shapes are written (T, D). */
#ifndef MB_MODELS_MODEL_H
#define MB_MODELS_MODEL_H

#include "base/batch.h"
#include "base/err.h"
#include "models/kernels/op.h"

/* ---- architectures ------------------------------------------------------------------------ */

enum mb_by { MB_BY_NONE, MB_BY_MODALITY, MB_BY_ROUTER };

/* One row of the architecture table (models/block.c): which route each part of a layer takes. */
typedef struct mb_arch {
    const char *name;
    enum mb_by qkv, out, ffn, norms; /* norms: after or before both sub-layers, and QK-norm */
    enum mb_choice choice;           /* of a learned route */
    enum mb_score score;
    int top_k;
    bool renormalise, random_second;
    double capacity, balance; /* defaults of the settings of the same name */
    const char *about;        /* one line for `motbench list archs` */
} mb_arch;

extern const mb_arch mb_archs[];               /* ends with a NULL name */
const mb_arch *mb_arch_find(const char *name); /* NULL: no such row */

/* ---- settings ------------------------------------------------------------------------------ */

enum mb_norm_place { MB_POST, MB_PRE };       /* x + norm(f(x)) [MoT eq. 1]; x + f(norm(x)) */
enum mb_gate_place { MB_OUTSIDE, MB_INSIDE }; /* x + p norm(E(x)); x + norm(p E(x)); post only */
enum mb_slices { MB_INDEPENDENT, MB_COPIES }; /* how slices of one part are drawn */
enum mb_recomputed { MB_RECOMPUTE_NONE, MB_RECOMPUTE_LAYER }; /* what a backward makes again */
enum mb_patch_coder { MB_PATCH_LINEAR, MB_PATCH_UNET };       /* from patches to rows and back */
enum mb_groups { MB_GROUP_BATCH, MB_GROUP_SEQUENCE }; /* which rows share an expert's capacity */

typedef struct mb_model_config {
    int vocab;      /* V, from the data */
    int modalities; /* M, from the data */
    int width, layers, heads;
    int ffn_width; /* F; 0: 2/3 * 4D rounded up to ffn_multiple */
    int ffn_multiple;
    enum mb_norm_place norm;
    enum mb_gate_place gate;
    enum mb_slices slices;
    enum mb_recomputed recompute;
    int pad; /* rows of each modality are padded to a multiple of it; 0 or 1: to none */
    enum mb_attention attention; /* on a device */
    enum mb_grouping grouping;   /* the same */
    bool graph;                  /* a device launches steps of known shapes as a whole */
    bool qk_norm;
    float norm_eps, rope_base;
    float z_loss;       /* weight of lse^2 of the logits [Chameleon 2.3] */
    int patch;          /* S, from the data: numbers of an image's patch; 0: images are ids */
    float patch_weight; /* of the patches' mean loss beside that of ids [Transfusion 3.2: lambda] */
    enum mb_patch_coder patch_coder;
    int patch_side, unet_channels; /* of the U-Net: pixels along a patch, numbers of a pixel */
    /* of learned routes; the row of the table gives the defaults */
    int experts;
    double capacity; /* factor; in evaluation eval_capacity, 0: no limit */
    double eval_capacity;
    double balance, router_z, jitter;
    enum mb_score score;
    enum mb_groups group; /* expert choice */
    int64_t batch, len;   /* B, L of the largest batch: sizes the scratch */
} mb_model_config;

typedef struct mb_optimizer_config {
    float lr, beta1, beta2, eps, decay,
        clip; /* clip: largest global norm of the gradient, 0: none */
    bool decay_norms, decay_embeddings;
} mb_optimizer_config;

/* F for a width: 2/3 * 4D rounded up to a multiple [MoT repository,
 * simple_ModalityUntiedFeedForward]. */
int mb_ffn_width(int width, int multiple);

/* ---- the model ----------------------------------------------------------------------------- */

typedef struct mb_param {
    mb_tensor t; /* data and grad point into the model's own memory */
    enum mb_kind { MB_MATRIX, MB_EMBEDDING, MB_NORM_WEIGHT } kind; /* decides decay */
    enum mb_by by;                                                 /* whose slices it has */
} mb_param;

typedef struct mb_model mb_model;

/* Checks the configuration (heads divide the width, experts > 0, ...) and draws the parameters from
   SEED; equal names draw equal numbers in every architecture. Borrows c, which must outlive it. */
mb_err mb_model_open(mb_ctx *c, const mb_arch *arch, const mb_model_config *config, uint64_t seed,
                     mb_model **out);
void mb_model_close(mb_model *m); /* accepts NULL */

/* All parameters, in the documented order (models/README.md); *count of them. */
mb_param *mb_model_params(mb_model *m, size_t *count);
const mb_arch *mb_model_arch(const mb_model *m);
const mb_model_config *mb_model_settings(const mb_model *m); /* as completed: F filled in */
uint64_t mb_model_params_total(const mb_model *m);
/* Parameters that one token meets, the largest over modalities (embedding and head included). */
uint64_t mb_model_params_active(const mb_model *m);

/* ---- memory --------------------------------------------------------------------------------- */

/* Bytes at the peak of a training step on batches of the configuration's size, by the formulas of
   models/README.md. */
typedef struct mb_memory {
    uint64_t weights, gradients, moments;
    uint64_t copies;      /* of matrices, as products want them */
    uint64_t activations; /* and their gradients */
    uint64_t routes;      /* indices and scores, patches before and after the model */
    uint64_t head;        /* logits under way */
} mb_memory;

mb_memory mb_model_memory(const mb_model *m);
uint64_t mb_memory_total(const mb_memory *b);
/* Bytes that the model and its ctx really held at most so far. */
uint64_t mb_model_held(const mb_model *m);

typedef struct mb_losses {
    /* Of -log p in nats, by the target's modality. Of patches the mean squared error of each, as
       MB_IMAGE, and then every id counts as text, whatever it routes to. */
    double sum[MB_MODALITIES];
    int64_t n[MB_MODALITIES];
    float patch_weight;       /* of the mean over images beside that of ids; 0: images are ids */
    double balance, router_z; /* means over layers; 0 without a router */
    int64_t asked, dropped;   /* expert assignments, over layers */
    double grad_norm;         /* before clipping; mb_model_step only */
} mb_losses;

/* What training makes smaller, but for auxiliary losses: the mean over all targets; with patches
   that of ids plus the weighted mean of patches. 0 without targets. */
double mb_losses_mean(const mb_losses *l);

/* One optimiser step over N micro-batches: forward, backward, clip, AdamW. STEP from 0 keys the
   random draws and is the optimiser's clock. The loss is the mean of mb_losses_mean() over all
   micro-batches. */
mb_err mb_model_step(mb_model *m, const mb_batch *batches, int n, const mb_optimizer_config *how,
                     int64_t step, mb_losses *out);

/* Losses of one batch, without gradients, adding to *out. */
mb_err mb_model_evaluate(mb_model *m, const mb_batch *batch, mb_losses *out);

/* The loss of every position of one batch, (B, L): of ids in nats, 0 without a target; of a patch
   behind noise its mean squared error. */
mb_err mb_model_losses(mb_model *m, const mb_batch *batch, float *loss);

/* Experts that choose look at all rows of a batch, later ones too, which is no way to generate.
   From BATCH on, in evaluations, logits and decoding, each expert takes the rows that score at
   least what the weakest row scored that it took in BATCH, however many these are. Nothing happens
   to other architectures, and to training. */
mb_err mb_model_learn_cuts(mb_model *m, const mb_batch *batch);

/* Logits of one batch, (B, L, V) float32 in order of positions. */
mb_err mb_model_logits(mb_model *m, const mb_batch *batch, float *logits);

/* What is predicted of the noisy patches of one batch, (patches, S) float32 in order of positions.
 */
mb_err mb_model_predict(mb_model *m, const mb_batch *batch, float *predicted);

/* Gradients of the mean loss of one batch, left in the params' grad (cleared first): for tests. */
mb_err mb_model_gradients(mb_model *m, const mb_batch *batch, int64_t step, mb_losses *out);

/* ---- decoding (models/decode.c) -------------------------------------------------------------- */

/* B sequences, one document each, that grow token by token: attention keeps what it needs of
   earlier ones. Learned routes have no capacity here. Gives the logits of mb_model_logits() for the
   same documents: the same bits on `ref`. */
typedef struct mb_decoder mb_decoder;

/* Sequences of at most LEN tokens. Borrows m. Refuses experts that choose without cuts. */
mb_err mb_decoder_open(mb_model *m, int64_t batch, int64_t len, mb_decoder **out);
void mb_decoder_close(mb_decoder *d);         /* accepts NULL */
void mb_decoder_clear(mb_decoder *d);         /* all sequences begin anew */
size_t mb_decoder_bytes(const mb_decoder *d); /* that attention keeps, when full */

/* What sequences grow by: N tokens with their modality, each for a sequence 0 .. B-1. */
typedef struct mb_feed {
    const int32_t *token;    /* (n) */
    const uint8_t *modality; /* (n) */
    const int32_t *sequence; /* (n) */
    int64_t n;
    /* Images as clean patches; NULL: none. Those of an image follow one another, and see all of it.
     */
    const int32_t *noise; /* (n) 0 where there is one, else -1 */
    const float *noisy;   /* (n, S) */
} mb_feed;

/* Appends tokens in order; any number to any sequence. Row b of LOGITS (B, V) becomes the
   prediction after sequence b's last token, if it got any. Fails on ids out of range and full
   sequences. */
mb_err mb_decoder_feed(mb_decoder *d, const mb_feed *feed, float *logits);

/* ---- checkpoints (models/checkpoint.c) ------------------------------------------------------ */

/* Weights alone, as .safetensors, with METADATA ("key", "value", ..., NULL) in the header. Atomic.
 */
mb_err mb_checkpoint_save(const char *path, mb_model *m, const char *const *metadata);
/* Weights, moments and step: what --resume needs. Atomic. */
mb_err mb_checkpoint_save_state(const char *path, mb_model *m, int64_t step,
                                const char *const *metadata);
mb_err mb_checkpoint_load_state(const char *path, mb_model *m, int64_t *step);
/* Reads one metadata value (caller frees; NULL when absent), to rebuild the model before loading.
 */
mb_err mb_checkpoint_metadata(const char *path, const char *key, char **value);
/* Names, shapes and dtypes must be the model's; says the first that is not. */
mb_err mb_checkpoint_load(const char *path, mb_model *m);

#endif
