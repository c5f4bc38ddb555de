/* SPDX-License-Identifier: MIT */
/*
 * Qwen3-Next and the Qwen 3.5 line: three layers of a gated delta rule, whose sequences have state
 * of fixed size, then one of attention whose output has a gate.
 * Source: Yang, Kautz & Hatamizadeh 2024 (Gated Delta Networks), figure 1.
 */
#include "model/arch_parts.h"

#include "kernels/args.h"

/* clang-format off */
#define DELTA_DIMS                                                                                 \
    COMMON_DIMS,                                                                                   \
    {DIM_TAPS, "ssm.conv_kernel", KEY_REQUIRED},                                                   \
    {DIM_DELTA_HEAD_K, "ssm.state_size", KEY_REQUIRED},                                            \
    {DIM_DELTA_HEADS_K, "ssm.group_count", KEY_REQUIRED},                                          \
    {DIM_DELTA_HEADS_V, "ssm.time_step_rank", KEY_REQUIRED},                                       \
    {DIM_DELTA_V, "ssm.inner_size", KEY_REQUIRED},                                                 \
    {DIM_PERIOD, "full_attention_interval", KEY_OR_VALUE, .value = 4},                             \
    {DIM_NEXT, "nextn_predict_layers", KEY_OR_ZERO}

#define DELTA_EXPERT_DIMS                                                                          \
    DELTA_DIMS,                                                                                    \
    EXPERT_DIMS,                                                                                   \
    {DIM_FF_EXPERT, "expert_feed_forward_length", KEY_REQUIRED},                                   \
    {DIM_FF_SHARED, "expert_shared_feed_forward_length", KEY_REQUIRED}
/* clang-format on */

static const struct arch_dim dense_dims[] = {
    DELTA_DIMS,
    {DIM_FF, "feed_forward_length", KEY_REQUIRED},
    {0},
};

static const struct arch_dim expert_dims[] = {
    DELTA_EXPERT_DIMS,
    {0},
};

static const struct arch_real reals[] = {
    COMMON_REALS,
    {0},
};

enum { IN_DELTA = 1 << 0, IN_ATTENTION = 1 << 1 };

/* clang-format off */
/* The query's matrix has each head's query, then its gate. A is below 0: what the paper calls
 * -exp(A). */
#define DELTA_WEIGHTS                                                                              \
    STREAM_WEIGHTS,                                                                                \
    {WEIGHT_FFN_NORM, "blk.%u.post_attention_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},      \
    {WEIGHT_ATTN_Q, "blk.%u.attn_q.weight", DIM_EMBD, DIM_Q_GATED, .kinds = IN_ATTENTION},         \
    {WEIGHT_ATTN_K, "blk.%u.attn_k.weight", DIM_EMBD, DIM_K, .kinds = IN_ATTENTION},               \
    {WEIGHT_ATTN_V, "blk.%u.attn_v.weight", DIM_EMBD, DIM_V, .kinds = IN_ATTENTION},               \
    {WEIGHT_ATTN_OUT, "blk.%u.attn_output.weight", DIM_ATT, DIM_EMBD, .kinds = IN_ATTENTION},      \
    {WEIGHT_ATTN_Q_NORM, "blk.%u.attn_q_norm.weight", DIM_HEAD_K, DIM_ONE, WEIGHT_VECTOR,          \
     .kinds = IN_ATTENTION},                                                                       \
    {WEIGHT_ATTN_K_NORM, "blk.%u.attn_k_norm.weight", DIM_HEAD_K, DIM_ONE, WEIGHT_VECTOR,          \
     .kinds = IN_ATTENTION},                                                                       \
    {WEIGHT_DELTA_CONV, "blk.%u.ssm_conv1d.weight", DIM_TAPS, DIM_DELTA_QKV, WEIGHT_VECTOR,        \
     .kinds = IN_DELTA},                                                                           \
    {WEIGHT_DELTA_DT_BIAS, "blk.%u.ssm_dt.bias", DIM_DELTA_HEADS_V, DIM_ONE, WEIGHT_VECTOR,        \
     .kinds = IN_DELTA},                                                                           \
    {WEIGHT_DELTA_A, "blk.%u.ssm_a", DIM_DELTA_HEADS_V, DIM_ONE, WEIGHT_VECTOR,                    \
     .kinds = IN_DELTA},                                                                           \
    {WEIGHT_DELTA_NORM, "blk.%u.ssm_norm.weight", DIM_DELTA_HEAD_V, DIM_ONE, WEIGHT_VECTOR,        \
     .kinds = IN_DELTA},                                                                           \
    {WEIGHT_DELTA_OUT, "blk.%u.ssm_out.weight", DIM_DELTA_V, DIM_EMBD, .kinds = IN_DELTA}

#define QKV_AND_GATE_WEIGHTS                                                                       \
    {WEIGHT_DELTA_QKV, "blk.%u.attn_qkv.weight", DIM_EMBD, DIM_DELTA_QKV, .kinds = IN_DELTA},      \
    {WEIGHT_DELTA_GATE, "blk.%u.attn_gate.weight", DIM_EMBD, DIM_DELTA_V, .kinds = IN_DELTA}

#define ALPHA_BETA_WEIGHTS                                                                         \
    {WEIGHT_DELTA_ALPHA, "blk.%u.ssm_alpha.weight", DIM_EMBD, DIM_DELTA_HEADS_V,                   \
     .kinds = IN_DELTA},                                                                           \
    {WEIGHT_DELTA_BETA, "blk.%u.ssm_beta.weight", DIM_EMBD, DIM_DELTA_HEADS_V, .kinds = IN_DELTA}

#define DELTA_EXPERT_WEIGHTS                                                                       \
    EXPERT_WEIGHTS(0),                                                                             \
    SHARED_EXPERT_WEIGHTS(0),                                                                      \
    {WEIGHT_SHARED_ROUTER, "blk.%u.ffn_gate_inp_shexp.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR}
/* clang-format on */

static const struct arch_weight qwen35_weights[] = {
    DELTA_WEIGHTS, QKV_AND_GATE_WEIGHTS, ALPHA_BETA_WEIGHTS, DENSE_WEIGHTS(0), {0},
};

static const struct arch_weight qwen35moe_weights[] = {
    DELTA_WEIGHTS, QKV_AND_GATE_WEIGHTS, ALPHA_BETA_WEIGHTS, DELTA_EXPERT_WEIGHTS, {0},
};

/* clang-format off */
/* For each key head the betas of its value heads, then their alphas. */
#define QWEN3NEXT_WEIGHTS                                                                          \
    DELTA_WEIGHTS,                                                                                 \
    {WEIGHT_DELTA_BETA_ALPHA, "blk.%u.ssm_ba.weight", DIM_EMBD, DIM_DELTA_BETA_ALPHA,              \
     .kinds = IN_DELTA},                                                                           \
    DELTA_EXPERT_WEIGHTS
/* clang-format on */

static const struct arch_weight qwen3next_weights[] = {
    QWEN3NEXT_WEIGHTS,
    QKV_AND_GATE_WEIGHTS,
    {0},
};

/* The first files: for each key head its query, its key, its values and their gates. */
static const struct arch_weight qwen3next_fused_weights[] = {
    QWEN3NEXT_WEIGHTS,
    {WEIGHT_DELTA_QKVZ, "blk.%u.ssm_in.weight", DIM_EMBD, DIM_DELTA_QKVZ, .kinds = IN_DELTA},
    {0},
};

/* clang-format off */
#define ALPHA_BETA_STEPS                                                                           \
    {STEP_MATMUL, VALUE_DELTA_ALPHA, VALUE_NORMED, .weight = WEIGHT_DELTA_ALPHA},                  \
    {STEP_MATMUL, VALUE_DELTA_BETA, VALUE_NORMED, .weight = WEIGHT_DELTA_BETA}

#define BETA_ALPHA_STEPS                                                                           \
    {STEP_MATMUL, VALUE_DELTA_BETA_ALPHA, VALUE_NORMED, .weight = WEIGHT_DELTA_BETA_ALPHA},        \
    {STEP_COPY, VALUE_DELTA_BETA, VALUE_DELTA_BETA_ALPHA,                                          \
     .part = {DIM_DELTA_HEADS_K, DIM_DELTA_GROUP, DIM_ZERO, DIM_ZERO}},                            \
    {STEP_COPY, VALUE_DELTA_ALPHA, VALUE_DELTA_BETA_ALPHA,                                         \
     .part = {DIM_DELTA_HEADS_K, DIM_DELTA_GROUP, DIM_DELTA_GROUP, DIM_ZERO}}

#define QKV_AND_GATE_STEPS                                                                         \
    {STEP_MATMUL, VALUE_DELTA_IN, VALUE_NORMED, .weight = WEIGHT_DELTA_QKV},                       \
    {STEP_MATMUL, VALUE_DELTA_GATE, VALUE_NORMED, .weight = WEIGHT_DELTA_GATE}

/* Sorted by what they are, then put together. */
#define FUSED_QKV_AND_GATE_STEPS                                                                   \
    {STEP_MATMUL, VALUE_DELTA_QKVZ, VALUE_NORMED, .weight = WEIGHT_DELTA_QKVZ},                    \
    {STEP_COPY, VALUE_DELTA_Q, VALUE_DELTA_QKVZ,                                                   \
     .part = {DIM_DELTA_HEADS_K, DIM_DELTA_HEAD_K, DIM_ZERO, DIM_ZERO}},                           \
    {STEP_COPY, VALUE_DELTA_K, VALUE_DELTA_QKVZ,                                                   \
     .part = {DIM_DELTA_HEADS_K, DIM_DELTA_HEAD_K, DIM_DELTA_HEAD_K, DIM_ZERO}},                   \
    {STEP_COPY, VALUE_DELTA_V, VALUE_DELTA_QKVZ,                                                   \
     .part = {DIM_DELTA_HEADS_K, DIM_DELTA_GROUP_V, DIM_DELTA_PAST_K, DIM_ZERO}},                  \
    {STEP_COPY, VALUE_DELTA_GATE, VALUE_DELTA_QKVZ,                                                \
     .part = {DIM_DELTA_HEADS_K, DIM_DELTA_GROUP_V, DIM_DELTA_PAST_V, DIM_ZERO}},                  \
    {STEP_COPY, VALUE_DELTA_IN, VALUE_DELTA_Q,                                                     \
     .part = {DIM_ONE, DIM_DELTA_K, DIM_ZERO, DIM_ZERO}},                                          \
    {STEP_COPY_MORE, VALUE_DELTA_IN, VALUE_DELTA_K,                                                \
     .part = {DIM_ONE, DIM_DELTA_K, DIM_ZERO, DIM_DELTA_K}},                                       \
    {STEP_COPY_MORE, VALUE_DELTA_IN, VALUE_DELTA_V,                                                \
     .part = {DIM_ONE, DIM_DELTA_V, DIM_ZERO, DIM_DELTA_QK}}

/* The delta rule on the normed stream, added to it. qkv_and_gate, alphas_and_betas: the steps that
 * make them. */
#define DELTA_STEPS(qkv_and_gate, alphas_and_betas)                                                \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},                                \
    qkv_and_gate,                                                                                  \
    alphas_and_betas,                                                                              \
    {STEP_SHORT_CONV, VALUE_DELTA_QKV, VALUE_DELTA_IN, .weight = WEIGHT_DELTA_CONV},               \
    {STEP_DELTA_NET, VALUE_DELTA_OUT, VALUE_DELTA_QKV, VALUE_DELTA_ALPHA, WEIGHT_DELTA_A,          \
     WEIGHT_DELTA_DT_BIAS, .in3 = VALUE_DELTA_BETA},                                               \
    {STEP_NORM, VALUE_DELTA_OUT, VALUE_DELTA_OUT, .weight = WEIGHT_DELTA_NORM},                    \
    {STEP_GLU, VALUE_DELTA_GATE, VALUE_DELTA_GATE, VALUE_DELTA_OUT},                               \
    {STEP_MATMUL_ADD, VALUE_X, VALUE_DELTA_GATE, .weight = WEIGHT_DELTA_OUT},                      \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM}

/* Attention with a gate of each channel of its output. */
#define GATED_ATTENTION_STEPS                                                                      \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},                                \
    {STEP_MATMUL, VALUE_Q_GATED, VALUE_NORMED, .weight = WEIGHT_ATTN_Q},                           \
    {STEP_COPY, VALUE_Q, VALUE_Q_GATED, .part = {DIM_HEADS, DIM_HEAD_K, DIM_ZERO, DIM_ZERO}},      \
    {STEP_COPY, VALUE_ATT_GATE, VALUE_Q_GATED,                                                     \
     .part = {DIM_HEADS, DIM_HEAD_K, DIM_HEAD_K, DIM_ZERO}},                                       \
    {STEP_MATMUL, VALUE_K, VALUE_NORMED, .weight = WEIGHT_ATTN_K},                                 \
    {STEP_MATMUL, VALUE_V, VALUE_NORMED, .weight = WEIGHT_ATTN_V},                                 \
    {STEP_HEAD_NORM, VALUE_Q, VALUE_Q, .weight = WEIGHT_ATTN_Q_NORM},                              \
    {STEP_HEAD_NORM, VALUE_K, VALUE_K, .weight = WEIGHT_ATTN_K_NORM},                              \
    {STEP_ROPE, VALUE_Q, VALUE_Q},                                                                 \
    {STEP_ROPE, VALUE_K, VALUE_K},                                                                 \
    {STEP_KV_STORE, .in = VALUE_K, .in2 = VALUE_V},                                                \
    {STEP_ATTENTION, VALUE_ATT, VALUE_Q},                                                          \
    {STEP_GATED, VALUE_ATT_GATE, VALUE_ATT_GATE, VALUE_ATT},                                       \
    {STEP_MATMUL_ADD, VALUE_X, VALUE_ATT_GATE, .weight = WEIGHT_ATTN_OUT},                         \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM}

#define ONE_PART(...) __VA_ARGS__
/* clang-format on */

static const struct arch_step delta_layer[] = {
    DELTA_STEPS(ONE_PART(QKV_AND_GATE_STEPS), ONE_PART(ALPHA_BETA_STEPS)),
    DENSE_STEPS,
    {STEP_END},
};

static const struct arch_step attention_layer[] = {
    GATED_ATTENTION_STEPS,
    DENSE_STEPS,
    {STEP_END},
};

static const struct arch_step delta_experts_layer[] = {
    DELTA_STEPS(ONE_PART(QKV_AND_GATE_STEPS), ONE_PART(ALPHA_BETA_STEPS)),
    EXPERT_STEPS,
    GATED_SHARED_STEPS,
    {STEP_END},
};

static const struct arch_step qwen3next_delta_layer[] = {
    DELTA_STEPS(ONE_PART(QKV_AND_GATE_STEPS), ONE_PART(BETA_ALPHA_STEPS)),
    EXPERT_STEPS,
    GATED_SHARED_STEPS,
    {STEP_END},
};

static const struct arch_step qwen3next_fused_delta_layer[] = {
    DELTA_STEPS(ONE_PART(FUSED_QKV_AND_GATE_STEPS), ONE_PART(BETA_ALPHA_STEPS)),
    EXPERT_STEPS,
    GATED_SHARED_STEPS,
    {STEP_END},
};

static const struct arch_step attention_experts_layer[] = {
    GATED_ATTENTION_STEPS,
    EXPERT_STEPS,
    GATED_SHARED_STEPS,
    {STEP_END},
};

#define DELTA_ARCH(delta_layer_steps, attention_layer_steps)                                       \
    .reals = reals, .rope_style = ROPE_SPLIT, .before = arch_embed_tokens,                         \
    .kinds = {{(delta_layer_steps), .has_state = true}, {(attention_layer_steps)}},                \
    .rule = LAYERS_PERIODIC, .after = arch_output_head

const struct arch arch_qwen35[] = {
    {"qwen35", DELTA_ARCH(delta_layer, attention_layer), .dims = dense_dims,
     .weights = qwen35_weights, .delta_order = DELTA_TILED},
    {"qwen35moe", .has_experts = true, DELTA_ARCH(delta_experts_layer, attention_experts_layer),
     .dims = expert_dims, .weights = qwen35moe_weights, .delta_order = DELTA_TILED,
     .router = {GATE_SOFTMAX, true}},
    {"qwen3next", .only_tensor = "blk.0.ssm_in.weight", .has_experts = true,
     DELTA_ARCH(qwen3next_fused_delta_layer, attention_experts_layer), .dims = expert_dims,
     .weights = qwen3next_fused_weights, .delta_order = DELTA_GROUPED,
     .router = {GATE_SOFTMAX, true}},
    {"qwen3next", .has_experts = true, DELTA_ARCH(qwen3next_delta_layer, attention_experts_layer),
     .dims = expert_dims, .weights = qwen3next_weights, .delta_order = DELTA_GROUPED,
     .router = {GATE_SOFTMAX, true}},
    {0},
};
