/* What a trained model is good for, beside its loss: metrics with what each can be held against.
   workloads/README.md defines them. */
#ifndef MB_HARNESS_QUALITY_H
#define MB_HARNESS_QUALITY_H

#include "harness/generate.h"

typedef struct mb_quality_plan {
    int64_t documents; /* scored for each metric of losses, at most */
    int64_t samples;   /* generated for each metric of samples, at most */
    uint64_t seed;     /* of samples */
    int64_t at_once;
    mb_diffuse diffuse; /* as in mb_generate_plan */
} mb_quality_plan;

typedef struct mb_quality { /* rows as they are stored */
    mb_quality_row *row;
    size_t n, room;
    char **metric; /* (n) names that were put together, owned */
} mb_quality;

void mb_quality_free(mb_quality *q); /* the contents; accepts a zeroed one */
/* METRIC "NAME" or, with GIVEN, "NAME given MODALITY". BOUND_IS NULL: no bound. */
void mb_quality_add(mb_quality *q, const char *name, int given, int modality, const char *split,
                    double value, int64_t n, double bound, const char *bound_is);
enum { MB_GIVEN_NOTHING = -1 };

/* By scoring documents: conditional losses, caption gain, bits, retrieval (quality_loss.c). */
mb_err mb_quality_of_losses(const mb_loaded *l, const mb_quality_plan *plan, mb_quality *q);
/* By looking at samples: distance, consistency, captions (quality_sample.c). Nothing where the data
   have no images with captions that a judge could learn from. */
mb_err mb_quality_of_samples(const mb_loaded *l, const mb_quality_plan *plan, mb_quality *q);

#endif
