/* SPDX-License-Identifier: MIT */
/*
 * unit_values() of dequant.glsl for the types whose blocks hold indices into grids of points
 * (quants_grids.h), of which push.points is the address. Unit m of a block has its elements 16 * m
 * to 16 * m + 15: two points of eight values, or four of four.
 */
#ifdef HAS_POINTS
uint grid_point(uint i)
{
    return U32(push.points).v[i / 2] >> (i % 2 * 16) & 0xffff;
}

uint half_word_at(uint64_t address)
{
    return uint(U16(address).v[0]);
}

uint byte_at(uint64_t address)
{
    return uint(U8(address).v[0]);
}

uint word_at(uint64_t address) /* at a multiple of 2 */
{
    return half_word_at(address) | half_word_at(address + 2) << 16;
}

/* All eight signs of a sign code. */
uint even_signs(uint code)
{
    code &= 127;
    return code | (bitCount(code) & 1) << 7;
}

/* Bits 0 to 3 as signs of four values. */
vec4 signs_of(uint signs)
{
    return 1.0 - 2.0 * vec4(uvec4(signs, signs >> 1, signs >> 2, signs >> 3) & 1);
}

/* Four values of two bits each, from bit 0 on. */
uvec4 pairs_of_bits(uint point)
{
    return uvec4(point, point >> 2, point >> 4, point >> 6) & 3;
}

/* Four values of three bits each. */
uvec4 triples_of_bits(uint point)
{
    return uvec4(point, point >> 3, point >> 6, point >> 9) & 7;
}

/* 8, 25, 43 */
vec4 values_iq2(uint point)
{
    uvec4 codes = pairs_of_bits(point);

    return vec4(8 + codes * 17 + (codes >> 1));
}

void two_points_iq2(uint first, uint second, uint signs, float scale, out vec4 w[4])
{
    uint p = grid_point(first), q = grid_point(second);

    w[0] = scale * values_iq2(p) * signs_of(signs);
    w[1] = scale * values_iq2(p >> 8) * signs_of(signs >> 4);
    w[2] = scale * values_iq2(q) * signs_of(signs >> 8);
    w[3] = scale * values_iq2(q >> 8) * signs_of(signs >> 12);
}

/* bits: bit 0 and bit 1 are the signs of the two points' deltas */
void two_points_iq1(uint first, uint second, uint bits, float scale, out vec4 w[4])
{
    uint p = grid_point(first), q = grid_point(second);
    float low = (bits & 1) != 0 ? -1.125 : -0.875, high = (bits & 2) != 0 ? -1.125 : -0.875;

    w[0] = scale * (vec4(pairs_of_bits(p)) + low);
    w[1] = scale * (vec4(pairs_of_bits(p >> 8)) + low);
    w[2] = scale * (vec4(pairs_of_bits(q)) + high);
    w[3] = scale * (vec4(pairs_of_bits(q >> 8)) + high);
}
#endif

#ifdef WEIGHT_IQ2_XXS
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 16) * BLOCK_BYTES;
    uint sub = u % 16 / 2, part = u % 2;
    uint indices = half_word_at(block + 2 + sub * 8 + part * 2);
    uint aux = word_at(block + 2 + sub * 8 + 4);
    uint codes = aux >> (part * 14);
    float scale = half_at(block) * (0.5 + float(aux >> 28)) * 0.25;

    two_points_iq2(indices & 255, indices >> 8, even_signs(codes) | even_signs(codes >> 7) << 8,
                   scale, w);
}
#endif

#ifdef WEIGHT_IQ2_XS
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 16) * BLOCK_BYTES;
    uint m = u % 16, qs = word_at(block + 2 + m * 4);
    uint code = byte_at(block + 66 + m / 2) >> (m % 2 * 4) & 15;
    float scale = half_at(block) * (0.5 + float(code)) * 0.25;

    two_points_iq2(qs & 511, qs >> 16 & 511, even_signs(qs >> 9) | even_signs(qs >> 25) << 8, scale,
                   w);
}
#endif

#ifdef WEIGHT_IQ2_S
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 16) * BLOCK_BYTES;
    uint m = u % 16, qs = half_word_at(block + 2 + m * 2);
    uint signs = half_word_at(block + 34 + m * 2);
    uint high = byte_at(block + 66 + m / 2) >> (m % 2 * 4);
    uint code = byte_at(block + 74 + m / 2) >> (m % 2 * 4) & 15;
    float scale = half_at(block) * (0.5 + float(code)) * 0.25;

    two_points_iq2((qs & 255) | (high & 3) << 8, qs >> 8 | (high >> 2 & 3) << 8, signs, scale, w);
}
#endif

#ifdef WEIGHT_IQ3_XXS
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 16) * BLOCK_BYTES;
    uint m = u % 16, qs = word_at(block + 2 + m * 4);
    uint aux = word_at(block + 66 + m / 2 * 4), codes = aux >> (m % 2 * 14);
    uint signs = even_signs(codes) | even_signs(codes >> 7) << 8;
    float scale = half_at(block) * (0.5 + float(aux >> 28)) * 0.5;

    [[unroll]] for (uint i = 0; i < 4; i++) {
        uvec4 c = triples_of_bits(grid_point(qs >> (8 * i) & 255));

        /* 4, 12, ... 52, 62 */
        w[i] = scale * vec4(4 + c * 8 + (c + 1 >> 3) * 2) * signs_of(signs >> (4 * i));
    }
}
#endif

#ifdef WEIGHT_IQ3_S
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 16) * BLOCK_BYTES;
    uint m = u % 16, qs = word_at(block + 2 + m * 4);
    uint high = byte_at(block + 66 + m / 2) >> (m % 2 * 4);
    uint signs = half_word_at(block + 74 + m * 2);
    uint code = byte_at(block + 106 + m / 4) >> (m / 2 % 2 * 4) & 15;
    float scale = half_at(block) * float(1 + 2 * code);

    [[unroll]] for (uint i = 0; i < 4; i++) {
        uint index = (qs >> (8 * i) & 255) | (high >> i & 1) << 8;

        w[i] = scale * vec4(1 + triples_of_bits(grid_point(index)) * 2) * signs_of(signs >> (4 * i));
    }
}
#endif

#ifdef WEIGHT_IQ1_S
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 16) * BLOCK_BYTES;
    uint m = u % 16, qs = half_word_at(block + 2 + m * 2), qh = half_word_at(block + 34 + m / 2 * 2);
    uint high = qh >> (m % 2 * 6);
    float scale = half_at(block) * float(2 * (qh >> 12 & 7) + 1);

    two_points_iq1((qs & 255) | (high & 7) << 8, qs >> 8 | (high >> 3 & 7) << 8, (qh >> 15) * 3,
                   scale, w);
}
#endif

#ifdef WEIGHT_IQ1_M
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 16) * BLOCK_BYTES;
    uint m = u % 16, qs = half_word_at(block + m * 2), qh = byte_at(block + 32 + m);
    uvec2 scales = uvec2(word_at(block + 48), word_at(block + 52));
    uvec2 tops = (scales >> 12 & 15) | (scales >> 24 & 0xf0);
    float d = unpackHalf2x16(tops.x | tops.y << 8).x;
    uint code = scales[m / 8] >> (m / 4 % 2 * 16 + m % 4 * 3) & 7;

    two_points_iq1((qs & 255) | (qh & 7) << 8, qs >> 8 | (qh >> 4 & 7) << 8,
                   (qh >> 3 & 1) | (qh >> 6 & 2), d * float(2 * code + 1), w);
}
#endif
