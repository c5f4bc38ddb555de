/* SPDX-License-Identifier: MIT */
/*
 * Gemma 4: windowed layers with smaller heads than the global ones, values normed like keys, last
 * layers that read the keys and values of earlier ones; either each layer is told of a token
 * besides (E2B, E4B), or there are experts beside the dense part (26B-A4B), or neither (31B).
 */
#include "model/arch_parts.h"

#include "kernels/args.h"

enum { WINDOWED, GLOBAL, WINDOWED_SHARING, GLOBAL_SHARING };
enum {
    IN_OWN_KV = 1 << WINDOWED | 1 << GLOBAL,
    IN_SHARING = 1 << WINDOWED_SHARING | 1 << GLOBAL_SHARING,
};

/* clang-format off */
#define GEMMA4_DIMS                                                                                \
    COMMON_DIMS,                                                                                   \
    {DIM_FF, "feed_forward_length", KEY_REQUIRED, .may_differ = true},                             \
    {DIM_WINDOW, "attention.sliding_window", KEY_REQUIRED},                                        \
    {DIM_SHARED_KV, "attention.shared_kv_layers", KEY_OR_ZERO},                                    \
    {DIM_PER_LAYER, "embedding_length_per_layer_input", KEY_OR_ZERO}
/* clang-format on */

static const struct arch_dim gemma4_dims[] = {GEMMA4_DIMS, {0}};

static const struct arch_dim gemma4_experts_dims[] = {
    GEMMA4_DIMS,
    EXPERT_DIMS,
    {DIM_FF_EXPERT, "expert_feed_forward_length", KEY_REQUIRED},
    {0},
};

static const struct arch_dim windowed_dims[] = {
    {DIM_HEAD_K, "attention.key_length_swa", KEY_OR_DIM, .dim_a = DIM_HEAD_K},
    {DIM_HEAD_V, "attention.value_length_swa", KEY_OR_DIM, .dim_a = DIM_HEAD_V},
    {DIM_ROPE, "rope.dimension_count_swa", KEY_OR_DIM, .dim_a = DIM_ROPE},
    {0},
};

static const struct arch_real gemma4_reals[] = {
    COMMON_REALS,
    {REAL_ROPE_BASE_LOCAL, "rope.freq_base_swa", true},
    {REAL_LOGIT_SOFTCAP, "final_logit_softcapping", false, 0.0f},
    {0},
};

/* clang-format off */
/* Some global layers have no matrix of values: the keys', before norm and rotation, are those.
 * Layers that share may have matrices which nobody uses. */
#define GEMMA4_WEIGHTS                                                                             \
    STREAM_WEIGHTS,                                                                                \
    {WEIGHT_ROPE_FACTORS, "rope_freqs.weight", DIM_ROPE_PAIRS, DIM_ONE, WEIGHT_VECTOR},            \
    {WEIGHT_ATTN_Q, "blk.%u.attn_q.weight", DIM_EMBD, DIM_Q},                                      \
    {WEIGHT_ATTN_K, "blk.%u.attn_k.weight", DIM_EMBD, DIM_K, .kinds = IN_OWN_KV},                  \
    {WEIGHT_ATTN_K, "blk.%u.attn_k.weight", DIM_EMBD, DIM_K, WEIGHT_OPTIONAL,                      \
     .kinds = IN_SHARING},                                                                         \
    {WEIGHT_ATTN_V, "blk.%u.attn_v.weight", DIM_EMBD, DIM_V, WEIGHT_OPTIONAL, WEIGHT_ATTN_K},      \
    {WEIGHT_ATTN_OUT, "blk.%u.attn_output.weight", DIM_ATT, DIM_EMBD},                             \
    {WEIGHT_ATTN_Q_NORM, "blk.%u.attn_q_norm.weight", DIM_HEAD_K, DIM_ONE, WEIGHT_VECTOR},         \
    {WEIGHT_ATTN_K_NORM, "blk.%u.attn_k_norm.weight", DIM_HEAD_K, DIM_ONE, WEIGHT_VECTOR,          \
     .kinds = IN_OWN_KV},                                                                          \
    {WEIGHT_ATTN_K_NORM, "blk.%u.attn_k_norm.weight", DIM_HEAD_K, DIM_ONE,                         \
     WEIGHT_VECTOR | WEIGHT_OPTIONAL, .kinds = IN_SHARING},                                        \
    {WEIGHT_ATTN_POST_NORM, "blk.%u.post_attention_norm.weight", DIM_EMBD, DIM_ONE,                \
     WEIGHT_VECTOR},                                                                               \
    {WEIGHT_FFN_NORM, "blk.%u.ffn_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},                 \
    DENSE_WEIGHTS(0),                                                                              \
    {WEIGHT_FFN_POST_NORM, "blk.%u.post_ffw_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},       \
    {WEIGHT_LAYER_SCALE, "blk.%u.layer_output_scale.weight", DIM_ONE, DIM_ONE,                     \
     WEIGHT_VECTOR | WEIGHT_OPTIONAL}
/* clang-format on */

static const struct arch_weight gemma4_weights[] = {GEMMA4_WEIGHTS, {0}};

static const struct arch_weight gemma4_told_weights[] = {
    GEMMA4_WEIGHTS,
    {WEIGHT_PER_LAYER_EMBD, "per_layer_token_embd.weight", DIM_PER_LAYERS, DIM_VOCAB},
    {WEIGHT_PER_LAYER_PROJ, "per_layer_model_proj.weight", DIM_EMBD, DIM_PER_LAYERS},
    {WEIGHT_PER_LAYER_NORM, "per_layer_proj_norm.weight", DIM_PER_LAYER, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_PER_LAYER_GATE, "blk.%u.inp_gate.weight", DIM_EMBD, DIM_PER_LAYER},
    {WEIGHT_PER_LAYER_DOWN, "blk.%u.proj.weight", DIM_PER_LAYER, DIM_EMBD},
    {WEIGHT_PER_LAYER_POST_NORM, "blk.%u.post_norm.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    {0},
};

static const struct arch_weight gemma4_experts_weights[] = {
    GEMMA4_WEIGHTS,
    {WEIGHT_ROUTER, "blk.%u.ffn_gate_inp.weight", DIM_EMBD, DIM_EXPERTS},
    {WEIGHT_ROUTER_NORM, "blk.%u.ffn_gate_inp.scale", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_EXPERTS_GATE_UP, "blk.%u.ffn_gate_up_exps.weight", DIM_EMBD, DIM_GATE_UP_EXPERT,
     .planes = DIM_EXPERTS},
    {WEIGHT_EXPERTS_DOWN, "blk.%u.ffn_down_exps.weight", DIM_FF_EXPERT, DIM_EMBD,
     .planes = DIM_EXPERTS},
    {WEIGHT_EXPERTS_SCALES, "blk.%u.ffn_down_exps.scale", DIM_EXPERTS, DIM_ONE,
     WEIGHT_VECTOR | WEIGHT_OPTIONAL},
    {WEIGHT_EXPERTS_NORM, "blk.%u.pre_ffw_norm_2.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_DENSE_POST_NORM, "blk.%u.post_ffw_norm_1.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    {WEIGHT_EXPERTS_POST_NORM, "blk.%u.post_ffw_norm_2.weight", DIM_EMBD, DIM_ONE, WEIGHT_VECTOR},
    {0},
};

/* What all layers are told: (norm(P e) + t) / sqrt(2), e the token's embedding and t what it says
 * itself, scaled by the root of its width. */
static const struct arch_step embed_for_layers[] = {
    {STEP_EMBED, VALUE_X, .weight = WEIGHT_TOKEN_EMBD, .scale = REAL_EMBD_SCALE},
    {STEP_EMBED, VALUE_NORMED, .weight = WEIGHT_TOKEN_EMBD},
    {STEP_MATMUL, VALUE_PER_LAYER, VALUE_NORMED, .weight = WEIGHT_PER_LAYER_PROJ},
    {STEP_NORM, VALUE_PER_LAYER, VALUE_PER_LAYER, .weight = WEIGHT_PER_LAYER_NORM,
     .scale = REAL_ROOT_HALF},
    {STEP_EMBED, VALUE_PER_LAYER_TOKEN, .weight = WEIGHT_PER_LAYER_EMBD,
     .scale = REAL_PER_LAYER_SCALE},
    {STEP_ADD, VALUE_PER_LAYER, VALUE_PER_LAYER_TOKEN},
    {STEP_END},
};

/* clang-format off */
#define QUERY_STEPS(factors)                                                                       \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},                                \
    {STEP_MATMUL, VALUE_Q, VALUE_NORMED, .weight = WEIGHT_ATTN_Q},                                 \
    {STEP_HEAD_NORM, VALUE_Q, VALUE_Q, .weight = WEIGHT_ATTN_Q_NORM},                              \
    {STEP_ROPE, VALUE_Q, VALUE_Q, .weight = (factors)}

#define KEY_STEPS(factors)                                                                         \
    {STEP_MATMUL, VALUE_K, VALUE_NORMED, .weight = WEIGHT_ATTN_K},                                 \
    {STEP_MATMUL, VALUE_V, VALUE_NORMED, .weight = WEIGHT_ATTN_V},                                 \
    {STEP_HEAD_NORM, VALUE_K, VALUE_K, .weight = WEIGHT_ATTN_K_NORM},                              \
    {STEP_PLAIN_NORM, VALUE_V, VALUE_V, .part = {.n = DIM_HEAD_V}},                                \
    {STEP_ROPE, VALUE_K, VALUE_K, .weight = (factors)},                                            \
    {STEP_KV_STORE, .in = VALUE_K, .in2 = VALUE_V}

#define OUT_STEPS                                                                                  \
    {STEP_ATTENTION, VALUE_ATT, VALUE_Q},                                                          \
    {STEP_MATMUL, VALUE_BRANCH, VALUE_ATT, .weight = WEIGHT_ATTN_OUT},                             \
    {STEP_NORM, VALUE_BRANCH, VALUE_BRANCH, .weight = WEIGHT_ATTN_POST_NORM},                      \
    {STEP_ADD, VALUE_X, VALUE_BRANCH}

#define FFN_STEPS                                                                                  \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},                                 \
    GLU_STEPS,                                                                                     \
    {STEP_MATMUL, VALUE_BRANCH, VALUE_GATE, .weight = WEIGHT_FFN_DOWN}

#define FFN_END_STEPS                                                                              \
    {STEP_NORM, VALUE_BRANCH, VALUE_BRANCH, .weight = WEIGHT_FFN_POST_NORM},                       \
    {STEP_ADD, VALUE_X, VALUE_BRANCH, .weight = WEIGHT_LAYER_SCALE}

#define TOLD_STEPS                                                                                 \
    {STEP_NORM, VALUE_BRANCH, VALUE_BRANCH, .weight = WEIGHT_FFN_POST_NORM},                       \
    {STEP_ADD, VALUE_X, VALUE_BRANCH},                                                             \
    {STEP_MATMUL, VALUE_PER_LAYER_GATE, VALUE_X, .weight = WEIGHT_PER_LAYER_GATE},                 \
    {STEP_COPY, VALUE_PER_LAYER_UP, VALUE_PER_LAYER,                                               \
     .part = {DIM_ONE, DIM_PER_LAYER, DIM_PER_LAYER_FIRST, DIM_ZERO}},                             \
    {STEP_GLU, VALUE_PER_LAYER_GATE, VALUE_PER_LAYER_GATE, VALUE_PER_LAYER_UP},                    \
    {STEP_MATMUL, VALUE_BRANCH, VALUE_PER_LAYER_GATE, .weight = WEIGHT_PER_LAYER_DOWN},            \
    {STEP_NORM, VALUE_BRANCH, VALUE_BRANCH, .weight = WEIGHT_PER_LAYER_POST_NORM},                 \
    {STEP_ADD, VALUE_X, VALUE_BRANCH, .weight = WEIGHT_LAYER_SCALE}

/* The router looks at the stream itself, normed by weights of its own. */
#define BESIDE_STEPS                                                                               \
    {STEP_NORM, VALUE_BRANCH, VALUE_BRANCH, .weight = WEIGHT_DENSE_POST_NORM},                     \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ROUTER_NORM, .scale = REAL_EMBD_ROOT},     \
    {STEP_MATMUL, VALUE_ROUTER, VALUE_NORMED, .weight = WEIGHT_ROUTER},                            \
    {STEP_ROUTE, VALUE_CHOICES, VALUE_ROUTER, .weight = WEIGHT_EXPERTS_SCALES},                    \
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_EXPERTS_NORM},                             \
    {STEP_EXPERTS, VALUE_EXPERT_GATE_UP, VALUE_NORMED, VALUE_CHOICES, WEIGHT_EXPERTS_GATE_UP},     \
    {STEP_COPY, VALUE_EXPERT_GATE, VALUE_EXPERT_GATE_UP,                                           \
     .part = {DIM_EXPERTS_USED, DIM_FF_EXPERT, DIM_ZERO, DIM_ZERO}},                               \
    {STEP_COPY, VALUE_EXPERT_UP, VALUE_EXPERT_GATE_UP,                                             \
     .part = {DIM_EXPERTS_USED, DIM_FF_EXPERT, DIM_FF_EXPERT, DIM_ZERO}},                          \
    {STEP_GLU, VALUE_EXPERT_GATE, VALUE_EXPERT_GATE, VALUE_EXPERT_UP},                             \
    {STEP_EXPERTS, VALUE_EXPERT_OUT, VALUE_EXPERT_GATE, VALUE_CHOICES, WEIGHT_EXPERTS_DOWN},       \
    {STEP_EXPERT_MIX, VALUE_EXPERT_BRANCH, VALUE_EXPERT_OUT, VALUE_CHOICES},                       \
    {STEP_NORM, VALUE_EXPERT_BRANCH, VALUE_EXPERT_BRANCH, .weight = WEIGHT_EXPERTS_POST_NORM},     \
    {STEP_ADD, VALUE_BRANCH, VALUE_EXPERT_BRANCH}

/* The four kinds of layers whose feed-forward part is the rest. */
#define LAYERS(name, ...)                                                                          \
    static const struct arch_step name##_windowed[] = {                                            \
        QUERY_STEPS(WEIGHT_NONE), KEY_STEPS(WEIGHT_NONE), OUT_STEPS, __VA_ARGS__, {STEP_END}};     \
    static const struct arch_step name##_global[] = {                                              \
        QUERY_STEPS(WEIGHT_ROPE_FACTORS), KEY_STEPS(WEIGHT_ROPE_FACTORS), OUT_STEPS, __VA_ARGS__,  \
        {STEP_END}};                                                                               \
    static const struct arch_step name##_windowed_sharing[] = {                                    \
        QUERY_STEPS(WEIGHT_NONE), OUT_STEPS, __VA_ARGS__, {STEP_END}};                             \
    static const struct arch_step name##_global_sharing[] = {                                      \
        QUERY_STEPS(WEIGHT_ROPE_FACTORS), OUT_STEPS, __VA_ARGS__, {STEP_END}}

#define KINDS(name)                                                                                \
    .kinds = {                                                                                     \
        [WINDOWED] = {name##_windowed, .is_windowed = true, .has_local_rope = true,                \
                      .dims = windowed_dims},                                                      \
        [GLOBAL] = {name##_global},                                                                \
        [WINDOWED_SHARING] = {name##_windowed_sharing, .is_windowed = true,                        \
                              .has_local_rope = true, .shares_kv = true, .dims = windowed_dims},   \
        [GLOBAL_SHARING] = {name##_global_sharing, .shares_kv = true},                             \
    }

LAYERS(dense, FFN_STEPS, FFN_END_STEPS);
LAYERS(told, FFN_STEPS, TOLD_STEPS);
LAYERS(beside, FFN_STEPS, BESIDE_STEPS, FFN_END_STEPS);

#define GEMMA4                                                                                     \
    .reals = gemma4_reals, .rope_style = ROPE_SPLIT, .after = arch_output_head,                    \
    .rule = LAYERS_LISTED, .list_key = "attention.sliding_window_pattern",                         \
    .activation = GLU_GELU, .scales_embeddings = true, .attn_scale = 1.0f

const struct arch arch_gemma4[] = {
    {"gemma4", .only_key = "embedding_length_per_layer_input", GEMMA4, .dims = gemma4_dims,
     .weights = gemma4_told_weights, .before = embed_for_layers, KINDS(told)},
    {"gemma4", .only_key = "expert_count", GEMMA4, .has_experts = true,
     .dims = gemma4_experts_dims, .weights = gemma4_experts_weights, .before = arch_embed_tokens,
     KINDS(beside), .router = {GATE_SOFTMAX, true}},
    {"gemma4", GEMMA4, .dims = gemma4_dims, .weights = gemma4_weights,
     .before = arch_embed_tokens, KINDS(dense)},
    {0},
};
/* clang-format on */
