/* Which of a GPU's libraries this machine has, for people: `motbench doctor`. */
#ifndef MB_PROFILES_GPU_H
#define MB_PROFILES_GPU_H

#include <stdbool.h>

/* Calls FOUND once for each, with its version or why it does not work. */
void mb_gpu_check(void (*found)(void *user, const char *what, bool works, const char *detail),
                  void *user);

#endif
