/* SPDX-License-Identifier: MIT */
/* Scores of the positions that a row may look at, by blocks of its cache, and the choice. */
#include "device/cpu/level.h"
#include "device/cpu/vec.h"
#include "kernels/ref_internal.h"

#include <math.h>

/* An item is worth some heads' products with a block's keys. */
enum { GRAIN_HEADS = 16 };

uint32_t IN_LEVEL(index_scores_items)(const struct dispatch *d)
{
    const struct args_index_scores *a = &d->args.index_scores;
    uint64_t blocks =
        (uint64_t)step_rows(a->step, ROWS_TOKENS, d->max_rows) * (a->n_positions / KV_BLOCK_TOKENS);
    uint32_t n = items_for(blocks * a->n_heads, GRAIN_HEADS);

    return n < blocks ? n : (uint32_t)blocks;
}

static float dot(const float *a, const float *b, uint32_t n)
{
    vf sum = {0};
    float rest = 0;
    uint32_t c = 0;

    for (; c + LANES <= n; c += LANES)
        sum += vec_load(a + c) * vec_load(b + c);
    for (; c < n; c++)
        rest += a[c] * b[c];
    return vec_sum(sum) + rest;
}

/* Of row t: positions [first, end), all of one block. */
static void score_block(const struct args_index_scores *a, uint32_t t, uint32_t first, uint32_t end)
{
    const struct step_token *token = (const struct step_token *)addr_ptr(a->tokens) + t;
    const struct step_seq *seq = step_seq_of(a->step, a->seqs, token);
    uint8_t *block = seq ? kv_block(&a->kv, seq, first) : NULL;
    uint32_t n = a->kv.n_channels_k;
    const float *q = (const float *)addr_ptr(a->q) + (size_t)t * a->n_heads * n;
    const float *weights = (const float *)addr_ptr(a->weights) + (size_t)t * a->n_heads;
    float *out = (float *)addr_ptr(a->out) + (size_t)t * a->n_positions;
    float key[ATTENTION_CHANNELS_MAX];

    for (uint32_t j = first; j < end; j++) {
        float score = 0;

        if (!block) {
            out[j] = -INFINITY;
            continue;
        }
        ref_kv_load_row(&a->kv, block, j % KV_BLOCK_TOKENS, key, n);
        for (uint32_t h = 0; h < a->n_heads; h++) {
            float product = dot(q + (size_t)h * n, key, n);

            score += product > 0 ? product * weights[h] : 0;
        }
        out[j] = score * a->scale;
    }
}

void IN_LEVEL(index_scores)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_index_scores *a = &d->args.index_scores;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t n_blocks = a->n_positions / KV_BLOCK_TOKENS;
    uint64_t i, end;

    item_range((uint64_t)step_rows(a->step, ROWS_TOKENS, d->max_rows) * n_blocks,
               IN_LEVEL(index_scores_items)(d), item, &i, &end);
    for (; i < end; i++) {
        uint32_t t = (uint32_t)(i / n_blocks), first = (uint32_t)(i % n_blocks) * KV_BLOCK_TOKENS;
        uint32_t position = tokens[t].position;

        if (first <= position)
            score_block(a, t, first,
                        position - first < KV_BLOCK_TOKENS ? position + 1
                                                           : first + KV_BLOCK_TOKENS);
    }
}

uint32_t IN_LEVEL(index_choose_items)(const struct dispatch *d)
{
    const struct args_index_choose *a = &d->args.index_choose;

    /* a threshold is found bit by bit */
    return row_items(a->step, ROWS_TOKENS, d->max_rows, (uint64_t)a->n_positions * 32);
}

void IN_LEVEL(index_choose)(const struct dispatch *d, uint32_t item, void *scratch)
{
    uint64_t t, end;

    item_range(step_rows(d->args.index_choose.step, ROWS_TOKENS, d->max_rows),
               IN_LEVEL(index_choose_items)(d), item, &t, &end);
    ref_index_choose(d, (uint32_t)t, (uint32_t)end);
}
