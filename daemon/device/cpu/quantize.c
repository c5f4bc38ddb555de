/* SPDX-License-Identifier: MIT */
/* Activations to 8 bits, bit for bit as the plain form: built without contraction to fused
 * multiply-adds, which would round once where the format rounds twice. */
#include "device/cpu/level.h"

#include <math.h>
#include <string.h>

uint32_t IN_LEVEL(quantize_items)(const struct dispatch *d)
{
    const struct args_quantize *a = &d->args.quantize;

    return row_items(a->step, a->rows, d->max_rows, a->n_cols);
}

/* As the plain form: returns the scale. The greatest magnitude is found on bit patterns, where
 * infinities and NaN come out on top. */
static float quantize_block(const float *x, int8_t *q, uint32_t n)
{
    const float magic = 12582912.0f; /* adding it rounds to the nearest integer, ties to even */
    int32_t greatest_bits = 0;
    float greatest, inverse;

    for (uint32_t i = 0; i < n; i++) {
        int32_t bits;

        memcpy(&bits, &x[i], 4);
        bits &= 0x7fffffff;
        greatest_bits = bits > greatest_bits ? bits : greatest_bits;
    }
    memcpy(&greatest, &greatest_bits, 4);
    if (greatest_bits >= 0x7f800000 || greatest < 1e-30f) {
        memset(q, 0, n);
        return greatest_bits >= 0x7f800000 ? NAN : 0;
    }
    inverse = 127.0f / greatest;
    for (uint32_t i = 0; i < n; i++) {
        float rounded = x[i] * inverse;
        int32_t bits;

        rounded += magic;
        memcpy(&bits, &rounded, 4);
        q[i] = (int8_t)bits;
    }
    return greatest / 127.0f;
}

static int sum_of(const int8_t *q, uint32_t n)
{
    int sum = 0;

    for (uint32_t i = 0; i < n; i++)
        sum += q[i];
    return sum;
}

void IN_LEVEL(quantize)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_quantize *a = &d->args.quantize;
    const float *x = addr_ptr(a->x);
    uint64_t b, end;

    item_range(step_rows(a->step, a->rows, d->max_rows), IN_LEVEL(quantize_items)(d), item, &b,
               &end);
    if (d->activation == ACT_Q8_32) {
        struct act_q8_32 *out = addr_ptr(a->out);

        end *= a->n_cols / 32;
        for (b *= a->n_cols / 32; b < end; b++) {
            out[b].scale = quantize_block(x + b * 32, out[b].q, 32);
            out[b].sum = sum_of(out[b].q, 32);
        }
    } else {
        struct act_q8_256 *out = addr_ptr(a->out);

        end *= a->n_cols / 256;
        for (b *= a->n_cols / 256; b < end; b++) {
            out[b].scale = quantize_block(x + b * 256, out[b].q, 256);
            for (uint32_t j = 0; j < 16; j++)
                out[b].sums[j] = (int16_t)sum_of(out[b].q + j * 16, 16);
        }
    }
}
