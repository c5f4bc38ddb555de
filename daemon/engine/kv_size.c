/* SPDX-License-Identifier: MIT */
#include "engine/kv_size.h"

#include "kernels/kernels.h"

#include <errno.h>

/* Layers start on large pages, so that a window of them can be mapped by large GPU pages. */
#define LAYER_ALIGN (2ull << 20)

/* What a session keeps besides: the blocks that a window begins and ends in. */
enum { EDGE_TOKENS = 2 * KV_BLOCK_TOKENS };

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t greatest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A session that has a state besides could not say what of both it may go back to. */
static uint64_t window_bytes_per_token(const struct model *m, uint32_t type)
{
    return model_state_bytes(m) ? 0 : model_window_kv_bytes_per_token(m, type);
}

/* Positions of windowed layers that so many sequences need at most. */
static uint64_t windows_of(const struct model *m, uint32_t n_seqs, uint32_t batch_tokens)
{
    return (uint64_t)n_seqs * ((uint64_t)m->dims.dim[DIM_WINDOW] + EDGE_TOKENS) + batch_tokens;
}

struct kv_size kv_size_of(const struct model *m, uint32_t type, uint64_t n_tokens, uint32_t n_seqs,
                          uint32_t batch_tokens)
{
    struct kv_size size = {.tokens = n_tokens, .window_tokens = n_tokens, .type = type};

    if (window_bytes_per_token(m, type))
        size.window_tokens = least(n_tokens, windows_of(m, n_seqs, batch_tokens));
    return size;
}

struct kv_size kv_size_within(const struct model *m, uint32_t type, uint64_t bytes,
                              uint32_t context_tokens, uint32_t n_seqs, uint32_t batch_tokens)
{
    struct kv_size one = kv_size_of(m, type, context_tokens, 1, batch_tokens), size = one;
    uint64_t token_bytes = model_kv_bytes_per_token(m, type);
    uint64_t window_bytes = window_bytes_per_token(m, type);
    uint64_t of_all = token_bytes ? bytes / token_bytes : 0, taken;

    size.tokens = size.window_tokens = greatest(of_all, context_tokens);
    if (!window_bytes || window_bytes == token_bytes)
        return size;
    size.window_tokens =
        greatest(one.window_tokens, least(of_all / 2, windows_of(m, n_seqs, batch_tokens)));
    taken = size.window_tokens * window_bytes;
    size.tokens = bytes > taken ? (bytes - taken) / (token_bytes - window_bytes) : 0;
    size.tokens = greatest(size.tokens, context_tokens);
    size.window_tokens = least(size.window_tokens, size.tokens);
    return size;
}

int kv_size_check_type(const struct model *m, uint32_t type, struct error *err)
{
    for (uint32_t i = 0; type == KV_Q8_0 && i < m->dims.dim[DIM_LAYERS]; i++) {
        const uint32_t *dim = model_dims(m, i);

        if (model_stores_kv(m, i) && dim[DIM_INDEXER_HEAD] % KV_RUN)
            return error_set(
                err, ENOTSUP,
                "keys of an indexer of %u channels cannot be kept as q8_0, which takes "
                "multiples of %u: set kv-type to f16",
                dim[DIM_INDEXER_HEAD], KV_RUN);
        if (model_stores_kv(m, i) && (dim[DIM_HEAD_K] % KV_RUN || dim[DIM_HEAD_V] % KV_RUN))
            return error_set(err, ENOTSUP,
                             "heads of %u and %u channels cannot be kept as q8_0, which takes "
                             "multiples of %u: set kv-type to f16",
                             dim[DIM_HEAD_K], dim[DIM_HEAD_V], KV_RUN);
    }
    return 0;
}

uint64_t kv_size_bytes(const struct model *m, const struct kv_size *size)
{
    uint64_t window_bytes = window_bytes_per_token(m, size->type);
    uint64_t windows = size->window_tokens ? size->window_tokens : size->tokens;

    return size->tokens * (model_kv_bytes_per_token(m, size->type) - window_bytes) +
           windows * window_bytes;
}

uint64_t kv_size_window_blocks(const struct model *m, const struct kv_size *size)
{
    uint64_t n = kv_blocks_for(size->window_tokens);

    return n && n < kv_blocks_for(size->tokens) && window_bytes_per_token(m, size->type) ? n : 0;
}

static uint64_t layer_blocks(const struct model *m, const struct kv_size *size, uint32_t layer)
{
    uint64_t n = model_layer_kind(m, layer)->is_windowed ? kv_size_window_blocks(m, size) : 0;

    return n ? n : kv_blocks_for(size->tokens);
}

static uint64_t layer_block_bytes(const struct model *m, uint32_t type, uint32_t layer)
{
    const uint32_t *dim = model_dims(m, layer);

    if (!model_stores_kv(m, layer))
        return 0;
    return KV_BLOCK_TOKENS * (kv_row_bytes(type, dim[DIM_K]) + kv_row_bytes(type, dim[DIM_V]) +
                              kv_row_bytes(type, dim[DIM_INDEXER_HEAD]));
}

uint64_t kv_size_layer_bytes(const struct model *m, const struct kv_size *size, uint32_t layer)
{
    uint64_t bytes = layer_block_bytes(m, size->type, layer) * layer_blocks(m, size, layer);

    return (bytes + LAYER_ALIGN - 1) & ~(LAYER_ALIGN - 1);
}

uint64_t kv_size_layers_bytes(const struct model *m, const struct kv_size *size)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < m->dims.dim[DIM_LAYERS]; i++)
        n += kv_size_layer_bytes(m, size, i);
    return n;
}

struct kv_layer kv_size_layer(const struct model *m, const struct kv_size *size, uint32_t layer,
                              uint64_t base)
{
    const uint32_t *dim = model_dims(m, layer);

    return (struct kv_layer){
        .base = base,
        .block_bytes = layer_block_bytes(m, size->type, layer),
        .n_kv_heads = dim[DIM_KV_HEADS],
        .n_channels_k = dim[DIM_HEAD_K],
        .n_channels_v = dim[DIM_HEAD_V],
        .n_blocks = (uint32_t)layer_blocks(m, size, layer),
        .type = size->type,
    };
}

uint64_t kv_size_block_bytes(const struct model *m, const struct kv_size *size, bool is_windowed)
{
    uint64_t windows = window_bytes_per_token(m, size->type);
    uint64_t all = model_kv_bytes_per_token(m, size->type);

    if (!kv_size_window_blocks(m, size))
        return is_windowed ? 0 : all * KV_BLOCK_TOKENS;
    return (is_windowed ? windows : all - windows) * KV_BLOCK_TOKENS;
}
