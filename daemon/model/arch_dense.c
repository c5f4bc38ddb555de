/* SPDX-License-Identifier: MIT */
/* Dense transformers that differ from Llama in how their tensors are cut, or in what they scale. */
#include "model/arch_parts.h"

#include "kernels/args.h"

static const struct arch_dim dense_dims[] = {
    COMMON_DIMS,
    {DIM_FF, "feed_forward_length", KEY_REQUIRED},
    {0},
};

static const struct arch_real dense_reals[] = {COMMON_REALS, {0}};

/* clang-format off */
/* Queries, keys and values as rows of one matrix. */
#define FUSED_QKV_WEIGHTS                                                                          \
    {WEIGHT_ATTN_Q, "blk.%u.attn_qkv.weight", DIM_EMBD, DIM_Q, .of = DIM_QKV, .first = DIM_ZERO},  \
    {WEIGHT_ATTN_K, "blk.%u.attn_qkv.weight", DIM_EMBD, DIM_K, .of = DIM_QKV, .first = DIM_Q},     \
    {WEIGHT_ATTN_V, "blk.%u.attn_qkv.weight", DIM_EMBD, DIM_V, .of = DIM_QKV, .first = DIM_QK},    \
    {WEIGHT_ATTN_OUT, "blk.%u.attn_output.weight", DIM_ATT, DIM_EMBD}
/* clang-format on */

/* Phi 3, 3.5 and 4: the gate's rows stand before those of what it gates. Files with a long context
 * bring divisors for it and others for the context before. */
static const struct arch_weight phi3_weights[] = {
    STREAM_WEIGHTS,
    FUSED_QKV_WEIGHTS,
    {WEIGHT_ROPE_FACTORS_LONG, "rope_factors_long.weight", DIM_ROPE_PAIRS, DIM_ONE,
     WEIGHT_VECTOR | WEIGHT_OPTIONAL},
    {WEIGHT_ROPE_FACTORS_SHORT, "rope_factors_short.weight", DIM_ROPE_PAIRS, DIM_ONE,
     WEIGHT_VECTOR | WEIGHT_OPTIONAL},
    {WEIGHT_FFN_NORM, "blk.%u.ffn_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_FFN_GATE, "blk.%u.ffn_up.weight", DIM_EMBD, DIM_FF, .of = DIM_GATE_UP,
     .first = DIM_ZERO},
    {WEIGHT_FFN_UP, "blk.%u.ffn_up.weight", DIM_EMBD, DIM_FF, .of = DIM_GATE_UP, .first = DIM_FF},
    {WEIGHT_FFN_DOWN, "blk.%u.ffn_down.weight", DIM_FF, DIM_EMBD},
    {0},
};

static const struct arch_step dense_layer[] = {
    ATTENTION_STEPS,
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    DENSE_STEPS,
    {STEP_END},
};

const struct arch arch_dense[] = {
    {"phi3", .dims = dense_dims, .reals = dense_reals, .weights = phi3_weights,
     .rope_style = ROPE_SPLIT, .before = arch_embed_tokens, .kinds = {{dense_layer}},
     .after = arch_output_head},
    {0},
};
