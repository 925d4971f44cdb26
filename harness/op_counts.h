/* FLOPs that a GPU's hardware counts in each operation of a step, beside those that the ledger says
   were executed. Each operation is a region of its own and the device is waited for around it, so
   that such a step is never timed; layers are summed. Not here: counts of whole steps, which are
   those of an event set (profile.h). */
#ifndef MB_HARNESS_OP_COUNTS_H
#define MB_HARNESS_OP_COUNTS_H

#include "models/kernels/op.h"

enum { MB_OP_COUNTS_MAX = 96 }; /* groups: operation, part, pass */

typedef struct mb_op_count {
    char name[48]; /* "gemm attention fwd" */
    const char *op;
    mb_part part;
    mb_pass_kind pass;
    double hardware, executed; /* FLOPs; executed is of products alone */
    struct mb_op_count *into;  /* that takes its part: itself, unless both run together */
} mb_op_count;

typedef struct mb_op_counts mb_op_counts;

/* Watches C, whose ledger is cleared, until closed. *out is NULL where the hardware counts nothing:
   that is no error. PRECISION decides which units make products: tensor cores, or in fp32 the CUDA
   cores, which then also count norms and the like. */
void mb_op_counts_open(mb_ctx *c, mb_precision precision, mb_op_counts **out);
void mb_op_counts_close(mb_op_counts *o); /* accepts NULL */
/* The groups (*n) with what the ledger has taken since; NULL where counting failed on the way.
   Valid until closed. */
const mb_op_count *mb_op_counts_read(mb_op_counts *o, size_t *n);

#endif
