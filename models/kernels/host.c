/* Memory of the backends that keep everything in host memory: ref, cpu and null. Their kernels have
   finished when they return, so there is nothing to wait for. */
#include "base/file.h"
#include "models/kernels/backend.h"

#include <stdlib.h>
#include <string.h>

enum { LINE = 64 }; /* bytes of a cache line */

void *mb_host_alloc(mb_ctx *c, size_t bytes)
{
    void *p = mb_memory_holds((double)bytes) ? aligned_alloc(LINE, (bytes + LINE - 1) / LINE * LINE)
                                             : NULL;

    if (!p)
        mb_fail(MB_ENOMEM, "no memory for %.1f GiB", (double)bytes / (1 << 30));
    return p;
}

void mb_host_free(mb_ctx *c, void *p)
{
    free(p);
}

void mb_host_clear(mb_ctx *c, void *p, size_t bytes)
{
    memset(p, 0, bytes);
}

void mb_host_write(mb_ctx *c, void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

void mb_host_fetch(mb_ctx *c, void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

void mb_host_done(mb_ctx *c)
{
}
