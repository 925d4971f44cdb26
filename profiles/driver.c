#include "profiles/driver.h"

#include <string.h>

static const char *const names[] = { "libcuda.so.1", NULL };

mb_err mb_driver_open(mb_driver *out)
{
    int (*current)(void **), (*device)(int *), (*place)(char *, int, int);
    const mb_symbol symbols[] = { { "cuCtxGetCurrent", &current },
                                  { "cuCtxGetDevice", &device },
                                  { "cuDeviceGetPCIBusId", &place },
                                  { "cuCtxSynchronize", &out->synchronize },
                                  { 0 } };
    mb_err err;

    memset(out, 0, sizeof *out);
    MB_TRY(mb_library_open(names, &out->library));
    err = mb_library_symbols(&out->library, symbols);
    if (!err && (current(&out->context) || !out->context || device(&out->device) ||
                 place(out->bus, (int)sizeof out->bus, out->device)))
        err = mb_fail(MB_EMISSING, "no GPU is in use");
    if (err)
        mb_driver_close(out);
    return err;
}

void mb_driver_close(mb_driver *d)
{
    mb_library_close(&d->library);
    memset(d, 0, sizeof *d);
}

mb_err mb_driver_about(int *version, int *devices)
{
    int (*init)(unsigned), (*get_version)(int *), (*count)(int *), result = 0;
    const mb_symbol symbols[] = { { "cuInit", &init },
                                  { "cuDriverGetVersion", &get_version },
                                  { "cuDeviceGetCount", &count },
                                  { 0 } };
    mb_library l;
    mb_err err;

    MB_TRY(mb_library_open(names, &l));
    err = mb_library_symbols(&l, symbols);
    if (!err &&
        ((result = init(0)) || (result = get_version(version)) || (result = count(devices))))
        err = mb_fail(MB_EIO, "%s does not start: error %d", l.name, result);
    mb_library_close(&l);
    return err;
}
