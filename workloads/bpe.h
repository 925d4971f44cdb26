/* Byte-level BPE (Sennrich et al. 2016): ids 0..255 are the bytes, each further id joins two
   earlier ones. Text is first cut into chunks (a word, number or run of signs with the space before
   it); nothing joins across chunks. Any bytes survive encoding and decoding unchanged. */
#ifndef MB_WORKLOADS_BPE_H
#define MB_WORKLOADS_BPE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { MB_BPE_BYTES = 256, MB_BPE_LONGEST = 48 /* bytes of one chunk, and so of one token */ };

typedef struct mb_bpe mb_bpe;

/* Training: add every text, then join the most frequent pair (ties: the smaller left, then the
   smaller right id) until there are VOCAB symbols or no pair occurs twice. */
typedef struct mb_bpe_trainer mb_bpe_trainer;
mb_bpe_trainer *mb_bpe_trainer_open(void);
void mb_bpe_trainer_add(mb_bpe_trainer *t, const void *text, size_t size);
mb_bpe *mb_bpe_trainer_close(mb_bpe_trainer *t, int vocab); /* frees T; caller frees the result */

/* The symbols as a text file: the count of joins, then one join ("left right") a line. */
mb_err mb_bpe_save(const mb_bpe *b, const char *path);
mb_err mb_bpe_load(const char *path, mb_bpe **out);
void mb_bpe_free(mb_bpe *b); /* accepts NULL */

int mb_bpe_vocab(const mb_bpe *b); /* symbols: 256 and the joins */

/* Writes the ids of SIZE bytes to OUT, which has room for SIZE; returns how many. */
int64_t mb_bpe_encode(const mb_bpe *b, const void *text, size_t size, int32_t *out);
/* The bytes of ID (not NUL-terminated, owned by B); 0 <= ID < vocab. */
const char *mb_bpe_bytes(const mb_bpe *b, int32_t id, size_t *size);

/* The length of the chunk that SIZE > 0 bytes begin with. */
size_t mb_bpe_chunk(const unsigned char *text, size_t size);

#endif
