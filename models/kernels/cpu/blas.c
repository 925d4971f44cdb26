/* Matrix products of the CPU backend through oneDNN. This file alone names the library: another
   BLAS takes its place here. dnnl_sgemm needs no primitive and no packing of ours; on a Zen 3 core
   it runs the products of width 64 at 70-95 % of the peak. Where it is slower, tile.h is used. */
#include "models/kernels/cpu/cpu.h"

#include <assert.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>
#include <stdio.h>
#include <string.h>

void sgemm(int threads, char op_a, char op_b, int64_t m, int64_t n, int64_t k, float alpha,
           const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
           int64_t ldc)
{
    int before = omp_get_max_threads(); /* the library takes as many as OpenMP would */
    dnnl_status_t status;

    if (threads != before)
        omp_set_num_threads(threads);
    status = dnnl_sgemm(op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    if (threads != before)
        omp_set_num_threads(before);
    /* only wrong arguments and the end of memory are left to go wrong; the latter is fatal, as in
       mb_alloc() */
    assert(status == dnnl_success);
}

void mb_blas_about(char *text, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    const char *isa = dnnl_cpu_isa2str(dnnl_get_effective_cpu_isa());
    size_t prefix = strlen("cpu_isa_");

    snprintf(text, size, "oneDNN %d.%d.%d, %s", v->major, v->minor, v->patch,
             strncmp(isa, "cpu_isa_", prefix) ? isa : isa + prefix);
}
