/* What is made from a run's samples when it ends. Private to results/. */
#ifndef MB_RESULTS_DERIVE_H
#define MB_RESULTS_DERIVE_H

#include "results/store.h"

/* Makes the rows of `pace` and `smooth` of RUN, in place of those that are there; or drops them,
   for a run that goes on. */
mb_err mb_derive(mb_store *s, int64_t run);
mb_err mb_derive_drop(mb_store *s, int64_t run);

#endif
