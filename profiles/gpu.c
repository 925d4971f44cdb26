#include "profiles/gpu.h"

#include "base/file.h"
#include "base/library.h"
#include "profiles/driver.h"
#include "profiles/nvml.h"

#include <stdint.h>
#include <stdlib.h>

typedef void (*found_fn)(void *user, const char *what, bool works, const char *detail);

/* ---- libraries ------------------------------------------------------------------------------ */

typedef struct part {
    const char *what, *names[3], *symbol;
    bool returns;     /* its version; else it sets an int and returns 0 */
    int major;        /* what the version is to be divided by for its first part, */
    int minor;        /* and the rest of that for its second */
    const char *note; /* after all that is said of it */
} part;

static const part parts[] = {
    { "CUDA runtime",
      { "libcudart.so.13", "libcudart.so.12" },
      "cudaRuntimeGetVersion",
      false,
      1000,
      10,
      "" },
    { "cuBLASLt",
      { "libcublasLt.so.13", "libcublasLt.so.12" },
      "cublasLtGetVersion",
      true,
      10000,
      100,
      "" },
    { "cuDNN", { "libcudnn.so.9" }, "cudnnGetVersion", true, 10000, 100, "" },
    { "NCCL",
      { "libnccl.so.2" },
      "ncclGetVersion",
      false,
      10000,
      100,
      "; nothing needs it yet: a run uses one GPU" },
    { "CUPTI", { "libcupti.so.13" }, "cuptiGetVersion", false, 10000, 100, "" },
};

static mb_err ask_version(const part *p, const mb_library *l, int *version)
{
    int (*sets)(int *);
    size_t (*returns)(void);
    const mb_symbol symbol[] = { { p->symbol, p->returns ? (void *)&returns : (void *)&sets },
                                 { 0 } };

    *version = 0;
    MB_TRY(mb_library_symbols(l, symbol));
    if (p->returns)
        *version = (int)returns();
    else if (sets(version))
        return mb_fail(MB_EIO, "%s does not tell its version", l->name);
    return MB_OK;
}

/* Leaves the library open: some set up what closing them does not give back. */
static void check_part(const part *p, found_fn found, void *user)
{
    char *detail, *path;
    mb_library l;
    int version;

    if (mb_library_open(p->names, &l) || ask_version(p, &l, &version)) {
        detail = mb_format("%s%s", mb_message(), p->note);
        found(user, p->what, false, detail);
        free(detail);
        return;
    }
    path = mb_library_path(&l);
    detail =
        mb_format("%d.%d, %s%s", version / p->major, version % p->major / p->minor, path, p->note);
    found(user, p->what, true, detail);
    free(detail);
    free(path);
}

/* ---- the device ----------------------------------------------------------------------------- */

static void check_driver(found_fn found, void *user)
{
    int version, devices;
    char *detail;

    if (mb_driver_about(&version, &devices)) {
        found(user, "GPU driver", false, mb_message());
        return;
    }
    detail = mb_format("CUDA %d.%d, devices: %d", version / 1000, version % 1000 / 10, devices);
    found(user, "GPU driver", devices > 0, detail);
    free(detail);
}

void mb_gpu_check(found_fn found, void *user)
{
    char device[192];
    bool managed = !mb_nvml_about(device, sizeof device);
    size_t i;

    found(user, "NVML", managed, managed ? device : mb_message());
    check_driver(found, user);
    for (i = 0; i < sizeof parts / sizeof *parts; i++)
        check_part(&parts[i], found, user);
}
