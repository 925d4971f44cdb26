/* Memory of the backends that keep everything in host memory: ref, cpu and null. Their kernels have
   finished when they return, so there is nothing to wait for. */
#include "base/file.h"
#include "models/kernels/backend.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LINE = 64, LARGE = 2 << 20 }; /* bytes of a cache line, and of a large page */

void *mb_host_alloc(mb_ctx *c, size_t bytes)
{
    void *p;

    if (!mb_memory_holds((double)bytes) ||
        posix_memalign(&p, bytes < LARGE ? LINE : LARGE, bytes ? bytes : 1)) {
        mb_fail(MB_ENOMEM, "no memory for %.1f GiB", (double)bytes / (1 << 30));
        return NULL;
    }
    if (bytes >= LARGE)
        madvise(p, bytes, MADV_HUGEPAGE); /* only slower without: rows that lie apart then miss the
                                             table of pages, and a virtual machine walks two */
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

size_t mb_host_free_bytes(mb_ctx *c)
{
    return 0;
}

uint64_t mb_host_workspace(const mb_ctx *c, const mb_sizes *of)
{
    return 0;
}

void mb_host_graph(mb_ctx *c, uint64_t key)
{
}

void mb_host_done(mb_ctx *c)
{
}
