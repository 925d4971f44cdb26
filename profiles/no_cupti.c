/* The source cupti of a build without CUPTI's headers: nothing is supported. */
#include "profiles/source.h"

static void *open_none(mb_counted **counts, size_t n, int threads)
{
    return NULL; /* counts begin as not supported; without a state the rest is never called */
}

const mb_source mb_source_cupti = { .name = "cupti", .disturbs = true, .open = open_none };
