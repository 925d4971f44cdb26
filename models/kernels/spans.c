/* Which kind of spans a batch has. */
#include "models/kernels/op.h"

enum mb_spans mb_spans_kind(const int32_t *lo, const int32_t *hi, int64_t batch, int64_t len)
{
    enum mb_spans kind = MB_SPANS_CAUSAL;
    int64_t i;

    for (i = 0; i < batch * len; i++) {
        if (hi[i] != i % len)
            return MB_SPANS_ANY;
        if (lo[i] > 0)
            kind = MB_SPANS_DOCUMENTS;
    }
    return kind;
}
