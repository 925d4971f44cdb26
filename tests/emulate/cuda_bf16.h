/* A stand-in for CUDA's header of the same name: the one type and its two conversions. */
#ifndef MB_TESTS_EMULATE_CUDA_BF16_H
#define MB_TESTS_EMULATE_CUDA_BF16_H

#include <stdint.h>

struct __nv_bfloat16 {
    uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 x)
{
    uint32_t bits = (uint32_t)x.bits << 16;
    float y;

    __builtin_memcpy(&y, &bits, sizeof y);
    return y;
}

/* To nearest, ties to even. */
inline __nv_bfloat16 __float2bfloat16(float x)
{
    uint32_t bits;

    __builtin_memcpy(&bits, &x, sizeof bits);
    if (x != x)
        return { 0x7fff };
    return { (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16) };
}

#endif
