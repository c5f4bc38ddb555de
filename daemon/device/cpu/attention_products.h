/* SPDX-License-Identifier: MIT */
/*
 * Products of attention's queries with a block of keys, and of their weights with its values. Keys
 * are read straight from the cache's rows; so are the values for few queries, while many share an
 * f32 copy. Each sum has its terms in the same order however many queries there are. Slots outside
 * [begin, end) of a block may hold anything: no weight is multiplied by their values, and scores of
 * theirs mean nothing.
 */
#ifndef HEARTH_DEVICE_CPU_ATTENTION_PRODUCTS_H
#define HEARTH_DEVICE_CPU_ATTENTION_PRODUCTS_H

#include "device/cpu/level.h"
#include "device/cpu/vec.h"
#include "kernels/ref.h"

#define BLOCK  KV_BLOCK_TOKENS
#define INLINE static inline __attribute__((always_inline))
/* Blocks whose scores become weights together. */
#define SPAN_BLOCKS 8u
#define SPAN        (SPAN_BLOCKS * BLOCK)
/* Sums that the vector registers hold beside what is multiplied. */
#if defined(__AVX512F__)
#define SUMS 16
#else
#define SUMS 8
#endif
/* Queries that are worked on together: those of few, which share what is loaded of the cache, and
 * those of many. */
#define FEW_AT_ONCE  4
#define MANY_AT_ONCE (SUMS / 2)
/* Queries of one item at most, so that their sums stay in the second-level cache; a multiple of
 * what is worked on together. */
#define QUERIES_MAX 32u

/* A block of the cache: of one head, and what any query sees of it. */
struct attention_block {
    uint8_t *keys, *values;
    uint32_t first; /* position of slot 0 */
    uint32_t begin, end;
};

/* Everything an item keeps in its worker's scratch. The values' width is padded with zeros to pairs
 * of vectors, query counts above two to fours. */
struct attention_work {
    float *values; /* f32[BLOCK][width_v] */
    float *scores; /* f32[QUERIES_MAX][SPAN] */
    float *sums;   /* f32[QUERIES_MAX][width_v] */
    const float *queries[QUERIES_MAX];
    uint32_t position[QUERIES_MAX], row[QUERIES_MAX];
    float greatest[QUERIES_MAX], total[QUERIES_MAX];
    uint32_t n, n_padded, width_v;
    struct attention_block blocks[SPAN_BLOCKS];
    uint32_t n_blocks;
};

/* In which form channels lie in the cache, and whether a vector of them is the last, which is not
 * whole; f16 alone has such. */
enum lanes { LANES_F16, LANES_F16_PART, LANES_Q8_0 };

/* Channels c.. of the n of the keys or values at a position of a block. */
INLINE vf load_lanes(uint8_t *head, size_t slot, size_t n, size_t c, const enum lanes form)
{
    uint16_t part[LANES] = {0};

    if (form == LANES_Q8_0)
        return vec_load_i8((int8_t *)head + slot * n + c) *
               vec_set_f16(kv_row_scales(head, slot, (uint32_t)n)[c / KV_RUN]);
    if (form == LANES_F16)
        return vec_load_f16((uint16_t *)(void *)head + slot * n + c);
    memcpy(part, (uint16_t *)(void *)head + slot * n + c, (n - c) * sizeof(*part));
    return vec_load_f16(part);
}

INLINE vf load_query(const float *q, size_t n, size_t c, const enum lanes form)
{
    float part[LANES] = {0};

    if (form != LANES_F16_PART)
        return vec_load(q + c);
    memcpy(part, q + c, (n - c) * sizeof(*part));
    return vec_load(part);
}

/* sum[n][LANES / n] += the products of n queries and LANES / n keys in a vector of channels. */
INLINE void add_products(const struct attention_work *w, uint32_t q, uint8_t *keys, size_t slot,
                         size_t n_channels, size_t c, const int n, const enum lanes form, vf *sum)
{
    const int n_keys = LANES / n;
    vf x[FEW_AT_ONCE];

#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
        x[r] = load_query(w->queries[q + (uint32_t)r], n_channels, c, form);
#pragma GCC unroll 16
    for (int i = 0; i < n_keys; i++) {
        vf key = load_lanes(keys, slot + (size_t)i, n_channels, c, form);

#pragma GCC unroll 4
        for (int r = 0; r < n; r++)
            sum[r * n_keys + i] += x[r] * key;
    }
}

/* Scores of n (1, 2 or 4) queries with a block's keys, straight from the cache: a sum for each
 * query and key, each of LANES parts that are added up in the end. */
INLINE void score_few(const struct args_attention *a, struct attention_work *w,
                      const struct attention_block *b, uint32_t q, float *scores, const int n,
                      const enum lanes form)
{
    const uint32_t n_keys = LANES / n, n_channels = a->kv.n_channels_k;

    for (uint32_t j = b->begin / n_keys * n_keys; j < b->end; j += n_keys) {
        vf sum[LANES] = {0}, all;
        uint32_t c = 0;

        for (; c + LANES <= n_channels; c += LANES)
            add_products(w, q, b->keys, j, n_channels, c, n, form, sum);
        if (form == LANES_F16 && c < n_channels)
            add_products(w, q, b->keys, j, n_channels, c, n, LANES_F16_PART, sum);
        all = vec_sums(sum) * a->scale;
#pragma GCC unroll 4
        for (int r = 0; r < n; r++)
            memcpy(scores + (q + (uint32_t)r) * SPAN + j, (float *)&all + (uint32_t)r * n_keys,
                   n_keys * sizeof(float));
    }
}

/* sums[q..q+n] of n_vectors vectors of channels += weights * values. */
INLINE void mix_vectors(struct attention_work *w, const struct attention_block *b, uint32_t q,
                        const float *weights, size_t n_channels, size_t c, const int n,
                        const int n_vectors, const enum lanes form)
{
    float *sums = w->sums + (size_t)q * w->width_v + c;
    const size_t width_v = w->width_v;
    vf sum[FEW_AT_ONCE][4], value[4];

#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
#pragma GCC unroll 4
        for (int i = 0; i < n_vectors; i++)
            sum[r][i] = vec_load(sums + (size_t)r * width_v + i * LANES);
    for (size_t j = b->begin; j < b->end; j++) {
#pragma GCC unroll 4
        for (int i = 0; i < n_vectors; i++)
            value[i] = load_lanes(b->values, j, n_channels, c + (size_t)i * LANES, form);
#pragma GCC unroll 4
        for (int r = 0; r < n; r++) {
            vf weight = vec_set(weights[(size_t)r * SPAN + j]);

#pragma GCC unroll 4
            for (int i = 0; i < n_vectors; i++)
                sum[r][i] += weight * value[i];
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
#pragma GCC unroll 4
        for (int i = 0; i < n_vectors; i++)
            vec_store(sums + (size_t)r * width_v + i * LANES, sum[r][i]);
}

/* The same of all channels, straight from the cache; n: 1, 2 or 4. */
INLINE void mix_few(const struct args_attention *a, struct attention_work *w,
                    const struct attention_block *b, uint32_t q, const float *weights, const int n,
                    const enum lanes form)
{
    const int n_vectors = SUMS / n < 4 ? SUMS / n : 4;
    const uint32_t n_channels = a->kv.n_channels_v, width = (uint32_t)n_vectors * LANES;
    uint32_t c = 0;

    weights += q * SPAN;
    for (; c + width <= n_channels; c += width)
        mix_vectors(w, b, q, weights, n_channels, c, n, n_vectors, form);
    for (; c + LANES <= n_channels; c += LANES)
        mix_vectors(w, b, q, weights, n_channels, c, n, 1, form);
    if (form == LANES_F16 && c < n_channels)
        mix_vectors(w, b, q, weights, n_channels, c, n, 1, LANES_F16_PART);
}

/* A block's values for many queries; channels that are padding become zeros. */
INLINE void load_values(const struct args_attention *a, struct attention_work *w,
                        const struct attention_block *b, const enum lanes form)
{
    uint32_t n = a->kv.n_channels_v;

    for (uint32_t j = b->begin; j < b->end; j++) {
        float *to = w->values + (size_t)j * w->width_v;
        uint32_t c = 0;

        for (; c + LANES <= n; c += LANES)
            vec_store(to + c, load_lanes(b->values, j, n, c, form));
        if (form == LANES_F16 && c < n) {
            vec_store(to + c, load_lanes(b->values, j, n, c, LANES_F16_PART));
            c += LANES;
        }
        for (; c < w->width_v; c += LANES)
            vec_store(to + c, (vf){0});
    }
}

/* sums[q..q+n] += weights * the values that were loaded. */
INLINE void mix_many(struct attention_work *w, const struct attention_block *b, uint32_t q,
                     const float *weights, const int n)
{
    for (uint32_t c = 0; c < w->width_v; c += 2 * LANES) {
        float *to = w->sums + (size_t)q * w->width_v + c;
        vf sum[MANY_AT_ONCE][2];

#pragma GCC unroll 8
        for (int r = 0; r < n; r++) {
            sum[r][0] = vec_load(to + (uint32_t)r * w->width_v);
            sum[r][1] = vec_load(to + (uint32_t)r * w->width_v + LANES);
        }
        for (uint32_t j = b->begin; j < b->end; j++) {
            vf v0 = vec_load(w->values + (size_t)j * w->width_v + c);
            vf v1 = vec_load(w->values + (size_t)j * w->width_v + c + LANES);

#pragma GCC unroll 8
            for (int r = 0; r < n; r++) {
                vf weight = vec_set(weights[(q + (uint32_t)r) * SPAN + j]);

                sum[r][0] += weight * v0;
                sum[r][1] += weight * v1;
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < n; r++) {
            vec_store(to + (uint32_t)r * w->width_v, sum[r][0]);
            vec_store(to + (uint32_t)r * w->width_v + LANES, sum[r][1]);
        }
    }
}

#endif
