/* SPDX-License-Identifier: MIT */
/* Only for sources built with AVX-512. */
#ifndef HEARTH_DEVICE_CPU_GEMM_SUMS_AVX512_H
#define HEARTH_DEVICE_CPU_GEMM_SUMS_AVX512_H

#include "device/cpu/product.h"

#include <immintrin.h>

/* Adds sums[row][weight row] to rows [r0, r0 + n) of the result, weight rows [first, first +
 * width), which a first panel of columns overwrites. */
static inline void gemm_add_sums(const struct product *p, float (*sums)[16], uint32_t r0,
                                 unsigned n, uint32_t first, uint32_t width, bool is_first_panel)
{
    const __mmask16 mask = (__mmask16)((1u << width) - 1);

    for (unsigned r = 0; r < n; r++) {
        float *y = product_out(p, r0 + r) + first;
        __m512 v = _mm512_load_ps(sums[r]);

        if (p->bias && is_first_panel)
            v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, p->bias + first));
        if (p->accumulate || !is_first_panel)
            v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, y));
        _mm512_mask_storeu_ps(y, mask, v);
    }
}

#endif
