/* A driver without a device, for tests of what asks it: soname libcuda.so.1. */
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
