/* SPDX-License-Identifier: MIT */
/*
 * Weights from the blocks of quants.h, for one type: the WEIGHT_Q4_K or the like that meson.build
 * defines. The numbers are those of ref_dequant.c.
 *
 * A row of weights is cut into units of 16 values that share their bytes: eight consecutive values
 * from unit_first(u) on, and eight consecutive values UNIT_STRIDE further. Units of ascending u lie
 * at ascending addresses, so lanes that take one each read whole cache lines. A row of whole blocks
 * is a row of whole units; one of f32, f16 or bf16 may end inside its last unit.
 *
 * A shader that includes this calls weights_init() first, in every invocation, and may then call
 *   unit_values(row, u, w)               w[0..1] the first eight values, w[2..3] the second, of a
 *                                        whole unit; `row` is the row's address, a row is < 4 GiB
 *   part_unit_values(row, u, n_cols, w)  the same of a unit that the row ends in, 0 past the end
 *   value_at(row, k)                     a value of a row that may end in a unit, by itself
 * It may define EXACT as `precise` to forbid contraction to fused multiply-adds: then every value
 * has the bits of the C form (where the GPU keeps denormals).
 *
 * Alignment: device_check.c promises that blocks of a multiple of 4 bytes lie at multiples of 4, so
 * these are read as structs of words. Of other blocks every second begins in the middle of a word,
 * or, with 17 bytes, anywhere: bytes_8() and bytes_16() read the words around and shift. (Weights
 * lie in whole pages, so that the last word exists.)
 */
#ifndef EXACT
#define EXACT
#endif

/* ---- the type: values and bytes of a block, and how a unit lies in its row ---- */

#if defined(WEIGHT_F32)
const uint BLOCK_VALUES = 1, BLOCK_BYTES = 4, UNIT_STRIDE = 8;
#elif defined(WEIGHT_F16) || defined(WEIGHT_BF16)
const uint BLOCK_VALUES = 1, BLOCK_BYTES = 2, UNIT_STRIDE = 8;
#elif defined(WEIGHT_Q4_0) || defined(WEIGHT_IQ4_NL)
const uint BLOCK_VALUES = 32, BLOCK_BYTES = 18, UNIT_STRIDE = 16;
#elif defined(WEIGHT_Q4_1)
const uint BLOCK_VALUES = 32, BLOCK_BYTES = 20, UNIT_STRIDE = 16;
#elif defined(WEIGHT_Q5_0)
const uint BLOCK_VALUES = 32, BLOCK_BYTES = 22, UNIT_STRIDE = 16;
#elif defined(WEIGHT_Q5_1)
const uint BLOCK_VALUES = 32, BLOCK_BYTES = 24, UNIT_STRIDE = 16;
#elif defined(WEIGHT_Q8_0)
const uint BLOCK_VALUES = 32, BLOCK_BYTES = 34, UNIT_STRIDE = 8;
#elif defined(WEIGHT_MXFP4)
const uint BLOCK_VALUES = 32, BLOCK_BYTES = 17, UNIT_STRIDE = 16;
#elif defined(WEIGHT_Q2_K)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 84, UNIT_STRIDE = 32;
#elif defined(WEIGHT_Q3_K)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 110, UNIT_STRIDE = 32;
#elif defined(WEIGHT_Q4_K)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 144, UNIT_STRIDE = 32;
#elif defined(WEIGHT_Q5_K)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 176, UNIT_STRIDE = 32;
#elif defined(WEIGHT_Q6_K)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 210, UNIT_STRIDE = 64;
#elif defined(WEIGHT_IQ4_XS)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 136, UNIT_STRIDE = 16;
#elif defined(WEIGHT_NVFP4)
const uint BLOCK_VALUES = 64, BLOCK_BYTES = 36, UNIT_STRIDE = 8;
#elif defined(WEIGHT_TQ1_0)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 54, UNIT_STRIDE = 8;
#elif defined(WEIGHT_TQ2_0)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 66, UNIT_STRIDE = 32;
#elif defined(WEIGHT_IQ1_S)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 50, UNIT_STRIDE = 8;
#elif defined(WEIGHT_IQ1_M)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 56, UNIT_STRIDE = 8;
#elif defined(WEIGHT_IQ2_XXS)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 66, UNIT_STRIDE = 8;
#elif defined(WEIGHT_IQ2_XS)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 74, UNIT_STRIDE = 8;
#elif defined(WEIGHT_IQ2_S)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 82, UNIT_STRIDE = 8;
#elif defined(WEIGHT_IQ3_XXS)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 98, UNIT_STRIDE = 8;
#elif defined(WEIGHT_IQ3_S)
const uint BLOCK_VALUES = 256, BLOCK_BYTES = 110, UNIT_STRIDE = 8;
#else
#error "no such type of weights"
#endif

#if defined(WEIGHT_F32) || defined(WEIGHT_F16) || defined(WEIGHT_BF16)
#define HAS_PART_UNITS 1
#else
#define HAS_PART_UNITS 0
#endif

const uint UNIT_VALUES = 16;

uint row_units(uint n_cols) /* the last may be part of one */
{
    return (n_cols + UNIT_VALUES - 1) / UNIT_VALUES;
}

bool is_part_unit(uint u, uint n_cols)
{
    return HAS_PART_UNITS == 1 && (u + 1) * UNIT_VALUES > n_cols;
}

uint row_bytes(uint n_cols)
{
    return n_cols / BLOCK_VALUES * BLOCK_BYTES;
}

uint unit_first(uint u)
{
    const uint per_span = UNIT_STRIDE / 8; /* units whose values interleave */

    return u / per_span * (2 * UNIT_STRIDE) + u % per_span * 8;
}

/* ---- bytes ---- */

VIEW(Words4, uvec4, 4);
VIEW(Floats4, vec4, 4);

/* The low 32 bits of (high:low) >> shift, shift 0 to 31. */
uint funnel(uint low, uint high, uint shift)
{
    return (low >> shift) | ((high << 1) << (31 - shift));
}

/* 8 bytes from any address on. The last word read is the one that holds the last byte: nothing
 * outside the words of the 8 bytes is touched. */
uvec2 bytes_8(uint64_t address)
{
    U32 words = U32(address & ~uint64_t(3));
    uint last = U32((address + 7) & ~uint64_t(3)).v[0];
    uint first = words.v[0], second = words.v[1], shift = (uint(address) & 3) * 8;

    return uvec2(funnel(first, second, shift), funnel(second, last, shift));
}

uvec4 bytes_16(uint64_t address)
{
    uvec4 words = Words4(address & ~uint64_t(3)).v[0];
    uint last = U32((address + 15) & ~uint64_t(3)).v[0];
    uint shift = (uint(address) & 3) * 8;

    return uvec4(funnel(words.x, words.y, shift), funnel(words.y, words.z, shift),
                 funnel(words.z, words.w, shift), funnel(words.w, last, shift));
}

float half_at(uint64_t address)
{
    return float(F16(address).v[0]);
}

/* The four bytes of a word, unsigned. */
vec4 bytes_of(uint w)
{
    return vec4(w & 0xff, (w >> 8) & 0xff, (w >> 16) & 0xff, w >> 24);
}

/* The four bytes of a word, two's complement. */
vec4 signed_bytes_of(uint w)
{
    return bytes_of(w ^ 0x80808080) - 128.0;
}

uint low_nibbles(uint w)
{
    return w & 0x0f0f0f0f;
}

uint high_nibbles(uint w)
{
    return (w >> 4) & 0x0f0f0f0f;
}

/* Bits 0..3 of w to bit 4 of bytes 0..3. */
uint fifth_bits(uint w)
{
    return (w << 4 & 0x10) | (w << 11 & 0x1000) | (w << 18 & 0x100000) | (w << 25 & 0x10000000);
}

/* ---- values of four-bit codes ---- */

#if defined(WEIGHT_IQ4_NL) || defined(WEIGHT_IQ4_XS) || defined(WEIGHT_MXFP4) ||                  \
    defined(WEIGHT_NVFP4)
shared float code_values[16];

void weights_init()
{
#if defined(WEIGHT_MXFP4) || defined(WEIGHT_NVFP4)
    /* twice the value of a four-bit float (sign, two bits exponent, one bit mantissa) */
    const float table[16] = float[16](0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
#else
    const float table[16] = float[16](-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53,
                                      69, 89, 113);
#endif

    if (gl_LocalInvocationID.x == 0) {
        [[unroll]] for (uint i = 0; i < 16; i++)
            code_values[i] = table[i];
    }
    barrier();
}

vec4 codes_of(uint nibbles)
{
    return vec4(code_values[nibbles & 15], code_values[(nibbles >> 8) & 15],
                code_values[(nibbles >> 16) & 15], code_values[nibbles >> 24]);
}
#else
void weights_init()
{
}
#endif

/* ---- f32, f16, bf16 ---- */

#if HAS_PART_UNITS
#ifdef WEIGHT_F32
float value_at(uint64_t row, uint k)
{
    return F32(row).v[k];
}

void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    [[unroll]] for (uint i = 0; i < 4; i++)
        w[i] = Floats4(row).v[u * 4 + i];
}
#else
#ifdef WEIGHT_F16
float value_at(uint64_t row, uint k)
{
    return float(F16(row).v[k]);
}

vec4 pairs_of(uvec2 words)
{
    return vec4(unpackHalf2x16(words.x), unpackHalf2x16(words.y));
}
#else
float value_at(uint64_t row, uint k)
{
    return uintBitsToFloat(uint(U16(row).v[k]) << 16);
}

vec4 pairs_of(uvec2 words)
{
    return uintBitsToFloat(uvec4(words.x << 16, words.x & 0xffff0000, words.y << 16,
                                 words.y & 0xffff0000));
}
#endif

void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t at = row + uint64_t(u) * (UNIT_VALUES * 2);
    uvec4 head = bytes_16(at), tail = bytes_16(at + 16);

    w[0] = pairs_of(head.xy);
    w[1] = pairs_of(head.zw);
    w[2] = pairs_of(tail.xy);
    w[3] = pairs_of(tail.zw);
}
#endif

void part_unit_values(uint64_t row, uint u, uint n_cols, out vec4 w[4])
{
    uint first = u * UNIT_VALUES;

    [[unroll]] for (uint i = 0; i < UNIT_VALUES; i++)
        w[i / 4][i % 4] = first + i < n_cols ? value_at(row, first + i) : 0.0;
}
#else
float value_at(uint64_t row, uint k)
{
    return 0.0;
}

void part_unit_values(uint64_t row, uint u, uint n_cols, out vec4 w[4])
{
    w = vec4[4](vec4(0), vec4(0), vec4(0), vec4(0));
}
#endif

/* ---- blocks of 32 ---- */

#ifdef WEIGHT_Q4_0
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 2) * BLOCK_BYTES;
    uvec2 qs = bytes_8(block + 2 + u % 2 * 8);
    float d = half_at(block);

    w[0] = d * (bytes_of(low_nibbles(qs.x)) - 8.0);
    w[1] = d * (bytes_of(low_nibbles(qs.y)) - 8.0);
    w[2] = d * (bytes_of(high_nibbles(qs.x)) - 8.0);
    w[3] = d * (bytes_of(high_nibbles(qs.y)) - 8.0);
}
#endif

#ifdef WEIGHT_Q4_1
struct block_q4_1 {
    uint d_m;
    uvec2 qs[2];
};
VIEW(Blocks, block_q4_1, 4);

void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    Blocks blocks = Blocks(row);
    vec2 d_m = unpackHalf2x16(blocks.v[u / 2].d_m);

    [[unroll]] for (uint i = 0; i < 2; i++) {
        uint qs = blocks.v[u / 2].qs[u % 2][i];
        EXACT vec4 low = d_m.x * bytes_of(low_nibbles(qs)) + d_m.y;
        EXACT vec4 high = d_m.x * bytes_of(high_nibbles(qs)) + d_m.y;

        w[i] = low;
        w[2 + i] = high;
    }
}
#endif

#ifdef WEIGHT_Q5_0
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 2) * BLOCK_BYTES;
    uint qh = uint(U16(block + 2).v[0]) | uint(U16(block + 4).v[0]) << 16;
    uvec2 qs = bytes_8(block + 6 + u % 2 * 8);
    float d = half_at(block);

    qh >>= u % 2 * 8;
    w[0] = d * (bytes_of(low_nibbles(qs.x) | fifth_bits(qh)) - 16.0);
    w[1] = d * (bytes_of(low_nibbles(qs.y) | fifth_bits(qh >> 4)) - 16.0);
    w[2] = d * (bytes_of(high_nibbles(qs.x) | fifth_bits(qh >> 16)) - 16.0);
    w[3] = d * (bytes_of(high_nibbles(qs.y) | fifth_bits(qh >> 20)) - 16.0);
}
#endif

#ifdef WEIGHT_Q5_1
struct block_q5_1 {
    uint d_m;
    uint qh;
    uvec2 qs[2];
};
VIEW(Blocks, block_q5_1, 4);

void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    Blocks blocks = Blocks(row);
    vec2 d_m = unpackHalf2x16(blocks.v[u / 2].d_m);
    uint qh = blocks.v[u / 2].qh >> (u % 2 * 8);

    [[unroll]] for (uint i = 0; i < 2; i++) {
        uint qs = blocks.v[u / 2].qs[u % 2][i];
        uint low_codes = low_nibbles(qs) | fifth_bits(qh >> (4 * i));
        uint high_codes = high_nibbles(qs) | fifth_bits(qh >> (16 + 4 * i));
        EXACT vec4 low = d_m.x * bytes_of(low_codes) + d_m.y;
        EXACT vec4 high = d_m.x * bytes_of(high_codes) + d_m.y;

        w[i] = low;
        w[2 + i] = high;
    }
}
#endif

#ifdef WEIGHT_Q8_0
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 2) * BLOCK_BYTES;
    uvec4 qs = bytes_16(block + 2 + u % 2 * 16);
    float d = half_at(block);

    [[unroll]] for (uint i = 0; i < 4; i++)
        w[i] = d * signed_bytes_of(qs[i]);
}
#endif

#ifdef WEIGHT_IQ4_NL
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 2) * BLOCK_BYTES;
    uvec2 qs = bytes_8(block + 2 + u % 2 * 8);
    float d = half_at(block);

    w[0] = d * codes_of(low_nibbles(qs.x));
    w[1] = d * codes_of(low_nibbles(qs.y));
    w[2] = d * codes_of(high_nibbles(qs.x));
    w[3] = d * codes_of(high_nibbles(qs.y));
}
#endif

#ifdef WEIGHT_MXFP4
void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 2) * BLOCK_BYTES;
    uvec2 qs = bytes_8(block + 1 + u % 2 * 8);
    uint e = uint(U8(block).v[0]);
    /* 2^(e - 128) is denormal for e < 2, and to a GPU perhaps zero: then in two steps */
    float quarter = e < 2 ? 0.25 : 1.0;
    float half_scale = uintBitsToFloat((e < 2 ? e + 1 : e - 1) << 23);

    w[0] = quarter * codes_of(low_nibbles(qs.x)) * half_scale;
    w[1] = quarter * codes_of(low_nibbles(qs.y)) * half_scale;
    w[2] = quarter * codes_of(high_nibbles(qs.x)) * half_scale;
    w[3] = quarter * codes_of(high_nibbles(qs.y)) * half_scale;
}
#endif

#ifdef WEIGHT_NVFP4
/* Half the value of a float of four bits exponent and three bits mantissa, without sign. */
float half_ue4m3(uint bits)
{
    uint exponent = bits >> 3 & 15, mantissa = bits & 7;
    float normal = uintBitsToFloat((exponent + 119) << 23 | mantissa << 20);

    return (bits & 127) == 127 ? 0.0 : exponent == 0 ? float(mantissa) / 1024.0 : normal;
}

void unit_values(uint64_t row, uint u, out vec4 w[4])
{
    uint64_t block = row + uint64_t(u / 4) * BLOCK_BYTES;
    uvec2 qs = bytes_8(block + 4 + u % 4 * 8);
    float half_scale = half_ue4m3(uint(U8(block + u % 4).v[0]));

    w[0] = half_scale * codes_of(low_nibbles(qs.x));
    w[1] = half_scale * codes_of(low_nibbles(qs.y));
    w[2] = half_scale * codes_of(high_nibbles(qs.x));
    w[3] = half_scale * codes_of(high_nibbles(qs.y));
}
#endif

#include "dequant_256.glsl"
#include "dequant_grid.glsl"
