/* Half precision (IEEE 754 binary16), as files keep it; nothing computes in it. */
#ifndef MB_BASE_HALF_H
#define MB_BASE_HALF_H

#include <stdint.h>

/* Exact; infinities and NaN stay what they are. */
float mb_half_to_float(uint16_t half);
/* To nearest, ties to even; what is beyond 65504 becomes that. X is finite. */
uint16_t mb_half_from_float(float x);

#endif
