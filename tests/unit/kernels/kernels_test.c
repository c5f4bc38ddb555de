/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include "kernels/ref.h"
#include "kernels/step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

static void f16_round_trips_every_pattern(void **state)
{
    for (uint32_t h = 0; h < 65536; h++) {
        bool is_nan = (h & 0x7c00) == 0x7c00 && (h & 0x3ff);

        if (is_nan)
            assert_true(isnan(ref_f16_to_f32((uint16_t)h)));
        else
            assert_int_equal(ref_f32_to_f16(ref_f16_to_f32((uint16_t)h)), h);
    }
}

static void f16_rounds_ties_to_even_and_overflows_to_infinity(void **state)
{
    assert_int_equal(ref_f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(ref_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(ref_f32_to_f16(1.0f + 0x1p-11f), 0x3c00);
    assert_int_equal(ref_f32_to_f16(1.0f + 3 * 0x1p-11f), 0x3c02);
    assert_int_equal(ref_f32_to_f16(0x1p-25f), 0);
    assert_int_equal(ref_f32_to_f16(0x1.8p-25f), 1);
    assert_int_equal(ref_f32_to_f16(-0x1p-24f), 0x8001);
    assert_int_equal(ref_f32_to_f16(0x1p-14f * (1 - 0x1p-12f)), 0x0400);
}

/* ---- dequantisation ---- */

static void dequantised_blocks_equal_the_truth(void **state)
{
    unsigned n_checked = 0;

    for (uint32_t type = 0; type < GGUF_TYPE_LIMIT; type++) {
        const struct gguf_type_info *info = gguf_type_get_info(type);
        char *blocks, *truth, path[128];
        size_t n_bytes, n_truth, n;
        float *got;

        if (!kernel_supports_type(type))
            continue;
        snprintf(path, sizeof(path), "data/quants/%s.blocks.bin", info->name);
        blocks = harness_read_file(harness_shared(path), &n_bytes);
        snprintf(path, sizeof(path), "data/quants/%s.dequant_f32.bin", info->name);
        truth = harness_read_file(harness_shared(path), &n_truth);
        if (blocks && truth) {
            n = n_bytes / info->block_bytes * info->block_elements;
            assert_int_equal(n * sizeof(float), n_truth);
            got = malloc(n_truth);
            ref_dequantize(type, blocks, got, n);
            for (size_t i = 0; i < n; i++)
                if (memcmp(&got[i], truth + i * 4, 4))
                    fail_msg("%s: value %zu is %a", info->name, i, (double)got[i]);
            free(got);
            n_checked++;
        }
        free(blocks);
        free(truth);
    }
    if (!n_checked)
        SKIP("the shared quants are absent");
    assert_true(n_checked >= 24);
}

/* ---- activations ---- */

static void quantised_activations_stay_near_and_sum_up(void **state)
{
    struct step_header step = {.n_tokens = 1};
    struct act_q8_32 b32[8];
    struct act_q8_256 b256[1];
    float x[256];
    struct dispatch d = {.op = KERNEL_QUANTIZE, .activation = ACT_Q8_32, .max_rows = 1};

    for (int i = 0; i < 256; i++)
        x[i] = (float)((i * 37) % 101 - 50) * 0.01f;
    d.args.quantize = (struct args_quantize){.step = (addr_t)(uintptr_t)&step,
                                             .x = (addr_t)(uintptr_t)x,
                                             .out = (addr_t)(uintptr_t)b32,
                                             .n_cols = 256};
    ref_run(&d);
    d.activation = ACT_Q8_256;
    d.args.quantize.out = (addr_t)(uintptr_t)b256;
    ref_run(&d);
    for (int i = 0; i < 256; i++) {
        assert_true(fabsf(b32[i / 32].scale * b32[i / 32].q[i % 32] - x[i]) <=
                    b32[i / 32].scale * 0.5001f);
        assert_true(fabsf(b256->scale * b256->q[i] - x[i]) <= b256->scale * 0.5001f);
    }
    for (int j = 0; j < 16; j++) {
        int sum = 0;

        for (int i = 0; i < 16; i++)
            sum += b256->q[j * 16 + i];
        assert_int_equal(b256->sums[j], sum);
    }
}

static void activations_that_are_not_finite_give_nan_scales(void **state)
{
    struct step_header step = {.n_tokens = 1};
    struct act_q8_32 out[3];
    float x[96] = {[5] = INFINITY, [40] = NAN, [70] = 1e-39f};
    struct dispatch d = {.op = KERNEL_QUANTIZE, .activation = ACT_Q8_32, .max_rows = 1};

    d.args.quantize = (struct args_quantize){.step = (addr_t)(uintptr_t)&step,
                                             .x = (addr_t)(uintptr_t)x,
                                             .out = (addr_t)(uintptr_t)out,
                                             .n_cols = 96};
    ref_run(&d);
    assert_true(isnan(out[0].scale));
    assert_true(isnan(out[1].scale));
    assert_true(out[2].scale == 0);
    assert_int_equal(out[2].q[6], 0);
}

/* ---- matmul ---- */

static void matmul_equals_the_naive_sum_with_bias_and_accumulation(void **state)
{
    enum { K = 7, N = 5, T = 3 };
    struct step_header step = {.n_tokens = T};
    float w[N][K], x[T][K], bias[N], out[T + 1][N];
    struct dispatch d = {.op = KERNEL_MATMUL, .weight_type = GGUF_TYPE_F32, .max_rows = T};

    for (int i = 0; i < N * K; i++)
        (&w[0][0])[i] = (float)((i * 29) % 17) - 8;
    for (int i = 0; i < T * K; i++)
        (&x[0][0])[i] = (float)((i * 31) % 13) - 6;
    for (int i = 0; i < N; i++)
        bias[i] = (float)i;
    for (int i = 0; i < (T + 1) * N; i++)
        (&out[0][0])[i] = 100;
    d.args.matmul = (struct args_matmul){.step = (addr_t)(uintptr_t)&step,
                                         .weight = (addr_t)(uintptr_t)w,
                                         .x = (addr_t)(uintptr_t)x,
                                         .out = (addr_t)(uintptr_t)out,
                                         .bias = (addr_t)(uintptr_t)bias,
                                         .n_rows = N,
                                         .n_cols = K,
                                         .accumulate = 1};
    ref_run(&d);
    for (int t = 0; t < T; t++) {
        for (int i = 0; i < N; i++) {
            float want = 100 + bias[i];

            for (int k = 0; k < K; k++)
                want += w[i][k] * x[t][k];
            assert_true(out[t][i] == want);
        }
    }
    assert_true(out[T][0] == 100);
    step.n_tokens = T + 5; /* past the recorded rows: not touched */
    ref_run(&d);
    assert_true(out[T][0] == 100);
}

/* ---- the sampler ---- */

struct sampling {
    struct step_header step;
    struct step_sample sample;
    struct sample_result result;
    float logits[64];
    uint32_t scratch[128];
    struct dispatch d;
};

static void sampling_init(struct sampling *s, uint32_t n_vocab)
{
    *s = (struct sampling){.step = {.n_outputs = 1},
                           .sample = {.enabled = 1, .top_p = 1, .repeat_penalty = 1}};
    s->d = (struct dispatch){.op = KERNEL_SAMPLE, .max_rows = 1};
    s->d.args.sample = (struct args_sample){.step = (addr_t)(uintptr_t)&s->step,
                                            .samples = (addr_t)(uintptr_t)&s->sample,
                                            .logits = (addr_t)(uintptr_t)s->logits,
                                            .results = (addr_t)(uintptr_t)&s->result,
                                            .scratch = (addr_t)(uintptr_t)s->scratch,
                                            .n_vocab = n_vocab};
}

static uint32_t sample(struct sampling *s, const float *logits, uint32_t n)
{
    memcpy(s->logits, logits, n * sizeof(float));
    ref_run(&s->d);
    return s->result.token;
}

static void greedy_takes_the_lowest_of_equals_and_never_nan(void **state)
{
    static const float logits[] = {NAN, 1, 3, -INFINITY, 3, 2};
    struct sampling s;

    sampling_init(&s, 6);
    assert_int_equal(sample(&s, logits, 6), 2);
    s.sample.temperature = 1;
    for (s.sample.draw = 0; s.sample.draw < 300; s.sample.draw++) {
        uint32_t id = sample(&s, logits, 6);

        assert_true(id != 0);
        assert_true(id != 3);
    }
}

static void without_any_candidate_the_lowest_allowed_is_named(void **state)
{
    static const float logits[] = {NAN, -INFINITY, NAN, NAN};
    static const uint32_t allowed[] = {0xc};
    struct sampling s;

    sampling_init(&s, 4);
    assert_int_equal(sample(&s, logits, 4), 0);
    s.sample.allowed = (addr_t)(uintptr_t)allowed;
    assert_int_equal(sample(&s, logits, 4), 2);
}

static void penalties_and_bias_move_logits_once_per_token(void **state)
{
    static const float logits[] = {4, -4, 2, 0};
    static const uint32_t history[] = {0, 1, 0, 99};
    static const struct logit_bias bias[] = {{3, 1.5f}, {77, 100}};
    struct sampling s;

    sampling_init(&s, 4);
    s.sample.repeat_penalty = 2;
    s.sample.frequency_penalty = 0.25f;
    s.sample.presence_penalty = 0.125f;
    s.sample.history = (addr_t)(uintptr_t)history;
    s.sample.n_history = 4;
    s.sample.bias = (addr_t)(uintptr_t)bias;
    s.sample.n_bias = 2;
    assert_int_equal(sample(&s, logits, 4), 2);
    assert_true(s.logits[0] == 4 / 2.0f - 2 * 0.25f - 0.125f);
    assert_true(s.logits[1] == -8 - 0.25f - 0.125f);
    assert_true(s.logits[2] == 2);
    assert_true(s.logits[3] == 1.5f);
}

static void top_k_top_p_and_min_p_keep_what_they_should(void **state)
{
    /* weights 8, 4, 2, 1, 1 of 16 */
    float logits[5] = {logf(1), logf(8), logf(2), logf(4), logf(1)};
    struct sampling s;

    for (int kind = 0; kind < 3; kind++) {
        sampling_init(&s, 5);
        s.sample.temperature = 1;
        if (kind == 0)
            s.sample.top_k = 2;
        else if (kind == 1)
            s.sample.top_p = 0.7f;
        else
            s.sample.min_p = 0.4f;
        int seen[5] = {0};

        for (s.sample.draw = 0; s.sample.draw < 2000; s.sample.draw++)
            seen[sample(&s, logits, 5)]++;
        assert_int_equal(seen[0] + seen[2] + seen[4], 0);
        assert_in_range(seen[1], 1250, 1420);
    }
}

static void draws_follow_the_softmax_and_the_seed_alone(void **state)
{
    float logits[4] = {logf(1), logf(2), logf(3), logf(4)};
    int seen[4] = {0}, want[4] = {1000, 2000, 3000, 4000};
    struct sampling s;

    sampling_init(&s, 4);
    s.sample.temperature = 1;
    s.sample.seed_low = 42;
    for (s.sample.draw = 0; s.sample.draw < 10000; s.sample.draw++) {
        uint32_t id = sample(&s, logits, 4);

        assert_int_equal(sample(&s, logits, 4), id);
        seen[id]++;
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(seen[i], want[i] - 200, want[i] + 200);
    assert_true(ref_uniform(1, 2) != ref_uniform(1, 3));
    assert_true(ref_uniform(1, 2) != ref_uniform(2, 2));
}

static void top_list_is_ordered_and_normalised(void **state)
{
    float logits[4] = {logf(1), logf(3), logf(3), logf(1)};
    struct sampling s;

    sampling_init(&s, 4);
    s.sample.n_top = 10;
    assert_int_equal(sample(&s, logits, 4), 1);
    assert_int_equal(s.result.n_top, 4);
    assert_int_equal(s.result.top_token[0], 1);
    assert_int_equal(s.result.top_token[1], 2);
    assert_int_equal(s.result.top_token[2], 0);
    assert_true(fabsf(s.result.logprob - logf(3.0f / 8)) < 1e-6f);
    assert_true(fabsf(s.result.top_logprob[3] - logf(1.0f / 8)) < 1e-6f);
}

/* ---- experts ---- */

/* Routes one token of six experts, two of them used; the rest as set in *a. */
static void route(struct args_route a, const float *logits, const float *bias,
                  struct expert_choice *ret_choices)
{
    const struct step_header step = {.n_tokens = 1};
    struct dispatch d = {.op = KERNEL_ROUTE, .max_rows = 1};

    a.step = (addr_t)(uintptr_t)&step;
    a.logits = (addr_t)(uintptr_t)logits;
    a.bias = (addr_t)(uintptr_t)bias;
    a.out = (addr_t)(uintptr_t)ret_choices;
    a.n_experts = 6;
    a.n_used = 2;
    a.scale = a.scale ? a.scale : 1;
    a.n_groups = a.n_groups ? a.n_groups : 1;
    a.n_groups_used = a.n_groups_used ? a.n_groups_used : 1;
    d.args.route = a;
    ref_run(&d);
}

static void assert_choices(const struct expert_choice *got, uint32_t first, float first_weight,
                           uint32_t second, float second_weight)
{
    assert_int_equal(got[0].expert, first);
    assert_int_equal(got[1].expert, second);
    if (!(fabsf(got[0].weight - first_weight) < 1e-6f &&
          fabsf(got[1].weight - second_weight) < 1e-6f))
        fail_msg("weights %g and %g", (double)got[0].weight, (double)got[1].weight);
}

static void routers_choose_the_greatest_and_of_equals_the_lower_number(void **state)
{
    const float logits[] = {0, 2, -1, 2, 1, 2}, none[] = {NAN, -INFINITY, NAN, NAN, NAN, NAN};
    const float sum = 3 * expf(2) + 1 + expf(-1) + expf(1);
    struct expert_choice c[2];

    route((struct args_route){.gate = GATE_SOFTMAX}, logits, NULL, c);
    assert_choices(c, 1, expf(2) / sum, 3, expf(2) / sum);
    route((struct args_route){.gate = GATE_SOFTMAX, .normalise = 1, .scale = 3}, logits, NULL, c);
    assert_choices(c, 1, 1.5f, 3, 1.5f);
    route((struct args_route){.gate = GATE_SIGMOID}, logits, NULL, c);
    assert_choices(c, 1, 1 / (1 + expf(-2)), 3, 1 / (1 + expf(-2)));
    route((struct args_route){.gate = GATE_CHOSEN}, (const float[]){0, 3, 0, 4, 0, 0}, NULL, c);
    assert_choices(c, 3, 1 / (1 + expf(-1)), 1, expf(-1) / (1 + expf(-1)));
    route((struct args_route){.gate = GATE_CHOSEN}, none, NULL, c);
    assert_int_equal(c[0].expert, 1); /* anything is above NaN */
    assert_int_equal(c[1].expert, 0);
    assert_true(isnan(c[0].weight) && isnan(c[1].weight));
}

static void a_bias_counts_for_the_choice_alone(void **state)
{
    const float logits[] = {0, 2, 0, 0, 0, 1}, bias[] = {0, 0, 9, 0, 0, 0};
    struct expert_choice c[2];

    route((struct args_route){.gate = GATE_SIGMOID}, logits, bias, c);
    assert_choices(c, 2, 0.5f, 1, 1 / (1 + expf(-2)));
}

static void a_routers_scales_are_of_the_chosen_experts(void **state)
{
    const float logits[] = {0, 2, 0, 0, 0, 1}, scales[] = {9, 0.5f, 9, 9, 9, -2};
    const struct args_route a = {.gate = GATE_SIGMOID, .scales = (addr_t)(uintptr_t)scales};
    struct expert_choice c[2];

    route(a, logits, NULL, c);
    assert_choices(c, 1, 0.5f / (1 + expf(-2)), 5, -2 / (1 + expf(-1)));
}

/* The greatest expert of all is alone in its group; two good ones make a better group. */
static void groups_are_judged_by_their_two_best(void **state)
{
    const float logits[] = {5, -9, 1, 2, -9, -9};
    struct expert_choice c[2];

    route((struct args_route){.gate = GATE_SIGMOID, .n_groups = 3, .n_groups_used = 1}, logits,
          NULL, c);
    assert_choices(c, 3, 1 / (1 + expf(-2)), 2, 1 / (1 + expf(-1)));
    route((struct args_route){.gate = GATE_SIGMOID, .n_groups = 3, .n_groups_used = 2}, logits,
          NULL, c);
    assert_choices(c, 0, 1 / (1 + expf(-5)), 3, 1 / (1 + expf(-2)));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(routers_choose_the_greatest_and_of_equals_the_lower_number),
    cmocka_unit_test(a_bias_counts_for_the_choice_alone),
    cmocka_unit_test(a_routers_scales_are_of_the_chosen_experts),
    cmocka_unit_test(groups_are_judged_by_their_two_best),
    cmocka_unit_test(f16_round_trips_every_pattern),
    cmocka_unit_test(f16_rounds_ties_to_even_and_overflows_to_infinity),
    cmocka_unit_test(dequantised_blocks_equal_the_truth),
    cmocka_unit_test(quantised_activations_stay_near_and_sum_up),
    cmocka_unit_test(activations_that_are_not_finite_give_nan_scales),
    cmocka_unit_test(matmul_equals_the_naive_sum_with_bias_and_accumulation),
    cmocka_unit_test(greedy_takes_the_lowest_of_equals_and_never_nan),
    cmocka_unit_test(without_any_candidate_the_lowest_allowed_is_named),
    cmocka_unit_test(penalties_and_bias_move_logits_once_per_token),
    cmocka_unit_test(top_k_top_p_and_min_p_keep_what_they_should),
    cmocka_unit_test(draws_follow_the_softmax_and_the_seed_alone),
    cmocka_unit_test(top_list_is_ordered_and_normalised),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
