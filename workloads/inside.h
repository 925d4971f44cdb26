/* Names of files that come with data, which nobody has looked at. */
#ifndef MB_WORKLOADS_INSIDE_H
#define MB_WORKLOADS_INSIDE_H

#include <stdbool.h>

/* Whether NAME stays inside the folder that it is relative to: not empty, not absolute, without
   ".." and without control characters, which would break messages. */
bool mb_is_inside(const char *name);

#endif
