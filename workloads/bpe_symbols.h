/* How the trainer and the loader build the symbols; for bpe.c and bpe_train.c alone. */
#ifndef MB_WORKLOADS_BPE_SYMBOLS_H
#define MB_WORKLOADS_BPE_SYMBOLS_H

#include "workloads/bpe.h"

#include <stdbool.h>

/* The 256 bytes, with room for ROOM >= 256 symbols. */
mb_bpe *mb_bpe_new(int room);
/* Appends the symbol that joins two; false when it is too long or there already. */
bool mb_bpe_join(mb_bpe *b, int32_t left, int32_t right);

#endif
