/* SPDX-License-Identifier: MIT */
/* What a dispatch becomes on GPUs of every kind: shaders that exist, grids that fit and cover. */
#include "harness.h"

#include "device/device.h"
#include "device/vulkan/vk_dispatch.h"
#include "kernels/shaders.h"

#include <string.h>

/* What the baseline asks for. */
static struct vk_caps caps_with(uint32_t subgroup)
{
    return (struct vk_caps){.subgroup_min = subgroup,
                            .subgroup_max = subgroup,
                            .subgroup_default = subgroup,
                            .workgroup_max = 128,
                            .shared_bytes = 32768,
                            .groups_max = 65535};
}

static struct dispatch matmul_of(enum gguf_type type, uint32_t n_rows, uint32_t max_rows)
{
    return (struct dispatch){.op = KERNEL_MATMUL,
                             .weight_type = type,
                             .max_rows = max_rows,
                             .args.matmul = {.n_rows = n_rows, .n_cols = 4096}};
}

static void assert_fits(const struct vk_caps *caps, const struct vk_launch *l)
{
    if (!shader_find(l->shader))
        fail_msg("there is no shader %s", l->shader);
    assert_true(l->n_constants <= VK_CONSTANTS_MOST);
    assert_true(l->workgroup_size > 0 && l->workgroup_size <= caps->workgroup_max);
    assert_int_equal(l->workgroup_size % l->subgroup_size, 0);
    for (int i = 0; i < 3; i++)
        assert_true(l->groups[i] > 0 && l->groups[i] <= 65535);
}

/* The results that a launch of matmul computes: constants tell the size of a workgroup's share. */
static void assert_covers(const struct dispatch *d, const struct vk_launch *l)
{
    bool is_matvec = !strncmp(l->shader, "matvec", 6);
    const uint32_t *tile = l->constants + l->n_constants - 2;
    uint64_t rows = (uint64_t)l->groups[1] * l->groups[2] * tile[0];

    if (!is_matvec) /* matvec strides over what is left */
        assert_true(rows >= d->args.matmul.n_rows);
    assert_true((uint64_t)l->groups[0] * tile[1] >= d->max_rows);
}

static void matmuls_fit_every_gpu(void **state)
{
    static const uint32_t n_rows[] = {1, 100, 4096, 300000, 40000000};
    static const uint32_t max_rows[] = {1, 2, 4, 16, 17, 64, 512, 2048};

    for (uint32_t subgroup = 4; subgroup <= 128; subgroup *= 2)
        for (uint32_t type = 0; type < GGUF_TYPE_LIMIT; type++)
            for (size_t i = 0; i < sizeof(n_rows) / sizeof(*n_rows); i++)
                for (size_t r = 0; r < sizeof(max_rows) / sizeof(*max_rows); r++)
                    for (int a = 0; a < ACT_TYPE_COUNT; a++) {
                        struct vk_caps caps = caps_with(subgroup);
                        struct dispatch d = matmul_of((enum gguf_type)type, n_rows[i], max_rows[r]);
                        struct vk_launch l;

                        if (!kernel_supports_type((enum gguf_type)type))
                            continue;
                        d.activation = (enum activation_type)a;
                        vk_launch_for(&caps, &d, &l);
                        assert_fits(&caps, &l);
                        assert_covers(&d, &l);
                    }
}

/* A tile of rows of x and of W for all that one expert may be asked. */
static void experts_fit_every_gpu(void **state)
{
    static const uint32_t n_experts[] = {1, 8, 128, EXPERTS_MAX};
    static const uint32_t max_rows[] = {1, 16, 17, 512, 2048};

    for (uint32_t subgroup = 4; subgroup <= 128; subgroup *= 2)
        for (uint32_t type = 0; type < GGUF_TYPE_LIMIT; type++)
            for (size_t i = 0; i < sizeof(n_experts) / sizeof(*n_experts); i++)
                for (size_t r = 0; r < sizeof(max_rows) / sizeof(*max_rows); r++)
                    for (int a = 0; a < ACT_TYPE_COUNT; a++) {
                        const struct vk_caps caps = caps_with(subgroup);
                        bool is_few = max_rows[r] <= DEVICE_FEW_ROWS;
                        struct dispatch d = {
                            .op = KERNEL_MATMUL_EXPERTS,
                            .weight_type = (enum gguf_type)type,
                            .activation = (enum activation_type)a,
                            .max_rows = max_rows[r],
                            .args.matmul_experts = {.n_rows = 2050,
                                                    .n_cols = 4096,
                                                    .n_experts = n_experts[i],
                                                    .n_used = 1 + n_experts[i] / 16}};
                        const struct args_matmul_experts *args = &d.args.matmul_experts;
                        const uint32_t *tile;
                        struct vk_launch l;

                        if (!kernel_supports_type((enum gguf_type)type))
                            continue;
                        vk_launch_for(&caps, &d, &l);
                        assert_fits(&caps, &l);
                        tile = l.constants + l.n_constants - 2;
                        assert_true((uint64_t)l.groups[0] * tile[1] >=
                                    (is_few ? d.max_rows * args->n_used : d.max_rows));
                        if (is_few)
                            continue;
                        assert_true(l.groups[1] * tile[0] >= args->n_rows);
                        assert_int_equal(l.groups[2], args->n_experts);
                    }
}

static void bytes_are_for_prompts_on_gpus_that_multiply_them_fast(void **state)
{
    struct vk_caps caps = caps_with(32);

    assert_int_equal(vk_activation_for(&caps, GGUF_TYPE_Q4_K, 4096, 512), ACT_F32);
    caps.has_fast_dot8 = true;
    assert_int_equal(vk_activation_for(&caps, GGUF_TYPE_Q4_K, 4096, 512), ACT_Q8_32);
    assert_int_equal(vk_activation_for(&caps, GGUF_TYPE_Q4_K, 4096, 1), ACT_F32);
    assert_int_equal(vk_activation_for(&caps, GGUF_TYPE_F16, 4096, 512), ACT_F32);
    assert_int_equal(vk_activation_for(&caps, GGUF_TYPE_Q2_0, 4096, 512), -1);
}

static void a_prompt_of_bytes_is_multiplied_as_such(void **state)
{
    struct vk_caps caps = caps_with(64);
    struct dispatch d = matmul_of(GGUF_TYPE_Q6_K, 4096, 512);
    struct vk_launch l;

    d.activation = ACT_Q8_32;
    vk_launch_for(&caps, &d, &l);
    assert_string_equal(l.shader, "matmul_dot_q6_k");
    d.activation = ACT_Q8_256;
    vk_launch_for(&caps, &d, &l);
    assert_string_equal(l.shader, "matmul_q6_k");
    d.max_rows = 16;
    vk_launch_for(&caps, &d, &l);
    assert_string_equal(l.shader, "matvec_q6_k");
}

static struct args_attention attention_of(uint32_t n_heads, uint32_t n_kv_heads, uint32_t channels,
                                          uint32_t n_positions)
{
    return (struct args_attention){
        .kv = {.block_bytes = 1 << 20,
               .n_kv_heads = n_kv_heads,
               .n_channels_k = channels,
               .n_channels_v = channels,
               .n_blocks = n_positions / KV_BLOCK_TOKENS},
        .n_heads = n_heads,
        .n_splits = 1,
    };
}

static void attention_fits_every_gpu_in_ranges_and_whole(void **state)
{
    static const struct {
        uint32_t n_heads, n_kv_heads, channels;
    } models[] = {{32, 8, 128}, {1, 1, 64}, {64, 64, 64}, {16, 1, 576}, {8, 1, 1024}};
    static const uint32_t rows[] = {1, 4, 16, 17, 512, 4096};

    for (uint32_t subgroup = 4; subgroup <= 128; subgroup *= 2)
        for (size_t m = 0; m < sizeof(models) / sizeof(*models); m++)
            for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++) {
                struct vk_caps caps = caps_with(subgroup);
                struct dispatch d = {.op = KERNEL_ATTENTION, .max_rows = rows[r]};
                struct args_attention *a = &d.args.attention;
                struct vk_launch l;

                *a = attention_of(models[m].n_heads, models[m].n_kv_heads, models[m].channels,
                                  131072);
                vk_launch_for(&caps, &d, &l);
                assert_fits(&caps, &l);
                a->n_splits = vk_attention_splits(&caps, a, rows[r]);
                assert_true(a->n_splits >= 1 && a->n_splits <= ATTENTION_SPLITS_MAX);
                assert_true(rows[r] <= DEVICE_FEW_ROWS || a->n_splits == 1);
                vk_launch_for(&caps, &d, &l);
                assert_fits(&caps, &l);
            }
}

/* The whole grid, by tiles of rows, and no part too long by the bound that is told of it. */
static void a_prompt_behind_a_long_context_is_cut_into_parts(void **state)
{
    static const uint32_t rows[] = {17, 64, 512, 2048};

    for (uint32_t subgroup = 4; subgroup <= 128; subgroup *= 2)
        for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++) {
            struct vk_caps caps = caps_with(subgroup);
            struct dispatch d = {.op = KERNEL_ATTENTION, .max_rows = rows[r]};
            struct vk_launch l;

            d.args.attention = attention_of(32, 8, 128, 131072);
            vk_launch_for(&caps, &d, &l);
            assert_true(rows[r] == 17 || l.part_groups);
            if (l.part_groups) {
                uint32_t n = (l.groups[0] - 1) / l.part_groups + 1;

                assert_true(n * l.part_rows >= rows[r] && (n - 1) * l.part_rows < rows[r]);
                assert_int_equal(l.part_rows % l.constants[1], 0);
                assert_true((double)l.part_rows * 131072 * (double)l.position_ns <= VK_PART_NS);
            }
            d.args.attention = attention_of(32, 8, 128, 4096);
            vk_launch_for(&caps, &d, &l);
            assert_true(rows[r] == 2048 || !l.part_groups); /* short enough */
        }
}

/* So many workgroups that a large GPU has all of it at work, and no more ranges than there are. */
static void one_row_of_a_long_context_is_work_for_many(void **state)
{
    struct vk_caps caps = caps_with(32);
    struct dispatch d = {.op = KERNEL_ATTENTION, .max_rows = 1};
    struct args_attention *a = &d.args.attention;
    struct vk_launch l;

    *a = attention_of(32, 8, 128, 131072);
    a->n_splits = vk_attention_splits(&caps, a, 1);
    vk_launch_for(&caps, &d, &l);
    assert_true(l.groups[0] >= 200);
    /* what a row comes to must not change with those beside it */
    assert_int_equal(vk_attention_splits(&caps, a, DEVICE_FEW_ROWS), a->n_splits);
    *a = attention_of(32, 8, 128, 3 * ATTENTION_SPLIT_BLOCKS * KV_BLOCK_TOKENS);
    assert_int_equal(vk_attention_splits(&caps, a, 1), 3);
    *a = attention_of(32, 8, 128, ATTENTION_SPLIT_BLOCKS * KV_BLOCK_TOKENS);
    assert_int_equal(vk_attention_splits(&caps, a, 1), 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(matmuls_fit_every_gpu),
    cmocka_unit_test(experts_fit_every_gpu),
    cmocka_unit_test(bytes_are_for_prompts_on_gpus_that_multiply_them_fast),
    cmocka_unit_test(a_prompt_of_bytes_is_multiplied_as_such),
    cmocka_unit_test(attention_fits_every_gpu_in_ranges_and_whole),
    cmocka_unit_test(a_prompt_behind_a_long_context_is_cut_into_parts),
    cmocka_unit_test(one_row_of_a_long_context_is_work_for_many),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
