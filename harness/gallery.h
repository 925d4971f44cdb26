/* What was generated, as files to look at. */
#ifndef MB_HARNESS_GALLERY_H
#define MB_HARNESS_GALLERY_H

#include "harness/generate.h"

/* Writes into FOLDER, which is made, each file atomically: PROMPT-ANSWER.txt with the prompts, the
   documents' own answers and the model's, and where images occur and the set can show them
   PROMPT-ANSWER.png, a grid in the order of the text: prompts, or pairs of an answer of the
   document and the model's. Where speech occurs and the set knows how its units sound,
   PROMPT-ANSWER.wav has the same one after another. Latents that the model made are an array,
   PROMPT-ANSWER.npy, as the user's encoder makes them. *ENDINGS: of the files, "{txt,png}". */
mb_err mb_gallery_write(const char *folder, const mb_loaded *l, const mb_generate_plan *plan,
                        const mb_generated *g, const char **endings);

/* The sound file at PATH; HEARD_S (n): seconds from its beginning to each sample. */
mb_err mb_gallery_speak(const char *path, const mb_render *r, const mb_loaded *l,
                        const mb_generate_plan *plan, const mb_generated *g, double *heard_s);

/* The latents at PATH, (n, C, H, H). */
mb_err mb_gallery_latents(const char *path, const mb_render *r, const mb_generated *g);

#endif
