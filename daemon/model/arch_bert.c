/* SPDX-License-Identifier: MIT */
/* Encoders: attention over the whole text, norms behind each part, vectors and no logits. Sources:
 * Devlin et al. 2019 (BERT); Nussbaum et al. 2024 (Nomic Embed). */
#include "model/arch_parts.h"

#include "kernels/args.h"

static const struct arch_dim dims[] = {
    COMMON_DIMS,
    {DIM_FF, "feed_forward_length", KEY_REQUIRED},
    {0},
};

static const struct arch_real reals[] = {LAYER_NORM_EPS, ROPE_REALS, {0}};

/* clang-format off */
#define NORM_WEIGHTS(role, name)                                                                   \
    {role, name ".weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},                                      \
    {role##_BIAS, name ".bias", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR}

#define ENCODER_WEIGHTS                                                                            \
    {WEIGHT_TOKEN_EMBD, "token_embd.weight", DIM_EMBD, DIM_VOCAB},                                 \
    {WEIGHT_TOKEN_TYPES, "token_types.weight", DIM_EMBD, DIM_TOKEN_TYPES, WEIGHT_OPTIONAL},        \
    NORM_WEIGHTS(WEIGHT_EMBD_NORM, "token_embd_norm"),                                             \
    {WEIGHT_ATTN_OUT, "blk.%u.attn_output.weight", DIM_ATT, DIM_EMBD},                             \
    NORM_WEIGHTS(WEIGHT_ATTN_POST_NORM, "blk.%u.attn_output_norm"),                                \
    {WEIGHT_FFN_UP, "blk.%u.ffn_up.weight", DIM_EMBD, DIM_FF},                                     \
    {WEIGHT_FFN_DOWN, "blk.%u.ffn_down.weight", DIM_FF, DIM_EMBD},                                 \
    NORM_WEIGHTS(WEIGHT_FFN_POST_NORM, "blk.%u.layer_output_norm")

#define BIAS(role, name, width) {role, "blk.%u." name ".bias", width, DIM_ONE, WEIGHT_VECTOR}
/* clang-format on */

static const struct arch_weight bert_weights[] = {
    ENCODER_WEIGHTS,
    {WEIGHT_POSITION_EMBD, "position_embd.weight", DIM_EMBD, DIM_CONTEXT},
    {WEIGHT_ATTN_Q, "blk.%u.attn_q.weight", DIM_EMBD, DIM_Q},
    {WEIGHT_ATTN_K, "blk.%u.attn_k.weight", DIM_EMBD, DIM_K},
    {WEIGHT_ATTN_V, "blk.%u.attn_v.weight", DIM_EMBD, DIM_V},
    QKV_BIASES(0),
    BIAS(WEIGHT_ATTN_OUT_BIAS, "attn_output", DIM_EMBD),
    BIAS(WEIGHT_FFN_UP_BIAS, "ffn_up", DIM_FF),
    BIAS(WEIGHT_FFN_DOWN_BIAS, "ffn_down", DIM_EMBD),
    {0},
};

/* One tensor for queries, keys and values, a gate, hardly a bias. */
static const struct arch_weight nomic_weights[] = {
    ENCODER_WEIGHTS,
    {WEIGHT_ATTN_Q, "blk.%u.attn_qkv.weight", DIM_EMBD, DIM_Q, .of = DIM_QKV, .first = DIM_ZERO},
    {WEIGHT_ATTN_K, "blk.%u.attn_qkv.weight", DIM_EMBD, DIM_K, .of = DIM_QKV, .first = DIM_Q},
    {WEIGHT_ATTN_V, "blk.%u.attn_qkv.weight", DIM_EMBD, DIM_V, .of = DIM_QKV, .first = DIM_QK},
    {WEIGHT_FFN_GATE, "blk.%u.ffn_gate.weight", DIM_EMBD, DIM_FF},
    {0},
};

/* clang-format off */
#define EMBED_STEPS                                                                                \
    {STEP_EMBED, VALUE_X, .weight = WEIGHT_TOKEN_EMBD},                                            \
    {STEP_EMBED_TYPE, VALUE_BRANCH, .weight = WEIGHT_TOKEN_TYPES},                                 \
    {STEP_ADD_TYPE, VALUE_X, VALUE_BRANCH, .weight = WEIGHT_TOKEN_TYPES}

#define EMBED_NORM_STEP                                                                            \
    {STEP_LAYER_NORM, VALUE_X, VALUE_X, .weight = WEIGHT_EMBD_NORM, .bias = WEIGHT_EMBD_NORM_BIAS}

#define QKV_STEPS                                                                                  \
    {STEP_MATMUL, VALUE_Q, VALUE_X, .weight = WEIGHT_ATTN_Q, .bias = WEIGHT_ATTN_Q_BIAS},          \
    {STEP_MATMUL, VALUE_K, VALUE_X, .weight = WEIGHT_ATTN_K, .bias = WEIGHT_ATTN_K_BIAS},          \
    {STEP_MATMUL, VALUE_V, VALUE_X, .weight = WEIGHT_ATTN_V, .bias = WEIGHT_ATTN_V_BIAS}

#define ENCODER_ATTENTION_STEPS                                                                    \
    {STEP_KV_STORE, .in = VALUE_K, .in2 = VALUE_V},                                                \
    {STEP_ATTENTION, VALUE_ATT, VALUE_Q},                                                          \
    {STEP_MATMUL_ADD, VALUE_X, VALUE_ATT, .weight = WEIGHT_ATTN_OUT,                               \
     .bias = WEIGHT_ATTN_OUT_BIAS},                                                                \
    {STEP_LAYER_NORM, VALUE_X, VALUE_X, .weight = WEIGHT_ATTN_POST_NORM,                           \
     .bias = WEIGHT_ATTN_POST_NORM_BIAS}

#define FFN_NORM_STEP                                                                              \
    {STEP_LAYER_NORM, VALUE_X, VALUE_X, .weight = WEIGHT_FFN_POST_NORM,                            \
     .bias = WEIGHT_FFN_POST_NORM_BIAS}
/* clang-format on */

static const struct arch_step bert_embed[] = {
    EMBED_STEPS,
    {STEP_EMBED_POSITION, VALUE_BRANCH, .weight = WEIGHT_POSITION_EMBD},
    {STEP_ADD, VALUE_X, VALUE_BRANCH},
    EMBED_NORM_STEP,
    {STEP_END},
};

static const struct arch_step bert_layer[] = {
    QKV_STEPS,
    ENCODER_ATTENTION_STEPS,
    {STEP_MATMUL, VALUE_UP, VALUE_X, .weight = WEIGHT_FFN_UP, .bias = WEIGHT_FFN_UP_BIAS},
    {STEP_GLU, VALUE_UP, VALUE_UP},
    {STEP_MATMUL_ADD, VALUE_X, VALUE_UP, .weight = WEIGHT_FFN_DOWN, .bias = WEIGHT_FFN_DOWN_BIAS},
    FFN_NORM_STEP,
    {STEP_END},
};

static const struct arch_step nomic_embed[] = {EMBED_STEPS, EMBED_NORM_STEP, {STEP_END}};

static const struct arch_step nomic_layer[] = {
    QKV_STEPS,
    {STEP_ROPE, VALUE_Q, VALUE_Q},
    {STEP_ROPE, VALUE_K, VALUE_K},
    ENCODER_ATTENTION_STEPS,
    {STEP_MATMUL, VALUE_GATE, VALUE_X, .weight = WEIGHT_FFN_GATE},
    {STEP_MATMUL, VALUE_UP, VALUE_X, .weight = WEIGHT_FFN_UP},
    {STEP_GLU, VALUE_GATE, VALUE_GATE, VALUE_UP},
    {STEP_MATMUL_ADD, VALUE_X, VALUE_GATE, .weight = WEIGHT_FFN_DOWN},
    FFN_NORM_STEP,
    {STEP_END},
};

/* The last layer's norm is the last of all. */
static const struct arch_step rows_wanted[] = {
    {STEP_GATHER, VALUE_LAST_NORMED, VALUE_X},
    {STEP_END},
};

#define ENCODER                                                                                    \
    .dims = dims, .reals = reals, .rope_style = ROPE_SPLIT, .after = rows_wanted,                  \
    .is_bidirectional = true

const struct arch arch_bert[] = {
    {"bert", ENCODER, .weights = bert_weights, .before = bert_embed, .kinds = {{bert_layer}},
     .activation = GLU_GELU},
    {"nomic-bert", ENCODER, .weights = nomic_weights, .before = nomic_embed,
     .kinds = {{nomic_layer}}, .activation = GLU_SILU},
    {0},
};
