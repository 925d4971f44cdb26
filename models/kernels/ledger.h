/* The ledger: what every operation did, entered as it is dispatched. Totals are sums of entries, so
   breakdowns always add up.

   FLOPs of matrix products (2 per multiply-add), never one number (reference: README, "FLOPs"):
     model     what the architecture asks for: no padding, no recompute, causal attention exact
     useful    model minus dropped assignments
     executed  what the kernels issue, with padding and recompute
   Vector operations (norms, activations, softmax, RoPE, loss, optimiser) are counted apart in
   `vector` by a fixed table per element and are in no MFU. Bytes: operands read and results
   written, once each. */
#ifndef MB_KERNELS_LEDGER_H
#define MB_KERNELS_LEDGER_H

#include <stddef.h>
#include <stdint.h>

typedef enum mb_pass_kind { MB_FWD, MB_BWD, MB_OPT, MB_PASSES } mb_pass_kind;
typedef enum mb_part { /* of a layer, or outside the layers */
                       MB_EMBED,
                       MB_ATTENTION,
                       MB_FEED_FORWARD,
                       MB_ROUTER,
                       MB_HEAD,
                       MB_OPTIMIZER,
                       MB_PARTS
} mb_part;

extern const char *const mb_pass_name[MB_PASSES]; /* "fwd", "bwd", "opt" */
extern const char *const mb_part_name[MB_PARTS];  /* "embed", "attention", "feed_forward", ... */

typedef struct mb_cost {
    uint64_t model, useful, executed, vector, bytes;
} mb_cost;

typedef struct mb_entry {
    const char *op; /* "gemm", "attend", ...: a string constant */
    mb_part part;
    int layer; /* -1 outside the layers */
    mb_pass_kind pass;
    int group;               /* the weight slice, -1 where an operation has none */
    uint64_t calls, wall_ns; /* wall_ns only when traced */
    mb_cost cost;
} mb_entry;

typedef struct mb_ledger mb_ledger;

mb_ledger *mb_ledger_new(void);
void mb_ledger_free(mb_ledger *l);
void mb_ledger_clear(mb_ledger *l);

/* Adds to the entry of this key, creating it on first sight. */
void mb_ledger_add(mb_ledger *l, const char *op, mb_part part, int layer, mb_pass_kind pass,
                   int group, mb_cost cost, uint64_t wall_ns);

/* The entries in order of first appearance; valid until the next add or clear. */
const mb_entry *mb_ledger_entries(const mb_ledger *l, size_t *count);

/* Sum over all entries. */
mb_cost mb_ledger_total(const mb_ledger *l);

#endif
