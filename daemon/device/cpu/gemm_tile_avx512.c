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

/* Four runs of four bytes at each of 16 places: out[i] has the i-th run of all of them. */
INLINE void load_runs(const void *const places[16], __m512i out[4])
{
    __m512i v[4], low[2], high[2];

    for (int i = 0; i < 4; i++) {
        v[i] = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i_u *)places[i]));
        v[i] = _mm512_inserti32x4(v[i], _mm_loadu_si128((const __m128i_u *)places[i + 4]), 1);
        v[i] = _mm512_inserti32x4(v[i], _mm_loadu_si128((const __m128i_u *)places[i + 8]), 2);
        v[i] = _mm512_inserti32x4(v[i], _mm_loadu_si128((const __m128i_u *)places[i + 12]), 3);
    }
    for (int i = 0; i < 2; i++) {
        low[i] = _mm512_unpacklo_epi32(v[i * 2], v[i * 2 + 1]);
        high[i] = _mm512_unpackhi_epi32(v[i * 2], v[i * 2 + 1]);
    }
    out[0] = _mm512_unpacklo_epi64(low[0], low[1]);
    out[1] = _mm512_unpackhi_epi64(low[0], low[1]);
    out[2] = _mm512_unpacklo_epi64(high[0], high[1]);
    out[3] = _mm512_unpackhi_epi64(high[0], high[1]);
}

INLINE __m512 wide_halves(__m512i v)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

/* Scales and minima of 16 rows of a Q4_K or Q5_K block, which begins with d, dmin and the six-bit
 * scales and minima (quants_k4_scales says how they lie). */
static void unpack_k4_scales(const void *const blocks[16], struct tile_256 *t)
{
    const __m512i four = _mm512_set1_epi8(0x0f), six = _mm512_set1_epi8(0x3f);
    const __m512i upper = _mm512_set1_epi8(0x30), byte = _mm512_set1_epi32(0xff);
    __m512i v[4], scales[2], mins[2];
    __m512 d;

    load_runs(blocks, v);
    d = wide_halves(v[0]);
    _mm512_store_ps(t->dmin, wide_halves(_mm512_srli_epi32(v[0], 16)));
    scales[0] = _mm512_and_si512(v[1], six);
    mins[0] = _mm512_and_si512(v[2], six);
    scales[1] = _mm512_or_si512(_mm512_and_si512(v[3], four),
                                _mm512_and_si512(_mm512_srli_epi32(v[1], 2), upper));
    mins[1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(v[3], 4), four),
                              _mm512_and_si512(_mm512_srli_epi32(v[2], 2), upper));
    for (unsigned s = 0; s < 8; s++) {
        __m512i scale = _mm512_and_si512(_mm512_srli_epi32(scales[s / 4], s % 4 * 8), byte);
        __m512i min = _mm512_and_si512(_mm512_srli_epi32(mins[s / 4], s % 4 * 8), byte);

        _mm512_store_ps(t->scale[s], _mm512_mul_ps(d, _mm512_cvtepi32_ps(scale)));
        _mm512_store_si512(t->min[s], _mm512_or_si512(min, _mm512_slli_epi32(min, 16)));
    }
}

/* Of 16 rows of a Q6_K block: a minimum is 32 scales. */
static void unpack_q6_k_scales(const struct block_q6_k *const blocks[16], struct tile_256 *t)
{
    const void *places[16];
    uint16_t halves[16];
    __m512i v[4];
    __m512 d;

    for (int r = 0; r < 16; r++) {
        places[r] = blocks[r]->scales;
        halves[r] = blocks[r]->d;
    }
    load_runs(places, v);
    d = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)(const void *)halves));
    _mm512_store_ps(t->dmin, _mm512_mul_ps(d, _mm512_set1_ps(32)));
    for (unsigned s = 0; s < 16; s += 2) {
        __m512i pair = _mm512_srli_epi32(v[s / 4], s % 4 * 8);
        __m512i even = _mm512_srai_epi32(_mm512_slli_epi32(pair, 24), 24);
        __m512i odd = _mm512_srai_epi32(_mm512_slli_epi32(pair, 16), 24);

        _mm512_store_ps(t->scale[s], _mm512_mul_ps(d, _mm512_cvtepi32_ps(even)));
        _mm512_store_ps(t->scale[s + 1], _mm512_mul_ps(d, _mm512_cvtepi32_ps(odd)));
        _mm512_store_si512(t->min[s / 2],
                           _mm512_mask_blend_epi16(0xaaaaaaaa, even, _mm512_slli_epi32(odd, 16)));
    }
}

static void unpack_q4_k(const uint8_t *const rows[16], uint32_t block, uint32_t n, void *tiles)
{
    struct tile_256 *t = tiles;

    for (uint32_t i = 0; i < n; i++, t++) {
        const void *blocks[16];

        for (int r = 0; r < 16; r++)
            blocks[r] = (const struct block_q4_k *)(const void *)rows[r] + block + i;
        unpack_k4_scales(blocks, t);
        for (int half = 0; half < 2; half++) {
            __m512i v[16];

            for (int r = 0; r < 16; r++)
                v[r] = _mm512_loadu_si512(((const struct block_q4_k *)blocks[r])->qs + half * 64);
            transpose(v);
            for (int p = 0; p < 16; p++) {
                int at = half * 32 + p / 8 * 16 + p % 8;

                _mm512_store_si512(t->q[at], low_halves(v[p]));
                _mm512_store_si512(t->q[at + 8], high_halves(v[p]));
            }
        }
    }
}

static void unpack_q5_k(const uint8_t *const rows[16], uint32_t block, uint32_t n, void *tiles)
{
    struct tile_256 *t = tiles;

    for (uint32_t i = 0; i < n; i++, t++) {
        const void *blocks[16];
        __m512i fifth[16], v[16];

        for (int r = 0; r < 16; r++) {
            const struct block_q5_k *b = (const struct block_q5_k *)(const void *)rows[r];

            blocks[r] = b + block + i;
            fifth[r] = _mm512_maskz_loadu_epi32(0xff, b[block + i].qh);
        }
        unpack_k4_scales(blocks, t);
        transpose(fifth);
        for (int half = 0; half < 2; half++) {
            for (int r = 0; r < 16; r++)
                v[r] = _mm512_loadu_si512(((const struct block_q5_k *)blocks[r])->qs + half * 64);
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
        }
        unpack_q6_k_scales(b, t);
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
