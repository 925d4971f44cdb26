/* NVML: what a GPU's own management says of energy, clocks, and why they are lower than they could
   be. As a source of counts (source.h) and as a question about a step that has just ended. */
#ifndef MB_PROFILES_NVML_H
#define MB_PROFILES_NVML_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct mb_nvml mb_nvml;

/* For the device that the calling thread computes on; MB_EMISSING where there is none, or no NVML.
 */
mb_err mb_nvml_open(mb_nvml **out);
void mb_nvml_close(mb_nvml *n); /* accepts NULL */

/* Whether the device is slowed at this moment by heat, or by a fault of its supply. The cap on its
   power is not meant: products run at that all the time, and it belongs to the machine. */
bool mb_nvml_throttled(const mb_nvml *n);

/* "NVIDIA H200, driver 580.95.05": of the first device. */
mb_err mb_nvml_about(char *text, size_t size);

#endif
