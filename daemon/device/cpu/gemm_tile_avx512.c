/* SPDX-License-Identifier: MIT */
#include "device/cpu/gemm_tile.h"
#include "device/cpu/transpose_avx512.h"
#include "kernels/quants.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m512i low_halves(__m512i v)
{
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

INLINE __m512i high_halves(__m512i v)
{
    return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
}

/* Shifts bytes left (or right, when negative) and keeps the bits of the mask. */
INLINE __m512i shifted(__m512i v, const int left, const int mask)
{
    v = left >= 0 ? _mm512_slli_epi16(v, (unsigned)left) : _mm512_srli_epi16(v, (unsigned)-left);
    return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}

/* Scales and minima of one row of a Q4_K or Q5_K block. */
static void k4_row(struct tile_256 *t, int row, const uint8_t *packed, float d, float dmin)
{
    uint8_t scales[8], mins[8];

    quants_k4_scales(packed, scales, mins);
    for (int s = 0; s < 8; s++) {
        t->scale[s][row] = d * scales[s];
        t->min[s][row * 2] = mins[s];
        t->min[s][row * 2 + 1] = mins[s];
    }
    t->dmin[row] = dmin;
}

static void unpack_q4_k(const uint8_t *const rows[16], uint32_t block, uint32_t n, void *tiles)
{
    struct tile_256 *t = tiles;

    for (uint32_t i = 0; i < n; i++, t++) {
        for (int half = 0; half < 2; half++) {
            __m512i v[16];

            for (int r = 0; r < 16; r++)
                v[r] = _mm512_loadu_si512(
                    ((const struct block_q4_k *)(const void *)rows[r])[block + i].qs + half * 64);
            transpose(v);
            for (int p = 0; p < 16; p++) {
                int at = half * 32 + p / 8 * 16 + p % 8;

                _mm512_store_si512(t->q[at], low_halves(v[p]));
                _mm512_store_si512(t->q[at + 8], high_halves(v[p]));
            }
        }
        for (int r = 0; r < 16; r++) {
            const struct block_q4_k *b =
                &((const struct block_q4_k *)(const void *)rows[r])[block + i];

            k4_row(t, r, b->scales, _cvtsh_ss(b->d), _cvtsh_ss(b->dmin));
        }
    }
}

static void unpack_q5_k(const uint8_t *const rows[16], uint32_t block, uint32_t n, void *tiles)
{
    struct tile_256 *t = tiles;

    for (uint32_t i = 0; i < n; i++, t++) {
        const struct block_q5_k *b[16];
        __m512i fifth[16], v[16];

        for (int r = 0; r < 16; r++) {
            b[r] = &((const struct block_q5_k *)(const void *)rows[r])[block + i];
            fifth[r] = _mm512_maskz_loadu_epi32(0xff, b[r]->qh);
            k4_row(t, r, b[r]->scales, _cvtsh_ss(b[r]->d), _cvtsh_ss(b[r]->dmin));
        }
        transpose(fifth);
        for (int half = 0; half < 2; half++) {
            for (int r = 0; r < 16; r++)
                v[r] = _mm512_loadu_si512(b[r]->qs + half * 64);
            transpose(v);
            for (int p = 0; p < 16; p++) {
                int sub = half * 4 + p / 8 * 2;
                __m512i h = _mm512_srl_epi16(fifth[p % 8], _mm_cvtsi32_si128(sub));

                _mm512_store_si512(t->q[sub * 8 + p % 8],
                                   _mm512_or_si512(low_halves(v[p]), shifted(h, 4, 16)));
                _mm512_store_si512(t->q[sub * 8 + 8 + p % 8],
                                   _mm512_or_si512(high_halves(v[p]), shifted(h, 3, 16)));
            }
        }
    }
}

static void unpack_q6_k(const uint8_t *const rows[16], uint32_t block, uint32_t n, void *tiles)
{
    struct tile_256 *t = tiles;

    for (uint32_t i = 0; i < n; i++, t++) {
        const struct block_q6_k *b[16];
        __m512i high[16], v[16];

        for (int r = 0; r < 16; r++) {
            b[r] = &((const struct block_q6_k *)(const void *)rows[r])[block + i];
            high[r] = _mm512_loadu_si512(b[r]->qh);
            for (int s = 0; s < 16; s++) {
                t->scale[s][r] = _cvtsh_ss(b[r]->d) * b[r]->scales[s];
                t->min[s / 2][r * 2 + s % 2] = b[r]->scales[s];
            }
            t->dmin[r] = 32 * _cvtsh_ss(b[r]->d);
        }
        transpose(high);
        for (int half = 0; half < 2; half++) {
            for (int r = 0; r < 16; r++)
                v[r] = _mm512_loadu_si512(b[r]->ql + half * 64);
            transpose(v);
            for (int p = 0; p < 8; p++) {
                __m512i h = high[half * 8 + p];
                uint8_t(*q)[64] = &t->q[half * 32 + p];

                _mm512_store_si512(q[0], _mm512_or_si512(low_halves(v[p]), shifted(h, 4, 48)));
                _mm512_store_si512(q[8], _mm512_or_si512(low_halves(v[p + 8]), shifted(h, 2, 48)));
                _mm512_store_si512(q[16], _mm512_or_si512(high_halves(v[p]), shifted(h, 0, 48)));
                _mm512_store_si512(q[24],
                                   _mm512_or_si512(high_halves(v[p + 8]), shifted(h, -2, 48)));
            }
        }
    }
}

static void unpack_q8_0(const uint8_t *const rows[16], uint32_t block, uint32_t n, void *tiles)
{
    struct tile_32 *t = tiles;

    for (uint32_t i = 0; i < n; i++, t++) {
        __m512i v[16];

        for (int r = 0; r < 16; r++) {
            const struct block_q8_0 *b =
                &((const struct block_q8_0 *)(const void *)rows[r])[block + i];

            v[r] = _mm512_maskz_loadu_epi32(0xff, b->qs);
            t->scale[r] = _cvtsh_ss(b->d);
        }
        transpose(v);
        for (int p = 0; p < 8; p++)
            _mm512_store_si512(t->q[p], _mm512_xor_si512(v[p], _mm512_set1_epi8((char)0x80)));
    }
}

static void unpack_q4_0(const uint8_t *const rows[16], uint32_t block, uint32_t n, void *tiles)
{
    struct tile_32 *t = tiles;

    for (uint32_t i = 0; i < n; i++, t++) {
        __m512i v[16];

        for (int r = 0; r < 16; r++) {
            const struct block_q4_0 *b =
                &((const struct block_q4_0 *)(const void *)rows[r])[block + i];

            v[r] = _mm512_maskz_loadu_epi32(0xf, b->qs);
            t->scale[r] = _cvtsh_ss(b->d);
        }
        transpose(v);
        for (int p = 0; p < 4; p++) {
            _mm512_store_si512(t->q[p], low_halves(v[p]));
            _mm512_store_si512(t->q[p + 4], high_halves(v[p]));
        }
    }
}

const struct tile_format *tile_format_of(enum gguf_type weight, enum activation_type activation)
{
    static const struct tile_format q4_k = {256, 8, 0, sizeof(struct tile_256), unpack_q4_k};
    static const struct tile_format q5_k = {256, 8, 0, sizeof(struct tile_256), unpack_q5_k};
    static const struct tile_format q6_k = {256, 16, 0, sizeof(struct tile_256), unpack_q6_k};
    static const struct tile_format q8_0 = {32, 0, 128, sizeof(struct tile_32), unpack_q8_0};
    static const struct tile_format q4_0 = {32, 0, 8, sizeof(struct tile_32), unpack_q4_0};

    if (activation == ACT_Q8_32)
        return weight == GGUF_TYPE_Q8_0 ? &q8_0 : weight == GGUF_TYPE_Q4_0 ? &q4_0 : NULL;
    if (activation != ACT_Q8_256)
        return NULL;
    switch (weight) {
    case GGUF_TYPE_Q4_K:
        return &q4_k;
    case GGUF_TYPE_Q5_K:
        return &q5_k;
    case GGUF_TYPE_Q6_K:
        return &q6_k;
    default:
        return NULL;
    }
}
