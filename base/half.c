/* A half has 5 bits of exponent and 10 of fraction where a float has 8 and 23; its exponent is 112
   less for the same number. */
#include "base/half.h"

#include <math.h>
#include <string.h>

enum { SHIFT = 23 - 10 };

float mb_half_to_float(uint16_t half)
{
    uint32_t bits = (uint32_t)(half & 0x7fff) << SHIFT;
    float x;

    if (bits >= UINT32_C(31) << 23) { /* infinity or NaN */
        bits |= UINT32_C(255) << 23;
        memcpy(&x, &bits, sizeof x);
    } else {
        memcpy(&x, &bits, sizeof x);
        x *= 0x1p112f; /* also makes subnormal halves what they are */
    }
    return half >> 15 ? -x : x;
}

uint16_t mb_half_from_float(float x)
{
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    uint32_t bits;

    x = fabsf(x);
    if (x > 65504)
        return sign | 0x7bff;
    if (x < 0x1p-14f) /* subnormal: a whole number of 2^-24 */
        return sign | (uint16_t)lrintf(x * 0x1p24f);
    memcpy(&bits, &x, sizeof bits);
    bits += (1u << (SHIFT - 1)) - 1 + (bits >> SHIFT & 1);
    return sign | (uint16_t)((bits - (UINT32_C(112) << 23)) >> SHIFT);
}
