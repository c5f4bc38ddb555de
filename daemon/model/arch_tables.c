/* SPDX-License-Identifier: MIT */
#include "model/arch.h"

#include "kernels/args.h"

#include <string.h>

/* The keys every decoder-only transformer in GGUF shares. */
static const struct arch_dim common_dims[] = {
    {DIM_LAYERS, "block_count", KEY_REQUIRED},
    {DIM_EMBD, "embedding_length", KEY_REQUIRED},
    {DIM_CONTEXT, "context_length", KEY_REQUIRED},
    {DIM_FF, "feed_forward_length", KEY_REQUIRED},
    {DIM_HEADS, "attention.head_count", KEY_REQUIRED},
    {DIM_KV_HEADS, "attention.head_count_kv", KEY_OR_DIM, .dim_a = DIM_HEADS},
    {DIM_HEAD_K, "attention.key_length", KEY_OR_QUOTIENT, .dim_a = DIM_EMBD, .dim_b = DIM_HEADS},
    {DIM_HEAD_V, "attention.value_length", KEY_OR_QUOTIENT, .dim_a = DIM_EMBD, .dim_b = DIM_HEADS},
    {DIM_ROPE, "rope.dimension_count", KEY_OR_DIM, .dim_a = DIM_HEAD_K},
    {DIM_ROPE_CONTEXT, "rope.scaling.original_context_length", KEY_OR_DIM, .dim_a = DIM_CONTEXT},
    {0},
};

static const struct arch_real common_reals[] = {
    {REAL_NORM_EPS, "attention.layer_norm_rms_epsilon", true},
    {REAL_ROPE_BASE, "rope.freq_base", false, 10000.0f},
    {REAL_ROPE_FACTOR, "rope.scaling.factor", false, 1.0f},
    {REAL_ROPE_ATTN_FACTOR, "rope.scaling.attn_factor", false, 1.0f},
    {REAL_YARN_LOG_MUL, "rope.scaling.yarn_log_multiplier", false, 0.0f},
    {REAL_YARN_BETA_FAST, "rope.scaling.yarn_beta_fast", false, 32.0f},
    {REAL_YARN_BETA_SLOW, "rope.scaling.yarn_beta_slow", false, 1.0f},
    {REAL_YARN_EXT_FACTOR, "rope.scaling.yarn_ext_factor", false, -1.0f},
    {REAL_TEMP_SCALE, "attention.temperature_scale", false, 0.0f},
    {0},
};

/* The tensors every dense pre-norm transformer has. */
#define TRANSFORMER_WEIGHTS                                                                        \
    {WEIGHT_TOKEN_EMBD, "token_embd.weight", DIM_EMBD, DIM_VOCAB},                                 \
        {WEIGHT_OUTPUT_NORM, "output_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},              \
        {WEIGHT_OUTPUT, "output.weight", DIM_EMBD, DIM_VOCAB, WEIGHT_OPTIONAL, WEIGHT_TOKEN_EMBD}, \
        {WEIGHT_ATTN_NORM, "blk.%u.attn_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},           \
        {WEIGHT_ATTN_Q, "blk.%u.attn_q.weight", DIM_EMBD, DIM_Q},                                  \
        {WEIGHT_ATTN_K, "blk.%u.attn_k.weight", DIM_EMBD, DIM_K},                                  \
        {WEIGHT_ATTN_V, "blk.%u.attn_v.weight", DIM_EMBD, DIM_V},                                  \
        {WEIGHT_ATTN_OUT, "blk.%u.attn_output.weight", DIM_ATT, DIM_EMBD},                         \
        {WEIGHT_FFN_NORM, "blk.%u.ffn_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},             \
        {WEIGHT_FFN_GATE, "blk.%u.ffn_gate.weight", DIM_EMBD, DIM_FF},                             \
        {WEIGHT_FFN_UP, "blk.%u.ffn_up.weight", DIM_EMBD, DIM_FF},                                 \
    {                                                                                              \
        WEIGHT_FFN_DOWN, "blk.%u.ffn_down.weight", DIM_FF, DIM_EMBD                                \
    }

#define QKV_BIASES(flags)                                                                          \
    {WEIGHT_ATTN_Q_BIAS, "blk.%u.attn_q.bias", DIM_Q, DIM_ONE, WEIGHT_VECTOR | (flags)},           \
        {WEIGHT_ATTN_K_BIAS, "blk.%u.attn_k.bias", DIM_K, DIM_ONE, WEIGHT_VECTOR | (flags)},       \
    {                                                                                              \
        WEIGHT_ATTN_V_BIAS, "blk.%u.attn_v.bias", DIM_V, DIM_ONE, WEIGHT_VECTOR | (flags)          \
    }

/* Llama 3 brings frequency divisors; some fine-tunes bring attention biases. */
static const struct arch_weight llama_weights[] = {
    TRANSFORMER_WEIGHTS,
    {WEIGHT_ROPE_FACTORS, "rope_freqs.weight", DIM_ROPE_PAIRS, DIM_ONE,
     WEIGHT_VECTOR | WEIGHT_OPTIONAL},
    QKV_BIASES(WEIGHT_OPTIONAL),
    {WEIGHT_ATTN_OUT_BIAS, "blk.%u.attn_output.bias", DIM_EMBD, DIM_ONE,
     WEIGHT_VECTOR | WEIGHT_OPTIONAL},
    {0},
};

/* A Qwen 2 file without its biases is damaged. */
static const struct arch_weight qwen2_weights[] = {
    TRANSFORMER_WEIGHTS,
    QKV_BIASES(0),
    {0},
};

/* Qwen 3 norms each query and key head before rotation. */
static const struct arch_weight qwen3_weights[] = {
    TRANSFORMER_WEIGHTS,
    {WEIGHT_ATTN_Q_NORM, "blk.%u.attn_q_norm.weight", DIM_HEAD_K, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_ATTN_K_NORM, "blk.%u.attn_k_norm.weight", DIM_HEAD_K, DIM_ONE, WEIGHT_VECTOR},
    {0},
};

static const struct arch_step embed_tokens[] = {
    {STEP_EMBED, VALUE_X, .weight = WEIGHT_TOKEN_EMBD},
    {STEP_END},
};

/* Pre-norm transformer layer. Steps on biases and head norms a model lacks fall away. */
static const struct arch_step transformer_layer[] = {
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},
    {STEP_MATMUL, VALUE_Q, VALUE_NORMED, .weight = WEIGHT_ATTN_Q, .bias = WEIGHT_ATTN_Q_BIAS},
    {STEP_MATMUL, VALUE_K, VALUE_NORMED, .weight = WEIGHT_ATTN_K, .bias = WEIGHT_ATTN_K_BIAS},
    {STEP_MATMUL, VALUE_V, VALUE_NORMED, .weight = WEIGHT_ATTN_V, .bias = WEIGHT_ATTN_V_BIAS},
    {STEP_HEAD_NORM, VALUE_Q, VALUE_Q, .weight = WEIGHT_ATTN_Q_NORM},
    {STEP_HEAD_NORM, VALUE_K, VALUE_K, .weight = WEIGHT_ATTN_K_NORM},
    {STEP_ROPE_QUERY, VALUE_Q, VALUE_Q, .weight = WEIGHT_ROPE_FACTORS},
    {STEP_ROPE, VALUE_K, VALUE_K, .weight = WEIGHT_ROPE_FACTORS},
    {STEP_KV_STORE, .in = VALUE_K, .in2 = VALUE_V},
    {STEP_ATTENTION, VALUE_ATT, VALUE_Q},
    {STEP_MATMUL_ADD, VALUE_X, VALUE_ATT, .weight = WEIGHT_ATTN_OUT, .bias = WEIGHT_ATTN_OUT_BIAS},
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    {STEP_MATMUL, VALUE_GATE, VALUE_NORMED, .weight = WEIGHT_FFN_GATE},
    {STEP_MATMUL, VALUE_UP, VALUE_NORMED, .weight = WEIGHT_FFN_UP},
    {STEP_GLU, VALUE_GATE, VALUE_GATE, VALUE_UP},
    {STEP_MATMUL_ADD, VALUE_X, VALUE_GATE, .weight = WEIGHT_FFN_DOWN},
    {STEP_END},
};

static const struct arch_step output_head[] = {
    {STEP_GATHER, VALUE_LAST, VALUE_X},
    {STEP_NORM, VALUE_LAST_NORMED, VALUE_LAST, .weight = WEIGHT_OUTPUT_NORM},
    {STEP_MATMUL, VALUE_LOGITS, VALUE_LAST_NORMED, .weight = WEIGHT_OUTPUT},
    {STEP_END},
};

#define TRANSFORMER .before = embed_tokens, .layer = transformer_layer, .after = output_head
#define COMMON_KEYS .dims = common_dims, .reals = common_reals

static const struct arch archs[] = {
    {"llama", COMMON_KEYS, llama_weights, ROPE_PAIRED, TRANSFORMER},
    {"mistral3", COMMON_KEYS, llama_weights, ROPE_PAIRED, TRANSFORMER},
    {"qwen2", COMMON_KEYS, qwen2_weights, ROPE_SPLIT, TRANSFORMER},
    {"qwen3", COMMON_KEYS, qwen3_weights, ROPE_SPLIT, TRANSFORMER},
};

const struct arch *arch_find(const char *name)
{
    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++)
        if (!strcmp(archs[i].name, name))
            return &archs[i];
    return NULL;
}

const char *arch_names(void)
{
    return "llama, mistral3, qwen2, qwen3";
}
