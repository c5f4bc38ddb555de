/* SPDX-License-Identifier: MIT */
#include "kernels/ref_internal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Longest block of any weight or activation type. */
#define BLOCK_MAX 256

/* A token past the table gives a row of zeros, past a piece of one nothing. */
void ref_embed(const struct dispatch *d)
{
    const struct args_embed *a = &d->args.embed;
    const struct step_token *tokens = addr_ptr(a->tokens);
    const uint8_t *table = addr_ptr(a->table);
    size_t row_bytes = gguf_type_row_bytes(d->weight_type, a->n_cols);
    uint32_t n_tokens = step_rows(a->step, ROWS_TOKENS, d->max_rows);

    for (uint32_t t = 0; t < n_tokens; t++) {
        float *out = (float *)addr_ptr(a->out) + (size_t)t * a->n_cols;
        uint32_t id = step_token_id(a->step, a->seqs, &tokens[t]) - a->first_row;

        if (id >= a->n_rows && a->first_row)
            continue;
        memset(out, 0, a->n_cols * sizeof(float));
        if (id < a->n_rows)
            ref_dequantize(d->weight_type, table + id * row_bytes, out, a->n_cols);
        for (uint32_t i = 0; i < a->n_cols; i++)
            out[i] *= a->scale;
    }
}

/*
 * q = round(x / scale) with scale = max|x| / 127, halves to even; rounded values are multiplied by
 * the f32 number 127 / max|x|. A block whose greatest magnitude is below 1e-30 becomes zeros; one
 * with a value that is not finite gets the scale NaN, so that the fault shows in what it meets.
 */
float ref_quantize_block(const float *x, int8_t *q, uint32_t n)
{
    float greatest = 0, inverse;

    memset(q, 0, n);
    for (uint32_t i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return NAN;
        greatest = fmaxf(greatest, fabsf(x[i]));
    }
    if (greatest < 1e-30f)
        return 0;
    inverse = 127.0f / greatest;
    for (uint32_t i = 0; i < n; i++)
        q[i] = (int8_t)nearbyintf(x[i] * inverse);
    return greatest / 127.0f;
}

static int sum_of(const int8_t *q, uint32_t n)
{
    int sum = 0;

    for (uint32_t i = 0; i < n; i++)
        sum += q[i];
    return sum;
}

void ref_quantize(const struct dispatch *d)
{
    const struct args_quantize *a = &d->args.quantize;
    const float *x = addr_ptr(a->x);
    size_t n = (size_t)step_rows(a->step, a->rows, d->max_rows) * a->n_cols;

    if (d->activation == ACT_Q8_32) {
        struct act_q8_32 *out = addr_ptr(a->out);

        for (size_t b = 0; b < n / 32; b++) {
            out[b].scale = ref_quantize_block(x + b * 32, out[b].q, 32);
            out[b].sum = sum_of(out[b].q, 32);
        }
    } else {
        struct act_q8_256 *out = addr_ptr(a->out);

        for (size_t b = 0; b < n / 256; b++) {
            out[b].scale = ref_quantize_block(x + b * 256, out[b].q, 256);
            for (uint32_t j = 0; j < 16; j++)
                out[b].sums[j] = (int16_t)sum_of(out[b].q + j * 16, 16);
        }
    }
}

/* Value k of a row of activations, exact. */
static double activation_value(enum activation_type type, const void *row, uint32_t k)
{
    const struct act_q8_32 *b32 = row;
    const struct act_q8_256 *b256 = row;

    switch (type) {
    case ACT_Q8_32:
        return (double)b32[k / 32].scale * b32[k / 32].q[k % 32];
    case ACT_Q8_256:
        return (double)b256[k / 256].scale * b256[k / 256].q[k % 256];
    default:
        return ((const float *)row)[k];
    }
}

/* With 8-bit activations a fast form may take  scale_w * scale_x * (sum of integer
 * products)  block by block, and subtract minima through the stored sums: the same number but for
 * the rounding of a few f32 operations per block. */
double ref_dot(const struct dispatch *d, uint32_t n_cols, const uint8_t *weight, const void *x)
{
    const struct gguf_type_info *info = gguf_type_get_info(d->weight_type);
    uint32_t block = info->block_elements;
    float w[BLOCK_MAX];
    double sum = 0;

    for (uint32_t k = 0; k < n_cols; k += block, weight += info->block_bytes) {
        ref_dequantize(d->weight_type, weight, w, block);
        for (uint32_t i = 0; i < block; i++)
            sum += w[i] * activation_value(d->activation, x, k + i);
    }
    return sum;
}

void ref_matmul(const struct dispatch *d)
{
    const struct args_matmul *a = &d->args.matmul;
    const uint8_t *weight = addr_ptr(a->weight), *x = addr_ptr(a->x);
    const float *bias = addr_ptr(a->bias);
    float *out = addr_ptr(a->out);
    size_t weight_row_bytes = gguf_type_row_bytes(d->weight_type, a->n_cols);
    size_t x_row_bytes = activation_bytes(d->activation, a->n_cols);
    uint32_t rows = step_rows(a->step, a->rows, d->max_rows);

    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t i = 0; i < a->n_rows; i++) {
            float *y = &out[(size_t)r * a->n_rows + i];
            double sum = ref_dot(d, a->n_cols, weight + i * weight_row_bytes, x + r * x_row_bytes);

            if (bias)
                sum += bias[i];
            *y = (float)(a->accumulate ? sum + *y : sum);
        }
    }
}
