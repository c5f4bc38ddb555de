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

_Static_assert(sizeof(struct block_q4_0) == 18 && sizeof(struct block_q4_1) == 20, "layout");
_Static_assert(sizeof(struct block_q5_0) == 22 && sizeof(struct block_q5_1) == 24, "layout");
_Static_assert(sizeof(struct block_q8_0) == 34 && sizeof(struct block_q2_k) == 84, "layout");
_Static_assert(sizeof(struct block_q3_k) == 110 && sizeof(struct block_q4_k) == 144, "layout");
_Static_assert(sizeof(struct block_q5_k) == 176 && sizeof(struct block_q6_k) == 210, "layout");
_Static_assert(sizeof(struct block_iq4_nl) == 18 && sizeof(struct block_iq4_xs) == 136, "layout");
_Static_assert(sizeof(struct block_mxfp4) == 17, "layout");

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

#endif
