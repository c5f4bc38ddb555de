/* SPDX-License-Identifier: MIT */
/*
 * Weights as 8-bit integers for integer dot products, for the types of which meson.build's list has
 * such a form; dequant.glsl comes before this. A row is cut into groups of 32 consecutive values:
 *   value i of a group = scales[i / 16] * code i - low
 * group_codes(row, g, codes, scales, low) gives the codes as bytes of two's complement in ascending
 * order, 16 in each vector. Types with one scale have it twice, types without minima a low of 0.
 */

/* Bytes of 0..15 to -8..7, of 0..63 to -32..31. */
uvec4 minus_8(uvec4 bytes)
{
    return (bytes + 0x78787878) ^ 0x80808080;
}

uvec4 minus_32(uvec4 bytes)
{
    return (bytes + 0x60606060) ^ 0x80808080;
}

#ifdef WEIGHT_Q4_0
const bool HAS_LOW = false, HAS_TWO_SCALES = false;

void group_codes(uint64_t row, uint g, out uvec4 codes[2], out vec2 scales, out float low)
{
    uint64_t block = row + uint64_t(g) * BLOCK_BYTES;
    uvec4 qs = bytes_16(block + 2);

    codes[0] = minus_8(qs & 0x0f0f0f0f);
    codes[1] = minus_8(qs >> 4 & 0x0f0f0f0f);
    scales = vec2(half_at(block));
    low = 0.0;
}
#endif

#ifdef WEIGHT_Q8_0
const bool HAS_LOW = false, HAS_TWO_SCALES = false;

void group_codes(uint64_t row, uint g, out uvec4 codes[2], out vec2 scales, out float low)
{
    uint64_t block = row + uint64_t(g) * BLOCK_BYTES;

    codes[0] = bytes_16(block + 2);
    codes[1] = bytes_16(block + 18);
    scales = vec2(half_at(block));
    low = 0.0;
}
#endif

#if defined(WEIGHT_Q4_K) || defined(WEIGHT_Q5_K)
const bool HAS_LOW = true, HAS_TWO_SCALES = false;

void group_codes(uint64_t row, uint g, out uvec4 codes[2], out vec2 scales, out float low)
{
    Blocks blocks = Blocks(row);
    uint b = g / 8, quarter = g % 8 / 2;
    vec2 d_dmin = unpackHalf2x16(blocks.v[b].d_dmin);
    vec4 pair = scales_of(blocks.v[b].scales, quarter);

    [[unroll]] for (uint half_group = 0; half_group < 2; half_group++) {
        uint at = quarter * 4 + half_group * 2;
        uvec4 qs = uvec4(blocks.v[b].qs[at], blocks.v[b].qs[at + 1]);

        codes[half_group] = qs >> (g % 2 * 4) & 0x0f0f0f0f;
#ifdef WEIGHT_Q5_K
        uvec4 qh = uvec4(blocks.v[b].qh[half_group * 2], blocks.v[b].qh[half_group * 2 + 1]);

        codes[half_group] |= (qh >> (g % 8) & 0x01010101) << 4;
#endif
    }
    scales = vec2(d_dmin.x * (g % 2 == 0 ? pair.x : pair.y));
    low = d_dmin.y * (g % 2 == 0 ? pair.z : pair.w);
}
#endif

#ifdef WEIGHT_Q6_K
const bool HAS_LOW = false, HAS_TWO_SCALES = true;

void group_codes(uint64_t row, uint g, out uvec4 codes[2], out vec2 scales, out float low)
{
    uint64_t block = row + uint64_t(g / 8) * BLOCK_BYTES;
    uint sub = g % 8, part = sub / 4;
    uint64_t scale = block + 192 + sub * 2;

    [[unroll]] for (uint half_group = 0; half_group < 2; half_group++) {
        uvec4 ql = bytes_16(block + part * 64 + sub % 2 * 32 + half_group * 16);
        uvec4 qh = bytes_16(block + 128 + part * 32 + half_group * 16);

        codes[half_group] = minus_32((ql >> (sub % 4 / 2 * 4) & 0x0f0f0f0f) |
                                     (qh >> (sub % 4 * 2) & 0x03030303) << 4);
    }
    scales = half_at(block + 208) * vec2(I8(scale).v[0], I8(scale).v[1]);
    low = 0.0;
}
#endif
