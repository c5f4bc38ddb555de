/* SPDX-License-Identifier: MIT */
/*
 * unit_values() of dequant.glsl for blocks of 256 values whose bytes are codes of them.
 * With strides of 32, unit m of a block has bytes 8 * (m % 4).. of the quarter m / 4: the elements
 * 64 * (m / 4) + 8 * (m % 4).. and those 32 further.
 */

#ifdef WEIGHT_Q2_K
struct block_q2_k {
    uint scales[4];
    uvec2 qs[8];
    uint d_dmin;
};
VIEW(Blocks, block_q2_k, 4);

/* Eight values at bit `shift` of the bytes, of the sub-block with this scale byte. */
void eight_values(uvec2 qs, uint shift, uint scale_byte, vec2 d_dmin, out vec4 w0, out vec4 w1)
{
    float scale = d_dmin.x * float(scale_byte & 15);
    float low = d_dmin.y * float(scale_byte >> 4);
    EXACT vec4 v0 = scale * bytes_of((qs.x >> shift) & 0x03030303) - low;
    EXACT vec4 v1 = scale * bytes_of((qs.y >> shift) & 0x03030303) - low;

    w0 = v0;
    w1 = v1;
}

void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    Blocks blocks = Blocks(row);
    uint b = u / 16, quarter = u % 16 / 4, j = u % 4;
    uint shift = quarter % 2 * 4;
    uvec2 qs = blocks.v[b].qs[quarter / 2 * 4 + j];
    uint scales = blocks.v[b].scales[quarter] >> (j / 2 * 8);
    vec2 d_dmin = unpackHalf2x16(blocks.v[b].d_dmin);

    eight_values(qs, shift, scales & 0xff, d_dmin, w[0], w[1]);
    eight_values(qs, shift + 2, (scales >> 16) & 0xff, d_dmin, w[2], w[3]);
}
#endif

#ifdef WEIGHT_Q3_K
/* The six-bit scales of sub-blocks j and j + 2, j % 4 below 2, as floats: quants_q3_k_scale. */
vec2 scales_at(uint64_t packed, uint j)
{
    uint low = uint(U8(packed).v[j % 8]) | uint(U8(packed).v[j % 8 + 2]) << 16;
    uint high = uint(U8(packed).v[8 + j % 4]) | uint(U8(packed).v[10 + j % 4]) << 16;

    low = (low >> (j / 8 * 4)) & 0x000f000f;
    high = (high >> (j / 4 * 2)) & 0x00030003;
    low |= high << 4;
    return vec2(low & 0xff, low >> 16) - 32.0;
}

/* q - 4, or q where the high bit (bit 0 of the bytes of `high`) is set */
vec4 four_values(uint qs, uint high)
{
    return bytes_of((qs & 0x03030303) | (high & 0x01010101) << 2) - 4.0;
}

void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 16) * BLOCK_BYTES;
    uint quarter = u % 16 / 4, j = u % 4, shift = quarter % 2 * 4;
    uvec2 high = bytes_8(block + j * 8) >> (quarter * 2);
    uvec2 qs = bytes_8(block + 32 + quarter / 2 * 32 + j * 8) >> shift;
    vec2 scales = half_at(block + 108) * scales_at(block + 96, quarter * 4 + j / 2);

    w[0] = scales.x * four_values(qs.x, high.x);
    w[1] = scales.x * four_values(qs.y, high.y);
    w[2] = scales.y * four_values(qs.x >> 2, high.x >> 1);
    w[3] = scales.y * four_values(qs.y >> 2, high.y >> 1);
}
#endif

#if defined(WEIGHT_Q4_K) || defined(WEIGHT_Q5_K)
/* Sub-blocks 2 * quarter and the next: x, y their scales, z, w their minima; quants_k4_scales. */
vec4 scales_of(uvec3 packed, uint quarter)
{
    uvec2 codes, late; /* x: scales, y: minima; late: of the last two quarters */

    packed >>= quarter % 2 * 16;
    codes = packed.xy & 0x3f3f;
    late = (uvec2(packed.z, packed.z >> 4) & 0x0f0f) | (packed.xy >> 2 & 0x3030);
    codes = mix(late, codes, bvec2(quarter < 2)); /* a branch would keep later loads waiting */
    return vec4(codes.x & 0xff, codes.x >> 8, codes.y & 0xff, codes.y >> 8);
}

vec4 four_values(float scale, float low, uint codes)
{
    EXACT vec4 v = scale * bytes_of(codes) - low;

    return v;
}
#endif

#ifdef WEIGHT_Q4_K
struct block_q4_k {
    uint d_dmin;
    uvec3 scales;
    uvec2 qs[16];
};
VIEW(Blocks, block_q4_k, 4);

void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    Blocks blocks = Blocks(row);
    uint b = u / 16, quarter = u % 16 / 4;
    uvec2 qs = blocks.v[b].qs[u % 16];
    vec4 scales = scales_of(blocks.v[b].scales, quarter) *
                  unpackHalf2x16(blocks.v[b].d_dmin).xxyy;

    w[0] = four_values(scales.x, scales.z, low_nibbles(qs.x));
    w[1] = four_values(scales.x, scales.z, low_nibbles(qs.y));
    w[2] = four_values(scales.y, scales.w, high_nibbles(qs.x));
    w[3] = four_values(scales.y, scales.w, high_nibbles(qs.y));
}
#endif

#ifdef WEIGHT_Q5_K
struct block_q5_k {
    uint d_dmin;
    uvec3 scales;
    uvec2 qh[4];
    uvec2 qs[16];
};
VIEW(Blocks, block_q5_k, 4);

void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    Blocks blocks = Blocks(row);
    uint b = u / 16, quarter = u % 16 / 4;
    uvec2 qs = blocks.v[b].qs[u % 16], qh = blocks.v[b].qh[u % 4] >> (quarter * 2);
    uvec2 low = (qs & 0x0f0f0f0f) | (qh & 0x01010101) << 4;
    uvec2 high = (qs >> 4 & 0x0f0f0f0f) | (qh & 0x02020202) << 3;
    vec4 scales = scales_of(blocks.v[b].scales, quarter) *
                  unpackHalf2x16(blocks.v[b].d_dmin).xxyy;

    w[0] = four_values(scales.x, scales.z, low.x);
    w[1] = four_values(scales.x, scales.z, low.y);
    w[2] = four_values(scales.y, scales.w, high.x);
    w[3] = four_values(scales.y, scales.w, high.y);
}
#endif

#ifdef WEIGHT_Q6_K
/* Unit m of a block: eight bytes of ql from 8 * m on, low halves before high halves. */
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 16) * BLOCK_BYTES;
    uint m = u % 16, part = m / 8, j = m % 8;
    uvec2 low = bytes_8(block + m * 8);
    uvec2 high = bytes_8(block + 128 + part * 32 + j % 4 * 8) >> (j / 4 * 2);
    uint64_t scales = block + 192 + part * 8 + j / 2;
    vec2 scale = half_at(block + 208) * vec2(I8(scales).v[0], I8(scales).v[4]);

    w[0] = scale.x * (bytes_of(low_nibbles(low.x) | (high.x & 0x03030303) << 4) - 32.0);
    w[1] = scale.x * (bytes_of(low_nibbles(low.y) | (high.y & 0x03030303) << 4) - 32.0);
    w[2] = scale.y * (bytes_of(high_nibbles(low.x) | (high.x & 0x30303030)) - 32.0);
    w[3] = scale.y * (bytes_of(high_nibbles(low.y) | (high.y & 0x30303030)) - 32.0);
}
#endif

#ifdef WEIGHT_IQ4_XS
struct block_iq4_xs {
    uint d_scales_h;
    uint scales_l;
    uvec2 qs[16];
};
VIEW(Blocks, block_iq4_xs, 4);

void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    Blocks blocks = Blocks(row);
    uint b = u / 16, sub = u % 16 / 2;
    uvec2 qs = blocks.v[b].qs[u % 16];
    uint d_scales_h = blocks.v[b].d_scales_h;
    uint code = (blocks.v[b].scales_l >> (sub * 4) & 15) |
                (d_scales_h >> (16 + sub * 2) & 3) << 4;
    float scale = unpackHalf2x16(d_scales_h).x * (float(code) - 32.0);

    w[0] = scale * codes_of(low_nibbles(qs.x));
    w[1] = scale * codes_of(low_nibbles(qs.y));
    w[2] = scale * codes_of(high_nibbles(qs.x));
    w[3] = scale * codes_of(high_nibbles(qs.y));
}
#endif

#ifdef WEIGHT_TQ1_0
/* Digit n of four bytes, minus 1: quants_tq1_digit. */
vec4 digits_of(uint bytes, uint power)
{
    uvec4 fractions = (uvec4(bytes, bytes >> 8, bytes >> 16, bytes >> 24) & 0xff) * power & 0xff;

    return vec4(fractions * 3 >> 8) - 1.0;
}

void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    const uint powers[5] = {1, 3, 9, 27, 81};
    uint64_t block = row + uint64_t(u / 16) * BLOCK_BYTES;
    uint m = u % 16;
    float d = half_at(block + 52);

    if (m < 15) {
        uint power = powers[m < 10 ? m / 2 : m - 10];
        uvec4 qs = bytes_16(block + (m < 10 ? m % 2 * 16 : 32));

        [[unroll]] for (uint i = 0; i < 4; i++)
            w[i] = d * digits_of(qs[i], power);
    } else {
        uint qh = uint(U16(block + 48).v[0]) | uint(U16(block + 50).v[0]) << 16;

        [[unroll]] for (uint i = 0; i < 4; i++)
            w[i] = d * digits_of(qh, powers[i]);
    }
}
#endif

#ifdef WEIGHT_TQ2_0
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 16) * BLOCK_BYTES;
    uint quarter = u % 16 / 4, j = u % 4;
    uvec2 qs = bytes_8(block + quarter / 2 * 32 + j * 8) >> (quarter % 2 * 4);
    float d = half_at(block + 64);

    w[0] = d * (bytes_of(qs.x & 0x03030303) - 1.0);
    w[1] = d * (bytes_of(qs.y & 0x03030303) - 1.0);
    w[2] = d * (bytes_of(qs.x >> 2 & 0x03030303) - 1.0);
    w[3] = d * (bytes_of(qs.y >> 2 & 0x03030303) - 1.0);
}
#endif
