/* SPDX-License-Identifier: MIT */
/* Layers that differ: in kind, in numbers, in whose keys and values they read. */
#include "harness.h"

#include "kernels/args.h"
#include "model_fixture.h"

#include "model/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A llama of two layers, the second with half the key heads and a narrower feed-forward part. */
static void build_uneven(struct gguf_builder *b)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F16);

    gguf_builder_transformer(b, &shape);
    gguf_builder_array(b, "llama.attention.head_count_kv", (const uint32_t[]){2, 1}, 2);
    gguf_builder_array(b, "llama.feed_forward_length", (const uint32_t[]){160, 64}, 2);
    gguf_builder_find(b, "blk.1.attn_k.weight")->rows = 32;
    gguf_builder_find(b, "blk.1.attn_v.weight")->rows = 32;
    gguf_builder_find(b, "blk.1.ffn_gate.weight")->rows = 64;
    gguf_builder_find(b, "blk.1.ffn_up.weight")->rows = 64;
    gguf_builder_find(b, "blk.1.ffn_down.weight")->cols = 64;
}

static void layers_may_differ_in_heads_and_widths(void **state)
{
    struct gguf_builder b;
    struct model_fixture f;

    build_uneven(&b);
    model_fixture_init(&f, &b);
    assert_int_equal(model_dims(f.model, 0)[DIM_KV_HEADS], 2);
    assert_int_equal(model_dims(f.model, 1)[DIM_KV_HEADS], 1);
    assert_int_equal(model_dims(f.model, 0)[DIM_K], 64);
    assert_int_equal(model_dims(f.model, 1)[DIM_K], 32);
    assert_int_equal(model_dims(f.model, 0)[DIM_FF], 160);
    assert_int_equal(model_dims(f.model, 1)[DIM_FF], 64);
    assert_int_equal(model_kv_bytes_per_token(f.model, KV_F16), (64 + 64 + 32 + 32) * 2);
    model_fixture_finish(&f);
}

static void lists_that_do_not_fit_the_layers_are_refused_by_name(void **state)
{
    struct gguf_builder b;
    struct error err = {0};

    build_uneven(&b);
    gguf_builder_array(&b, "llama.feed_forward_length", (const uint32_t[]){160}, 1);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "llama.feed_forward_length holds no count for each of 2 layers");
    build_uneven(&b);
    gguf_builder_array(&b, "llama.attention.head_count_kv", (const uint32_t[]){2, 0}, 2);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "llama.attention.head_count_kv is 0");
    build_uneven(&b);
    gguf_builder_array(&b, "llama.attention.head_count_kv", (const uint32_t[]){2, 4}, 2);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "head_count 6 is not a multiple of head_count_kv 4");
    build_uneven(&b);
    gguf_builder_array(&b, "llama.embedding_length", (const uint32_t[]){96, 96}, 2);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "llama.embedding_length");
}

/* ---- Llama 4 ---- */

static void build_llama4(struct gguf_builder *b)
{
    struct builder_shape shape = model_fixture_shape("llama4", GGUF_TYPE_F16);

    shape.layers = 6;
    gguf_builder_transformer(b, &shape);
}

static void kinds_of_layers_cross_where_two_periods_do(void **state)
{
    static const unsigned kinds[] = {0, 1, 2, 1, 0, 3};
    struct gguf_builder b;
    struct model_fixture f;
    struct error err = {0};

    build_llama4(&b);
    model_fixture_init(&f, &b);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(f.model->layers[i].kind, kinds[i]);
        assert_int_equal(!model_weight(f.model, WEIGHT_EXPERTS_UP, i)->tensor, kinds[i] < 2);
        assert_int_equal(!model_weight(f.model, WEIGHT_FFN_UP, i)->tensor, kinds[i] >= 2);
    }
    model_fixture_finish(&f);
    gguf_builder_u32(&b, "llama4.expert_used_count", 2);
    assert_int_equal(model_fixture_try(&b, &err), -ENOTSUP);
    assert_says(err.text, "llama4.expert_used_count is 2");
    gguf_builder_drop(&b, "llama4.interleave_moe_layer_step");
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "llama4.interleave_moe_layer_step");
}

static void contexts_hold_many_chunks(void **state)
{
    struct gguf_builder b;
    struct model_fixture f;

    build_llama4(&b);
    gguf_builder_u32(&b, "llama4.context_length", 1 << 20);
    model_fixture_init(&f, &b);
    assert_int_equal(f.model->dims.dim[DIM_CONTEXT], 1 << 20);
    assert_int_equal(model_window(f.model), ATTENTION_CHUNKS | BUILDER_CHUNK);
    assert_int_equal(2 * model_window_kv_bytes_per_token(f.model, KV_F16),
                     model_kv_bytes_per_token(f.model, KV_F16));
    model_fixture_finish(&f);
    gguf_builder_drop(&b, "llama4.attention.chunk_size");
    model_fixture_init(&f, &b);
    assert_int_equal(model_window(f.model), ATTENTION_CHUNKS | 8192);
    model_fixture_finish(&f);
}

static void contexts_go_beyond_what_an_indexer_chooses(void **state)
{
    struct builder_shape shape = model_fixture_shape("deepseek32", GGUF_TYPE_F16);
    struct gguf_builder b;
    struct model_fixture f;
    struct error err = {0};

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_true(f.model->dims.dim[DIM_CONTEXT] > f.model->dims.dim[DIM_INDEXER_TOP]);
    /* beside the latent and its rotated part, and the latent again as values */
    assert_int_equal(model_kv_bytes_per_token(f.model, KV_F16),
                     2 * 2 * (f.model->dims.dim[DIM_K] + f.model->dims.dim[DIM_V] + 16));
    model_fixture_finish(&f);
    gguf_builder_drop(&b, "blk.1.indexer.proj.weight");
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "blk.1.indexer.proj.weight");
}

struct layer_ops {
    size_t n_turns, n_temperatures, n_plain_norms;
    uint32_t window;
};

/* What the calls of a model's layers do to queries and keys. */
static void count_ops(const struct model *m, struct layer_ops *ret_ops)
{
    static const struct plan_config cfg = {.max_tokens = 4, .max_outputs = 1, .max_seqs = 1};
    static const struct graph_config gc = {.max_tokens = 4, .max_outputs = 1};
    struct kv_layer kv[6] = {0};
    struct recorder rec = {.model = m, .cfg = &cfg, .kv = kv};
    struct graph *g = NULL;
    struct device *dev;
    uint32_t layer = 0;

    assert_int_equal(device_create("cpu:1", &dev, NULL), 0);
    assert_int_equal(graph_create(m, dev, &gc, &g, NULL), 0);
    rec.graph = g;
    assert_int_equal(recorder_list_calls(&rec, NULL), 0);
    for (size_t i = 0; i < rec.n; i++) {
        const struct args_rope *a = &rec.list[i].args.rope;

        if (rec.list[i].op == KERNEL_ROPE && a->freq_scale != 0.0f) {
            assert_true(a->temp_scale == 0.0f);
            ret_ops[layer].n_turns++;
        } else if (rec.list[i].op == KERNEL_ROPE) {
            assert_true(a->ext_factor == 0.0f && a->attn_factor == 1.0f);
            assert_true(a->temp_scale == 0.1f && a->temp_offset == 1.0f &&
                        a->temp_floor == 8192.0f);
            ret_ops[layer].n_temperatures++;
        }
        if (rec.list[i].op == KERNEL_RMS_NORM && !rec.list[i].args.rms_norm.weight &&
            rec.list[i].args.rms_norm.n_cols == 32)
            ret_ops[layer].n_plain_norms++;
        if (rec.list[i].op == KERNEL_ATTENTION)
            ret_ops[layer++].window = rec.list[i].args.attention.window;
    }
    assert_int_equal(layer, 6);
    free(rec.list);
    graph_destroy(g);
    device_destroy(dev);
}

/* Layers that see all positions, not their chunk's, do not rotate; of a model of 128 experts none
 * norms its heads. */
static void layers_turn_and_norm_or_warm_their_heads(void **state)
{
    struct gguf_builder b;
    struct model_fixture f;

    build_llama4(&b);
    for (int is_large = 0; is_large < 2; is_large++) {
        struct layer_ops ops[7] = {0};

        if (is_large) {
            gguf_builder_u32(&b, "llama4.expert_count", 128);
            for (size_t i = 0; i < b.n_tensors; i++)
                if (b.tensors[i].planes)
                    b.tensors[i].planes = 128;
            gguf_builder_find(&b, "blk.2.ffn_gate_inp.weight")->rows = 128;
            gguf_builder_find(&b, "blk.5.ffn_gate_inp.weight")->rows = 128;
        }
        model_fixture_init(&f, &b);
        for (size_t i = 0; i < gguf_n_tensors(f.gguf); i++)
            model_set_address(f.model, gguf_tensor(f.gguf, i), (i + 1) << 20);
        count_ops(f.model, ops);
        for (uint32_t i = 0; i < 6; i++) {
            assert_int_equal(ops[i].n_turns, i % 2 ? 0 : 2);
            assert_int_equal(ops[i].n_temperatures, i % 2);
            assert_int_equal(ops[i].n_plain_norms, i % 2 || is_large ? 0 : 2);
            assert_int_equal(ops[i].window, i % 2 ? 0 : ATTENTION_CHUNKS | BUILDER_CHUNK);
        }
        model_fixture_finish(&f);
    }
}

/* ---- Gemma ---- */

static struct builder_shape gemma4_shape(const char *form)
{
    struct builder_shape shape = model_fixture_shape(form, GGUF_TYPE_F16);

    shape.layers = 4;
    return shape;
}

static void without_a_window_no_layer_of_gemma3_has_one(void **state)
{
    struct builder_shape shape = model_fixture_shape("gemma3", GGUF_TYPE_F16);
    struct gguf_builder b;
    struct model_fixture f;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_true(model_layer_kind(f.model, 0)->is_windowed);
    model_fixture_finish(&f);
    gguf_builder_drop(&b, "gemma3.attention.sliding_window");
    model_fixture_init(&f, &b);
    for (uint32_t i = 0; i < shape.layers; i++) {
        assert_false(model_layer_kind(f.model, i)->is_windowed);
        assert_false(model_layer_kind(f.model, i)->has_local_rope);
    }
    model_fixture_finish(&f);
}

static void heads_are_of_the_layers_kind(void **state)
{
    struct builder_shape shape = gemma4_shape("gemma4");
    struct gguf_builder b;
    struct model_fixture f;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_true(model_layer_kind(f.model, 0)->is_windowed);
    assert_false(model_layer_kind(f.model, 1)->is_windowed);
    assert_int_equal(model_dims(f.model, 0)[DIM_HEAD_K], 32);
    assert_int_equal(model_dims(f.model, 1)[DIM_HEAD_K], 64);
    assert_int_equal(model_dims(f.model, 0)[DIM_ROPE], 32);
    assert_int_equal(model_dims(f.model, 1)[DIM_ROPE], 64);
    assert_int_equal(model_dims(f.model, 2)[DIM_PER_LAYER_FIRST], 2 * 96);
    model_fixture_finish(&f);
}

static void layers_share_the_last_of_their_kind_and_cost_no_cache(void **state)
{
    struct builder_shape shape = gemma4_shape("gemma4");
    struct gguf_builder b;
    struct model_fixture f;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_true(model_stores_kv(f.model, 0) && model_stores_kv(f.model, 1));
    assert_false(model_stores_kv(f.model, 2) || model_stores_kv(f.model, 3));
    assert_int_equal(f.model->layers[2].kv_layer, 0);
    assert_int_equal(f.model->layers[3].kv_layer, 1);
    assert_int_equal(model_kv_bytes_per_token(f.model, KV_F16), (2 * 64 + 2 * 128) * 2);
    model_fixture_finish(&f);
}

static void where_there_is_no_matrix_of_values_the_keys_serves(void **state)
{
    struct builder_shape shape = gemma4_shape("gemma4-dense");
    struct gguf_builder b;
    struct model_fixture f;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_string_equal(model_weight(f.model, WEIGHT_ATTN_V, 0)->tensor->name,
                        "blk.0.attn_v.weight");
    assert_string_equal(model_weight(f.model, WEIGHT_ATTN_V, 1)->tensor->name,
                        "blk.1.attn_k.weight");
    model_fixture_finish(&f);
}

static void gemma4_files_that_cannot_be_are_refused_by_name(void **state)
{
    struct builder_shape shape = gemma4_shape("gemma4");
    struct error err = {0};
    struct gguf_builder b;

    gguf_builder_transformer(&b, &shape);
    gguf_builder_drop(&b, "gemma4.attention.sliding_window_pattern");
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "gemma4.attention.sliding_window_pattern is missing");
    gguf_builder_transformer(&b, &shape);
    gguf_builder_array(&b, "gemma4.attention.sliding_window_pattern", (const uint32_t[]){1, 0}, 2);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "sliding_window_pattern does not list what each of 4 layers is");
    gguf_builder_transformer(&b, &shape);
    gguf_builder_u32(&b, "gemma4.attention.shared_kv_layers", 4);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "gemma4.attention.shared_kv_layers is 4 of 4 layers");
    gguf_builder_transformer(&b, &shape);
    gguf_builder_u32(&b, "gemma4.attention.shared_kv_layers", 3);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "layer 1 has no keys and values of its own");
    gguf_builder_transformer(&b, &shape);
    gguf_builder_array(&b, "gemma4.attention.head_count_kv", (const uint32_t[]){2, 2, 1, 2}, 4);
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "layer 2, of 1 heads of 32 + 32 channels, cannot read");
    gguf_builder_transformer(&b, &shape);
    gguf_builder_drop(&b, "gemma4.rope.freq_base_swa");
    assert_int_equal(model_fixture_try(&b, &err), -EINVAL);
    assert_says(err.text, "gemma4.rope.freq_base_swa is missing");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(kinds_of_layers_cross_where_two_periods_do),
    cmocka_unit_test(contexts_hold_many_chunks),
    cmocka_unit_test(contexts_go_beyond_what_an_indexer_chooses),
    cmocka_unit_test(layers_turn_and_norm_or_warm_their_heads),
    cmocka_unit_test(without_a_window_no_layer_of_gemma3_has_one),
    cmocka_unit_test(heads_are_of_the_layers_kind),
    cmocka_unit_test(layers_share_the_last_of_their_kind_and_cost_no_cache),
    cmocka_unit_test(where_there_is_no_matrix_of_values_the_keys_serves),
    cmocka_unit_test(gemma4_files_that_cannot_be_are_refused_by_name),
    cmocka_unit_test(layers_may_differ_in_heads_and_widths),
    cmocka_unit_test(lists_that_do_not_fit_the_layers_are_refused_by_name),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
