/* SPDX-License-Identifier: MIT */
/* Transformers with experts, which norm or choose as no other family does. */
#include "model/arch_parts.h"

#include "kernels/args.h"

static const struct arch_dim minimax_dims[] = {
    COMMON_DIMS,
    EXPERT_DIMS,
    {DIM_FF_EXPERT, "expert_feed_forward_length", KEY_REQUIRED},
    {0},
};

static const struct arch_dim hunyuan_dims[] = {
    COMMON_DIMS,
    EXPERT_DIMS,
    {DIM_FF_EXPERT, "expert_feed_forward_length", KEY_REQUIRED},
    {DIM_FF_SHARED, "expert_shared_feed_forward_length", KEY_OR_DIM, .dim_a = DIM_FF_EXPERT},
    {0},
};

/* The first layers are dense. */
static const struct arch_dim leading_dims[] = {COMMON_DIMS, LEADING_DENSE_DIMS, {0}};

/* ERNIE 4.5: the bias of the choice goes with a softmax. */
static const struct arch_dim ernie_dims[] = {
    COMMON_DIMS,
    {DIM_FF, "feed_forward_length", KEY_REQUIRED},
    EXPERT_DIMS,
    {DIM_FF_EXPERT, "expert_feed_forward_length", KEY_REQUIRED},
    {DIM_FF_SHARED, "expert_shared_feed_forward_length", KEY_REQUIRED},
    {DIM_LEADING, "leading_dense_block_count", KEY_OR_ZERO},
    {0},
};

static const struct arch_real moe_reals[] = {COMMON_REALS, {0}};

/* MiniMax M2 norms all queries of a row together, and keys. */
static const struct arch_weight minimax_weights[] = {
    COMMON_WEIGHTS,
    {WEIGHT_ATTN_Q_NORM, "blk.%u.attn_q_norm.weight", DIM_Q, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_ATTN_K_NORM, "blk.%u.attn_k_norm.weight", DIM_K, DIM_ONE, WEIGHT_VECTOR},
    EXPERT_WEIGHTS(0),
    {WEIGHT_ROUTER_CHOICE_BIAS, "blk.%u.exp_probs_b.bias", DIM_EXPERTS, DIM_ONE, WEIGHT_VECTOR},
    {0},
};

static const struct arch_weight hunyuan_weights[] = {
    COMMON_WEIGHTS, HEAD_NORMS(0), EXPERT_WEIGHTS(0), SHARED_EXPERT_WEIGHTS(0), {0}};

/* clang-format off */
#define LEADING_WEIGHTS                                                                            \
    HEAD_NORMS(0),                                                                                 \
    {WEIGHT_FFN_NORM, "blk.%u.ffn_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},                 \
    DENSE_WEIGHTS(IN_DENSE),                                                                       \
    EXPERT_WEIGHTS(IN_EXPERTS),                                                                    \
    {WEIGHT_ROUTER_CHOICE_BIAS, "blk.%u.exp_probs_b.bias", DIM_EXPERTS, DIM_ONE,                   \
     WEIGHT_VECTOR | WEIGHT_OPTIONAL, .kinds = IN_EXPERTS},                                        \
    SHARED_EXPERT_WEIGHTS(IN_EXPERTS)
/* clang-format on */

static const struct arch_weight dots1_weights[] = {ATTENTION_WEIGHTS, LEADING_WEIGHTS, {0}};

static const struct arch_weight ernie_weights[] = {
    COMMON_WEIGHTS,
    DENSE_WEIGHTS(IN_DENSE),
    EXPERT_WEIGHTS(IN_EXPERTS),
    {WEIGHT_ROUTER_CHOICE_BIAS, "blk.%u.exp_probs_b.bias", DIM_EXPERTS, DIM_ONE,
     WEIGHT_VECTOR | WEIGHT_OPTIONAL, .kinds = IN_EXPERTS},
    SHARED_EXPERT_WEIGHTS(IN_EXPERTS),
    {0},
};

/* Ling and Ring 2.0. */
static const struct arch_weight bailing2_weights[] = {
    STREAM_WEIGHTS, FUSED_QKV_WEIGHTS, LEADING_WEIGHTS, {0}};

static const struct arch_step leading_dense_layer[] = {
    ATTENTION_STEPS,
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    DENSE_STEPS,
    {STEP_END},
};

static const struct arch_step leading_experts_layer[] = {
    ATTENTION_STEPS, {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    EXPERT_STEPS,    SHARED_STEPS,
    {STEP_END},
};

/* Hunyuan norms heads behind their rotation. */
static const struct arch_step hunyuan_layer[] = {
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},
    {STEP_MATMUL, VALUE_Q, VALUE_NORMED, .weight = WEIGHT_ATTN_Q},
    {STEP_MATMUL, VALUE_K, VALUE_NORMED, .weight = WEIGHT_ATTN_K},
    {STEP_MATMUL, VALUE_V, VALUE_NORMED, .weight = WEIGHT_ATTN_V},
    {STEP_ROPE, VALUE_Q, VALUE_Q},
    {STEP_ROPE, VALUE_K, VALUE_K},
    {STEP_HEAD_NORM, VALUE_Q, VALUE_Q, .weight = WEIGHT_ATTN_Q_NORM},
    {STEP_HEAD_NORM, VALUE_K, VALUE_K, .weight = WEIGHT_ATTN_K_NORM},
    {STEP_KV_STORE, .in = VALUE_K, .in2 = VALUE_V},
    {STEP_ATTENTION, VALUE_ATT, VALUE_Q},
    {STEP_MATMUL_ADD, VALUE_X, VALUE_ATT, .weight = WEIGHT_ATTN_OUT},
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    EXPERT_STEPS,
    SHARED_STEPS,
    {STEP_END},
};

#define MOE_KEYS(keys)                                                                             \
    .has_experts = true, .dims = (keys), .reals = moe_reals, .before = arch_embed_tokens,          \
    .after = arch_output_head

#define LEADING_KEYS                                                                               \
    MOE_KEYS(leading_dims), .rope_style = ROPE_SPLIT,                                              \
                            .kinds = {{leading_dense_layer}, {leading_experts_layer}},             \
                            .rule = LAYERS_LEADING, .router = {GATE_SIGMOID, false}

const struct arch arch_moe[] = {
    {"bailingmoe2", LEADING_KEYS, .weights = bailing2_weights},
    {"dots1", LEADING_KEYS, .weights = dots1_weights},
    {"ernie4_5-moe", MOE_KEYS(ernie_dims), .weights = ernie_weights, .rope_style = ROPE_PAIRED,
     .kinds = {{leading_dense_layer}, {leading_experts_layer}}, .rule = LAYERS_LEADING,
     .router = {GATE_SOFTMAX, true}},
    {"hunyuan-moe", MOE_KEYS(hunyuan_dims), .weights = hunyuan_weights, .rope_style = ROPE_SPLIT,
     .kinds = {{hunyuan_layer}}, .router = {GATE_SOFTMAX, true}},
    {"minimax-m2", MOE_KEYS(minimax_dims), .weights = minimax_weights, .rope_style = ROPE_SPLIT,
     .kinds = {{arch_experts_layer}}, .router = {GATE_SIGMOID, true}},
    {0},
};
