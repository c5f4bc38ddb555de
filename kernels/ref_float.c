/* SPDX-License-Identifier: MIT */
#include "kernels/ref.h"

#include <string.h>

static float float_from_bits(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

float ref_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = h >> 10 & 31;
    uint32_t mantissa = h & 0x3ff;
    float magnitude;

    if (exponent == 31)
        return float_from_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent)
        return float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    magnitude = (float)mantissa * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

uint16_t ref_f32_to_f16(float f)
{
    uint32_t bits, sign, mantissa, half, rest;
    int exponent, shift;

    memcpy(&bits, &f, sizeof(bits));
    sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x1ff));
    exponent = (int)(bits >> 23) - 112;
    if (exponent >= 31)
        return (uint16_t)(sign | 0x7c00);
    if (exponent < -10)
        return (uint16_t)sign;
    /* The eleven or fewer bits that stay, then round to nearest, ties to even. A carry out of the
     * mantissa lands in the exponent, which is what it should do (65520 becomes infinity). */
    mantissa = (bits & 0x7fffff) | 0x800000;
    shift = exponent > 0 ? 13 : 14 - exponent;
    half = mantissa >> shift;
    rest = mantissa & ((1u << shift) - 1);
    if (rest > 1u << (shift - 1) || (rest == 1u << (shift - 1) && (half & 1)))
        half++;
    if (exponent > 0)
        half += (uint32_t)(exponent - 1) << 10;
    return (uint16_t)(sign | half);
}

float ref_bf16_to_f32(uint16_t h)
{
    return float_from_bits((uint32_t)h << 16);
}
