/* CIDEr-D (Vedantam et al. 2015): how much captions agree with what others said of the same image,
   words that are said of many images counting less. Words are runs of letters, digits and hyphens,
   in lower case. */
#ifndef MB_HARNESS_CIDER_H
#define MB_HARNESS_CIDER_H

#include <stdint.h>

typedef struct mb_described_image {
    const char *candidate;
    const char *const *reference; /* (references) */
    int references;
} mb_described_image;

/* The mean over N images, from 0 to 10. Document frequencies are those of the references; the
   penalty for another length (sigma 6) is by words. */
double mb_cider(const mb_described_image *image, int64_t n);

#endif
