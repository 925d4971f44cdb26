/* What captions say, slot by slot, so that captions and images can be held against each other. Sets
   of pictures with templated captions have slots: fashion (and the same captions in spoken),
   procedural; also as patches. */
#ifndef MB_WORKLOADS_SLOTS_H
#define MB_WORKLOADS_SLOTS_H

#include "workloads/parts.h"

enum { MB_SLOTS = 4, MB_REFERENCES = 5 };

typedef struct mb_slot {
    const char *name; /* the first is what is shown, "class" */
    int values;
    bool seen; /* in the pixels, by the rules that captions are written by */
} mb_slot;

typedef struct mb_slots { /* of a set */
    const mb_slot *slot;  /* (n) */
    int n;                /* 0: its captions are not made of slots */
} mb_slots;

mb_slots mb_data_slots(const mb_data *d);

/* VALUE (n) of every slot, by the longest of its words that CAPTION has; -1 for slots without. */
void mb_slots_read(const mb_data *d, const char *caption, int value[MB_SLOTS]);

/* How often captions of pairs say what: COUNT (the product of values + 1 of all slots, the last one
   running fastest; digit 0 is for -1) is added to. */
mb_err mb_slots_count(const mb_data *d, const mb_render *r, enum mb_split split, int64_t *count);

/* VALUE (n) of slots that are seen in an image of the set's shape, decoded from tokens, of class
   LABEL; -1 for others. */
void mb_slots_see(const mb_data *d, mb_image_shape shape, const uint8_t *image, int label,
                  int value[MB_SLOTS]);

/* Captions of pair I of a split as they might have been worded, the first as it was: CAPTION and,
   where wording is drawn, MB_REFERENCES - 1 more. Returns how many; caller frees each. With
   ANOTHER, one that none of these is drawn as: how well a human-made caption would do. */
int mb_slots_references(const mb_data *d, enum mb_split split, int64_t i, const char *caption,
                        char *reference[MB_REFERENCES], char **another);

#endif
