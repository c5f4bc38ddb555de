/* SPDX-License-Identifier: MIT */
/* Which positions a row's attention looks at: scores, and the choice by them. */
#include "kernels/ref_internal.h"

#include <math.h>

void ref_index_scores(const struct dispatch *d)
{
    const struct args_index_scores *a = &d->args.index_scores;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t n_tokens = step_rows(a->step, ROWS_TOKENS, d->max_rows), n = a->kv.n_channels_k;
    float key[ATTENTION_CHANNELS_MAX];

    for (uint32_t t = 0; t < n_tokens; t++) {
        const struct step_seq *seq = step_seq_of(a->step, a->seqs, &tokens[t]);
        const float *q = (const float *)addr_ptr(a->q) + (size_t)t * a->n_heads * n;
        const float *weights = (const float *)addr_ptr(a->weights) + (size_t)t * a->n_heads;
        float *out = (float *)addr_ptr(a->out) + (size_t)t * a->n_positions;

        for (uint32_t j = 0; j <= tokens[t].position && j < a->n_positions; j++) {
            uint8_t *block = seq ? kv_block(&a->kv, seq, j) : NULL;
            double score = 0;

            if (!block) {
                out[j] = -INFINITY;
                continue;
            }
            ref_kv_load_row(&a->kv, block, j % KV_BLOCK_TOKENS, key, n);
            for (uint32_t h = 0; h < a->n_heads; h++) {
                double product = 0;

                for (uint32_t c = 0; c < n; c++)
                    product += (double)q[(size_t)h * n + c] * (double)key[c];
                score += product > 0 ? product * (double)weights[h] : 0;
            }
            out[j] = (float)(score * (double)a->scale);
        }
    }
}

/* Whole numbers in the order of choice, from 1 (NaN) on. */
static uint32_t key_of(float score)
{
    union {
        float f;
        uint32_t bits;
    } u = {score == 0 ? 0.0f : score};

    if (isnan(score))
        return 1;
    return (u.bits >> 31 ? ~u.bits : u.bits | 0x80000000) + 1;
}

static uint32_t count_from(const float *scores, uint32_t n, uint32_t key)
{
    uint32_t count = 0;

    for (uint32_t j = 0; j < n; j++)
        count += key_of(scores[j]) >= key;
    return count;
}

/* The greatest key that n_chosen of the n scores, or more, reach. */
static uint32_t least_chosen(const float *scores, uint32_t n, uint32_t n_chosen)
{
    uint32_t key = 0;

    for (uint32_t bit = 1u << 31; bit; bit >>= 1)
        if (count_from(scores, n, key | bit) >= n_chosen)
            key |= bit;
    return key;
}

void ref_index_choose(const struct dispatch *d, uint32_t begin, uint32_t end)
{
    const struct args_index_choose *a = &d->args.index_choose;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t n_tokens = step_rows(a->step, ROWS_TOKENS, d->max_rows);

    for (uint32_t t = begin; t < end && t < n_tokens; t++) {
        const float *scores = (const float *)addr_ptr(a->scores) + (size_t)t * a->n_positions;
        uint32_t *out = (uint32_t *)addr_ptr(a->out) + (size_t)t * (a->n_positions / 32);
        uint32_t n = tokens[t].position < a->n_positions ? tokens[t].position + 1 : a->n_positions;
        uint32_t least = n > a->n_chosen ? least_chosen(scores, n, a->n_chosen) : 0;
        uint32_t n_equal = least ? a->n_chosen - count_from(scores, n, least + 1) : 0;

        for (uint32_t j = 0; j < n; j++) {
            uint32_t key = key_of(scores[j]);
            bool is_equal = least && key == least && n_equal;

            if (j % 32 == 0)
                out[j / 32] = 0;
            out[j / 32] |= (uint32_t)(key > least || is_equal) << j % 32;
            n_equal -= is_equal;
        }
    }
}
