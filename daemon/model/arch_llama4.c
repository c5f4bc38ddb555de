/* SPDX-License-Identifier: MIT */
/*
 * Llama 4. Three of four layers rotate queries and keys, norm them, and see the positions of their
 * chunk; the fourth does neither, sees all, and warms queries of far positions. Layers with
 * experts, of which one is chosen, recur at a period of their own. Source: Meta's model card and
 * the reference implementation (2025).
 */
#include "model/arch_parts.h"

#include "kernels/args.h"

enum { IN_BLOCKS_DENSE = 1 << 0 | 1 << 1, IN_BLOCKS_OF_EXPERTS = 1 << 2 | 1 << 3 };

static const struct arch_dim llama4_dims[] = {
    COMMON_DIMS,
    {DIM_FF, "feed_forward_length", KEY_REQUIRED},
    EXPERT_DIMS,
    {DIM_FF_EXPERT, "expert_feed_forward_length", KEY_REQUIRED},
    {DIM_FF_SHARED, "expert_feed_forward_length", KEY_REQUIRED},
    {DIM_EXPERT_PERIOD, "interleave_moe_layer_step", KEY_REQUIRED},
    /* counts for nothing, but 0 is refused: such models have no chunks and rotate in all layers */
    {DIM_WINDOW, "attention.sliding_window", KEY_OR_VALUE, .value = 8192},
    {DIM_WINDOW, "attention.chunk_size", KEY_OR_VALUE, .value = 8192},
    {DIM_PERIOD, "attention.sliding_window_pattern", KEY_OR_VALUE, .value = 4},
    {0},
};

static const struct arch_real llama4_reals[] = {
    COMMON_REALS,
    {REAL_TEMP_SCALE, "attention.temperature_scale", false, 0.1f},
    {REAL_TEMP_OFFSET, "attention.temperature_offset", false, 1.0f},
    {0},
};

static const struct arch_weight llama4_weights[] = {
    COMMON_WEIGHTS,
    {WEIGHT_ROPE_FACTORS, "rope_freqs.weight", DIM_ROPE_PAIRS, DIM_ONE,
     WEIGHT_VECTOR | WEIGHT_OPTIONAL},
    DENSE_WEIGHTS(IN_BLOCKS_DENSE),
    EXPERT_WEIGHTS(IN_BLOCKS_OF_EXPERTS),
    SHARED_EXPERT_WEIGHTS(IN_BLOCKS_OF_EXPERTS),
    {0},
};

/* clang-format off */
#define QKV_STEPS                                                                                  \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},                                \
    {STEP_MATMUL, VALUE_Q, VALUE_NORMED, .weight = WEIGHT_ATTN_Q},                                 \
    {STEP_MATMUL, VALUE_K, VALUE_NORMED, .weight = WEIGHT_ATTN_K},                                 \
    {STEP_MATMUL, VALUE_V, VALUE_NORMED, .weight = WEIGHT_ATTN_V}

#define CHUNKED_STEPS                                                                              \
    QKV_STEPS,                                                                                     \
    {STEP_ROPE, VALUE_Q, VALUE_Q, .weight = WEIGHT_ROPE_FACTORS},                                  \
    {STEP_ROPE, VALUE_K, VALUE_K, .weight = WEIGHT_ROPE_FACTORS},                                  \
    {STEP_PLAIN_NORM, VALUE_Q, VALUE_Q, .part.n = DIM_HEAD_K},                                     \
    {STEP_PLAIN_NORM, VALUE_K, VALUE_K, .part.n = DIM_HEAD_K},                                     \
    ATTEND_STEPS

#define WARMED_STEPS                                                                               \
    QKV_STEPS,                                                                                     \
    {STEP_TEMPERATURE, VALUE_Q, VALUE_Q},                                                          \
    ATTEND_STEPS

#define ATTEND_STEPS                                                                               \
    {STEP_KV_STORE, .in = VALUE_K, .in2 = VALUE_V},                                                \
    {STEP_ATTENTION, VALUE_ATT, VALUE_Q},                                                          \
    {STEP_MATMUL_ADD, VALUE_X, VALUE_ATT, .weight = WEIGHT_ATTN_OUT},                              \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM}

/* One expert, whose input is weighed. */
#define WEIGHED_EXPERT_STEPS                                                                       \
    {STEP_MATMUL, VALUE_ROUTER, VALUE_NORMED, .weight = WEIGHT_ROUTER},                            \
    {STEP_ROUTE, VALUE_CHOICES, VALUE_ROUTER},                                                     \
    {STEP_EXPERT_MIX, VALUE_EXPERT_IN, VALUE_NORMED, VALUE_CHOICES},                               \
    {STEP_EXPERTS, VALUE_EXPERT_GATE, VALUE_EXPERT_IN, VALUE_CHOICES, WEIGHT_EXPERTS_GATE},        \
    {STEP_EXPERTS, VALUE_EXPERT_UP, VALUE_EXPERT_IN, VALUE_CHOICES, WEIGHT_EXPERTS_UP},            \
    {STEP_GLU, VALUE_EXPERT_GATE, VALUE_EXPERT_GATE, VALUE_EXPERT_UP},                             \
    {STEP_EXPERTS, VALUE_EXPERT_OUT, VALUE_EXPERT_GATE, VALUE_CHOICES, WEIGHT_EXPERTS_DOWN},       \
    {STEP_ADD, VALUE_X, VALUE_EXPERT_OUT}
/* clang-format on */

static const struct arch_step chunked_dense_layer[] = {CHUNKED_STEPS, DENSE_STEPS, {STEP_END}};
static const struct arch_step warmed_dense_layer[] = {WARMED_STEPS, DENSE_STEPS, {STEP_END}};
static const struct arch_step chunked_layer[] = {
    CHUNKED_STEPS, WEIGHED_EXPERT_STEPS, SHARED_STEPS, {STEP_END}};
static const struct arch_step warmed_layer[] = {
    WARMED_STEPS, WEIGHED_EXPERT_STEPS, SHARED_STEPS, {STEP_END}};

const struct arch arch_llama4[] = {
    {"llama4", .has_experts = true, .dims = llama4_dims, .reals = llama4_reals,
     .weights = llama4_weights, .rope_style = ROPE_PAIRED, .before = arch_embed_tokens,
     .kinds = {{chunked_dense_layer, .is_windowed = true},
               {warmed_dense_layer},
               {chunked_layer, .is_windowed = true},
               {warmed_layer}},
     .rule = LAYERS_CROSSED, .after = arch_output_head, .router = {GATE_SIGMOID, false},
     .has_chunks = true, .temperature_step = 8192, .weighs_inputs = true, .unnormed_experts = 128},
    {0},
};
