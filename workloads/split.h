/* Splits by content: what belongs together has one key, and the key alone decides. */
#ifndef MB_WORKLOADS_SPLIT_H
#define MB_WORKLOADS_SPLIT_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the SHA-256 of KEY, as a number, is a multiple of ONE_IN. */
bool mb_split_is_val(const void *key, size_t size, unsigned one_in);

#endif
