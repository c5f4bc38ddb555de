/* SPDX-License-Identifier: MIT */
/*
 * A product of a matrix of weights with rows of activations, as matmul and matmul_experts both have
 * it: only where its rows come from and go to differs. Addresses as pointers.
 */
#ifndef HEARTH_DEVICE_CPU_PRODUCT_H
#define HEARTH_DEVICE_CPU_PRODUCT_H

#include "device/cpu/cpu.h"

struct product {
    enum gguf_type weight_type;
    enum activation_type activation;
    const uint8_t *weight; /* [n_rows][n_cols] */
    const float *bias;     /* f32[n_rows] or NULL */
    const uint8_t *x;      /* rows of n_cols values */
    float *out;            /* rows of n_rows values */
    uint32_t n_rows, n_cols;
    uint32_t rows; /* of activations */
    bool accumulate;
    /* Row r of the product is row `pair` of out and row pair / pairs_per_x of x, with pair =
     * pairs[r], or, without pairs, first_pair + r * pair_step. */
    const uint32_t *pairs;
    uint32_t first_pair, pair_step, pairs_per_x;
};

static inline size_t product_pair(const struct product *p, uint32_t r)
{
    return p->pairs ? p->pairs[r] : p->first_pair + (size_t)r * p->pair_step;
}

static inline const void *product_x(const struct product *p, uint32_t r)
{
    return p->x + product_pair(p, r) / p->pairs_per_x * activation_bytes(p->activation, p->n_cols);
}

static inline float *product_out(const struct product *p, uint32_t r)
{
    return p->out + product_pair(p, r) * p->n_rows;
}

#endif
