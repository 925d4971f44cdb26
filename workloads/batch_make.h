/* The arrays of a batch; private to workloads/. mb_batch_free() (data.h) frees them. */
#ifndef MB_WORKLOADS_BATCH_MAKE_H
#define MB_WORKLOADS_BATCH_MAKE_H

#include "base/batch.h"

void mb_batch_make(int64_t batch, int64_t len, mb_batch *out);

#endif
