/* Numbers rounded to bf16, for the backends that compute with such operands in fp32 memory. */
#ifndef MB_KERNELS_BF16_H
#define MB_KERNELS_BF16_H

#include <stdint.h>
#include <string.h>

/* The bf16 nearest to x, of two the even one; NaN stays NaN, and what is too large becomes
   infinite. */
static inline float mb_bf16_of(float x)
{
    uint32_t bits, rounded;

    memcpy(&bits, &x, sizeof bits);
    rounded = bits + 0x7fff + (bits >> 16 & 1);
    bits = (bits & 0x7fffffff) > 0x7f800000 ? bits | 0x400000 : rounded;
    bits &= 0xffff0000;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

#endif
