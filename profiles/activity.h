/* What a GPU did, launch by launch: each kernel, copy and fill with its time, and the number that
   its launch was given, so that it can be told which operation asked for it. CUPTI's activity
   records; they cost little, yet the steps that are recorded are no timed ones. */
#ifndef MB_PROFILES_ACTIVITY_H
#define MB_PROFILES_ACTIVITY_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct mb_activity mb_activity; /* one at a time in a process */

/* Records from now on what the calling thread's device does; MB_EMISSING where there is no CUPTI,
   or no device in use. */
mb_err mb_activity_open(mb_activity **out);
void mb_activity_close(mb_activity *a); /* accepts NULL */

/* What the calling thread launches from now on has the number ID; from the beginning 0. */
void mb_activity_number(mb_activity *a, uint64_t id);

typedef struct mb_launch {
    uint64_t id;
    char *name;               /* of a kernel; "copy", "fill" */
    int64_t start_ns, end_ns; /* on the device's clock */
    uint64_t bytes;           /* of a copy or fill */
} mb_launch;

/* Waits for the device; what it has done since the last call, in order of their start. The (n)
   launches are valid until the next call. */
mb_err mb_activity_take(mb_activity *a, const mb_launch **launches, size_t *n);

#endif
