/* The judge of generated images: a small classifier of our own, trained on the images that the
   tokens of the training split decode to, with the class that their captions name. It is the same
   for every model on a data set: made once from a fixed seed, one thread and our own kernels, and
   kept beside the prepared data. */
#ifndef MB_HARNESS_JUDGE_H
#define MB_HARNESS_JUDGE_H

#include "workloads/parts.h"
#include "workloads/slots.h"

enum { MB_FEATURES = 128 };

typedef struct mb_judge mb_judge;

/* MB_EINVAL for a set whose images or captions nobody can judge. */
mb_err mb_judge_open(const mb_data *d, const mb_render *r, mb_judge **out);
void mb_judge_close(mb_judge *j); /* accepts NULL */

/* CLASS (n) and FEATURE (n, MB_FEATURES) of N images (side, side, channels). */
mb_err mb_judge_look(mb_judge *j, const uint8_t *image, int64_t n, int *class, float *feature);

#endif
