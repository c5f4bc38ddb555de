/* SPDX-License-Identifier: MIT */
/*
 * Dot products of quantised weights with 8-bit activations, AVX-512 with VNNI. A product of
 * unsigned 6-bit weights and signed 8-bit activations summed over four stays within 16 bits, so
 * vpdpwssd can multiply it by its sub-block's integer scale and add in one instruction.
 */
#include "device/cpu/level.h"
#include "kernels/quants.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* One copy of a loop for each number of activation rows. */
#define DOT(name, loop)                                                                            \
    static void name(const void *w, const void *const *x, unsigned n, uint32_t n_cols, float *out) \
    {                                                                                              \
        if (n == 4)                                                                                \
            loop(w, x, 4, n_cols, out);                                                            \
        else if (n == 3)                                                                           \
            loop(w, x, 3, n_cols, out);                                                            \
        else if (n == 2)                                                                           \
            loop(w, x, 2, n_cols, out);                                                            \
        else                                                                                       \
            loop(w, x, 1, n_cols, out);                                                            \
    }

INLINE __m512i load_pair(const int8_t *low, const int8_t *high)
{
    __m512i v = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i_u *)(const void *)low));

    return _mm512_inserti64x4(v, _mm256_loadu_si256((const __m256i_u *)(const void *)high), 1);
}

/* i16 lanes: scale `low` in the even lanes of the lower half, `high` in those of the upper. */
INLINE __m512i spread_scales(__m512i scales16, int low, int high)
{
    __m512i index =
        _mm512_inserti64x4(_mm512_set1_epi16((short)low), _mm256_set1_epi16((short)high), 1);

    return _mm512_maskz_permutexvar_epi16(0x55555555, index, scales16);
}

INLINE void k4_scales(const uint8_t packed[12], __m128i *scales, __m128i *mins)
{
    uint32_t u[3];
    uint64_t s, m;

    memcpy(u, packed, 12);
    s = (u[0] & 0x3f3f3f3f) | (uint64_t)((u[2] & 0x0f0f0f0f) | (u[0] >> 6 & 0x03030303) << 4) << 32;
    m = (u[1] & 0x3f3f3f3f) | (uint64_t)((u[2] >> 4 & 0x0f0f0f0f) | (u[1] >> 6 & 0x03030303) << 4)
                                  << 32;
    *scales = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)s));
    *mins = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)m));
}

/* Q4_K, and Q5_K with its fifth bits at qh. */
INLINE void k4_block(const uint8_t *packed, const uint8_t *qs, const uint8_t *qh, float d,
                     float dmin, const struct act_q8_256 *const *x, const unsigned n, __m512 *sum,
                     __m256 *sum_min)
{
    const __m512i low_half = _mm512_set1_epi8(15);
    __m512i total[DOT_ROWS], scales16, fifth = _mm512_setzero_si512();
    __m128i scales, mins;
    __m256i mins16;

    k4_scales(packed, &scales, &mins);
    scales16 = _mm512_castsi128_si512(scales);
    mins16 = _mm256_set_m128i(_mm_unpackhi_epi16(mins, mins), _mm_unpacklo_epi16(mins, mins));
    if (qh)
        fifth = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i_u *)(const void *)qh));
    for (unsigned r = 0; r < n; r++)
        total[r] = _mm512_setzero_si512();
    for (int j = 0; j < 2; j++) { /* 128 values: four sub-blocks */
        __m512i v = _mm512_loadu_si512(qs + j * 64);
        __m512i even = _mm512_and_si512(v, low_half);
        __m512i odd = _mm512_and_si512(_mm512_srli_epi16(v, 4), low_half);
        __m512i scale_even = spread_scales(scales16, 4 * j, 4 * j + 2);
        __m512i scale_odd = spread_scales(scales16, 4 * j + 1, 4 * j + 3);

        if (qh) {
            __m512i bit = _mm512_inserti64x4(_mm512_set1_epi8((char)(1 << (4 * j))),
                                             _mm256_set1_epi8((char)(4 << (4 * j))), 1);
            __m512i sixteen = _mm512_set1_epi8(16);

            even = _mm512_mask_add_epi8(even, _mm512_test_epi8_mask(fifth, bit), even, sixteen);
            bit = _mm512_add_epi8(bit, bit);
            odd = _mm512_mask_add_epi8(odd, _mm512_test_epi8_mask(fifth, bit), odd, sixteen);
        }
        for (unsigned r = 0; r < n; r++) {
            const int8_t *q = x[r]->q + j * 128;
            __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), even, load_pair(q, q + 64));

            total[r] = _mm512_dpwssd_epi32(total[r], dot, scale_even);
            dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), odd, load_pair(q + 32, q + 96));
            total[r] = _mm512_dpwssd_epi32(total[r], dot, scale_odd);
        }
    }
    for (unsigned r = 0; r < n; r++) {
        __m256i sums = _mm256_loadu_si256((const __m256i_u *)(const void *)x[r]->sums);
        __m256 m = _mm256_cvtepi32_ps(_mm256_madd_epi16(mins16, sums));

        sum[r] =
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(total[r]), _mm512_set1_ps(d * x[r]->scale), sum[r]);
        sum_min[r] = _mm256_fmadd_ps(m, _mm256_set1_ps(dmin * x[r]->scale), sum_min[r]);
    }
}

INLINE float sum8(__m256 v)
{
    return _mm512_reduce_add_ps(_mm512_zextps256_ps512(v));
}

INLINE void q4_k_loop(const void *w, const void *const *x, const unsigned n, uint32_t n_cols,
                      float *out)
{
    const struct block_q4_k *b = w;
    const struct act_q8_256 *a[DOT_ROWS];
    __m512 sum[DOT_ROWS];
    __m256 sum_min[DOT_ROWS];

    for (unsigned r = 0; r < n; r++) {
        a[r] = x[r];
        sum[r] = _mm512_setzero_ps();
        sum_min[r] = _mm256_setzero_ps();
    }
    for (uint32_t k = 0; k < n_cols; k += 256, b++) {
        _mm_prefetch((const char *)b + 1024, _MM_HINT_T0);
        _mm_prefetch((const char *)b + 1088, _MM_HINT_T0);
        k4_block(b->scales, b->qs, NULL, _cvtsh_ss(b->d), _cvtsh_ss(b->dmin), a, n, sum, sum_min);
        for (unsigned r = 0; r < n; r++)
            a[r]++;
    }
    for (unsigned r = 0; r < n; r++)
        out[r] = _mm512_reduce_add_ps(sum[r]) - sum8(sum_min[r]);
}

INLINE void q5_k_loop(const void *w, const void *const *x, const unsigned n, uint32_t n_cols,
                      float *out)
{
    const struct block_q5_k *b = w;
    const struct act_q8_256 *a[DOT_ROWS];
    __m512 sum[DOT_ROWS];
    __m256 sum_min[DOT_ROWS];

    for (unsigned r = 0; r < n; r++) {
        a[r] = x[r];
        sum[r] = _mm512_setzero_ps();
        sum_min[r] = _mm256_setzero_ps();
    }
    for (uint32_t k = 0; k < n_cols; k += 256, b++) {
        k4_block(b->scales, b->qs, b->qh, _cvtsh_ss(b->d), _cvtsh_ss(b->dmin), a, n, sum, sum_min);
        for (unsigned r = 0; r < n; r++)
            a[r]++;
    }
    for (unsigned r = 0; r < n; r++)
        out[r] = _mm512_reduce_add_ps(sum[r]) - sum8(sum_min[r]);
}

/* Four scales, each in the even i16 lanes of a quarter. */
INLINE __m512i spread_four(__m512i scales16, int first)
{
    const __m512i quarter = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);

    return _mm512_maskz_permutexvar_epi16(
        0x55555555, _mm512_add_epi32(quarter, _mm512_set1_epi32(first)), scales16);
}

INLINE void q6_k_loop(const void *w, const void *const *x, const unsigned n, uint32_t n_cols,
                      float *out)
{
    const __m512i low_half = _mm512_set1_epi8(15), high_bits = _mm512_set1_epi8(0x30);
    const __m512i left = _mm512_inserti64x4(_mm512_set1_epi16(4), _mm256_set1_epi16(2), 1);
    const __m512i right = _mm512_inserti64x4(_mm512_set1_epi16(0), _mm256_set1_epi16(2), 1);
    const struct block_q6_k *b = w;
    __m512 sum[DOT_ROWS];

    for (unsigned r = 0; r < n; r++)
        sum[r] = _mm512_setzero_ps();
    for (uint32_t k = 0; k < n_cols / 256; k++, b++) {
        __m256i scales =
            _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i_u *)(const void *)b->scales));
        __m512i scales16 = _mm512_castsi256_si512(scales), total[DOT_ROWS];
        float d = _cvtsh_ss(b->d);

        for (unsigned r = 0; r < n; r++) {
            const struct act_q8_256 *a = (const struct act_q8_256 *)x[r] + k;
            __m256i sums = _mm256_loadu_si256((const __m256i_u *)(const void *)a->sums);

            /* q - 32: minus 32 times the scaled sums */
            total[r] = _mm512_zextsi256_si512(_mm256_sub_epi32(
                _mm256_setzero_si256(), _mm256_slli_epi32(_mm256_madd_epi16(scales, sums), 5)));
        }
        for (int j = 0; j < 2; j++) {
            __m512i v = _mm512_loadu_si512(b->ql + j * 64);
            __m512i h = _mm512_broadcast_i64x4(
                _mm256_loadu_si256((const __m256i_u *)(const void *)(b->qh + j * 32)));
            __m512i first =
                _mm512_or_si512(_mm512_and_si512(v, low_half),
                                _mm512_and_si512(_mm512_sllv_epi16(h, left), high_bits));
            __m512i second =
                _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(v, 4), low_half),
                                _mm512_and_si512(_mm512_srlv_epi16(h, right), high_bits));
            __m512i scale_first = spread_four(scales16, 8 * j);
            __m512i scale_second = spread_four(scales16, 8 * j + 4);

            for (unsigned r = 0; r < n; r++) {
                const int8_t *q = ((const struct act_q8_256 *)x[r] + k)->q + j * 128;
                __m512i dot =
                    _mm512_dpbusd_epi32(_mm512_setzero_si512(), first, _mm512_loadu_si512(q));

                total[r] = _mm512_dpwssd_epi32(total[r], dot, scale_first);
                dot =
                    _mm512_dpbusd_epi32(_mm512_setzero_si512(), second, _mm512_loadu_si512(q + 64));
                total[r] = _mm512_dpwssd_epi32(total[r], dot, scale_second);
            }
        }
        for (unsigned r = 0; r < n; r++) {
            float scale = d * ((const struct act_q8_256 *)x[r] + k)->scale;

            sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total[r]), _mm512_set1_ps(scale), sum[r]);
        }
    }
    for (unsigned r = 0; r < n; r++)
        out[r] = _mm512_reduce_add_ps(sum[r]);
}

INLINE void q8_0_loop(const void *w, const void *const *x, const unsigned n, uint32_t n_cols,
                      float *out)
{
    const struct block_q8_0 *b = w;
    __m512 sum[DOT_ROWS];

    for (unsigned r = 0; r < n; r++)
        sum[r] = _mm512_setzero_ps();
    for (uint32_t k = 0; k < n_cols / 32; k += 2, b += 2) {
        /* An odd last block stands in both halves, once with the scale 0. */
        unsigned next = k + 1 < n_cols / 32;
        __m512i v = load_pair(b->qs, b[next].qs);
        __mmask64 negative = _mm512_movepi8_mask(v);
        __m512i magnitude = _mm512_abs_epi8(v);
        float d0 = _cvtsh_ss(b->d), d1 = next ? _cvtsh_ss(b[1].d) : 0;

        for (unsigned r = 0; r < n; r++) {
            const struct act_q8_32 *a = (const struct act_q8_32 *)x[r] + k;
            __m512i q = load_pair(a->q, a[next].q);
            __m512 scale = _mm512_insertf32x8(_mm512_set1_ps(d0 * a->scale),
                                              _mm256_set1_ps(d1 * a[next].scale), 1);

            q = _mm512_mask_sub_epi8(q, negative, _mm512_setzero_si512(), q);
            sum[r] = _mm512_fmadd_ps(
                _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), magnitude, q)),
                scale, sum[r]);
        }
    }
    for (unsigned r = 0; r < n; r++)
        out[r] = _mm512_reduce_add_ps(sum[r]);
}

INLINE __m256i nibbles(const uint8_t *qs)
{
    __m128i v = _mm_loadu_si128((const __m128i_u *)(const void *)qs);
    __m256i both = _mm256_set_m128i(_mm_srli_epi16(v, 4), v);

    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

INLINE void q4_0_loop(const void *w, const void *const *x, const unsigned n, uint32_t n_cols,
                      float *out)
{
    const struct block_q4_0 *b = w;
    __m512 sum[DOT_ROWS];
    float offset[DOT_ROWS] = {0};

    for (unsigned r = 0; r < n; r++)
        sum[r] = _mm512_setzero_ps();
    for (uint32_t k = 0; k < n_cols / 32; k += 2, b += 2) {
        unsigned next = k + 1 < n_cols / 32;
        __m512i v =
            _mm512_inserti64x4(_mm512_castsi256_si512(nibbles(b->qs)), nibbles(b[next].qs), 1);
        float d0 = _cvtsh_ss(b->d), d1 = next ? _cvtsh_ss(b[1].d) : 0;

        for (unsigned r = 0; r < n; r++) {
            const struct act_q8_32 *a = (const struct act_q8_32 *)x[r] + k;
            float s0 = d0 * a->scale, s1 = d1 * a[next].scale;
            __m512 scale = _mm512_insertf32x8(_mm512_set1_ps(s0), _mm256_set1_ps(s1), 1);
            __m512i dot =
                _mm512_dpbusd_epi32(_mm512_setzero_si512(), v, load_pair(a->q, a[next].q));

            sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, sum[r]);
            offset[r] += s0 * (float)a->sum + s1 * (float)a[next].sum;
        }
    }
    for (unsigned r = 0; r < n; r++)
        out[r] = _mm512_reduce_add_ps(sum[r]) - 8 * offset[r];
}

DOT(dot_q4_0, q4_0_loop)
DOT(dot_q8_0, q8_0_loop)
DOT(dot_q4_k, q4_k_loop)
DOT(dot_q5_k, q5_k_loop)
DOT(dot_q6_k, q6_k_loop)

dot_fn *IN_LEVEL(dot_for)(enum gguf_type weight, enum activation_type activation)
{
    if (activation == ACT_Q8_32)
        return weight == GGUF_TYPE_Q8_0 ? dot_q8_0 : weight == GGUF_TYPE_Q4_0 ? dot_q4_0 : NULL;
    if (activation != ACT_Q8_256)
        return NULL;
    switch (weight) {
    case GGUF_TYPE_Q4_K:
        return dot_q4_k;
    case GGUF_TYPE_Q5_K:
        return dot_q5_k;
    case GGUF_TYPE_Q6_K:
        return dot_q6_k;
    default:
        return NULL;
    }
}
