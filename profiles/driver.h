/* The GPU's driver, opened while running, as far as counting needs it: which device the calling
   thread computes on. Its few functions are declared here, so that this needs no header of CUDA's.
 */
#ifndef MB_PROFILES_DRIVER_H
#define MB_PROFILES_DRIVER_H

#include "base/library.h"

typedef struct mb_driver {
    mb_library library;
    void *context;            /* the calling thread's, a CUcontext */
    int device;               /* its device's number */
    int (*synchronize)(void); /* waits for everything in the context; 0: nothing failed */
    char bus[32];             /* the device's place, as NVML knows it: "0000:1b:00.0" */
} mb_driver;

/* MB_EMISSING: no driver, or the calling thread has not used a device. */
mb_err mb_driver_open(mb_driver *out);
void mb_driver_close(mb_driver *d); /* accepts a zeroed one */

/* The driver's CUDA version, 13000 for 13.0, and how many devices it has. */
mb_err mb_driver_about(int *version, int *devices);

#endif
