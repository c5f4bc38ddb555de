/* SPDX-License-Identifier: MIT */
/* Only for sources built with AVX-512. */
#ifndef HEARTH_DEVICE_CPU_TRANSPOSE_AVX512_H
#define HEARTH_DEVICE_CPU_TRANSPOSE_AVX512_H

#include <immintrin.h>

/* Sixteen rows of sixteen dwords: afterwards v[i] holds dword i of every row. */
static inline __attribute__((always_inline)) void transpose(__m512i v[16])
{
    __m512i t[16];

    /* unrolled, or the rows would pass through memory at each step */
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    /* v[4g + j]: in each quarter, dword j of rows 4g to 4g + 3 */
#pragma GCC unroll 4
    for (int g = 0; g < 16; g += 4) {
        v[g] = _mm512_unpacklo_epi64(t[g], t[g + 2]);
        v[g + 1] = _mm512_unpackhi_epi64(t[g], t[g + 2]);
        v[g + 2] = _mm512_unpacklo_epi64(t[g + 1], t[g + 3]);
        v[g + 3] = _mm512_unpackhi_epi64(t[g + 1], t[g + 3]);
    }
    /* quarters: quarter q of v[4g + j] is dword 4q + j of rows 4g.. */
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i a = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x88);
        __m512i b = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x88);
        __m512i e = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xdd);

        t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
        t[4 + j] = _mm512_shuffle_i32x4(b, e, 0x88);
        t[12 + j] = _mm512_shuffle_i32x4(b, e, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        v[i] = t[i];
}

#endif
