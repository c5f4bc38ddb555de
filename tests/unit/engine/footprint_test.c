/* SPDX-License-Identifier: MIT */
/* What a model takes, by the sums that loads are let in by. */
#include "harness.h"
#include "model_fixture.h"

#include "engine/footprint.h"
#include "engine/kv_cache.h"

#include <unistd.h>

#define MIB (1ull << 20)

static struct model_fixture *make_model(struct model_fixture *f, uint32_t context_tokens)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F32);
    struct gguf_builder b;

    gguf_builder_transformer(&b, &shape);
    gguf_builder_u32(&b, "llama.context_length", context_tokens);
    model_fixture_init(f, &b);
    return f;
}

static uint64_t cache_bytes(const struct model *m, uint64_t n_tokens, uint32_t n_seqs)
{
    const struct kv_size size = kv_size_of(m, KV_F16, n_tokens, n_seqs, RUNNER_BATCH_TOKENS);

    return kv_cache_memory_bytes(m, &size);
}

static void the_longest_context_fits_and_one_more_token_does_not(void **state)
{
    struct model_fixture f;
    const struct device_room own = {400 * MIB, false}, shared = {RESIDENCY_UNLIMITED, true};

    make_model(&f, 1 << 20);
    for (uint64_t free_mib = 150; free_mib < 400; free_mib += 77) {
        uint32_t n = footprint_longest_context(f.model, &shared, 100 * MIB, free_mib * MIB, KV_F16);

        assert_true(n > 32);
        assert_true(100 * MIB + cache_bytes(f.model, n, 1) <= free_mib * MIB);
        assert_true(100 * MIB + cache_bytes(f.model, n + 1, 1) > free_mib * MIB);
    }
    /* a device of its own holds both, and the machine the weights alone */
    assert_int_equal(footprint_longest_context(f.model, &own, 100 * MIB, 100 * MIB, KV_F16),
                     footprint_longest_context(f.model, &shared, 100 * MIB, 400 * MIB, KV_F16));
    assert_int_equal(footprint_longest_context(f.model, &own, 100 * MIB, 99 * MIB, KV_F16), 0);
    assert_int_equal(footprint_longest_context(f.model, &shared, 300 * MIB, 300 * MIB, KV_F16), 0);
    assert_int_equal(footprint_longest_context(f.model, &shared, 0, 1ull << 50, KV_F16), 1 << 20);
    /* 34 bytes instead of 64 */
    assert_true(footprint_longest_context(f.model, &shared, 0, 200 * MIB, KV_Q8_0) >
                footprint_longest_context(f.model, &shared, 0, 200 * MIB, KV_F16) / 34 * 60);
    model_fixture_finish(&f);
}

static void a_file_that_claims_the_greatest_context_is_weighed(void **state)
{
    const struct device_room shared = {RESIDENCY_UNLIMITED, true};
    struct model_fixture f, other;

    make_model(&f, UINT32_MAX);
    make_model(&other, 1 << 20);
    assert_int_equal(footprint_longest_context(f.model, &shared, 0, 200 * MIB, KV_F16),
                     footprint_longest_context(other.model, &shared, 0, 200 * MIB, KV_F16));
    model_fixture_finish(&f);
    model_fixture_finish(&other);
}

static void so_many_sequences_fit_and_one_more_does_not(void **state)
{
    static const uint32_t contexts[] = {1, 100, 4096, 100000};
    const struct device_room shared = {RESIDENCY_UNLIMITED, true};
    struct model_fixture f;

    make_model(&f, 1 << 20);
    for (size_t i = 0; i < 4; i++) {
        uint64_t context = contexts[i];
        uint64_t n =
            footprint_most_sequences(f.model, &shared, 7 * MIB, 400 * MIB, KV_F16, contexts[i]);

        assert_true(n > 0);
        assert_true(8 * MIB + cache_bytes(f.model, n * context, (uint32_t)n) <= 400 * MIB);
        assert_true(8 * MIB + cache_bytes(f.model, (n + 1) * context, (uint32_t)n + 1) > 400 * MIB);
    }
    model_fixture_finish(&f);
}

/* Of a model whose sequences have state there are as many at a time as slots, and these count. */
static void states_are_counted_and_bound_how_many_sequences_there_are(void **state)
{
    const struct device_room shared = {RESIDENCY_UNLIMITED, true};
    struct builder_shape shape = model_fixture_shape("qwen35", GGUF_TYPE_F32);
    struct gguf_builder b;
    struct model_fixture f;
    uint64_t states, least;

    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    states = (RUNNER_SEQS + 8) * model_state_bytes(f.model);
    assert_int_equal(footprint_most_sequences(f.model, &shared, 7 * MIB, 1ull << 50, KV_F16, 100),
                     RUNNER_SEQS);
    least = 8 * MIB + cache_bytes(f.model, 100, 1);
    assert_int_equal(
        footprint_most_sequences(f.model, &shared, 7 * MIB, least + states - 1, KV_F16, 100), 0);
    assert_true(
        footprint_most_sequences(f.model, &shared, 7 * MIB, least + 2 * states, KV_F16, 100) > 0);
    model_fixture_finish(&f);
}

static void a_cache_is_four_contexts_and_a_sixteenth_of_memory_at_most(void **state)
{
    struct model_fixture f;
    struct runner_config cfg = {0};

    make_model(&f, 1 << 20);
    footprint_choose_cache(&(struct cache_wishes){.prefix_percent = 50}, f.model, 0, &cfg);
    assert_int_equal(cfg.context_tokens, 8192);
    assert_int_equal(cfg.least.tokens, 8192);
    assert_int_equal(cfg.cache.tokens, 4 * 8192);
    assert_int_equal(cfg.prefix_tokens, 2 * 8192);
    /* a device of 64 MiB leaves 4 MiB: less than a context, so one */
    footprint_choose_cache(&(struct cache_wishes){0}, f.model, 64 * MIB, &cfg);
    assert_int_equal(cfg.cache.tokens, 8192);
    cfg = (struct runner_config){0};
    footprint_choose_cache(&(struct cache_wishes){.context_tokens = 100, .kv_bytes = 10 * MIB},
                           f.model, 0, &cfg);
    assert_int_equal(cfg.context_tokens, 100);
    assert_int_equal(cfg.least.tokens, 0);
    assert_int_equal(cfg.cache.tokens, 10 * MIB / model_kv_bytes_per_token(f.model, KV_F16));
    model_fixture_finish(&f);
    make_model(&f, 512);
    footprint_choose_cache(&(struct cache_wishes){.context_tokens = 4096}, f.model, 0, &cfg);
    assert_int_equal(cfg.context_tokens, 512);
    model_fixture_finish(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_longest_context_fits_and_one_more_token_does_not),
    cmocka_unit_test(a_file_that_claims_the_greatest_context_is_weighed),
    cmocka_unit_test(so_many_sequences_fit_and_one_more_does_not),
    cmocka_unit_test(states_are_counted_and_bound_how_many_sequences_there_are),
    cmocka_unit_test(a_cache_is_four_contexts_and_a_sixteenth_of_memory_at_most),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
