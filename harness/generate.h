/* Generation: one part of a document by the model, given another. */
#ifndef MB_HARNESS_GENERATE_H
#define MB_HARNESS_GENERATE_H

#include "harness/opening.h"
#include "models/diffuse.h"
#include "models/sample.h"

typedef struct mb_direction { /* modalities */
    int prompt, answer;
} mb_direction;

extern const mb_direction mb_directions[]; /* all that there may be */
enum { MB_DIRECTIONS = 6 };

typedef struct mb_generate_plan {
    mb_direction direction;
    enum mb_split split; /* that prompts come from */
    unsigned sections;   /* a set of 1 << mb_section; 0: all */
    int64_t n;           /* how many; fewer when the split has fewer */
    int64_t at_once;     /* sequences side by side: no number but the speed depends on it */
    uint64_t seed;
    mb_sampling sampling; /* of ids */
    mb_diffuse diffuse;   /* of images that are patches; prediction and limit: the run says */
} mb_generate_plan;

typedef struct mb_sampled {
    int64_t document; /* of the split: the prompt is a part of it, its own answer the reference */
    int32_t *answer;  /* (n) ids, without begin and end */
    int64_t n;
    uint8_t *patch; /* (n, S) of an image that is patches, whose ids are places; else NULL */
    bool cut;       /* it did not end before the sequence was full */
} mb_sampled;

typedef struct mb_generated {
    mb_sampled *sample; /* (n) */
    int64_t n;
    /* Patches are decoded in all of the sampler's steps, their prompts again with each. */
    int64_t prefill_tokens, prefill_ns, decode_tokens, decode_ns;
    int64_t cache_bytes; /* keys and values of AT_ONCE full sequences; 0: none are kept */
    int64_t held_bytes;  /* the most that the ctx held, with weights and cache */
} mb_generated;

/* The documents that a plan takes its prompts from, those with both parts of its direction, in the
   keyed order in which they serve. Caller frees *document. */
mb_err mb_generate_prompts(const mb_data *d, const mb_generate_plan *plan, int64_t **document,
                           int64_t *n);

/* A prompt is "BOS part", in the order of documents that begin with it, and what begins the answer.
   Images have exactly the set's number of ids, texts and speech end by themselves. Images that are
   patches come out of noise; as prompts they are clean. What is drawn for a document depends on the
   seed, the direction and the document alone. n = 0 where no document has both parts. */
mb_err mb_generate(const mb_loaded *l, const mb_generate_plan *plan, mb_generated *out);
void mb_generated_free(mb_generated *g);            /* the contents; accepts a zeroed one */
mb_segment mb_sampled_segment(const mb_sampled *s); /* its answer, borrowed */
/* Whether its answers are patches. */
bool mb_generate_paints(const mb_loaded *l, const mb_generate_plan *plan);

/* How answers are drawn, in words. Caller frees. */
char *mb_generate_how(const mb_loaded *l, const mb_generate_plan *plan);

/* ---- for generate.c and paint.c ---- */

/* Of everything that is drawn for DOCUMENT. */
uint64_t mb_generate_key(const mb_generate_plan *plan, int64_t document);
/* The opening of sample S's document. Caller frees opening->token. */
mb_err mb_generate_open(const mb_loaded *l, const mb_generate_plan *plan, const mb_sampled *s,
                        mb_opening *opening);
/* Answers of patches (paint.c). */
mb_err mb_generate_paint(const mb_loaded *l, const mb_generate_plan *plan, mb_generated *out);

#endif
