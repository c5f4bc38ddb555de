/* SPDX-License-Identifier: MIT */
/* Dense transformers that differ from Llama in how their tensors are cut, or in what they scale. */
#include "model/arch_parts.h"

#include "kernels/args.h"

static const struct arch_dim dense_dims[] = {
    COMMON_DIMS,
    {DIM_FF, "feed_forward_length", KEY_REQUIRED},
    {0},
};

/* The period is no key of files: none has another. */
static const struct arch_dim smollm3_dims[] = {
    COMMON_DIMS,
    {DIM_FF, "feed_forward_length", KEY_REQUIRED},
    {DIM_PERIOD, "no_rope_layer_step", KEY_OR_VALUE, .value = 4},
    {0},
};

static const struct arch_dim windowed_dims[] = {
    COMMON_DIMS,
    {DIM_FF, "feed_forward_length", KEY_REQUIRED},
    {DIM_WINDOW, "attention.sliding_window", KEY_REQUIRED},
    {0},
};

static const struct arch_real layer_norm_reals[] = {LAYER_NORM_EPS, ROPE_REALS, {0}};

static const struct arch_real dense_reals[] = {COMMON_REALS, {0}};

/* Windowed layers rotate by the same base, but without YaRN. */
static const struct arch_real olmo3_reals[] = {
    COMMON_REALS,
    {REAL_ROPE_BASE_LOCAL, "rope.freq_base", false, 10000.0f},
    {0},
};

/* clang-format off */
/* Gates as rows above those of what they gate. */
#define FUSED_GLU_WEIGHTS                                                                          \
    {WEIGHT_FFN_GATE, "blk.%u.ffn_up.weight", DIM_EMBD, DIM_FF, .of = DIM_GATE_UP,                 \
     .first = DIM_ZERO},                                                                           \
    {WEIGHT_FFN_UP, "blk.%u.ffn_up.weight", DIM_EMBD, DIM_FF, .of = DIM_GATE_UP, .first = DIM_FF}, \
    {WEIGHT_FFN_DOWN, "blk.%u.ffn_down.weight", DIM_FF, DIM_EMBD}
/* clang-format on */

/* Phi 3, 3.5 and 4: files with a long context bring divisors for it and others for the context
 * before. */
static const struct arch_weight phi3_weights[] = {
    STREAM_WEIGHTS,
    FUSED_QKV_WEIGHTS,
    {WEIGHT_ROPE_FACTORS_LONG, "rope_factors_long.weight", DIM_ROPE_PAIRS, DIM_ONE,
     WEIGHT_VECTOR | WEIGHT_OPTIONAL},
    {WEIGHT_ROPE_FACTORS_SHORT, "rope_factors_short.weight", DIM_ROPE_PAIRS, DIM_ONE,
     WEIGHT_VECTOR | WEIGHT_OPTIONAL},
    {WEIGHT_FFN_NORM, "blk.%u.ffn_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    FUSED_GLU_WEIGHTS,
    {0},
};

/* clang-format off */
#define BIASED_ATTENTION_WEIGHTS                                                                   \
    ATTENTION_WEIGHTS,                                                                             \
    QKV_BIASES(WEIGHT_OPTIONAL),                                                                   \
    {WEIGHT_ATTN_OUT_BIAS, "blk.%u.attn_output.bias", DIM_EMBD, DIM_ONE,                           \
     WEIGHT_VECTOR | WEIGHT_OPTIONAL}

#define POST_NORM_WEIGHTS                                                                          \
    {WEIGHT_ATTN_POST_NORM, "blk.%u.post_attention_norm.weight", DIM_EMBD, DIM_ONE,                \
     WEIGHT_VECTOR},                                                                               \
    {WEIGHT_FFN_POST_NORM, "blk.%u.post_ffw_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR}
/* clang-format on */

/* As Llama, some with biases. */
static const struct arch_weight biased_weights[] = {
    BIASED_ATTENTION_WEIGHTS,
    {WEIGHT_FFN_NORM, "blk.%u.ffn_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    DENSE_WEIGHTS(0),
    {0},
};

/* The norm of the feed-forward part is named for where it stands. */
static const struct arch_weight seed_weights[] = {
    BIASED_ATTENTION_WEIGHTS,
    {WEIGHT_FFN_NORM, "blk.%u.post_attention_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    DENSE_WEIGHTS(0),
    {0},
};

/* GLM 4 (0414): as Gemma norms what is added to the stream, with gates above what they gate. */
static const struct arch_weight glm4_weights[] = {
    BIASED_ATTENTION_WEIGHTS,
    POST_NORM_WEIGHTS,
    {WEIGHT_FFN_NORM, "blk.%u.ffn_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    FUSED_GLU_WEIGHTS,
    {0},
};

static const struct arch_weight hunyuan_weights[] = {TRANSFORMER_WEIGHTS, HEAD_NORMS(0), {0}};

/* OLMo 2 and 3 norm all queries of a row together, and keys; and what is added to the stream, but
 * not what is taken from it. */
static const struct arch_weight olmo2_weights[] = {
    {WEIGHT_TOKEN_EMBD, "token_embd.weight", DIM_EMBD, DIM_VOCAB},
    {WEIGHT_OUTPUT_NORM, "output_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_OUTPUT, "output.weight", DIM_EMBD, DIM_VOCAB},
    {WEIGHT_ATTN_Q, "blk.%u.attn_q.weight", DIM_EMBD, DIM_Q},
    {WEIGHT_ATTN_K, "blk.%u.attn_k.weight", DIM_EMBD, DIM_K},
    {WEIGHT_ATTN_V, "blk.%u.attn_v.weight", DIM_EMBD, DIM_V},
    {WEIGHT_ATTN_Q_NORM, "blk.%u.attn_q_norm.weight", DIM_Q, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_ATTN_K_NORM, "blk.%u.attn_k_norm.weight", DIM_K, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_ATTN_OUT, "blk.%u.attn_output.weight", DIM_ATT, DIM_EMBD},
    POST_NORM_WEIGHTS,
    DENSE_WEIGHTS(0),
    {0},
};

/* EXAONE 4: norms as OLMo's, but of queries and keys by heads. */
static const struct arch_weight exaone4_weights[] = {
    {WEIGHT_TOKEN_EMBD, "token_embd.weight", DIM_EMBD, DIM_VOCAB},
    {WEIGHT_OUTPUT_NORM, "output_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_OUTPUT, "output.weight", DIM_EMBD, DIM_VOCAB, WEIGHT_OPTIONAL, WEIGHT_TOKEN_EMBD},
    {WEIGHT_ROPE_FACTORS, "rope_freqs.weight", DIM_ROPE_PAIRS, DIM_ONE,
     WEIGHT_VECTOR | WEIGHT_OPTIONAL},
    {WEIGHT_ATTN_Q, "blk.%u.attn_q.weight", DIM_EMBD, DIM_Q},
    {WEIGHT_ATTN_K, "blk.%u.attn_k.weight", DIM_EMBD, DIM_K},
    {WEIGHT_ATTN_V, "blk.%u.attn_v.weight", DIM_EMBD, DIM_V},
    HEAD_NORMS(0),
    {WEIGHT_ATTN_OUT, "blk.%u.attn_output.weight", DIM_ATT, DIM_EMBD},
    POST_NORM_WEIGHTS,
    DENSE_WEIGHTS(0),
    {0},
};

/* clang-format off */
#define VECTOR(role, name, width) {role, name, width, DIM_ONE, WEIGHT_VECTOR}
/* clang-format on */

/* StarCoder 2: norms about the mean, a bias to everything, no gate. */
static const struct arch_weight starcoder2_weights[] = {
    ATTENTION_WEIGHTS,
    QKV_BIASES(0),
    VECTOR(WEIGHT_OUTPUT_NORM_BIAS, "output_norm.bias", DIM_EMBD),
    VECTOR(WEIGHT_ATTN_NORM_BIAS, "blk.%u.attn_norm.bias", DIM_EMBD),
    VECTOR(WEIGHT_ATTN_OUT_BIAS, "blk.%u.attn_output.bias", DIM_EMBD),
    VECTOR(WEIGHT_FFN_NORM, "blk.%u.ffn_norm.weight", DIM_EMBD),
    VECTOR(WEIGHT_FFN_NORM_BIAS, "blk.%u.ffn_norm.bias", DIM_EMBD),
    {WEIGHT_FFN_UP, "blk.%u.ffn_up.weight", DIM_EMBD, DIM_FF},
    VECTOR(WEIGHT_FFN_UP_BIAS, "blk.%u.ffn_up.bias", DIM_FF),
    {WEIGHT_FFN_DOWN, "blk.%u.ffn_down.weight", DIM_FF, DIM_EMBD},
    VECTOR(WEIGHT_FFN_DOWN_BIAS, "blk.%u.ffn_down.bias", DIM_EMBD),
    {0},
};

static const struct arch_step dense_layer[] = {
    ATTENTION_STEPS,
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    DENSE_STEPS,
    {STEP_END},
};

/* clang-format off */
/* What is added to the stream is normed before. */
#define NORMED_BRANCH_STEPS(in, matrix, norm)                                                      \
    {STEP_MATMUL, VALUE_BRANCH, in, .weight = (matrix)},                                           \
    {STEP_NORM, VALUE_BRANCH, VALUE_BRANCH, .weight = (norm)},                                     \
    {STEP_ADD, VALUE_X, VALUE_BRANCH}

#define PLAIN_QKV_STEPS(in)                                                                        \
    {STEP_MATMUL, VALUE_Q, in, .weight = WEIGHT_ATTN_Q, .bias = WEIGHT_ATTN_Q_BIAS},               \
    {STEP_MATMUL, VALUE_K, in, .weight = WEIGHT_ATTN_K, .bias = WEIGHT_ATTN_K_BIAS},               \
    {STEP_MATMUL, VALUE_V, in, .weight = WEIGHT_ATTN_V, .bias = WEIGHT_ATTN_V_BIAS}

#define ATTEND_STEPS                                                                               \
    {STEP_KV_STORE, .in = VALUE_K, .in2 = VALUE_V},                                                \
    {STEP_ATTENTION, VALUE_ATT, VALUE_Q}
/* clang-format on */

static const struct arch_step glm4_layer[] = {
    HEADS_STEPS,
    NORMED_BRANCH_STEPS(VALUE_ATT, WEIGHT_ATTN_OUT, WEIGHT_ATTN_POST_NORM),
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    GLU_STEPS,
    NORMED_BRANCH_STEPS(VALUE_GATE, WEIGHT_FFN_DOWN, WEIGHT_FFN_POST_NORM),
    {STEP_END},
};

static const struct arch_step olmo2_layer[] = {
    PLAIN_QKV_STEPS(VALUE_X),
    {STEP_HEAD_NORM, VALUE_Q, VALUE_Q, .weight = WEIGHT_ATTN_Q_NORM},
    {STEP_HEAD_NORM, VALUE_K, VALUE_K, .weight = WEIGHT_ATTN_K_NORM},
    {STEP_ROPE, VALUE_Q, VALUE_Q},
    {STEP_ROPE, VALUE_K, VALUE_K},
    ATTEND_STEPS,
    NORMED_BRANCH_STEPS(VALUE_ATT, WEIGHT_ATTN_OUT, WEIGHT_ATTN_POST_NORM),
    {STEP_MATMUL, VALUE_GATE, VALUE_X, .weight = WEIGHT_FFN_GATE},
    {STEP_MATMUL, VALUE_UP, VALUE_X, .weight = WEIGHT_FFN_UP},
    {STEP_GLU, VALUE_GATE, VALUE_GATE, VALUE_UP},
    NORMED_BRANCH_STEPS(VALUE_GATE, WEIGHT_FFN_DOWN, WEIGHT_FFN_POST_NORM),
    {STEP_END},
};

/* clang-format off */
#define EXAONE4_HEADS_STEPS                                                                        \
    PLAIN_QKV_STEPS(VALUE_X),                                                                      \
    {STEP_HEAD_NORM, VALUE_Q, VALUE_Q, .weight = WEIGHT_ATTN_Q_NORM},                              \
    {STEP_HEAD_NORM, VALUE_K, VALUE_K, .weight = WEIGHT_ATTN_K_NORM}

#define EXAONE4_END_STEPS                                                                          \
    ATTEND_STEPS,                                                                                  \
    NORMED_BRANCH_STEPS(VALUE_ATT, WEIGHT_ATTN_OUT, WEIGHT_ATTN_POST_NORM),                        \
    {STEP_MATMUL, VALUE_GATE, VALUE_X, .weight = WEIGHT_FFN_GATE},                                 \
    {STEP_MATMUL, VALUE_UP, VALUE_X, .weight = WEIGHT_FFN_UP},                                     \
    {STEP_GLU, VALUE_GATE, VALUE_GATE, VALUE_UP},                                                  \
    NORMED_BRANCH_STEPS(VALUE_GATE, WEIGHT_FFN_DOWN, WEIGHT_FFN_POST_NORM)
/* clang-format on */

static const struct arch_step exaone4_layer[] = {
    EXAONE4_HEADS_STEPS,
    {STEP_ROPE, VALUE_Q, VALUE_Q, .weight = WEIGHT_ROPE_FACTORS},
    {STEP_ROPE, VALUE_K, VALUE_K, .weight = WEIGHT_ROPE_FACTORS},
    EXAONE4_END_STEPS,
    {STEP_END},
};

/* Where others look back only so far, those that see all are not rotated. */
static const struct arch_step exaone4_unturned_layer[] = {
    EXAONE4_HEADS_STEPS,
    EXAONE4_END_STEPS,
    {STEP_END},
};

static const struct arch_step starcoder2_layer[] = {
    {STEP_LAYER_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM,
     .bias = WEIGHT_ATTN_NORM_BIAS},
    PLAIN_QKV_STEPS(VALUE_NORMED),
    {STEP_ROPE, VALUE_Q, VALUE_Q},
    {STEP_ROPE, VALUE_K, VALUE_K},
    ATTEND_STEPS,
    {STEP_MATMUL_ADD, VALUE_X, VALUE_ATT, .weight = WEIGHT_ATTN_OUT, .bias = WEIGHT_ATTN_OUT_BIAS},
    {STEP_LAYER_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM,
     .bias = WEIGHT_FFN_NORM_BIAS},
    {STEP_MATMUL, VALUE_UP, VALUE_NORMED, .weight = WEIGHT_FFN_UP, .bias = WEIGHT_FFN_UP_BIAS},
    {STEP_GLU, VALUE_UP, VALUE_UP},
    {STEP_MATMUL_ADD, VALUE_X, VALUE_UP, .weight = WEIGHT_FFN_DOWN, .bias = WEIGHT_FFN_DOWN_BIAS},
    {STEP_END},
};

static const struct arch_step layer_norm_head[] = {
    {STEP_GATHER, VALUE_LAST, VALUE_X},
    {STEP_LAYER_NORM, VALUE_LAST_NORMED, VALUE_LAST, .weight = WEIGHT_OUTPUT_NORM,
     .bias = WEIGHT_OUTPUT_NORM_BIAS},
    {STEP_MATMUL, VALUE_LOGITS, VALUE_LAST_NORMED, .weight = WEIGHT_OUTPUT},
    {STEP_END},
};

/* Heads are normed behind their rotation. */
static const struct arch_step hunyuan_layer[] = {
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},
    PLAIN_QKV_STEPS(VALUE_NORMED),
    {STEP_ROPE, VALUE_Q, VALUE_Q},
    {STEP_ROPE, VALUE_K, VALUE_K},
    {STEP_HEAD_NORM, VALUE_Q, VALUE_Q, .weight = WEIGHT_ATTN_Q_NORM},
    {STEP_HEAD_NORM, VALUE_K, VALUE_K, .weight = WEIGHT_ATTN_K_NORM},
    ATTEND_STEPS,
    {STEP_MATMUL_ADD, VALUE_X, VALUE_ATT, .weight = WEIGHT_ATTN_OUT},
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    DENSE_STEPS,
    {STEP_END},
};

/* Nothing is rotated. */
static const struct arch_step unturned_layer[] = {
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},
    PLAIN_QKV_STEPS(VALUE_NORMED),
    ATTEND_STEPS,
    {STEP_MATMUL_ADD, VALUE_X, VALUE_ATT, .weight = WEIGHT_ATTN_OUT, .bias = WEIGHT_ATTN_OUT_BIAS},
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    DENSE_STEPS,
    {STEP_END},
};

#define DENSE_KEYS                                                                                 \
    .dims = dense_dims, .reals = dense_reals, .before = arch_embed_tokens, .after = arch_output_head

const struct arch arch_dense[] = {
    {"ernie4_5", DENSE_KEYS, .weights = biased_weights, .rope_style = ROPE_PAIRED,
     .kinds = {{dense_layer}}},
    {"exaone4", .only_key = "attention.sliding_window", .dims = windowed_dims, .reals = dense_reals,
     .weights = exaone4_weights, .rope_style = ROPE_SPLIT, .before = arch_embed_tokens,
     .kinds = {{exaone4_layer, .is_windowed = true}, {exaone4_unturned_layer}},
     .rule = LAYERS_LISTED, .list_key = "attention.sliding_window_pattern",
     .after = arch_output_head},
    {"exaone4", DENSE_KEYS, .weights = exaone4_weights, .rope_style = ROPE_SPLIT,
     .kinds = {{exaone4_layer}}},
    {"glm4", DENSE_KEYS, .weights = glm4_weights, .rope_style = ROPE_PAIRED,
     .kinds = {{glm4_layer}}},
    {"hunyuan-dense", DENSE_KEYS, .weights = hunyuan_weights, .rope_style = ROPE_SPLIT,
     .kinds = {{hunyuan_layer}}},
    {"olmo2", .only_key = "attention.sliding_window", .dims = windowed_dims, .reals = olmo3_reals,
     .weights = olmo2_weights, .rope_style = ROPE_SPLIT, .before = arch_embed_tokens,
     .kinds = {{olmo2_layer, .is_windowed = true, .has_local_rope = true}, {olmo2_layer}},
     .rule = LAYERS_LISTED, .list_key = "attention.sliding_window_pattern",
     .after = arch_output_head},
    {"olmo2", DENSE_KEYS, .weights = olmo2_weights, .rope_style = ROPE_SPLIT,
     .kinds = {{olmo2_layer}}},
    {"phi3", DENSE_KEYS, .weights = phi3_weights, .rope_style = ROPE_SPLIT,
     .kinds = {{dense_layer}}},
    {"seed_oss", DENSE_KEYS, .weights = seed_weights, .rope_style = ROPE_SPLIT,
     .kinds = {{dense_layer}}},
    {"smollm3", .dims = smollm3_dims, .reals = dense_reals, .weights = biased_weights,
     .rope_style = ROPE_PAIRED, .before = arch_embed_tokens,
     .kinds = {{dense_layer}, {unturned_layer}}, .rule = LAYERS_PERIODIC,
     .after = arch_output_head},
    {"starcoder2", .dims = dense_dims, .reals = layer_norm_reals, .weights = starcoder2_weights,
     .rope_style = ROPE_SPLIT, .before = arch_embed_tokens, .kinds = {{starcoder2_layer}},
     .after = layer_norm_head, .activation = GLU_GELU},
    {0},
};
