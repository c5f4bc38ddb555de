/* SPDX-License-Identifier: MIT */
/* Layers that differ: in kind, in numbers, in whose keys and values they read. */
#include "harness.h"
#include "model_fixture.h"

#include <errno.h>

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
    assert_int_equal(model_kv_bytes_per_token(f.model), (64 + 64 + 32 + 32) * 2);
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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(layers_may_differ_in_heads_and_widths),
    cmocka_unit_test(lists_that_do_not_fit_the_layers_are_refused_by_name),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
