/* SPDX-License-Identifier: MIT */
/* Tables to models: what is refused and how it is named, what follows from absent keys. */
#include "harness.h"
#include "model_fixture.h"

#include "kernels/args.h"
#include "model/model_size.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- refusals ---- */

struct refusal {
    void (*edit)(struct gguf_builder *b);
    int code;
    const char *words[3];
};

static void assert_refused(const struct builder_shape *shape, const struct refusal *r)
{
    struct gguf_builder b;
    struct error err = {0};

    gguf_builder_transformer(&b, shape);
    r->edit(&b);
    if (model_fixture_try(&b, &err) != r->code)
        fail_msg("refusal of '%s': %d '%s'", r->words[0], err.code, err.text);
    for (size_t k = 0; k < 3 && r->words[k]; k++)
        assert_says(err.text, r->words[k]);
}

static void unknown_arch(struct gguf_builder *b)
{
    gguf_builder_str(b, "general.architecture", "gallimaufry");
}
static void no_arch(struct gguf_builder *b)
{
    gguf_builder_drop(b, "general.architecture");
}
static void no_heads(struct gguf_builder *b)
{
    gguf_builder_drop(b, "llama.attention.head_count");
}
static void no_eps(struct gguf_builder *b)
{
    gguf_builder_drop(b, "llama.attention.layer_norm_rms_epsilon");
}
static void text_for_number(struct gguf_builder *b)
{
    gguf_builder_str(b, "llama.embedding_length", "wide");
}
static void text_for_real(struct gguf_builder *b)
{
    gguf_builder_str(b, "llama.attention.layer_norm_rms_epsilon", "small");
}
static void zero_layers(struct gguf_builder *b)
{
    gguf_builder_u32(b, "llama.block_count", 0);
}
static void absurd_ff(struct gguf_builder *b)
{
    gguf_builder_u32(b, "llama.feed_forward_length", 1u << 22);
}
static void layers_without_tensors(struct gguf_builder *b)
{
    gguf_builder_u32(b, "llama.block_count", 1u << 20);
}
static void heads_not_multiple(struct gguf_builder *b)
{
    gguf_builder_u32(b, "llama.attention.head_count_kv", 4);
}
static void wide_heads(struct gguf_builder *b)
{
    gguf_builder_u32(b, "llama.attention.key_length", 1u << 20);
}
static void indivisible_width(struct gguf_builder *b)
{
    gguf_builder_u32(b, "llama.attention.head_count", 7);
    gguf_builder_drop(b, "llama.attention.key_length");
}
static void rope_beyond_head(struct gguf_builder *b)
{
    gguf_builder_u32(b, "llama.rope.dimension_count", 34);
}
static void odd_rope(struct gguf_builder *b)
{
    gguf_builder_u32(b, "llama.rope.dimension_count", 31);
}
static void unknown_scaling(struct gguf_builder *b)
{
    gguf_builder_str(b, "llama.rope.scaling.type", "longrope");
}
static void scaling_of_wrong_type(struct gguf_builder *b)
{
    gguf_builder_u32(b, "llama.rope.scaling.type", 2);
}
static void negative_factor(struct gguf_builder *b)
{
    gguf_builder_f32(b, "llama.rope.scaling.factor", -2.0f);
}
static void infinite_factor(struct gguf_builder *b)
{
    gguf_builder_f32(b, "llama.rope.scaling.factor", INFINITY);
}
static void negative_eps(struct gguf_builder *b)
{
    gguf_builder_f32(b, "llama.attention.layer_norm_rms_epsilon", -1e-5f);
}
static void ramp_from_nowhere(struct gguf_builder *b)
{
    gguf_builder_str(b, "llama.rope.scaling.type", "yarn");
    gguf_builder_f32(b, "llama.rope.scaling.yarn_beta_fast", 0.0f);
}
static void base_of_one(struct gguf_builder *b)
{
    gguf_builder_f32(b, "llama.rope.freq_base", 1.0f);
}
static void no_embedding(struct gguf_builder *b)
{
    gguf_builder_drop(b, "token_embd.weight");
}
static void no_matrix(struct gguf_builder *b)
{
    gguf_builder_drop(b, "blk.1.attn_v.weight");
}
static void no_norm(struct gguf_builder *b)
{
    gguf_builder_drop(b, "output_norm.weight");
}
static void unknown_tensor(struct gguf_builder *b)
{
    gguf_builder_tensor(b, "blk.0.attn_sinks.weight", GGUF_TYPE_F32, 6, 0);
}
static void layer_too_many(struct gguf_builder *b)
{
    gguf_builder_tensor(b, "blk.2.ffn_norm.weight", GGUF_TYPE_F32, 96, 0);
}
static void wrong_shape(struct gguf_builder *b)
{
    gguf_builder_find(b, "blk.0.ffn_down.weight")->rows = 64;
}
static void vector_for_matrix(struct gguf_builder *b)
{
    gguf_builder_find(b, "blk.0.ffn_down.weight")->rows = 0;
}
static void norm_too_long(struct gguf_builder *b)
{
    gguf_builder_find(b, "blk.1.ffn_norm.weight")->cols = 97;
}
static void norm_of_halves(struct gguf_builder *b)
{
    gguf_builder_find(b, "blk.1.ffn_norm.weight")->type = GGUF_TYPE_F16;
}
static void type_without_kernel(struct gguf_builder *b)
{
    gguf_builder_find(b, "blk.1.ffn_up.weight")->type = GGUF_TYPE_F64;
}

static void model_refuses_and_names_the_fault(void **state)
{
    static const struct refusal refusals[] = {
        {unknown_arch, -ENOTSUP, {"gallimaufry", "mistral3", "qwen3moe"}},
        {no_arch, -ENOENT, {"general.architecture"}},
        {no_heads, -EINVAL, {"llama.attention.head_count", "missing"}},
        {no_eps, -EINVAL, {"llama.attention.layer_norm_rms_epsilon", "missing"}},
        {text_for_number, -EINVAL, {"llama.embedding_length"}},
        {text_for_real, -EINVAL, {"llama.attention.layer_norm_rms_epsilon"}},
        {zero_layers, -EINVAL, {"llama.block_count is 0"}},
        {absurd_ff, -EINVAL, {"llama.feed_forward_length is 4194304"}},
        {layers_without_tensors, -EINVAL, {"llama.block_count is 1048576"}},
        {heads_not_multiple, -EINVAL, {"head_count 6", "head_count_kv 4"}},
        {wide_heads, -EINVAL, {"6 heads of 1048576 channels"}},
        {indivisible_width, -EINVAL, {"llama.attention.key_length", "96 is not a multiple of 7"}},
        {rope_beyond_head, -EINVAL, {"llama.rope.dimension_count 34", "32 channels"}},
        {odd_rope, -EINVAL, {"llama.rope.dimension_count 31", "even"}},
        {unknown_scaling, -ENOTSUP, {"llama.rope.scaling.type", "longrope"}},
        {scaling_of_wrong_type, -EINVAL, {"llama.rope.scaling.type"}},
        {negative_factor, -EINVAL, {"llama.rope.scaling.factor", "negative"}},
        {infinite_factor, -EINVAL, {"llama.rope.scaling.factor", "finite"}},
        {negative_eps, -EINVAL, {"llama.attention.layer_norm_rms_epsilon is -1e-05"}},
        {ramp_from_nowhere, -EINVAL, {"llama.rope.scaling.yarn_beta_fast is 0", "above 0"}},
        {base_of_one, -EINVAL, {"llama.rope.freq_base is 1"}},
        {no_embedding, -EINVAL, {"token_embd.weight", "missing"}},
        {no_matrix, -EINVAL, {"blk.1.attn_v.weight", "missing"}},
        {no_norm, -EINVAL, {"output_norm.weight", "missing"}},
        {unknown_tensor, -ENOTSUP, {"blk.0.attn_sinks.weight"}},
        {layer_too_many, -ENOTSUP, {"blk.2.ffn_norm.weight"}},
        {wrong_shape, -EINVAL, {"blk.0.ffn_down.weight", "[160, 64", "[160, 96, 1]"}},
        {vector_for_matrix, -EINVAL, {"blk.0.ffn_down.weight", "[160, 1"}},
        {norm_too_long, -EINVAL, {"blk.1.ffn_norm.weight", "[97, 1"}},
        {norm_of_halves, -ENOTSUP, {"blk.1.ffn_norm.weight", "F16", "F32"}},
        {type_without_kernel, -ENOTSUP, {"blk.1.ffn_up.weight", "F64"}},
    };
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_Q8_0);

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        assert_refused(&shape, &refusals[i]);
}

static void qwen2_needs_its_biases_and_qwen3_its_head_norms(void **state)
{
    struct builder_shape shape = model_fixture_shape("qwen2", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct error err = {0};

    gguf_builder_transformer(&b, &shape);
    gguf_builder_drop(&b, "blk.1.attn_k.bias");
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "blk.1.attn_k.bias");
    shape.arch = "qwen3";
    gguf_builder_transformer(&b, &shape);
    gguf_builder_drop(&b, "blk.0.attn_q_norm.weight");
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "blk.0.attn_q_norm.weight");
    gguf_builder_transformer(&b, &shape);
    gguf_builder_tensor(&b, "blk.0.attn_q.bias", GGUF_TYPE_F32, 192, 0);
    assert_int_equal(model_fixture_try(&b, &err), -ENOTSUP);
    assert_says(err.text, "blk.0.attn_q.bias");
}

/* ---- experts ---- */

static void more_used_than_there_are(struct gguf_builder *b)
{
    gguf_builder_u32(b, "qwen3moe.expert_used_count", BUILDER_EXPERTS + 1);
}
static void too_many_experts(struct gguf_builder *b)
{
    gguf_builder_u32(b, "qwen3moe.expert_count", 1025);
}
static void experts_of_another_number(struct gguf_builder *b)
{
    gguf_builder_find(b, "blk.1.ffn_up_exps.weight")->planes = BUILDER_EXPERTS - 1;
}
static void unknown_gate(struct gguf_builder *b)
{
    gguf_builder_u32(b, "qwen3moe.expert_gating_func", 4);
}
static void groups_that_do_not_divide(struct gguf_builder *b)
{
    gguf_builder_u32(b, "qwen3moe.expert_group_count", 2);
}
static void groups_too_small(struct gguf_builder *b)
{
    gguf_builder_u32(b, "qwen3moe.expert_group_count", BUILDER_EXPERTS);
    gguf_builder_u32(b, "qwen3moe.expert_group_used_count", 1);
}
static void negative_scale(struct gguf_builder *b)
{
    gguf_builder_f32(b, "qwen3moe.expert_weights_scale", -1.0f);
}
static void no_experts(struct gguf_builder *b)
{
    gguf_builder_drop(b, "qwen3moe.expert_count");
}
static void no_router(struct gguf_builder *b)
{
    gguf_builder_drop(b, "blk.0.ffn_gate_inp.weight");
}

/* The product in 32 bits would be as wide as one expert. */
static void shared_experts_as_wide_as_none(struct gguf_builder *b)
{
    gguf_builder_u32(b, "glm4moe.expert_shared_count", (1u << 16) + 1);
    gguf_builder_u32(b, "glm4moe.expert_feed_forward_length", 1u << 16);
}

static void experts_that_cannot_be_are_refused_by_name(void **state)
{
    static const struct refusal refusals[] = {
        {more_used_than_there_are, -EINVAL, {"expert_used_count is 6", "5 experts"}},
        {too_many_experts, -ENOTSUP, {"qwen3moe.expert_count is 1025", "1024"}},
        {experts_of_another_number, -EINVAL, {"blk.1.ffn_up_exps.weight", "160, 4]", "160, 5]"}},
        {unknown_gate, -ENOTSUP, {"qwen3moe.expert_gating_func is 4"}},
        {groups_that_do_not_divide, -EINVAL, {"qwen3moe.expert_group_used_count", "2 groups"}},
        {groups_too_small, -EINVAL, {"qwen3moe.expert_group_used_count is 1", "5 groups"}},
        {negative_scale, -EINVAL, {"qwen3moe.expert_weights_scale is -1"}},
        {no_experts, -EINVAL, {"qwen3moe.expert_count", "missing"}},
        {no_router, -EINVAL, {"blk.0.ffn_gate_inp.weight", "missing"}},
    };
    static const struct refusal shared = {
        shared_experts_as_wide_as_none,
        -EINVAL,
        {"glm4moe.expert_shared_count 65537", "expert_feed_forward_length 65536"},
    };
    struct builder_shape shape = model_fixture_shape("qwen3moe", GGUF_TYPE_Q8_0);

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        assert_refused(&shape, &refusals[i]);
    shape = model_fixture_shape("glm4moe", GGUF_TYPE_F32);
    assert_refused(&shape, &shared);
}

static void tensors_of_a_kind_belong_into_its_layers_alone(void **state)
{
    struct builder_shape shape = model_fixture_shape("glm4moe", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct model_fixture f;
    struct error err = {0};

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_non_null(model_weight(f.model, WEIGHT_FFN_GATE, 0)->tensor);
    assert_null(model_weight(f.model, WEIGHT_EXPERTS_GATE, 0)->tensor);
    assert_null(model_weight(f.model, WEIGHT_FFN_GATE, 1)->tensor);
    assert_non_null(model_weight(f.model, WEIGHT_EXPERTS_GATE, 1)->tensor);
    model_fixture_finish(&f);

    gguf_builder_tensor(&b, "blk.1.ffn_gate.weight", GGUF_TYPE_F32, shape.embd, shape.ff);
    assert_int_equal(model_fixture_try(&b, &err), -ENOTSUP);
    assert_says(err.text, "blk.1.ffn_gate.weight");
    gguf_builder_drop(&b, "blk.1.ffn_gate.weight");
    gguf_builder_drop(&b, "blk.1.ffn_up_exps.weight");
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "blk.1.ffn_up_exps.weight");

    gguf_builder_transformer(&b, &shape);
    gguf_builder_u32(&b, "glm4moe.leading_dense_block_count", 3);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "glm4moe.leading_dense_block_count is 3 of 2 layers");
}

/* What predicts further tokens is counted among the blocks, and kept without a use. */
static void layers_that_predict_further_tokens_are_kept_and_not_run(void **state)
{
    struct builder_shape shape = model_fixture_shape("glm4moe", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct model_fixture f;
    struct error err = {0};

    gguf_builder_transformer(&b, &shape);
    gguf_builder_tensor(&b, "blk.2.nextn.eh_proj.weight", GGUF_TYPE_F32, 8, 8);
    assert_int_equal(model_fixture_try(&b, &err), -ENOTSUP);
    assert_says(err.text, "blk.2.nextn.eh_proj.weight");
    gguf_builder_u32(&b, "glm4moe.block_count", 3);
    gguf_builder_u32(&b, "glm4moe.nextn_predict_layers", 1);
    model_fixture_init(&f, &b);
    assert_int_equal(f.model->dims.dim[DIM_LAYERS], 2);
    model_fixture_finish(&f);
    gguf_builder_tensor(&b, "blk.3.nextn.eh_proj.weight", GGUF_TYPE_F32, 8, 8);
    assert_int_equal(model_fixture_try(&b, &err), -ENOTSUP);
    assert_says(err.text, "blk.3.nextn.eh_proj.weight");
    gguf_builder_u32(&b, "glm4moe.nextn_predict_layers", 3);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "glm4moe.nextn_predict_layers is 3 of 3 layers");
}

static void another_latent(struct gguf_builder *b)
{
    gguf_builder_u32(b, "deepseek2.attention.kv_lora_rank", 64);
}
static void all_of_a_query_rotated(struct gguf_builder *b)
{
    gguf_builder_u32(b, "deepseek2.attention.key_length_mla", 16);
}
static void keys_before_they_were_latent(struct gguf_builder *b)
{
    gguf_builder_drop(b, "deepseek2.attention.key_length_mla");
}

/* The product does not fit into 32 bits. */
static void queries_as_wide_as_none(struct gguf_builder *b)
{
    gguf_builder_u32(b, "deepseek2.attention.head_count", 2048);
    gguf_builder_u32(b, "deepseek2.attention.key_length_mla", (1u << 21) - 1);
}

static void latents_that_do_not_fit_are_refused_by_name(void **state)
{
    static const struct refusal refusals[] = {
        {another_latent, -EINVAL, {"deepseek2.attention.key_length 48", "64 channels"}},
        {all_of_a_query_rotated, -EINVAL, {"deepseek2.attention.key_length_mla 16", "16 channels"}},
        {keys_before_they_were_latent, -EINVAL, {"deepseek2.attention.key_length_mla", "missing"}},
        {queries_as_wide_as_none,
         -EINVAL,
         {"deepseek2.attention.head_count 2048", "attention.key_length_mla 2097151"}},
    };
    struct builder_shape shape = model_fixture_shape("deepseek2", GGUF_TYPE_Q8_0);

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        assert_refused(&shape, &refusals[i]);
}

/* ---- layers of a delta rule ---- */

static void no_attention_at_all(struct gguf_builder *b)
{
    gguf_builder_u32(b, "qwen35.full_attention_interval", 3);
}
static void heads_of_a_rule_not_multiple(struct gguf_builder *b)
{
    gguf_builder_u32(b, "qwen35.ssm.group_count", 4);
}
static void wide_state(struct gguf_builder *b)
{
    gguf_builder_u32(b, "qwen35.ssm.state_size", 512);
}
static void many_taps(struct gguf_builder *b)
{
    gguf_builder_u32(b, "qwen35.ssm.conv_kernel", 9);
}
static void values_wider_than_their_gates(struct gguf_builder *b)
{
    gguf_builder_u32(b, "qwen35.attention.value_length", 64);
}
static void no_state_size(struct gguf_builder *b)
{
    gguf_builder_drop(b, "qwen35.ssm.state_size");
}
static void a_delta_rule_where_attention_stands(struct gguf_builder *b)
{
    gguf_builder_drop(b, "blk.0.ssm_a");
}

static void delta_rules_that_make_no_sense_are_refused(void **state)
{
    static const struct refusal refusals[] = {
        {no_attention_at_all, -EINVAL, {"qwen35.full_attention_interval is 3", "2 layers"}},
        {heads_of_a_rule_not_multiple, -EINVAL, {"qwen35.ssm.inner_size 192", "6 heads", "for 4"}},
        {wide_state, -ENOTSUP, {"qwen35.ssm.state_size is 512", "256"}},
        {many_taps, -ENOTSUP, {"qwen35.ssm.conv_kernel is 9", "8"}},
        {values_wider_than_their_gates, -EINVAL, {"qwen35.attention.key_length 32", "64"}},
        {no_state_size, -EINVAL, {"qwen35.ssm.state_size", "missing"}},
        {a_delta_rule_where_attention_stands, -EINVAL, {"blk.0.ssm_a", "missing"}},
    };
    struct builder_shape shape = model_fixture_shape("qwen35", GGUF_TYPE_Q8_0);

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        assert_refused(&shape, &refusals[i]);
}

/* One of two layers keeps f16 keys and values, the other a state of floats. */
static void layers_keep_keys_and_values_or_a_state(void **state)
{
    struct builder_shape shape = model_fixture_shape("qwen35", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct model_fixture f;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_false(model_stores_kv(f.model, 0));
    assert_true(model_stores_kv(f.model, 1));
    assert_int_equal(model_kv_bytes_per_token(f.model, KV_F16), 2 * 2 * 32 * 2);
    assert_int_equal(model_conv_state_bytes(f.model, 0), 3 * (2 * 2 + 6) * 32 * 4);
    assert_int_equal(model_delta_state_bytes(f.model, 0), 6 * 32 * 32 * 4);
    assert_int_equal(model_conv_state_bytes(f.model, 1), 0);
    assert_int_equal(model_delta_state_bytes(f.model, 1), 0);
    assert_int_equal(model_state_bytes(f.model), 3 * 10 * 32 * 4 + 6 * 32 * 32 * 4);
    model_fixture_finish(&f);
}

/* Files of either time: inputs of a delta rule as two tensors, or as one. */
static void a_tensor_tells_which_of_two_tables_a_file_is_of(void **state)
{
    struct builder_shape shape = model_fixture_shape("qwen3next", GGUF_TYPE_F16);
    struct gguf_builder b;
    struct error err = {0};

    gguf_builder_transformer(&b, &shape);
    assert_int_equal(model_fixture_try(&b, &err), 0);
    gguf_builder_drop(&b, "blk.0.attn_qkv.weight");
    gguf_builder_drop(&b, "blk.0.attn_gate.weight");
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "blk.0.attn_qkv.weight");
    gguf_builder_tensor(&b, "blk.0.ssm_in.weight", GGUF_TYPE_F16, 96, 2 * (2 + 6) * 32);
    assert_int_equal(model_fixture_try(&b, &err), 0);
    gguf_builder_tensor(&b, "blk.0.attn_gate.weight", GGUF_TYPE_F16, 96, 6 * 32);
    assert_int_equal(model_fixture_try(&b, &err), -ENOTSUP);
    assert_says(err.text, "blk.0.attn_gate.weight");
}

static void routers_are_read_by_key_or_as_the_architecture_has_them(void **state)
{
    struct builder_shape shape = model_fixture_shape("qwen3moe", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct model_fixture f;
    struct router_params p;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    p = f.model->dims.router;
    assert_int_equal(f.model->dims.dim[DIM_EXPERTS], BUILDER_EXPERTS);
    assert_int_equal(f.model->dims.dim[DIM_EXPERTS_FF], BUILDER_EXPERTS_USED * shape.ff);
    assert_int_equal(p.gate, GATE_SOFTMAX);
    assert_true(p.normalises);
    assert_true(p.scale == 1.0f);
    assert_int_equal(p.n_groups, 1);
    model_fixture_finish(&f);

    gguf_builder_u32(&b, "qwen3moe.expert_gating_func", 2);
    gguf_builder_u32(&b, "qwen3moe.expert_group_count", BUILDER_EXPERTS);
    gguf_builder_u32(&b, "qwen3moe.expert_group_used_count", 3);
    gguf_builder_f32(&b, "qwen3moe.expert_weights_scale", 2.5f);
    model_fixture_init(&f, &b);
    p = f.model->dims.router;
    assert_int_equal(p.gate, GATE_SIGMOID);
    assert_true(p.scale == 2.5f);
    assert_int_equal(p.n_groups, BUILDER_EXPERTS);
    assert_int_equal(p.n_groups_used, 3);
    model_fixture_finish(&f);
}

/* ---- numbers ---- */

static void absent_keys_follow_from_others(void **state)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct model_fixture f;
    const uint32_t *dim;

    shape.embd = 192; /* six heads of 32 */
    shape.kv_heads = 6;
    gguf_builder_transformer(&b, &shape);
    gguf_builder_drop(&b, "llama.attention.head_count_kv");
    gguf_builder_drop(&b, "llama.attention.key_length");
    gguf_builder_drop(&b, "llama.attention.value_length");
    model_fixture_init(&f, &b);
    dim = f.model->dims.dim;
    assert_int_equal(dim[DIM_KV_HEADS], 6);
    assert_int_equal(dim[DIM_HEAD_K], 32);
    assert_int_equal(dim[DIM_HEAD_V], 32);
    assert_int_equal(dim[DIM_ROPE], 32);
    assert_int_equal(dim[DIM_ROPE_PAIRS], 16);
    assert_int_equal(dim[DIM_ROPE_CONTEXT], 2048);
    assert_int_equal(dim[DIM_Q], 192);
    assert_int_equal(dim[DIM_K], 192);
    assert_int_equal(dim[DIM_VOCAB], 117);
    assert_true(f.model->dims.real[REAL_ROPE_BASE] == 10000.0f);
    assert_int_equal(model_kv_bytes_per_token(f.model, KV_F16), 2 * (192 + 192) * 2);
    assert_int_equal(model_kv_bytes_per_token(f.model, KV_Q8_0), 2 * (192 + 192) / 32 * 34);
    model_fixture_finish(&f);
}

static struct rope_params rope_of(const struct gguf_builder *b)
{
    struct model_fixture f;
    struct rope_params p;

    model_fixture_init(&f, b);
    dims_rope(&f.model->dims, &p);
    model_fixture_finish(&f);
    return p;
}

static void assert_near(float got, float want)
{
    if (!(fabsf(got - want) <= 1e-5f * fabsf(want) + 1e-6f))
        fail_msg("%.7g is not %.7g", (double)got, (double)want);
}

static void rope_scaling_is_read_by_its_type(void **state)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct rope_params p;

    gguf_builder_transformer(&b, &shape);
    p = rope_of(&b);
    assert_near(p.freq_scale, 1.0f);
    assert_near(p.attn_factor, 1.0f);
    assert_near(p.ext_factor, 0.0f);

    gguf_builder_f32(&b, "llama.rope.scaling.factor", 4.0f); /* a factor alone is linear */
    assert_near(rope_of(&b).freq_scale, 0.25f);
    gguf_builder_str(&b, "llama.rope.scaling.type", "linear");
    p = rope_of(&b);
    assert_near(p.freq_scale, 0.25f);
    assert_near(p.ext_factor, 0.0f);
    gguf_builder_str(&b, "llama.rope.scaling.type", "none");
    assert_near(rope_of(&b).freq_scale, 1.0f);
    gguf_builder_str(&b, "llama.rope.scaling.type", "linear");
    gguf_builder_f32(&b, "llama.rope.scaling.factor", 0.0f); /* some files write 0 for none */
    assert_near(rope_of(&b).freq_scale, 1.0f);
}

static void yarn_corrects_between_its_two_rotations(void **state)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct rope_params p;

    gguf_builder_transformer(&b, &shape);
    gguf_builder_str(&b, "llama.rope.scaling.type", "yarn");
    gguf_builder_f32(&b, "llama.rope.scaling.factor", 8.0f);
    gguf_builder_u32(&b, "llama.rope.scaling.original_context_length", 1024);
    p = rope_of(&b);
    assert_near(p.freq_scale, 0.125f);
    assert_near(p.ext_factor, 1.0f);
    assert_near(p.attn_factor, 0.1f * logf(8.0f) + 1.0f);
    /* pair = 32 ln(1024 / (2 pi rotations)) / (2 ln 10000) with 32 and 1 rotations: 2.83, 8.85 */
    assert_near(p.corr_low, 2.0f);
    assert_near(p.corr_high, 9.0f);

    gguf_builder_f32(&b, "llama.rope.scaling.yarn_log_multiplier", 1.0f);
    assert_near(rope_of(&b).attn_factor, 1.0f);
    gguf_builder_f32(&b, "llama.rope.scaling.yarn_log_multiplier", 0.5f);
    assert_near(rope_of(&b).attn_factor, (0.1f * logf(8.0f) + 1.0f) / (0.05f * logf(8.0f) + 1.0f));
    gguf_builder_f32(&b, "llama.rope.scaling.yarn_ext_factor", 0.0f);
    assert_near(rope_of(&b).ext_factor, 0.0f);
}

/* A table without its keys would be interpolation alone. */
static void yarn_is_the_same_in_every_family(void **state)
{
    static const char *const archs[] = {"gemma2", "gemma3", "qwen35", "gpt-oss"};

    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++) {
        struct builder_shape shape = model_fixture_shape(archs[i], GGUF_TYPE_F32);
        struct rope_params plain, p;
        struct gguf_builder b;
        char key[64];

        gguf_builder_transformer(&b, &shape);
        snprintf(key, sizeof(key), "%s.rope.scaling.type", archs[i]);
        gguf_builder_str(&b, key, "yarn");
        snprintf(key, sizeof(key), "%s.rope.scaling.original_context_length", archs[i]);
        gguf_builder_u32(&b, key, 1024);
        plain = rope_of(&b);
        assert_near(plain.ext_factor, 1.0f);
        snprintf(key, sizeof(key), "%s.rope.scaling.yarn_beta_slow", archs[i]);
        gguf_builder_f32(&b, key, 16.0f);
        p = rope_of(&b);
        assert_near(p.corr_low, plain.corr_low);
        assert_true(p.corr_high < plain.corr_high);
    }
}

/* DeepSeek's multiplier is for the scores, and rotations stay as they are. */
static void yarn_of_deepseek_scales_scores(void **state)
{
    struct builder_shape shape = model_fixture_shape("deepseek2", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct rope_params p;

    gguf_builder_transformer(&b, &shape);
    assert_near(rope_of(&b).score_scale, 1.0f);
    gguf_builder_str(&b, "deepseek2.rope.scaling.type", "yarn");
    gguf_builder_f32(&b, "deepseek2.rope.scaling.factor", 40.0f);
    gguf_builder_f32(&b, "deepseek2.rope.scaling.yarn_log_multiplier", 0.1f);
    p = rope_of(&b);
    assert_near(p.attn_factor, 1.0f);
    assert_near(p.score_scale, powf(0.1f * logf(40.0f) + 1.0f, 2.0f));
}

/* ---- roles ---- */

static void tied_models_read_their_embedding_twice(void **state)
{
    struct builder_shape shape = model_fixture_shape("qwen2", GGUF_TYPE_F32);
    const struct gguf_tensor *embd;
    struct gguf_builder b;
    struct model_fixture f;

    shape.is_tied = true;
    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    embd = gguf_find_tensor(f.gguf, "token_embd.weight");
    assert_ptr_equal(model_weight(f.model, WEIGHT_OUTPUT, MODEL_GLOBAL)->tensor, embd);
    model_set_address(f.model, embd, 4096);
    assert_int_equal(model_weight(f.model, WEIGHT_OUTPUT, MODEL_GLOBAL)->address, 4096);
    assert_int_equal(model_weight(f.model, WEIGHT_TOKEN_EMBD, 1)->address, 4096);
    model_fixture_finish(&f);

    shape.is_tied = false;
    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_string_equal(model_weight(f.model, WEIGHT_OUTPUT, MODEL_GLOBAL)->tensor->name,
                        "output.weight");
    model_fixture_finish(&f);
}

static void roles_lead_to_the_tensors_of_their_layer(void **state)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct model_fixture f;

    gguf_builder_transformer(&b, &shape);
    gguf_builder_tensor(&b, "blk.1.attn_q.bias", GGUF_TYPE_F32, 192, 0);
    model_fixture_init(&f, &b);
    assert_string_equal(model_weight(f.model, WEIGHT_FFN_UP, 1)->tensor->name,
                        "blk.1.ffn_up.weight");
    assert_null(model_weight(f.model, WEIGHT_ATTN_Q_BIAS, 0)->tensor);
    assert_string_equal(model_weight(f.model, WEIGHT_ATTN_Q_BIAS, 1)->tensor->name,
                        "blk.1.attn_q.bias");
    assert_null(model_weight(f.model, WEIGHT_ATTN_Q_NORM, 0)->tensor); /* no such role in llama */
    assert_null(model_weight(f.model, WEIGHT_NONE, 0)->tensor);
    model_fixture_finish(&f);
}

static void type_name_is_the_files_or_the_most_common(void **state)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_Q8_0);
    struct gguf_builder b;
    struct model_fixture f;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_string_equal(model_type_name(f.model), "Q8_0");
    model_fixture_finish(&f);
    gguf_builder_u32(&b, "general.file_type", 15);
    model_fixture_init(&f, &b);
    assert_string_equal(model_type_name(f.model), "Q4_K_M");
    model_fixture_finish(&f);
    gguf_builder_u32(&b, "general.file_type", 4000);
    model_fixture_init(&f, &b);
    assert_string_equal(model_type_name(f.model), "Q8_0");
    model_fixture_finish(&f);
}

/* ---- what of Gemma files do not say ---- */

static void scores_of_one_size_are_scaled_by_the_streams_share(void **state)
{
    struct builder_shape shape = model_fixture_shape("gemma2", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct model_fixture f;
    struct gguf *g;
    struct dims d;
    size_t len;
    void *file;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_near(f.model->dims.real[REAL_ATTN_SCALE], 1.0f / sqrtf(32.0f));
    assert_near(f.model->dims.real[REAL_ATTN_SOFTCAP], 50.0f);
    assert_near(f.model->dims.real[REAL_LOGIT_SOFTCAP], 30.0f);
    assert_near(f.model->dims.real[REAL_EMBD_SCALE], sqrtf(96.0f));
    model_fixture_finish(&f);

    gguf_builder_u32(&b, "gemma2.block_count", 46);
    file = gguf_builder_write(&b, &len);
    assert_int_equal(gguf_parse(file, len, len, &g, NULL), 0);
    assert_int_equal(dims_read(g, arch_find("gemma2", 0), &d, NULL), 0);
    assert_near(d.real[REAL_ATTN_SCALE], 1.0f / sqrtf(96.0f / 6.0f));
    gguf_close(g);
    free(file);
}

static void odd_kinds_of_layers_are_refused_by_name(void **state)
{
    struct builder_shape shape = model_fixture_shape("gemma3", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct error err = {0};

    gguf_builder_transformer(&b, &shape);
    gguf_builder_u32(&b, "gemma3.attention.sliding_window_pattern", 0);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "gemma3.attention.sliding_window_pattern is 0");
    gguf_builder_transformer(&b, &shape);
    gguf_builder_f32(&b, "gemma3.rope.freq_base_swa", 1.0f);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "gemma3.rope.freq_base_swa is 1");
    gguf_builder_transformer(&b, &shape);
    gguf_builder_f32(&b, "gemma3.final_logit_softcapping", -30.0f);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "softcapping is negative");
    gguf_builder_transformer(&b, &shape);
    gguf_builder_drop(&b, "blk.1.post_ffw_norm.weight");
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "blk.1.post_ffw_norm.weight");
}

static void a_token_meets_only_the_experts_it_chooses(void **state)
{
    struct builder_shape shape = model_fixture_shape("qwen3moe", GGUF_TYPE_Q8_0);
    struct gguf_builder b;
    struct model_fixture f;
    struct model_size size;
    const uint64_t experts = 2ull * 3 * 96 * 160 * BUILDER_EXPERTS, embd = 96ull * 117;
    uint64_t bytes = 0;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    model_size_get(f.model, &size);
    assert_int_equal(size.active_parameters,
                     f.model->parameters -
                         experts / BUILDER_EXPERTS * (BUILDER_EXPERTS - BUILDER_EXPERTS_USED));
    for (size_t i = 0; i < gguf_n_tensors(f.gguf); i++)
        bytes += gguf_tensor(f.gguf, i)->bytes;
    /* 34 bytes are 32 weights; of the embeddings one row of f16 is read */
    assert_int_equal(size.token_bytes, bytes - (embd - 96) * 2 -
                                           experts / BUILDER_EXPERTS / 32 * 34 *
                                               (BUILDER_EXPERTS - BUILDER_EXPERTS_USED));
    assert_int_equal(size.types[GGUF_TYPE_F16].parameters, embd);
    assert_int_equal(size.types[GGUF_TYPE_F16].n_tensors, 1);
    model_fixture_finish(&f);
    /* tied: the same table is multiplied by at the end, and read whole */
    shape.is_tied = true;
    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    bytes = size.token_bytes;
    model_size_get(f.model, &size);
    assert_int_equal(size.token_bytes, bytes - embd / 32 * 34 - 96 * 2 + embd * 2);
    model_fixture_finish(&f);
}

static void layers_that_are_kept_and_not_run_are_not_active(void **state)
{
    struct builder_shape shape = model_fixture_shape("glm4moe", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct model_fixture f;
    struct model_size size;
    uint64_t before;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    model_size_get(f.model, &size);
    before = size.active_parameters;
    model_fixture_finish(&f);
    gguf_builder_u32(&b, "glm4moe.block_count", 3);
    gguf_builder_u32(&b, "glm4moe.nextn_predict_layers", 1);
    gguf_builder_tensor(&b, "blk.2.nextn.eh_proj.weight", GGUF_TYPE_F32, 192, 96);
    model_fixture_init(&f, &b);
    model_size_get(f.model, &size);
    assert_int_equal(size.active_parameters, before);
    assert_true(f.model->parameters > before + 192 * 96 - 1);
    model_fixture_finish(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(model_refuses_and_names_the_fault),
    cmocka_unit_test(experts_that_cannot_be_are_refused_by_name),
    cmocka_unit_test(tensors_of_a_kind_belong_into_its_layers_alone),
    cmocka_unit_test(layers_that_predict_further_tokens_are_kept_and_not_run),
    cmocka_unit_test(latents_that_do_not_fit_are_refused_by_name),
    cmocka_unit_test(routers_are_read_by_key_or_as_the_architecture_has_them),
    cmocka_unit_test(delta_rules_that_make_no_sense_are_refused),
    cmocka_unit_test(a_tensor_tells_which_of_two_tables_a_file_is_of),
    cmocka_unit_test(layers_keep_keys_and_values_or_a_state),
    cmocka_unit_test(qwen2_needs_its_biases_and_qwen3_its_head_norms),
    cmocka_unit_test(absent_keys_follow_from_others),
    cmocka_unit_test(rope_scaling_is_read_by_its_type),
    cmocka_unit_test(yarn_is_the_same_in_every_family),
    cmocka_unit_test(yarn_of_deepseek_scales_scores),
    cmocka_unit_test(yarn_corrects_between_its_two_rotations),
    cmocka_unit_test(tied_models_read_their_embedding_twice),
    cmocka_unit_test(roles_lead_to_the_tensors_of_their_layer),
    cmocka_unit_test(type_name_is_the_files_or_the_most_common),
    cmocka_unit_test(scores_of_one_size_are_scaled_by_the_streams_share),
    cmocka_unit_test(odd_kinds_of_layers_are_refused_by_name),
    cmocka_unit_test(a_token_meets_only_the_experts_it_chooses),
    cmocka_unit_test(layers_that_are_kept_and_not_run_are_not_active),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
