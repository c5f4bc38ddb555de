/* SPDX-License-Identifier: MIT */
/*
 * How large a KV cache is: positions of the layers that see everything before, and of those that
 * look back only so far, of which each sequence needs the last alone. Arithmetic over a model's
 * dimensions, the same for a runner, for admission and for who only asks.
 */
#ifndef HEARTH_ENGINE_KV_SIZE_H
#define HEARTH_ENGINE_KV_SIZE_H

#include "kernels/args.h"
#include "model/model.h"

/* Blocks that hold so many positions. */
static inline uint64_t kv_blocks_for(uint64_t n_tokens)
{
    return (n_tokens + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
}

struct kv_size {
    uint64_t tokens;
    uint64_t window_tokens; /* of windowed layers; 0: as many */
    uint32_t type;          /* of keys and values: KV_F16, KV_Q8_0 */
};

/* For n_seqs sequences of n_tokens together, fed in steps of up to batch_tokens. */
struct kv_size kv_size_of(const struct model *m, uint32_t type, uint64_t n_tokens, uint32_t n_seqs,
                          uint32_t batch_tokens);

/* Within so many bytes, but one sequence of context_tokens at least. Windowed layers get what
 * n_seqs sequences need at most, and no more than half of the positions that the bytes would hold
 * of all layers: short sequences need as many of either kind. */
struct kv_size kv_size_within(const struct model *m, uint32_t type, uint64_t bytes,
                              uint32_t context_tokens, uint32_t n_seqs, uint32_t batch_tokens);

/* Whether the model's keys and values can be of this type: -ENOTSUP where its heads are not whole
 * runs of channels. */
int kv_size_check_type(const struct model *m, uint32_t type, struct error *err);

/* Of the keys and values alone. */
uint64_t kv_size_bytes(const struct model *m, const struct kv_size *size);

/* Blocks of windowed layers; 0: these have no blocks of their own, but those of the other layers.
 */
uint64_t kv_size_window_blocks(const struct model *m, const struct kv_size *size);

/* What a layer takes, a multiple of large pages; 0 where it reads another's. */
uint64_t kv_size_layer_bytes(const struct model *m, const struct kv_size *size, uint32_t layer);
/* All layers. */
uint64_t kv_size_layers_bytes(const struct model *m, const struct kv_size *size);
/* A layer whose memory begins at that address. */
struct kv_layer kv_size_layer(const struct model *m, const struct kv_size *size, uint32_t layer,
                              uint64_t base);
/* Bytes of a block over all layers that see everything, or over the windowed ones. */
uint64_t kv_size_block_bytes(const struct model *m, const struct kv_size *size, bool is_windowed);

#endif
