/* SPDX-License-Identifier: MIT */
/* f32 values to 8-bit integers with one scale for a block, bit for bit ref_quantize_block; wants
 * exact.glsl. */
#define TWO_TO_64 18446744073709551616.0

struct q8_block {
    ivec4 q;
    float scale;
};

/* Four values of a block, of which greatest_bits are the bits of the greatest |x|. */
q8_block q8_of(vec4 x, uint greatest_bits)
{
    q8_block b;

    b.q = ivec4(0);
    b.scale = 0.0;
    if (greatest_bits >= 0x7f800000) { /* an infinity or NaN among them */
        b.scale = uintBitsToFloat(0x7fc00000);
    } else if (uintBitsToFloat(greatest_bits) >= 1e-30) {
        /* near 1, where no part of a product is too small or too large for a float */
        float most = uintBitsToFloat(greatest_bits);
        float factor = most < 1.0 ? TWO_TO_64 : most > TWO_TO_64 ? 1.0 / TWO_TO_64 : 1.0;
        precise vec4 scaled = x * (divide_exact(127.0, most * factor) * factor);

        b.scale = divide_exact(most * factor, 127.0) / factor;
        b.q = ivec4(roundEven(scaled));
    }
    return b;
}

uint q8_pack(ivec4 q)
{
    return uint(q.x & 0xff) | uint(q.y & 0xff) << 8 | uint(q.z & 0xff) << 16 | uint(q.w & 0xff) << 24;
}
