/* SPDX-License-Identifier: MIT */
/*
 * Layouts of the weight blocks, as they lie in GGUF files (little-endian, no padding). `d` and
 * `dmin` are f16 bit patterns. Each comment gives the value of element i of the block.
 * Source of the facts: the GGUF specification and its public reference decoder.
 */
#ifndef HEARTH_KERNELS_QUANTS_H
#define HEARTH_KERNELS_QUANTS_H

#include <stdint.h>

/* d * (nibble(i) - 8); nibble(i) is the low half of qs[i] for i < 16, the high half of qs[i - 16]
 * after it. The other 32-value types below order their nibbles in the same way. */
struct block_q4_0 {
    uint16_t d;
    uint8_t qs[16];
};

/* d * nibble(i) + m */
struct block_q4_1 {
    uint16_t d, m;
    uint8_t qs[16];
};

/* d * ((nibble(i) | bit i of qh << 4) - 16) */
struct block_q5_0 {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
};

/* d * (nibble(i) | bit i of qh << 4) + m */
struct block_q5_1 {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
};

/* d * qs[i] */
struct block_q8_0 {
    uint16_t d;
    int8_t qs[32];
};

/* Sixteen sub-blocks of 16: d * (scales[j] & 15) * q - dmin * (scales[j] >> 4), q two bits: element
 * i sits in byte (i / 128) * 32 + i % 32 of qs at bit 2 * (i / 32 % 4). */
struct block_q2_k {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;
};

/* Sixteen sub-blocks of 16: d * (scale(j) - 32) * (q - (high bit ? 0 : 4)); q as in Q2_K, the high
 * bit is bit i / 32 of hmask[i % 32]; six-bit scales: quants_q3_k_scale. */
struct block_q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
};

/* Eight sub-blocks of 32: d * scale(j) * q - dmin * min(j); six-bit scales and minima:
 * quants_k4_scales. q: byte (i / 64) * 32 + i % 32 of qs, low half for even sub-blocks. */
struct block_q4_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
};

/* As Q4_K with a fifth bit: bit i / 32 of qh[i % 32]. */
struct block_q5_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
};

/* Sixteen sub-blocks of 16: d * scales[j] * (q - 32). Low four bits: byte (i / 128) * 64 + i % 64
 * of ql, low half for i % 128 < 64; high two: byte (i / 128) * 32 + i % 32 of qh, at bit 2 * (i /
 * 32 % 4). */
struct block_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
};

/* d * quants_iq4_values[nibble(i)] */
struct block_iq4_nl {
    uint16_t d;
    uint8_t qs[16];
};

/* Eight sub-blocks of 32, each ordered as IQ4_NL: d * (scale(j) - 32) * quants_iq4_values[nibble];
 * scale(j): four low bits in scales_l, two high bits in scales_h at 2 * j. */
struct block_iq4_xs {
    uint16_t d;
    uint16_t scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
};

/* 2^(e - 127) * e2m1(nibble(i)), OCP microscaling format 1.0 */
struct block_mxfp4 {
    uint8_t e;
    uint8_t qs[16];
};

/* A point below is an entry of the type's grid in quants_grids.h. A set bit j of its signs makes
 * value j negative; a sign code has seven of the eight, and the eighth is what makes their number
 * even. */

/* Eight sub-blocks of 32, four points each: d * (0.5 + scale) / 4 * point * sign. A sub-block is
 * eight bytes: four indices, then a little-endian word of four sign codes and, at bit 28, scale. */
struct block_iq2_xxs {
    uint16_t d;
    uint16_t qs[32];
};

/* Sixteen sub-blocks of 16, two points each: d * (0.5 + scale) / 4 * point * sign. qs: an index of
 * nine bits, then a sign code. Scales are nibbles, the even one low. */
struct block_iq2_xs {
    uint16_t d;
    uint16_t qs[32];
    uint8_t scales[8];
};

/* As IQ2_XS with indices of ten bits, the high two of point j at bit j % 4 * 2 of qh[j / 4], and a
 * byte of signs for each point. */
struct block_iq2_s {
    uint16_t d;
    uint8_t qs[32];
    uint8_t signs[32];
    uint8_t qh[8];
    uint8_t scales[8];
};

/* Eight sub-blocks of 32, eight points of four values each: d * (0.5 + scale) / 2 * point * sign.
 * Of each sub-block aux holds four sign codes and, at bit 28, scale (little-endian words). */
struct block_iq3_xxs {
    uint16_t d;
    uint8_t qs[64];
    uint16_t aux[16];
};

/* Eight sub-blocks of 32, eight points of four values each: d * (1 + 2 * scale) * point * sign. Bit
 * j % 8 of qh[j / 8] is the ninth of point j's index. Scales are nibbles, the even one low. */
struct block_iq3_s {
    uint16_t d;
    uint8_t qs[64];
    uint8_t qh[8];
    uint8_t signs[32];
    uint8_t scales[4];
};

/* Eight sub-blocks of 32, four points each: d * (2 * scale + 1) * (point + delta). qh of a
 * sub-block: three high bits of each index, scale at bit 12, delta -1/8 if bit 15 is set, else 1/8.
 */
struct block_iq1_s {
    uint16_t d;
    uint8_t qs[32];
    uint16_t qh[8];
};

/* Sixteen sub-blocks of 16, two points each: d * (2 * scale + 1) * (point + delta). A nibble of qh
 * for each point: three high bits of its index, and delta's sign as in IQ1_S. Sub-block j's scale
 * is at bit 3 * (j % 4) of scales[j / 4]; their high nibbles, the first lowest, are d. */
struct block_iq1_m {
    uint8_t qs[32];
    uint8_t qh[16];
    uint16_t scales[4];
};

/* d * (digit - 1), five ternary digits a byte: quants_tq1_digit. Elements 32 * n + i are digit n of
 * qs[i] for i < 32, 160 + 16 * n + i of qs[32 + i], 240 + 4 * n + i of qh[i]. */
struct block_tq1_0 {
    uint8_t qs[48];
    uint8_t qh[4];
    uint16_t d;
};

/* d * (q - 1), q as in Q2_K */
struct block_tq2_0 {
    uint8_t qs[64];
    uint16_t d;
};

/* Four sub-blocks of 16: ue4m3(d[j]) * e2m1(nibble), low halves of qs[8 * j..] before high ones.
 * ue4m3: four bits exponent, three bits mantissa, bias 7, no sign; the one NaN counts as 0. */
struct block_nvfp4 {
    uint8_t d[4];
    uint8_t qs[32];
};

_Static_assert(sizeof(struct block_q4_0) == 18 && sizeof(struct block_q4_1) == 20, "layout");
_Static_assert(sizeof(struct block_q5_0) == 22 && sizeof(struct block_q5_1) == 24, "layout");
_Static_assert(sizeof(struct block_q8_0) == 34 && sizeof(struct block_q2_k) == 84, "layout");
_Static_assert(sizeof(struct block_q3_k) == 110 && sizeof(struct block_q4_k) == 144, "layout");
_Static_assert(sizeof(struct block_q5_k) == 176 && sizeof(struct block_q6_k) == 210, "layout");
_Static_assert(sizeof(struct block_iq4_nl) == 18 && sizeof(struct block_iq4_xs) == 136, "layout");
_Static_assert(sizeof(struct block_mxfp4) == 17 && sizeof(struct block_nvfp4) == 36, "layout");
_Static_assert(sizeof(struct block_iq2_xxs) == 66 && sizeof(struct block_iq2_xs) == 74, "layout");
_Static_assert(sizeof(struct block_iq2_s) == 82 && sizeof(struct block_iq3_xxs) == 98, "layout");
_Static_assert(sizeof(struct block_iq3_s) == 110 && sizeof(struct block_iq1_s) == 50, "layout");
_Static_assert(sizeof(struct block_iq1_m) == 56 && sizeof(struct block_tq1_0) == 54, "layout");
_Static_assert(sizeof(struct block_tq2_0) == 66, "layout");

/* The eight six-bit scales and minima of Q4_K and Q5_K from their twelve bytes. */
static inline void quants_k4_scales(const uint8_t packed[12], uint8_t scales[8], uint8_t mins[8])
{
    for (int j = 0; j < 4; j++) {
        scales[j] = packed[j] & 63;
        mins[j] = packed[j + 4] & 63;
        scales[j + 4] = (uint8_t)((packed[j + 8] & 15) | (packed[j] >> 6) << 4);
        mins[j + 4] = (uint8_t)((packed[j + 8] >> 4) | (packed[j + 4] >> 6) << 4);
    }
}

/* Scale j of a Q3_K block, 0..63: four low bits from bytes 0-7, two high bits from bytes 8-11. */
static inline int quants_q3_k_scale(const uint8_t packed[12], int j)
{
    int low = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4;
    int high = packed[8 + j % 4] >> (2 * (j / 4)) & 3;

    return low | high << 4;
}

/* Ternary digit n of a byte, the first being the most significant: the byte is the fraction
 * 0.abcde of base 3, rounded up to 256ths. */
static inline int quants_tq1_digit(uint8_t byte, int n)
{
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};

    return (uint8_t)(byte * powers[n]) * 3 >> 8;
}

#endif
