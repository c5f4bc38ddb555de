/* SPDX-License-Identifier: MIT */
/* Where a position of a sequence lies in the KV cache; as kernels/step.h does it in C. */

/* Ends a block table early where the step has no such sequence. */
step_seq kv_seq_of(uint64_t step, uint64_t seqs, uint seq)
{
    step_seq none;

    none.block_table = 0;
    none.history = 0;
    none.n_blocks = 0;
    none.slot = 0;
    if (seq < step_n_seqs(step))
        return StepSeqs(seqs).v[seq];
    return none;
}

/* The address of entry i of the sequence's block table; 0 where there is no block. */
uint64_t kv_block(kv_layer kv, step_seq seq, uint i)
{
    uint block;

    if (i >= seq.n_blocks)
        return 0;
    block = U32(seq.block_table).v[i];
    return block < kv.n_blocks ? kv.base + block * kv.block_bytes : 0;
}

/* Bytes of a row of n channels: the type is the variant's. */
#ifdef KV_TYPE_Q8_0
#define KV_ROW_BYTES(n) ((n) + (n) / KV_RUN * 2)
#else
#define KV_ROW_BYTES(n) ((n) * 2)
#endif

/* Offsets inside a block: what head g has of keys, and of values; see struct kv_layer. */
uint64_t kv_keys(kv_layer kv, uint g)
{
    return uint64_t(g * KV_BLOCK_TOKENS) * KV_ROW_BYTES(kv.n_channels_k);
}

uint64_t kv_values(kv_layer kv, uint g)
{
    return kv_keys(kv, kv.n_kv_heads) + uint64_t(g * KV_BLOCK_TOKENS) * KV_ROW_BYTES(kv.n_channels_v);
}

/* First position a query at `position` looks at. */
uint attention_first(uint position, uint window)
{
    if ((window & ATTENTION_CHUNKS) != 0)
        return position - position % (window & ~ATTENTION_CHUNKS);
    return window != 0 && position >= window ? position + 1 - window : 0;
}

/* KV blocks of each range, but for the last, that a query's positions are cut into. */
uint attention_split_blocks(uint position, uint window, uint n_splits)
{
    uint first = attention_first(position, window) / KV_BLOCK_TOKENS;

    return max((position / KV_BLOCK_TOKENS - first) / n_splits + 1, ATTENTION_SPLIT_BLOCKS);
}

/* Ranges that are not empty: 1 to n_splits. */
uint attention_n_ranges(uint position, uint window, uint n_splits)
{
    uint first = attention_first(position, window) / KV_BLOCK_TOKENS;

    return (position / KV_BLOCK_TOKENS - first) /
               attention_split_blocks(position, window, n_splits) +
           1;
}
