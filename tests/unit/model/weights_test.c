/* SPDX-License-Identifier: MIT */
/* From tensors to weights: those that share a tensor, and those that are chosen among. */
#include "harness.h"
#include "model_fixture.h"

#include <errno.h>
#include <string.h>

static void several_weights_are_rows_of_one_tensor(void **state)
{
    struct builder_shape shape = model_fixture_shape("phi3", GGUF_TYPE_Q8_0);
    uint64_t row_bytes = gguf_type_row_bytes(GGUF_TYPE_Q8_0, shape.embd);
    const struct weight_ref *q, *k, *v, *gate, *up;
    struct gguf_builder b;
    struct model_fixture f;
    struct error err = {0};

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    for (size_t i = 0; i < gguf_n_tensors(f.gguf); i++)
        model_set_address(f.model, gguf_tensor(f.gguf, i), (i + 1) << 20);
    q = model_weight(f.model, WEIGHT_ATTN_Q, 1);
    k = model_weight(f.model, WEIGHT_ATTN_K, 1);
    v = model_weight(f.model, WEIGHT_ATTN_V, 1);
    assert_string_equal(q->tensor->name, "blk.1.attn_qkv.weight");
    assert_ptr_equal(k->tensor, q->tensor);
    assert_ptr_equal(v->tensor, q->tensor);
    assert_int_equal(q->n_rows, 192);
    assert_int_equal(k->n_rows, 64);
    assert_int_equal(v->n_rows, 64);
    assert_int_equal(k->address - q->address, 192 * row_bytes);
    assert_int_equal(v->address - q->address, 256 * row_bytes);
    gate = model_weight(f.model, WEIGHT_FFN_GATE, 0);
    up = model_weight(f.model, WEIGHT_FFN_UP, 0);
    assert_int_equal(gate->n_rows, shape.ff);
    assert_int_equal(up->address - gate->address, shape.ff * row_bytes);
    model_fixture_finish(&f);

    gguf_builder_find(&b, "blk.0.attn_qkv.weight")->rows = 256;
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "blk.0.attn_qkv.weight");
    assert_says(err.text, "[96, 320, 1]");
    gguf_builder_transformer(&b, &shape); /* that many weights are in one tensor excuses no other */
    gguf_builder_tensor(&b, "blk.0.attn_q.weight", GGUF_TYPE_F32, shape.embd, 192);
    assert_int_equal(model_fixture_try(&b, &err), -ENOTSUP);
    assert_says(err.text, "blk.0.attn_q.weight");
}

static void long_contexts_have_divisors_of_their_own(void **state)
{
    struct builder_shape shape = model_fixture_shape("phi3", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct model_fixture f;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_null(model_rope_factors(f.model, 0, 1 << 20)->tensor);
    model_fixture_finish(&f);
    gguf_builder_tensor(&b, "rope_factors_long.weight", GGUF_TYPE_F32, 16, 0);
    gguf_builder_tensor(&b, "rope_factors_short.weight", GGUF_TYPE_F32, 16, 0);
    gguf_builder_u32(&b, "phi3.rope.scaling.original_context_length", 512);
    gguf_builder_str(&b, "phi3.rope.scaling.type", "longrope");
    model_fixture_init(&f, &b);
    assert_string_equal(model_rope_factors(f.model, 1, 512)->tensor->name,
                        "rope_factors_short.weight");
    assert_string_equal(model_rope_factors(f.model, 1, 513)->tensor->name,
                        "rope_factors_long.weight");
    model_fixture_finish(&f);
}

/* OLMo's tables are two, of which the file's keys choose one. */
static void names_of_families_lead_to_their_tables(void **state)
{
    char names[1024], *rest = names;
    size_t n = 0;

    assert_true(strlen(arch_names()) < sizeof(names));
    strcpy(names, arch_names());
    for (char *name; (name = strtok_r(rest, ", ", &rest)); n++)
        if (!arch_find(name, 0))
            fail_msg("%s is said to be known, and is not", name);
    assert_true(n > 20);
    assert_null(arch_find("olmo2", 2));
    assert_int_equal(arch_find("olmo2", 0)->rule, LAYERS_LISTED);
    assert_int_equal(arch_find("olmo2", 1)->rule, LAYERS_ALIKE);
}

/* Text has one position for all sections; what they leave out Qwen 3 VL turns by it, too. */
static void sections_may_leave_out_pairs_where_the_model_turns_them(void **state)
{
    struct builder_shape shape = model_fixture_shape("qwen3vl", GGUF_TYPE_F16);
    const uint32_t sections[4] = {1, 1, 1, 0}; /* of 4 pairs and more */
    struct gguf_builder b;
    struct error err = {0};

    gguf_builder_transformer(&b, &shape);
    gguf_builder_array(&b, "qwen3vl.rope.dimension_sections", sections, 4);
    assert_int_equal(model_fixture_try(&b, &err), 0);
    shape.arch = "qwen35";
    gguf_builder_transformer(&b, &shape);
    gguf_builder_array(&b, "qwen35.rope.dimension_sections", sections, 4);
    assert_int_equal(model_fixture_try(&b, &err), -ENOTSUP);
    assert_says(err.text, "qwen35.rope.dimension_sections");
}

/* What is one tensor has one scale; experts have one each; Gemma 4 has a role of its own for what
 * is called like one; what inputs were scaled by has no address. */
static void scales_belong_to_the_weight_beside_them(void **state)
{
    struct builder_shape shape = model_fixture_shape("phi3", GGUF_TYPE_F16);
    const struct weight_ref *q, *v, *up, *down;
    struct gguf_builder b;
    struct model_fixture f;
    struct error err = {0};

    gguf_builder_transformer(&b, &shape);
    gguf_builder_tensor(&b, "blk.1.attn_qkv.scale", GGUF_TYPE_F32, 1, 0);
    gguf_builder_tensor(&b, "blk.1.attn_qkv.input_scale", GGUF_TYPE_F32, 1, 0);
    model_fixture_init(&f, &b);
    model_set_address(f.model, gguf_find_tensor(f.gguf, "blk.1.attn_qkv.weight"), 4096);
    model_set_address(f.model, gguf_find_tensor(f.gguf, "blk.1.attn_qkv.scale"), 512);
    model_set_address(f.model, gguf_find_tensor(f.gguf, "blk.1.attn_qkv.input_scale"), 640);
    q = model_weight(f.model, WEIGHT_ATTN_Q, 1);
    v = model_weight(f.model, WEIGHT_ATTN_V, 1);
    assert_int_equal(q->address, 4096);
    assert_int_equal(q->scale_address, 512);
    assert_int_equal(v->scale_address, 512);
    assert_ptr_equal(v->scale, gguf_find_tensor(f.gguf, "blk.1.attn_qkv.scale"));
    assert_null(model_weight(f.model, WEIGHT_ATTN_Q, 0)->scale);
    model_fixture_finish(&f);
    gguf_builder_tensor(&b, "blk.1.attn_norm.scale", GGUF_TYPE_F32, 1, 0);
    assert_int_equal(model_fixture_try(&b, &err), -ENOTSUP);
    assert_says(err.text, "blk.1.attn_norm.scale");

    shape.arch = "gemma4-experts";
    gguf_builder_transformer(&b, &shape);
    gguf_builder_tensor(&b, "blk.0.ffn_gate_up_exps.scale", GGUF_TYPE_F32, BUILDER_EXPERTS, 0);
    model_fixture_init(&f, &b);
    up = model_weight(f.model, WEIGHT_EXPERTS_GATE_UP, 0);
    down = model_weight(f.model, WEIGHT_EXPERTS_DOWN, 0);
    assert_string_equal(up->scale->name, "blk.0.ffn_gate_up_exps.scale");
    assert_null(down->scale);
    assert_string_equal(model_weight(f.model, WEIGHT_EXPERTS_SCALES, 0)->tensor->name,
                        "blk.0.ffn_down_exps.scale");
    model_fixture_finish(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(names_of_families_lead_to_their_tables),
    cmocka_unit_test(sections_may_leave_out_pairs_where_the_model_turns_them),
    cmocka_unit_test(several_weights_are_rows_of_one_tensor),
    cmocka_unit_test(scales_belong_to_the_weight_beside_them),
    cmocka_unit_test(long_contexts_have_divisors_of_their_own),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
