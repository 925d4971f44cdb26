/* Documents of a prepared set taken apart, and tokens turned back into what people read and see. */
#ifndef MB_WORKLOADS_PARTS_H
#define MB_WORKLOADS_PARTS_H

#include "workloads/data.h"
#include "workloads/image_tokens.h"
#include "workloads/sound.h"

/* How a part of a modality is written in a document: BEGIN, ids of first .. past-1, END. Texts have
   no begin of their own (-1), and end with the document. */
typedef struct mb_segment_kind {
    int begin, end;
    int first, past; /* first == past: the set has no such ids */
    int exactly;     /* so many ids; 0: any number */
} mb_segment_kind;
mb_segment_kind mb_data_segment_kind(const mb_data *d, int modality);

typedef struct mb_segment { /* its ids, without begin and end; n = 0: there is none */
    int32_t *token;
    int64_t n;
    const uint8_t *patch; /* (n, S) of an image that is patches, as the set keeps them; borrowed */
} mb_segment;

typedef struct mb_parts {
    int32_t *token; /* (n) the whole document */
    int64_t n;
    mb_segment part[MB_MODALITIES];
    bool mixed; /* a modality comes more than once: parts are unknown */
} mb_parts;

/* Document I of a split; freed with mb_parts_free(), and not used when the set is closed. */
mb_err mb_data_parts(const mb_data *d, enum mb_split split, int64_t i, mb_parts *out);
void mb_parts_free(mb_parts *p); /* the contents; accepts a zeroed one */
/* The first document of a section. */
int64_t mb_data_section_start(const mb_data *d, enum mb_split split, enum mb_section section);

/* What a set's tokens stand for. Sets of the user's own ids (shards) have neither texts nor images
   to be shown. */
typedef struct mb_render mb_render;

mb_err mb_render_open(const mb_data *d, mb_render **out);
void mb_render_close(mb_render *r); /* accepts NULL */

/* Text of N text ids, for the caller to free; a language tag is "[2] ", bytes that are no text stay
   as they are. Ids in numbers where the set has no texts. */
char *mb_render_text(const mb_render *r, const int32_t *token, int64_t n);

/* side 0: there are no images to be shown. */
mb_image_shape mb_render_shape(const mb_render *r);
/* The image (side, side, channels) of a whole image's ids, or patches. */
void mb_render_image(const mb_render *r, const mb_segment *segment, uint8_t *image);

/* Whether the set's images are latents, (channels, side, side) of the user's encoder. */
bool mb_render_latents(const mb_render *r, int64_t shape[3]);
/* The image of latents' patches as that encoder made it, (channels, side, side). */
void mb_render_latent(const mb_render *r, const uint8_t *patch, float *out);

/* Whether the set knows how its speech ids sound: those of the user's own units do not. */
bool mb_render_speaks(const mb_render *r);
/* The sound of N speech ids, 40 ms each: rough, see speaker.c. Freed with mb_sound_free(). */
void mb_render_speech(const mb_render *r, const int32_t *token, int64_t n, mb_sound *out);

#endif
