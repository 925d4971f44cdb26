/* A driver without a device, for tests of what asks it: soname libcuda.so.1. What cuDNN loads when
   it has compiled a plan is taken and never runs; all else that it may call is refused. */
#include <stdlib.h>
#include <string.h>

int cuCtxGetCurrent(void **context);
int cuCtxGetDevice(int *device);
int cuDeviceGetPCIBusId(char *place, int size, int device);
int cuCtxSynchronize(void);
int cuInit(unsigned flags);
int cuDriverGetVersion(int *version);
int cuDeviceGetCount(int *count);

int cuCtxGetCurrent(void **context)
{
    *context = getenv("FAKE_NO_CONTEXT") ? NULL : (void *)1;
    return 0;
}

int cuCtxGetDevice(int *device)
{
    *device = 0;
    return 0;
}

int cuDeviceGetPCIBusId(char *place, int size, int device)
{
    strncpy(place, "0000:1b:00.0", (size_t)size);
    return 0;
}

int cuCtxSynchronize(void)
{
    return 0;
}

int cuInit(unsigned flags)
{
    return 0;
}

int cuDriverGetVersion(int *version)
{
    *version = 13000;
    return 0;
}

int cuDeviceGetCount(int *count)
{
    *count = 1;
    return 0;
}

/* ---- for cuDNN's plans ------------------------------------------------------------------------
 */

enum { NOT_FOUND = 500, NOT_SUPPORTED = 801 };

int cuDeviceGet(int *device, int i)
{
    *device = 0;
    return 0;
}

int cuLibraryLoadData(void **library, const void *code, void *a, void *b, unsigned n, void *c,
                      void *d, unsigned m)
{
    *library = (void *)1;
    return 0;
}

int cuLibraryUnload(void *library)
{
    return 0;
}

int cuLibraryGetKernel(void **kernel, void *library, const char *name)
{
    *kernel = (void *)1;
    return 0;
}

int cuKernelGetAttribute(int *value, int which, void *kernel, int device)
{
    *value = 0;
    return 0;
}

int cuKernelSetAttribute(int which, int value, void *kernel, int device)
{
    return 0;
}

int cuGetErrorName(int error, const char **name)
{
    *name = "error";
    return 0;
}

int cuGetErrorString(int error, const char **text)
{
    *text = "an error of the stand-in";
    return 0;
}

int cuGetExportTable(const void **table, const void *id)
{
    *table = NULL;
    return NOT_FOUND;
}

#define REFUSED(name)                                                                              \
    int name(void)                                                                                 \
    {                                                                                              \
        return NOT_SUPPORTED;                                                                      \
    }
REFUSED(cuCtxGetLimit)
REFUSED(cuCtxPopCurrent)
REFUSED(cuCtxPushCurrent)
REFUSED(cuLaunchCooperativeKernel)
REFUSED(cuLaunchKernel)
REFUSED(cuLaunchKernelEx)
REFUSED(cuLibraryLoadFromFile)
REFUSED(cuLinkAddData)
REFUSED(cuLinkComplete)
REFUSED(cuLinkCreate)
REFUSED(cuLinkDestroy)
REFUSED(cuOccupancyMaxPotentialClusterSize)
REFUSED(cuStreamGetCtx)
