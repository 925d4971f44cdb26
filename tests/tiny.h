/* Tiny models and batches for tests of whole models. */
#ifndef MB_TESTS_TINY_H
#define MB_TESTS_TINY_H

#include "models/model.h"

/* Two layers of width 8, vocabulary 32, two modalities, batches of 2 x 12. */
mb_model_config tiny_config(const mb_arch *arch);

/* How images come: as ids; as patches of three numbers; as patches of 2 x 2 pixels, two numbers
   each, through a U-Net. */
enum { TINY_IDS, TINY_PATCHES, TINY_UNET, TINY_IMAGES };
void tiny_images(mb_model_config *config, int how);

/* AdamW without clipping and decay. */
mb_optimizer_config tiny_optimizer(float lr);

/* One thread: a barrier costs more than a tiny product, far more on a busy machine. Opens in
   tiny_precision, which is fp32 but within a loop IN_EACH_PRECISION. */
mb_ctx *tiny_ctx(const char *backend);
extern mb_precision tiny_precision;
#define IN_EACH_PRECISION for (int precision_ = 0; tiny_take_precision(precision_); precision_++)
bool tiny_take_precision(int i); /* false, and fp32 again, beyond the last */

/* A model whose parameters are drawn from SEED; asserts that it opens. */
mb_model *tiny_model(mb_ctx *c, const mb_arch *arch, const mb_model_config *config, uint64_t seed);

/* Moves embeddings to deviation 0.5, norm weights off 1 and routers to clear decisions, so that no
   gradient is small and no small step changes a route. */
void tiny_spread(mb_model *m);

/* B sequences of L tokens in three packed documents each; a token is an image token with
   probability IMAGES, and then from the upper half of the vocabulary, or a patch when the
   configuration has some. The caller frees it. */
mb_batch tiny_batch(const mb_model_config *config, uint64_t seed, double images);
void tiny_free(mb_batch *b);

/* Puts another token, of the other modality if there are two, or another patch at position I (of B
   L). */
void tiny_change(mb_batch *b, const mb_model_config *config, int64_t i);

/* Logits (B, L, V) that the caller frees. */
float *tiny_logits(mb_model *m, const mb_batch *b);

/* All parameters (what = 0) or gradients (1), in documented order; the caller frees. */
float *tiny_copy(mb_model *m, int what, int64_t *count);

#endif
