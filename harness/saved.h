/* What a run leaves beside the database: UUID.safetensors at its end, UUID.state.safetensors on the
   way, and UUID.lock while it runs. The lock is the kernel's: it ends with the process, however
   that ends, so a run whose lock is free is not running. */
#ifndef MB_HARNESS_SAVED_H
#define MB_HARNESS_SAVED_H

#include "base/err.h"

#include <stdbool.h>

typedef struct mb_saved {
    char *weights, *state, *lock; /* paths */
    int fd;                       /* of the held lock, -1 */
} mb_saved;

/* "results/motbench.WHAT" for "results/motbench.db". Caller frees. */
char *mb_saved_beside(const char *database, const char *what);
/* "results/motbench.checkpoints" for "results/motbench.db". Caller frees. */
char *mb_saved_folder(const char *database);

/* Removes what processes that were killed left in FOLDER: free locks and half-written files. States
   and weights stay. */
void mb_saved_tidy(const char *folder);

/* Takes the lock of run UUID; *busy when another process has it (then nothing is held). */
mb_err mb_saved_open(const char *folder, const char *uuid, mb_saved *out, bool *busy);
/* Lets go and removes the lock; the other files stay. Accepts a zeroed one. */
void mb_saved_close(mb_saved *s);
/* After the run is over for good. */
mb_err mb_saved_remove_state(const mb_saved *s);

#endif
