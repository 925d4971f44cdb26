/* What a GPU does for each operation: kernels, copies and fills of some steps, summed by operation
   and name, and the time in which it does nothing, an item of its own. */
#ifndef MB_HARNESS_KERNELS_H
#define MB_HARNESS_KERNELS_H

#include "models/kernels/op.h"
#include "profiles/activity.h"
#include "results/store.h"

typedef struct mb_kernels mb_kernels;

/* Watches the operations of C; MB_EMISSING where no GPU computes them. */
mb_err mb_kernels_open(mb_ctx *c, mb_kernels **out);
/* C is watched no more, and CUPTI free for other uses; the sums stay. */
void mb_kernels_stop(mb_kernels *k);
void mb_kernels_close(mb_kernels *k); /* accepts NULL; stops */

/* A step has ended: waits for the device and adds what it did. */
mb_err mb_kernels_step(mb_kernels *k);

/* The same for launches from anywhere, which mb_kernels_step() takes from the device: those of one
   step, by start; their ids count the intervals between boundaries from 1. */
void mb_kernels_add(mb_kernels *k, const mb_launch *launches, size_t n);

/* The sums so far; valid until the next step or the close. */
const mb_kernel_row *mb_kernels_rows(const mb_kernels *k, size_t *n);

/* For tests: C is watched, nothing is recorded. */
mb_kernels *mb_kernels_watch(mb_ctx *c);

#endif
