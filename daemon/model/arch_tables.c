/* SPDX-License-Identifier: MIT */
#include "model/arch_parts.h"

#include "kernels/args.h"

#include <string.h>

static const struct arch_dim common_dims[] = {
    COMMON_DIMS,
    {DIM_FF, "feed_forward_length", KEY_REQUIRED, .may_differ = true},
    {0},
};

/* An expert of Mixtral is as wide as the key for dense models says. */
static const struct arch_dim mixtral_dims[] = {
    COMMON_DIMS,
    EXPERT_DIMS,
    {DIM_FF_EXPERT, "feed_forward_length", KEY_REQUIRED},
    {0},
};

static const struct arch_dim qwen2moe_dims[] = {
    COMMON_DIMS,
    EXPERT_DIMS,
    {DIM_FF_EXPERT, "expert_feed_forward_length", KEY_REQUIRED},
    {DIM_FF_SHARED, "expert_shared_feed_forward_length", KEY_REQUIRED},
    {0},
};

/* clang-format off */
#define DEEPSEEK2_DIMS                                                                             \
    COMMON_DIMS,                                                                                   \
    {DIM_HEAD_K_MLA, "attention.key_length_mla", KEY_REQUIRED},                                    \
    {DIM_HEAD_V_MLA, "attention.value_length_mla", KEY_REQUIRED},                                  \
    {DIM_KV_RANK, "attention.kv_lora_rank", KEY_REQUIRED},                                         \
    LEADING_DENSE_DIMS
/* clang-format on */

static const struct arch_dim deepseek2_dims[] = {
    DEEPSEEK2_DIMS,
    {DIM_Q_RANK, "attention.q_lora_rank", KEY_REQUIRED},
    {0},
};

/* V3.2 chooses the positions that attention looks at. */
static const struct arch_dim deepseek32_dims[] = {
    DEEPSEEK2_DIMS,
    {DIM_Q_RANK, "attention.q_lora_rank", KEY_REQUIRED},
    {DIM_INDEXER_HEADS, "attention.indexer.head_count", KEY_REQUIRED},
    {DIM_INDEXER_HEAD, "attention.indexer.key_length", KEY_REQUIRED},
    {DIM_INDEXER_TOP, "attention.indexer.top_k", KEY_REQUIRED},
    {0},
};

/* V2-Lite's queries have no latent. */
static const struct arch_dim deepseek2_lite_dims[] = {DEEPSEEK2_DIMS, {0}};

static const struct arch_dim glm4moe_dims[] = {
    COMMON_DIMS,
    LEADING_DENSE_DIMS,
    {0},
};

static const struct arch_dim gpt_oss_dims[] = {
    COMMON_DIMS,
    EXPERT_DIMS,
    {DIM_FF_EXPERT, "expert_feed_forward_length", KEY_REQUIRED},
    {DIM_WINDOW, "attention.sliding_window", KEY_REQUIRED},
    {DIM_PERIOD, "attention.sliding_window_pattern", KEY_OR_VALUE, .value = 2},
    {0},
};

static const struct arch_dim gemma2_dims[] = {
    COMMON_DIMS,
    {DIM_FF, "feed_forward_length", KEY_REQUIRED, .may_differ = true},
    {DIM_WINDOW, "attention.sliding_window", KEY_OR_VALUE, .value = 4096},
    {DIM_PERIOD, "attention.sliding_window_pattern", KEY_OR_VALUE, .value = 2},
    {0},
};

static const struct arch_dim gemma3_dims[] = {
    COMMON_DIMS,
    {DIM_FF, "feed_forward_length", KEY_REQUIRED, .may_differ = true},
    {DIM_WINDOW, "attention.sliding_window", KEY_REQUIRED},
    {DIM_PERIOD, "attention.sliding_window_pattern", KEY_OR_VALUE, .value = 6},
    {0},
};

static const struct arch_dim qwen3moe_dims[] = {
    COMMON_DIMS,
    EXPERT_DIMS,
    {DIM_FF_EXPERT, "expert_feed_forward_length", KEY_REQUIRED},
    {0},
};

/* The same key as elsewhere, meant for the scores. */
static const struct arch_real deepseek2_reals[] = {
    COMMON_REALS,
    {REAL_YARN_SCORE_MUL, "rope.scaling.yarn_log_multiplier", false, 0.0f},
    {REAL_INDEXER_EPS, "attention.layer_norm_epsilon", false, 1e-6f},
    {0},
};

static const struct arch_real common_reals[] = {
    COMMON_REALS,
    {REAL_YARN_LOG_MUL, "rope.scaling.yarn_log_multiplier", false, 0.0f},
    {REAL_TEMP_SCALE, "attention.temperature_scale", false, 0.0f},
    {0},
};

static const struct arch_real gemma2_reals[] = {
    COMMON_REALS,
    {REAL_ATTN_SOFTCAP, "attn_logit_softcapping", false, 50.0f},
    {REAL_LOGIT_SOFTCAP, "final_logit_softcapping", false, 30.0f},
    {0},
};

static const struct arch_real gemma3_reals[] = {
    COMMON_REALS,
    {REAL_ROPE_BASE_LOCAL, "rope.freq_base_swa", false, 10000.0f},
    {REAL_LOGIT_SOFTCAP, "final_logit_softcapping", false, 0.0f},
    {0},
};

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
    HEAD_NORMS(0),
    {0},
};

static const struct arch_weight mixtral_weights[] = {
    COMMON_WEIGHTS,
    EXPERT_WEIGHTS(0),
    {WEIGHT_ROPE_FACTORS, "rope_freqs.weight", DIM_ROPE_PAIRS, DIM_ONE,
     WEIGHT_VECTOR | WEIGHT_OPTIONAL},
    {0},
};

static const struct arch_weight qwen2moe_weights[] = {
    COMMON_WEIGHTS,
    EXPERT_WEIGHTS(0),
    SHARED_EXPERT_WEIGHTS(0),
    {WEIGHT_SHARED_ROUTER, "blk.%u.ffn_gate_inp_shexp.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    QKV_BIASES(0),
    {0},
};

static const struct arch_weight qwen3moe_weights[] = {
    COMMON_WEIGHTS,
    EXPERT_WEIGHTS(0),
    HEAD_NORMS(0),
    {0},
};

/* GLM 4.5 and 4.6: the first layers are dense. The norm of the feed-forward part is named for where
 * it stands. */
static const struct arch_weight glm4moe_weights[] = {
    ATTENTION_WEIGHTS,
    {WEIGHT_FFN_NORM, "blk.%u.post_attention_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    QKV_BIASES(WEIGHT_OPTIONAL),
    HEAD_NORMS(WEIGHT_OPTIONAL),
    DENSE_WEIGHTS(IN_DENSE),
    EXPERT_WEIGHTS(IN_EXPERTS),
    {WEIGHT_ROUTER_CHOICE_BIAS, "blk.%u.exp_probs_b.bias", DIM_EXPERTS, DIM_ONE, WEIGHT_VECTOR,
     .kinds = IN_EXPERTS},
    SHARED_EXPERT_WEIGHTS(IN_EXPERTS),
    {0},
};

/* clang-format off */
/* Of the latents K_HEADS takes the queries there and V_HEADS what attention sums back. */
#define DEEPSEEK2_WEIGHTS                                                                          \
    STREAM_WEIGHTS,                                                                                \
    {WEIGHT_ATTN_KV_DOWN, "blk.%u.attn_kv_a_mqa.weight", DIM_EMBD, DIM_K},                         \
    {WEIGHT_ATTN_KV_DOWN_NORM, "blk.%u.attn_kv_a_norm.weight", DIM_KV_RANK, DIM_ONE,               \
     WEIGHT_VECTOR},                                                                               \
    {WEIGHT_ATTN_K_HEADS, "blk.%u.attn_k_b.weight", DIM_NOPE, DIM_KV_RANK, .planes = DIM_HEADS},   \
    {WEIGHT_ATTN_V_HEADS, "blk.%u.attn_v_b.weight", DIM_KV_RANK, DIM_HEAD_V_MLA,                   \
     .planes = DIM_HEADS},                                                                         \
    {WEIGHT_ATTN_OUT, "blk.%u.attn_output.weight", DIM_ATT_MLA, DIM_EMBD},                         \
    {WEIGHT_FFN_NORM, "blk.%u.ffn_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},                 \
    DENSE_WEIGHTS(IN_DENSE),                                                                       \
    EXPERT_WEIGHTS(IN_EXPERTS),                                                                    \
    {WEIGHT_ROUTER_CHOICE_BIAS, "blk.%u.exp_probs_b.bias", DIM_EXPERTS, DIM_ONE,                   \
     WEIGHT_VECTOR | WEIGHT_OPTIONAL, .kinds = IN_EXPERTS},                                        \
    SHARED_EXPERT_WEIGHTS(IN_EXPERTS)
/* clang-format on */

/* clang-format off */
#define LATENT_QUERY_WEIGHTS                                                                       \
    {WEIGHT_ATTN_Q_DOWN, "blk.%u.attn_q_a.weight", DIM_EMBD, DIM_Q_RANK},                          \
    {WEIGHT_ATTN_Q_DOWN_NORM, "blk.%u.attn_q_a_norm.weight", DIM_Q_RANK, DIM_ONE, WEIGHT_VECTOR},  \
    {WEIGHT_ATTN_Q, "blk.%u.attn_q_b.weight", DIM_Q_RANK, DIM_Q_MLA}
/* clang-format on */

static const struct arch_weight deepseek2_weights[] = {
    DEEPSEEK2_WEIGHTS,
    LATENT_QUERY_WEIGHTS,
    {0},
};

static const struct arch_weight deepseek32_weights[] = {
    DEEPSEEK2_WEIGHTS,
    LATENT_QUERY_WEIGHTS,
    {WEIGHT_INDEXER_Q, "blk.%u.indexer.attn_q_b.weight", DIM_Q_RANK, DIM_INDEXER_Q},
    {WEIGHT_INDEXER_K, "blk.%u.indexer.attn_k.weight", DIM_EMBD, DIM_INDEXER_HEAD},
    {WEIGHT_INDEXER_K_NORM, "blk.%u.indexer.k_norm.weight", DIM_INDEXER_HEAD, DIM_ONE,
     WEIGHT_VECTOR},
    {WEIGHT_INDEXER_K_NORM_BIAS, "blk.%u.indexer.k_norm.bias", DIM_INDEXER_HEAD, DIM_ONE,
     WEIGHT_VECTOR},
    {WEIGHT_INDEXER_PROJ, "blk.%u.indexer.proj.weight", DIM_EMBD, DIM_INDEXER_HEADS},
    {0},
};

static const struct arch_weight deepseek2_lite_weights[] = {
    DEEPSEEK2_WEIGHTS,
    {WEIGHT_ATTN_Q, "blk.%u.attn_q.weight", DIM_EMBD, DIM_Q_MLA},
    {0},
};

/* The norm is named as GLM's. */
static const struct arch_weight gpt_oss_weights[] = {
    ATTENTION_WEIGHTS,
    {WEIGHT_FFN_NORM, "blk.%u.post_attention_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    QKV_BIASES(0),
    {WEIGHT_ATTN_OUT_BIAS, "blk.%u.attn_output.bias", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_ATTN_SINKS, "blk.%u.attn_sinks.weight", DIM_HEADS, DIM_ONE, WEIGHT_VECTOR},
    EXPERT_WEIGHTS(0),
    {WEIGHT_ROUTER_BIAS, "blk.%u.ffn_gate_inp.bias", DIM_EXPERTS, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_EXPERTS_GATE_BIAS, "blk.%u.ffn_gate_exps.bias", DIM_FF_EXPERT, DIM_EXPERTS,
     WEIGHT_VECTOR},
    {WEIGHT_EXPERTS_UP_BIAS, "blk.%u.ffn_up_exps.bias", DIM_FF_EXPERT, DIM_EXPERTS, WEIGHT_VECTOR},
    {WEIGHT_EXPERTS_DOWN_BIAS, "blk.%u.ffn_down_exps.bias", DIM_EMBD, DIM_EXPERTS, WEIGHT_VECTOR},
    {0},
};

/* Gemma norms what attention and the feed-forward part add to the stream, too. */
#define GEMMA_WEIGHTS                                                                              \
    TRANSFORMER_WEIGHTS,                                                                           \
        {WEIGHT_ATTN_POST_NORM, "blk.%u.post_attention_norm.weight", DIM_EMBD, DIM_ONE,            \
         WEIGHT_VECTOR},                                                                           \
    {                                                                                              \
        WEIGHT_FFN_POST_NORM, "blk.%u.post_ffw_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR      \
    }

static const struct arch_weight gemma2_weights[] = {
    GEMMA_WEIGHTS,
    {0},
};

static const struct arch_weight gemma3_weights[] = {
    GEMMA_WEIGHTS,
    HEAD_NORMS(0),
    {0},
};

const struct arch_step arch_embed_tokens[] = {
    {STEP_EMBED, VALUE_X, .weight = WEIGHT_TOKEN_EMBD, .scale = REAL_EMBD_SCALE},
    {STEP_END},
};

/* Pre-norm transformer layer. */
static const struct arch_step transformer_layer[] = {
    ATTENTION_STEPS,
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    DENSE_STEPS,
    {STEP_END},
};

/* The output of each part is normed before it is added. */
static const struct arch_step gemma_layer[] = {
    HEADS_STEPS,
    {STEP_MATMUL, VALUE_BRANCH, VALUE_ATT, .weight = WEIGHT_ATTN_OUT},
    {STEP_NORM, VALUE_BRANCH, VALUE_BRANCH, .weight = WEIGHT_ATTN_POST_NORM},
    {STEP_ADD, VALUE_X, VALUE_BRANCH},
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    GLU_STEPS,
    {STEP_MATMUL, VALUE_BRANCH, VALUE_GATE, .weight = WEIGHT_FFN_DOWN},
    {STEP_NORM, VALUE_BRANCH, VALUE_BRANCH, .weight = WEIGHT_FFN_POST_NORM},
    {STEP_ADD, VALUE_X, VALUE_BRANCH},
    {STEP_END},
};

const struct arch_step arch_experts_layer[] = {
    ATTENTION_STEPS,
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    EXPERT_STEPS,
    {STEP_END},
};

/* clang-format off */
/* Multi-head latent attention, from VALUE_Q_HEADS on, by latents alone: keys are [rotated part,
 * latent], values the latent, one head of each for all heads of queries, which are brought to the
 * latents before. Source: DeepSeek-V2 (2024), section 2.1. */
#define LATENT_STEPS LATENT_STEPS_TO(VALUE_NONE)

/* Attention to the positions chosen in a value. */
#define LATENT_STEPS_TO(chosen)                                                                    \
    {STEP_MATMUL, VALUE_KV_LOW, VALUE_NORMED, .weight = WEIGHT_ATTN_KV_DOWN},                      \
    {STEP_COPY, VALUE_V, VALUE_KV_LOW, .part = {DIM_ONE, DIM_KV_RANK, DIM_ZERO, DIM_ZERO}},        \
    {STEP_COPY, VALUE_K, VALUE_KV_LOW, .part = {DIM_ONE, DIM_ROPE, DIM_KV_RANK, DIM_ZERO}},        \
    {STEP_NORM, VALUE_V, VALUE_V, .weight = WEIGHT_ATTN_KV_DOWN_NORM},                             \
    {STEP_COPY_MORE, VALUE_K, VALUE_V, .part = {DIM_ONE, DIM_KV_RANK, DIM_ZERO, DIM_ROPE}},        \
    {STEP_COPY, VALUE_Q_NOPE, VALUE_Q_HEADS, .part = {DIM_HEADS, DIM_NOPE, DIM_ZERO, DIM_ZERO}},   \
    {STEP_HEADS, VALUE_Q_LATENT, VALUE_Q_NOPE, .weight = WEIGHT_ATTN_K_HEADS},                     \
    {STEP_COPY, VALUE_Q, VALUE_Q_HEADS, .part = {DIM_HEADS, DIM_ROPE, DIM_NOPE, DIM_ZERO}},        \
    {STEP_COPY_MORE, VALUE_Q, VALUE_Q_LATENT,                                                      \
     .part = {DIM_HEADS, DIM_KV_RANK, DIM_ZERO, DIM_ROPE}},                                        \
    {STEP_ROPE, VALUE_Q, VALUE_Q},                                                                 \
    {STEP_ROPE, VALUE_K, VALUE_K},                                                                 \
    {STEP_KV_STORE, .in = VALUE_K, .in2 = VALUE_V},                                                \
    {STEP_ATTENTION, VALUE_ATT, VALUE_Q, (chosen)},                                                \
    {STEP_HEADS, VALUE_ATT_MLA, VALUE_ATT, .weight = WEIGHT_ATTN_V_HEADS},                         \
    {STEP_MATMUL_ADD, VALUE_X, VALUE_ATT_MLA, .weight = WEIGHT_ATTN_OUT},                          \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM}

#define LATENT_QUERY_STEPS                                                                         \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},                                \
    {STEP_MATMUL, VALUE_Q_LOW, VALUE_NORMED, .weight = WEIGHT_ATTN_Q_DOWN},                        \
    {STEP_NORM, VALUE_Q_LOW, VALUE_Q_LOW, .weight = WEIGHT_ATTN_Q_DOWN_NORM},                      \
    {STEP_MATMUL, VALUE_Q_HEADS, VALUE_Q_LOW, .weight = WEIGHT_ATTN_Q}

/* An indexer of its own heads chooses what each token's attention looks at, by queries out of the
 * latent of queries and one key for each token. Source: DeepSeek-V3.2 (2025), section 2.1. */
#define INDEX_STEPS                                                                                \
    {STEP_MATMUL, VALUE_INDEX_Q, VALUE_Q_LOW, .weight = WEIGHT_INDEXER_Q},                         \
    {STEP_ROPE_INDEX, VALUE_INDEX_Q, VALUE_INDEX_Q},                                               \
    {STEP_MATMUL, VALUE_INDEX_K, VALUE_NORMED, .weight = WEIGHT_INDEXER_K},                        \
    {STEP_LAYER_NORM, VALUE_INDEX_K, VALUE_INDEX_K, .weight = WEIGHT_INDEXER_K_NORM,               \
     .bias = WEIGHT_INDEXER_K_NORM_BIAS, .scale = REAL_INDEXER_EPS},                               \
    {STEP_ROPE_INDEX, VALUE_INDEX_K, VALUE_INDEX_K},                                               \
    {STEP_INDEX_STORE, .in = VALUE_INDEX_K},                                                       \
    {STEP_MATMUL, VALUE_INDEX_WEIGHTS, VALUE_NORMED, .weight = WEIGHT_INDEXER_PROJ},               \
    {STEP_INDEX_SCORES, VALUE_INDEX_SCORES, VALUE_INDEX_Q, VALUE_INDEX_WEIGHTS},                   \
    {STEP_INDEX_CHOOSE, VALUE_INDEX_CHOSEN, VALUE_INDEX_SCORES}

#define PLAIN_QUERY_STEPS                                                                          \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},                                \
    {STEP_MATMUL, VALUE_Q_HEADS, VALUE_NORMED, .weight = WEIGHT_ATTN_Q}
/* clang-format on */

static const struct arch_step deepseek2_dense_layer[] = {
    LATENT_QUERY_STEPS, LATENT_STEPS, DENSE_STEPS, {STEP_END}};
static const struct arch_step deepseek2_layer[] = {
    LATENT_QUERY_STEPS, LATENT_STEPS, EXPERT_STEPS, SHARED_STEPS, {STEP_END}};
static const struct arch_step deepseek32_dense_layer[] = {
    LATENT_QUERY_STEPS, INDEX_STEPS, LATENT_STEPS_TO(VALUE_INDEX_CHOSEN), DENSE_STEPS, {STEP_END}};
static const struct arch_step deepseek32_layer[] = {
    LATENT_QUERY_STEPS, INDEX_STEPS,  LATENT_STEPS_TO(VALUE_INDEX_CHOSEN),
    EXPERT_STEPS,       SHARED_STEPS, {STEP_END}};
static const struct arch_step deepseek2_lite_dense_layer[] = {
    PLAIN_QUERY_STEPS, LATENT_STEPS, DENSE_STEPS, {STEP_END}};
static const struct arch_step deepseek2_lite_layer[] = {
    PLAIN_QUERY_STEPS, LATENT_STEPS, EXPERT_STEPS, SHARED_STEPS, {STEP_END}};

static const struct arch_step shared_layer[] = {
    ATTENTION_STEPS, {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    EXPERT_STEPS,    SHARED_STEPS,
    {STEP_END},
};

static const struct arch_step gated_shared_layer[] = {
    ATTENTION_STEPS, {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    EXPERT_STEPS,    GATED_SHARED_STEPS,
    {STEP_END},
};

const struct arch_step arch_output_head[] = {
    {STEP_GATHER, VALUE_LAST, VALUE_X},
    {STEP_NORM, VALUE_LAST_NORMED, VALUE_LAST, .weight = WEIGHT_OUTPUT_NORM},
    {STEP_MATMUL, VALUE_LOGITS, VALUE_LAST_NORMED, .weight = WEIGHT_OUTPUT},
    {STEP_SOFTCAP, VALUE_LOGITS},
    {STEP_END},
};

#define LAYERS_OF(layer_steps)                                                                     \
    .before = arch_embed_tokens, .kinds = {{(layer_steps)}}, .after = arch_output_head
#define COMMON_KEYS       .dims = common_dims, .reals = common_reals
#define EXPERT_KEYS(keys) .has_experts = true, .dims = (keys), .reals = common_reals

#define DEEPSEEK2                                                                                  \
    .has_experts = true, .reals = deepseek2_reals, .rope_style = ROPE_PAIRED,                      \
    .before = arch_embed_tokens, .rule = LAYERS_LEADING, .after = arch_output_head,                \
    .router = {GATE_SOFTMAX, false}

/* A file that names no window, or one of 0, has none in any layer. */
#define GEMMA3                                                                                     \
    .reals = gemma3_reals, .weights = gemma3_weights, .rope_style = ROPE_SPLIT,                    \
    .before = arch_embed_tokens, .after = arch_output_head, .activation = GLU_GELU,                \
    .scales_embeddings = true, .share_scaled_layers = 62

static const struct arch archs[] = {
    {"deepseek2", .only_key = "attention.q_lora_rank", DEEPSEEK2, .dims = deepseek2_dims,
     .weights = deepseek2_weights, .kinds = {{deepseek2_dense_layer}, {deepseek2_layer}}},
    {"deepseek2", DEEPSEEK2, .dims = deepseek2_lite_dims, .weights = deepseek2_lite_weights,
     .kinds = {{deepseek2_lite_dense_layer}, {deepseek2_lite_layer}}},
    {"deepseek32", DEEPSEEK2, .dims = deepseek32_dims, .weights = deepseek32_weights,
     .kinds = {{deepseek32_dense_layer}, {deepseek32_layer}}},
    {"gemma2", .dims = gemma2_dims, .reals = gemma2_reals, .weights = gemma2_weights,
     .rope_style = ROPE_SPLIT, .before = arch_embed_tokens,
     .kinds = {{gemma_layer, .is_windowed = true}, {gemma_layer}}, .rule = LAYERS_PERIODIC,
     .after = arch_output_head, .activation = GLU_GELU, .scales_embeddings = true,
     .share_scaled_layers = 46},
    {"gemma3", .only_key = "attention.sliding_window", GEMMA3, .dims = gemma3_dims,
     .kinds = {{gemma_layer, .is_windowed = true, .has_local_rope = true}, {gemma_layer}},
     .rule = LAYERS_PERIODIC},
    {"gemma3", GEMMA3, .dims = common_dims, .kinds = {{gemma_layer}}},
    {"glm4moe", EXPERT_KEYS(glm4moe_dims), .weights = glm4moe_weights, .rope_style = ROPE_SPLIT,
     .before = arch_embed_tokens, .kinds = {{transformer_layer}, {shared_layer}},
     .rule = LAYERS_LEADING, .after = arch_output_head, .router = {GATE_SIGMOID, true}},
    {"gpt-oss", EXPERT_KEYS(gpt_oss_dims), .weights = gpt_oss_weights, .rope_style = ROPE_SPLIT,
     .before = arch_embed_tokens,
     .kinds = {{arch_experts_layer, .is_windowed = true}, {arch_experts_layer}},
     .rule = LAYERS_PERIODIC, .after = arch_output_head, .activation = GLU_CLAMPED,
     .router = {GATE_CHOSEN, false}},
    {"llama", .only_key = "expert_count", EXPERT_KEYS(mixtral_dims), .weights = mixtral_weights,
     .rope_style = ROPE_PAIRED, LAYERS_OF(arch_experts_layer), .router = {GATE_SOFTMAX, true}},
    {"llama", COMMON_KEYS, .weights = llama_weights, .rope_style = ROPE_PAIRED,
     LAYERS_OF(transformer_layer)},
    {"mistral3", COMMON_KEYS, .weights = llama_weights, .rope_style = ROPE_PAIRED,
     LAYERS_OF(transformer_layer)},
    {"qwen2", COMMON_KEYS, .weights = qwen2_weights, .rope_style = ROPE_SPLIT,
     LAYERS_OF(transformer_layer)},
    {"qwen2moe", EXPERT_KEYS(qwen2moe_dims), .weights = qwen2moe_weights, .rope_style = ROPE_SPLIT,
     LAYERS_OF(gated_shared_layer), .router = {GATE_SOFTMAX, false}},
    {"qwen3", COMMON_KEYS, .weights = qwen3_weights, .rope_style = ROPE_SPLIT,
     LAYERS_OF(transformer_layer)},
    {"qwen3moe", EXPERT_KEYS(qwen3moe_dims), .weights = qwen3moe_weights, .rope_style = ROPE_SPLIT,
     LAYERS_OF(arch_experts_layer), .router = {GATE_SOFTMAX, true}},
    {"qwen3vl", COMMON_KEYS, .weights = qwen3_weights, .rope_style = ROPE_SPLIT, .turns_all = true,
     LAYERS_OF(transformer_layer)},
    {"qwen3vlmoe", EXPERT_KEYS(qwen3moe_dims), .weights = qwen3moe_weights,
     .rope_style = ROPE_SPLIT, .turns_all = true, LAYERS_OF(arch_experts_layer),
     .router = {GATE_SOFTMAX, true}},
    {0},
};

/* Each ends with name NULL. */
static const struct arch *const families[] = {archs,        arch_bert,   arch_dense, arch_gemma4,
                                              arch_granite, arch_llama4, arch_moe,   arch_qwen35};

const struct arch *arch_find(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        for (const struct arch *arch = families[i]; arch->name; arch++)
            if (!strcmp(arch->name, name) && !n--)
                return arch;
    return NULL;
}

const char *arch_names(void)
{
    return "bailingmoe2, bert, deepseek2, deepseek32, dots1, ernie4_5, ernie4_5-moe, exaone4, "
           "gemma2, gemma3, gemma4, glm4, glm4moe, gpt-oss, granite, granitemoe, hunyuan-dense, "
           "hunyuan-moe, llama, llama4, minimax-m2, mistral3, nomic-bert, olmo2, phi3, qwen2, "
           "qwen2moe, qwen3, qwen35, qwen35moe, qwen3moe, qwen3next, qwen3vl, qwen3vlmoe, "
           "seed_oss, smollm3, starcoder2";
}
