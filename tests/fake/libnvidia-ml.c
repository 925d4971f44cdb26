/* NVML of a device that takes 2.5 J between two readings, for tests: soname libnvidia-ml.so.1.
   $FAKE_REASONS is why its clocks are low, a number; without it NVML says that it does not know. */
#include <stdlib.h>
#include <string.h>

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByPciBusId_v2(const char *place, void **device);
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device);
int nvmlDeviceGetName(void *device, char *name, unsigned size);
int nvmlSystemGetDriverVersion(char *version, unsigned size);
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj);
int nvmlDeviceGetClockInfo(void *device, int kind, unsigned *mhz);
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons);

int nvmlInit_v2(void)
{
    return 0;
}

int nvmlShutdown(void)
{
    return 0;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *place, void **device)
{
    *device = (void *)1;
    return strcmp(place, "0000:1b:00.0") ? 6 : 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device)
{
    *device = (void *)1;
    return i > 0 ? 6 : 0;
}

int nvmlDeviceGetName(void *device, char *name, unsigned size)
{
    strncpy(name, "NVIDIA H200, a fake", size);
    return 0;
}

int nvmlSystemGetDriverVersion(char *version, unsigned size)
{
    strncpy(version, "1.2", size);
    return 0;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj)
{
    static unsigned long long total = 1000000;

    *mj = total += 2500;
    return 0;
}

int nvmlDeviceGetClockInfo(void *device, int kind, unsigned *mhz)
{
    static unsigned slower = 1990;

    *mhz = kind == 1 ? slower -= 10 : 3201;
    return 0;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons)
{
    const char *given = getenv("FAKE_REASONS");

    *reasons = given ? strtoull(given, NULL, 0) : 0;
    return given ? 0 : 3;
}
