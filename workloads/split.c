#include "workloads/split.h"
#include "base/file.h"

bool mb_split_is_val(const void *key, size_t size, unsigned one_in)
{
    char hash[MB_HASH_SIZE];
    unsigned rest = 0;

    mb_hash(key, size, hash);
    for (const char *c = hash; *c; c++)
        rest = (rest * 16 + (unsigned)(*c <= '9' ? *c - '0' : *c - 'a' + 10)) % one_in;
    return rest == 0;
}
