/* SPDX-License-Identifier: MIT */
/* Granite 3: as Llama and Mixtral, with scales on embeddings, scores, branches and logits. */
#include "model/arch_parts.h"

#include "kernels/args.h"

static const struct arch_dim dense_dims[] = {
    COMMON_DIMS,
    {DIM_FF, "feed_forward_length", KEY_REQUIRED},
    {0},
};

/* An expert is as wide as the key for dense models says. */
static const struct arch_dim expert_dims[] = {
    COMMON_DIMS,
    EXPERT_DIMS,
    {DIM_FF_EXPERT, "feed_forward_length", KEY_REQUIRED},
    {0},
};

static const struct arch_dim shared_dims[] = {
    COMMON_DIMS,
    EXPERT_DIMS,
    {DIM_FF_EXPERT, "feed_forward_length", KEY_REQUIRED},
    {DIM_FF_SHARED, "expert_shared_feed_forward_length", KEY_REQUIRED},
    {0},
};

static const struct arch_real reals[] = {
    COMMON_REALS,
    {REAL_LOGIT_DIVISOR, "logit_scale", true},
    {REAL_BRANCH_SCALE, "residual_scale", false, 0.0f},
    {REAL_EMBD_SCALE, "embedding_scale", false, 0.0f},
    {REAL_ATTN_SCALE, "attention.scale", false, 0.0f},
    {0},
};

static const struct arch_weight dense_weights[] = {TRANSFORMER_WEIGHTS, {0}};
static const struct arch_weight expert_weights[] = {COMMON_WEIGHTS, EXPERT_WEIGHTS(0), {0}};
static const struct arch_weight shared_weights[] = {
    COMMON_WEIGHTS, EXPERT_WEIGHTS(0), SHARED_EXPERT_WEIGHTS(0), {0}};

static const struct arch_step dense_layer[] = {
    ATTENTION_STEPS,
    {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    DENSE_STEPS,
    {STEP_END},
};

static const struct arch_step shared_layer[] = {
    ATTENTION_STEPS, {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_FFN_NORM},
    EXPERT_STEPS,    SHARED_STEPS,
    {STEP_END},
};

static const struct arch_step scaled_head[] = {
    {STEP_GATHER, VALUE_LAST, VALUE_X},
    {STEP_NORM, VALUE_LAST_NORMED, VALUE_LAST, .weight = WEIGHT_OUTPUT_NORM,
     .scale = REAL_LOGIT_SCALE},
    {STEP_MATMUL, VALUE_LOGITS, VALUE_LAST_NORMED, .weight = WEIGHT_OUTPUT},
    {STEP_END},
};

#define GRANITE                                                                                    \
    .reals = reals, .rope_style = ROPE_PAIRED, .before = arch_embed_tokens, .after = scaled_head,  \
    .turns_if_finetuned = true

const struct arch arch_granite[] = {
    {"granite", GRANITE, .dims = dense_dims, .weights = dense_weights, .kinds = {{dense_layer}}},
    {"granitemoe", .only_key = "expert_shared_feed_forward_length", GRANITE, .has_experts = true,
     .dims = shared_dims, .weights = shared_weights, .kinds = {{shared_layer}},
     .router = {GATE_SOFTMAX, true}},
    {"granitemoe", GRANITE, .has_experts = true, .dims = expert_dims, .weights = expert_weights,
     .kinds = {{arch_experts_layer}}, .router = {GATE_SOFTMAX, true}},
    {0},
};
