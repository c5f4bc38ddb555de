/* SPDX-License-Identifier: MIT */
/*
 * Inside model only: what the tables of several families are put together from. Keys, tensors and
 * steps that most of them have stand here once; a family of its own kind has a file of its own,
 * whose list arch_tables.c names.
 */
#ifndef HEARTH_MODEL_ARCH_PARTS_H
#define HEARTH_MODEL_ARCH_PARTS_H

#include "model/arch.h"

/* clang-format off */
/* ---- keys ---- */

/* The keys every decoder-only transformer in GGUF shares. */
#define COMMON_DIMS                                                                                \
    {DIM_LAYERS, "block_count", KEY_REQUIRED},                                                     \
    {DIM_EMBD, "embedding_length", KEY_REQUIRED},                                                  \
    {DIM_CONTEXT, "context_length", KEY_REQUIRED},                                                 \
    {DIM_HEADS, "attention.head_count", KEY_REQUIRED, .may_differ = true},                         \
    {DIM_KV_HEADS, "attention.head_count_kv", KEY_OR_DIM, .dim_a = DIM_HEADS,                      \
     .may_differ = true},                                                                          \
    {DIM_HEAD_K, "attention.key_length", KEY_OR_QUOTIENT, .dim_a = DIM_EMBD, .dim_b = DIM_HEADS},  \
    {DIM_HEAD_V, "attention.value_length", KEY_OR_QUOTIENT, .dim_a = DIM_EMBD,                     \
     .dim_b = DIM_HEADS},                                                                          \
    {DIM_ROPE, "rope.dimension_count", KEY_OR_DIM, .dim_a = DIM_HEAD_K},                           \
    {DIM_ROPE_CONTEXT, "rope.scaling.original_context_length", KEY_OR_DIM,                         \
     .dim_a = DIM_CONTEXT}

#define EXPERT_DIMS                                                                                \
    {DIM_EXPERTS, "expert_count", KEY_REQUIRED},                                                   \
    {DIM_EXPERTS_USED, "expert_used_count", KEY_REQUIRED}

/* Dense layers first, then experts and such that every token goes through. */
#define LEADING_DENSE_DIMS                                                                         \
    {DIM_FF, "feed_forward_length", KEY_REQUIRED, .may_differ = true},                             \
    EXPERT_DIMS,                                                                                   \
    {DIM_EXPERTS_SHARED, "expert_shared_count", KEY_REQUIRED},                                     \
    {DIM_FF_EXPERT, "expert_feed_forward_length", KEY_REQUIRED},                                   \
    {DIM_LEADING, "leading_dense_block_count", KEY_OR_ZERO},                                       \
    {DIM_NEXT, "nextn_predict_layers", KEY_OR_ZERO}

/* How positions rotate queries and keys, and how that is stretched. */
#define ROPE_REALS                                                                                 \
    {REAL_ROPE_BASE, "rope.freq_base", false, 10000.0f},                                           \
    {REAL_ROPE_FACTOR, "rope.scaling.factor", false, 1.0f},                                        \
    {REAL_ROPE_ATTN_FACTOR, "rope.scaling.attn_factor", false, 1.0f},                              \
    {REAL_YARN_BETA_FAST, "rope.scaling.yarn_beta_fast", false, 32.0f},                            \
    {REAL_YARN_BETA_SLOW, "rope.scaling.yarn_beta_slow", false, 1.0f},                             \
    {REAL_YARN_EXT_FACTOR, "rope.scaling.yarn_ext_factor", false, -1.0f}

#define RMS_EPS {REAL_NORM_EPS, "attention.layer_norm_rms_epsilon", true}
#define LAYER_NORM_EPS {REAL_NORM_EPS, "attention.layer_norm_epsilon", true}

#define COMMON_REALS RMS_EPS, ROPE_REALS

/* ---- tensors ---- */

/* The tensors every transformer has, up to the norm before attention. */
#define STREAM_WEIGHTS                                                                             \
    {WEIGHT_TOKEN_EMBD, "token_embd.weight", DIM_EMBD, DIM_VOCAB},                                 \
        {WEIGHT_OUTPUT_NORM, "output_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},              \
        {WEIGHT_OUTPUT, "output.weight", DIM_EMBD, DIM_VOCAB, WEIGHT_OPTIONAL, WEIGHT_TOKEN_EMBD}, \
    {                                                                                              \
        WEIGHT_ATTN_NORM, "blk.%u.attn_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR              \
    }

#define ATTENTION_WEIGHTS                                                                          \
    STREAM_WEIGHTS, {WEIGHT_ATTN_Q, "blk.%u.attn_q.weight", DIM_EMBD, DIM_Q},                      \
        {WEIGHT_ATTN_K, "blk.%u.attn_k.weight", DIM_EMBD, DIM_K},                                  \
        {WEIGHT_ATTN_V, "blk.%u.attn_v.weight", DIM_EMBD, DIM_V},                                  \
    {                                                                                              \
        WEIGHT_ATTN_OUT, "blk.%u.attn_output.weight", DIM_ATT, DIM_EMBD                            \
    }

/* Queries, keys and values as rows of one matrix. */
#define FUSED_QKV_WEIGHTS                                                                          \
    {WEIGHT_ATTN_Q, "blk.%u.attn_qkv.weight", DIM_EMBD, DIM_Q, .of = DIM_QKV, .first = DIM_ZERO},  \
    {WEIGHT_ATTN_K, "blk.%u.attn_qkv.weight", DIM_EMBD, DIM_K, .of = DIM_QKV, .first = DIM_Q},     \
    {WEIGHT_ATTN_V, "blk.%u.attn_qkv.weight", DIM_EMBD, DIM_V, .of = DIM_QKV, .first = DIM_QK},    \
    {WEIGHT_ATTN_OUT, "blk.%u.attn_output.weight", DIM_ATT, DIM_EMBD}

#define COMMON_WEIGHTS                                                                             \
    ATTENTION_WEIGHTS,                                                                             \
    {                                                                                              \
        WEIGHT_FFN_NORM, "blk.%u.ffn_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR                \
    }

/* The router, and the matrices of all experts, each as one tensor; mask: of what kinds of layers. */
#define EXPERT_WEIGHTS(mask)                                                                       \
    {WEIGHT_ROUTER, "blk.%u.ffn_gate_inp.weight", DIM_EMBD, DIM_EXPERTS, .kinds = (mask)},         \
    {WEIGHT_EXPERTS_GATE, "blk.%u.ffn_gate_exps.weight", DIM_EMBD, DIM_FF_EXPERT,                  \
     .planes = DIM_EXPERTS, .kinds = (mask)},                                                      \
    {WEIGHT_EXPERTS_UP, "blk.%u.ffn_up_exps.weight", DIM_EMBD, DIM_FF_EXPERT,                      \
     .planes = DIM_EXPERTS, .kinds = (mask)},                                                      \
    {WEIGHT_EXPERTS_DOWN, "blk.%u.ffn_down_exps.weight", DIM_FF_EXPERT, DIM_EMBD,                  \
     .planes = DIM_EXPERTS, .kinds = (mask)}

#define SHARED_EXPERT_WEIGHTS(mask)                                                                \
    {WEIGHT_SHARED_GATE, "blk.%u.ffn_gate_shexp.weight", DIM_EMBD, DIM_FF_SHARED,                  \
     .kinds = (mask)},                                                                             \
    {WEIGHT_SHARED_UP, "blk.%u.ffn_up_shexp.weight", DIM_EMBD, DIM_FF_SHARED, .kinds = (mask)},    \
    {WEIGHT_SHARED_DOWN, "blk.%u.ffn_down_shexp.weight", DIM_FF_SHARED, DIM_EMBD,                  \
     .kinds = (mask)}

#define DENSE_WEIGHTS(mask)                                                                        \
    {WEIGHT_FFN_GATE, "blk.%u.ffn_gate.weight", DIM_EMBD, DIM_FF, .kinds = (mask)},                \
    {WEIGHT_FFN_UP, "blk.%u.ffn_up.weight", DIM_EMBD, DIM_FF, .kinds = (mask)},                    \
    {WEIGHT_FFN_DOWN, "blk.%u.ffn_down.weight", DIM_FF, DIM_EMBD, .kinds = (mask)}

#define TRANSFORMER_WEIGHTS COMMON_WEIGHTS, DENSE_WEIGHTS(0)

#define HEAD_NORMS(flags)                                                                          \
    {WEIGHT_ATTN_Q_NORM, "blk.%u.attn_q_norm.weight", DIM_HEAD_K, DIM_ONE,                         \
     WEIGHT_VECTOR | (flags)},                                                                     \
    {                                                                                              \
        WEIGHT_ATTN_K_NORM, "blk.%u.attn_k_norm.weight", DIM_HEAD_K, DIM_ONE,                      \
            WEIGHT_VECTOR | (flags)                                                                \
    }

#define QKV_BIASES(flags)                                                                          \
    {WEIGHT_ATTN_Q_BIAS, "blk.%u.attn_q.bias", DIM_Q, DIM_ONE, WEIGHT_VECTOR | (flags)},           \
        {WEIGHT_ATTN_K_BIAS, "blk.%u.attn_k.bias", DIM_K, DIM_ONE, WEIGHT_VECTOR | (flags)},       \
    {                                                                                              \
        WEIGHT_ATTN_V_BIAS, "blk.%u.attn_v.bias", DIM_V, DIM_ONE, WEIGHT_VECTOR | (flags)          \
    }
/* clang-format on */

/* Kinds of layers under LAYERS_LEADING. */
enum { IN_DENSE = 1 << 0, IN_EXPERTS = 1 << 1 };

/* clang-format off */
/* ---- steps ---- */

/* Attention on the normed stream, up to its output matrix. Steps on biases and head norms a model
 * lacks fall away. */
#define HEADS_STEPS                                                                                \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},                                \
    {STEP_MATMUL, VALUE_Q, VALUE_NORMED, .weight = WEIGHT_ATTN_Q, .bias = WEIGHT_ATTN_Q_BIAS},     \
    {STEP_MATMUL, VALUE_K, VALUE_NORMED, .weight = WEIGHT_ATTN_K, .bias = WEIGHT_ATTN_K_BIAS},     \
    {STEP_MATMUL, VALUE_V, VALUE_NORMED, .weight = WEIGHT_ATTN_V, .bias = WEIGHT_ATTN_V_BIAS},     \
    {STEP_HEAD_NORM, VALUE_Q, VALUE_Q, .weight = WEIGHT_ATTN_Q_NORM},                              \
    {STEP_HEAD_NORM, VALUE_K, VALUE_K, .weight = WEIGHT_ATTN_K_NORM},                              \
    {STEP_ROPE_QUERY, VALUE_Q, VALUE_Q, .weight = WEIGHT_ROPE_FACTORS},                            \
    {STEP_ROPE, VALUE_K, VALUE_K, .weight = WEIGHT_ROPE_FACTORS},                                  \
    {STEP_KV_STORE, .in = VALUE_K, .in2 = VALUE_V},                                                \
    {STEP_ATTENTION, VALUE_ATT, VALUE_Q, .weight = WEIGHT_ATTN_SINKS}

/* And added to the stream. */
#define ATTENTION_STEPS                                                                            \
    HEADS_STEPS,                                                                                   \
    {STEP_MATMUL_ADD, VALUE_X, VALUE_ATT, .weight = WEIGHT_ATTN_OUT,                               \
     .bias = WEIGHT_ATTN_OUT_BIAS}

/* The dense feed-forward part on VALUE_NORMED, up to its last matrix. */
#define GLU_STEPS                                                                                  \
    {STEP_MATMUL, VALUE_GATE, VALUE_NORMED, .weight = WEIGHT_FFN_GATE},                            \
    {STEP_MATMUL, VALUE_UP, VALUE_NORMED, .weight = WEIGHT_FFN_UP},                                \
    {STEP_GLU, VALUE_GATE, VALUE_GATE, VALUE_UP}

#define DENSE_STEPS                                                                                \
    GLU_STEPS,                                                                                     \
    {STEP_MATMUL_ADD, VALUE_X, VALUE_GATE, .weight = WEIGHT_FFN_DOWN}

/* Chosen experts on VALUE_NORMED, added to the stream. */
#define EXPERT_STEPS                                                                               \
    {STEP_MATMUL, VALUE_ROUTER, VALUE_NORMED, .weight = WEIGHT_ROUTER,                             \
     .bias = WEIGHT_ROUTER_BIAS},                                                                  \
    {STEP_ROUTE, VALUE_CHOICES, VALUE_ROUTER, .bias = WEIGHT_ROUTER_CHOICE_BIAS},                  \
    {STEP_EXPERTS, VALUE_EXPERT_GATE, VALUE_NORMED, VALUE_CHOICES, WEIGHT_EXPERTS_GATE,            \
     WEIGHT_EXPERTS_GATE_BIAS},                                                                    \
    {STEP_EXPERTS, VALUE_EXPERT_UP, VALUE_NORMED, VALUE_CHOICES, WEIGHT_EXPERTS_UP,                \
     WEIGHT_EXPERTS_UP_BIAS},                                                                      \
    {STEP_GLU, VALUE_EXPERT_GATE, VALUE_EXPERT_GATE, VALUE_EXPERT_UP},                             \
    {STEP_EXPERTS, VALUE_EXPERT_OUT, VALUE_EXPERT_GATE, VALUE_CHOICES, WEIGHT_EXPERTS_DOWN,        \
     WEIGHT_EXPERTS_DOWN_BIAS},                                                                    \
    {STEP_EXPERT_SUM, VALUE_X, VALUE_EXPERT_OUT, VALUE_CHOICES}

/* Every token goes through the same experts besides. */
#define SHARED_GLU_STEPS                                                                           \
    {STEP_MATMUL, VALUE_SHARED_GATE, VALUE_NORMED, .weight = WEIGHT_SHARED_GATE},                  \
    {STEP_MATMUL, VALUE_SHARED_UP, VALUE_NORMED, .weight = WEIGHT_SHARED_UP},                      \
    {STEP_GLU, VALUE_SHARED_GATE, VALUE_SHARED_GATE, VALUE_SHARED_UP}

#define SHARED_STEPS                                                                               \
    SHARED_GLU_STEPS,                                                                              \
    {STEP_MATMUL_ADD, VALUE_X, VALUE_SHARED_GATE, .weight = WEIGHT_SHARED_DOWN}

/* Every token goes through one expert besides, which has a gate of its own. */
#define GATED_SHARED_STEPS                                                                         \
    {STEP_MATMUL, VALUE_SHARED_ROUTER, VALUE_NORMED, .weight = WEIGHT_SHARED_ROUTER},              \
    {STEP_GATE, VALUE_SHARED_CHOICE, VALUE_SHARED_ROUTER},                                         \
    SHARED_GLU_STEPS,                                                                              \
    {STEP_MATMUL, VALUE_SHARED_OUT, VALUE_SHARED_GATE, .weight = WEIGHT_SHARED_DOWN},              \
    {STEP_EXPERT_SUM, VALUE_X, VALUE_SHARED_OUT, VALUE_SHARED_CHOICE}
/* clang-format on */

/* Before and after the layers of every family. */
extern const struct arch_step arch_embed_tokens[], arch_output_head[];
/* Attention, then experts, each normed before. */
extern const struct arch_step arch_experts_layer[];

/* The tables of families with a file of their own; each ends with name NULL. */
extern const struct arch arch_bert[], arch_dense[], arch_gemma4[], arch_granite[], arch_llama4[],
    arch_moe[], arch_qwen35[];

#endif
