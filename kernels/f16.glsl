/* SPDX-License-Identifier: MIT */

/* The f16 next to the f32 that has these bits: to nearest, ties to even, NaN kept. Integer
 * arithmetic, bit for bit ref_f32_to_f16: no rounding or denormal mode of a driver takes part. */
uint16_t f16_from_bits(uint bits)
{
    uint sign = bits >> 16 & 0x8000, mantissa, shift, half_bits, rest;
    int exponent;

    bits &= 0x7fffffff;
    if (bits > 0x7f800000)
        return uint16_t(sign | 0x7e00 | (bits >> 13 & 0x1ff));
    exponent = int(bits >> 23) - 112;
    if (exponent >= 31)
        return uint16_t(sign | 0x7c00);
    if (exponent < -10)
        return uint16_t(sign);
    /* See ref_f32_to_f16: a carry out of the mantissa belongs in the exponent. */
    mantissa = (bits & 0x7fffff) | 0x800000;
    shift = exponent > 0 ? 13 : uint(14 - exponent);
    half_bits = mantissa >> shift;
    rest = mantissa & ((1u << shift) - 1);
    if (rest > 1u << (shift - 1) || (rest == 1u << (shift - 1) && (half_bits & 1) != 0))
        half_bits++;
    if (exponent > 0)
        half_bits += uint(exponent - 1) << 10;
    return uint16_t(sign | half_bits);
}
