/* What a workload asks of a machine, before it is run: parameters, FLOPs, time. */
#ifndef MB_HARNESS_ESTIMATE_H
#define MB_HARNESS_ESTIMATE_H

#include "harness/settings.h"

typedef struct mb_estimate {
    double parameters; /* of the largest architecture */
    double flops;      /* executed, of the training steps of all runs */
} mb_estimate;

/* Makes a step of every architecture on the backend `null`, on a batch of the data where they are
   prepared. Where they are not, sequences are taken as whole documents of all modalities in turn,
   and without a model.vocab, or a model.patch_channels of images as patches, nothing is known: then
   both are NaN. */
mb_err mb_estimate_make(const mb_settings *s, mb_estimate *out);

/* How long the steps take on the backend `cpu` when its threads reach PEAK FLOP/s in registers, in
   all; within a half of it, since data, machine and architecture matter. */
double mb_estimate_seconds(const mb_settings *s, const mb_estimate *e, double peak);

#endif
