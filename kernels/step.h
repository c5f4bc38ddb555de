/* SPDX-License-Identifier: MIT */
/* How C kernels read what the step brings: row counts, and where a position lies in the KV cache.
 */
#ifndef HEARTH_KERNELS_STEP_H
#define HEARTH_KERNELS_STEP_H

#include "kernels/kernels.h"

/* The host pointer an address stands for. */
static inline void *addr_ptr(addr_t address)
{
    return (void *)(uintptr_t)address; // NOLINT(performance-no-int-to-ptr)
}

/* Rows a dispatch works on in this step; what exceeds the recorded max_rows is not touched. */
static inline uint32_t step_rows(addr_t step, u32 rows, uint32_t max_rows)
{
    const struct step_header *h = addr_ptr(step);
    uint32_t n = rows == ROWS_OUTPUTS ? h->n_outputs : h->n_tokens;

    return n < max_rows ? n : max_rows;
}

/* The sequence of a token; NULL when the step has no such sequence. */
static inline const struct step_seq *step_seq_of(addr_t step, addr_t seqs,
                                                 const struct step_token *token)
{
    const struct step_header *h = addr_ptr(step);
    const struct step_seq *list = addr_ptr(seqs);

    return token->seq < h->n_seqs ? &list[token->seq] : NULL;
}

/* The end of the rows of one sequence that begin with row t; n is how many rows there are. */
static inline uint32_t step_run_end(const struct step_token *tokens, uint32_t t, uint32_t n)
{
    uint32_t seq = tokens[t].seq;

    while (++t < n && tokens[t].seq == seq)
        ;
    return t;
}

/* The state of a token's sequence; NULL when it has none. */
static inline float *step_state(const struct seq_state *state, addr_t step, addr_t seqs,
                                const struct step_token *token)
{
    const struct step_seq *seq = step_seq_of(step, seqs, token);

    return seq && seq->slot < state->n_slots
               ? (float *)addr_ptr(state->base + seq->slot * state->slot_bytes)
               : NULL;
}

/* The id of a token, TOKEN_DRAWN looked up; UINT32_MAX, which no table has, where it cannot be. */
static inline uint32_t step_token_id(addr_t step, addr_t seqs, const struct step_token *token)
{
    const struct step_seq *seq;

    if (token->token != TOKEN_DRAWN || !seqs)
        return token->token;
    seq = step_seq_of(step, seqs, token);
    return seq && seq->history ? ((const uint32_t *)addr_ptr(seq->history))[token->position]
                               : UINT32_MAX;
}

/* The cache block that holds a position of a sequence; NULL when there is none. */
static inline uint8_t *kv_block(const struct kv_layer *kv, const struct step_seq *seq,
                                uint32_t position)
{
    const uint32_t *table = addr_ptr(seq->block_table);
    uint32_t i = position / KV_BLOCK_TOKENS;

    if (i >= seq->n_blocks || table[i] >= kv->n_blocks)
        return NULL;
    return (uint8_t *)addr_ptr(kv->base) + table[i] * kv->block_bytes;
}

/* Inside a block: what head g has of keys, and of values; see struct kv_layer. */
static inline uint8_t *kv_keys(const struct kv_layer *kv, uint8_t *block, uint32_t g)
{
    return block + (size_t)g * KV_BLOCK_TOKENS * kv_row_bytes(kv->type, kv->n_channels_k);
}

static inline uint8_t *kv_values(const struct kv_layer *kv, uint8_t *block, uint32_t g)
{
    return kv_keys(kv, block, kv->n_kv_heads) +
           (size_t)g * KV_BLOCK_TOKENS * kv_row_bytes(kv->type, kv->n_channels_v);
}

/* Of a head's f16 keys or values, n channels each: those of position `slot` of the block. */
static inline uint16_t *kv_row_f16(uint8_t *head, size_t slot, uint32_t n)
{
    return (uint16_t *)(void *)head + slot * n;
}

/* The same of q8_0: the integers, and the scales of their runs. */
static inline int8_t *kv_row_q8(uint8_t *head, size_t slot, uint32_t n)
{
    return (int8_t *)head + slot * n;
}

static inline uint16_t *kv_row_scales(uint8_t *head, size_t slot, uint32_t n)
{
    return (uint16_t *)(void *)(head + (size_t)KV_BLOCK_TOKENS * n) + slot * (n / KV_RUN);
}

/* First position a query at `position` looks at; window as of args_attention. */
static inline uint32_t attention_first(uint32_t position, uint32_t window)
{
    if (window & ATTENTION_CHUNKS)
        return position - position % (window & ~ATTENTION_CHUNKS);
    return window && position >= window ? position + 1 - window : 0;
}

/* Bit i says whether the row sees position first + i, first that of a block. */
static inline uint32_t attention_chosen(const struct args_attention *a, uint32_t t, uint32_t first)
{
    const uint32_t *chosen = addr_ptr(a->chosen);
    uint32_t word = first / KV_BLOCK_TOKENS;

    if (!chosen)
        return UINT32_MAX;
    return word < a->chosen_words ? chosen[(size_t)t * a->chosen_words + word] : 0;
}

/* KV blocks of each range, but for the last, that a query's positions are cut into: even shares,
 * from the block of the first position on. */
static inline uint32_t attention_split_blocks(uint32_t position, uint32_t window, uint32_t n_splits)
{
    uint32_t first = attention_first(position, window) / KV_BLOCK_TOKENS;
    uint32_t share = (position / KV_BLOCK_TOKENS - first) / n_splits + 1;

    return share > ATTENTION_SPLIT_BLOCKS ? share : ATTENTION_SPLIT_BLOCKS;
}

/* Ranges that are not empty: 1 to n_splits. */
static inline uint32_t attention_n_ranges(uint32_t position, uint32_t window, uint32_t n_splits)
{
    uint32_t first = attention_first(position, window) / KV_BLOCK_TOKENS;

    return (position / KV_BLOCK_TOKENS - first) /
               attention_split_blocks(position, window, n_splits) +
           1;
}

#endif
