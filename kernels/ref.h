/* SPDX-License-Identifier: MIT */
/*
 * The plain C form of every kernel: the oracle of all kernel tests. Readable above all; computes in
 * double where a sum is long. Addresses in the arguments are host pointers. Single-threaded; each
 * call does the whole dispatch.
 */
#ifndef HEARTH_KERNELS_REF_H
#define HEARTH_KERNELS_REF_H

#include "kernels/kernels.h"

/* Runs one dispatch of any op. */
void ref_run(const struct dispatch *d);

/* Dequantises n values (whole blocks) of a weight type to f32, exactly as the format defines. */
void ref_dequantize(enum gguf_type type, const void *blocks, float *out, size_t n);

/* The points that blocks of the type hold indices into (quants_grids.h): words of two points each.
 * NULL, and no words, for types without. */
const uint32_t *ref_grid(enum gguf_type type, size_t *ret_words);
/* q = round(x / scale) of n values, as ACT_Q8_32 and KV_Q8_0 have them; returns the scale. */
float ref_quantize_block(const float *x, int8_t *q, uint32_t n);
/* Stores the n keys or values of one head at position `slot` of its block. */
void ref_kv_store_row(const struct kv_layer *kv, uint8_t *head, size_t slot, const float *x,
                      uint32_t n);

/* What was stored so. */
void ref_kv_load_row(const struct kv_layer *kv, uint8_t *head, size_t slot, float *x, uint32_t n);

float ref_f16_to_f32(uint16_t h);
uint16_t ref_f32_to_f16(float f); /* round to nearest even */
float ref_bf16_to_f32(uint16_t h);

/* Uniform in [0, 1): a function of (seed, draw) alone. */
float ref_uniform(uint64_t seed, uint32_t draw);

#endif
