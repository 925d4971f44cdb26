/* The sound of spoken texts: recordings decoded, the rest read by synthetic voices. */
#ifndef MB_WORKLOADS_SPOKEN_SOUND_H
#define MB_WORKLOADS_SPOKEN_SOUND_H

#include "workloads/source.h"
#include "workloads/spoken_list.h"

/* Fills l->sound. The work is done in pieces that are kept as files under the data home, named by
   what they are made of: after an interruption it goes on with what is missing. A recording that
   cannot be of its text becomes an utterance without frames. */
mb_err mb_spoken_sound(mb_spoken_list *l, const mb_progress *p, const char *what);

#endif
