/* SPDX-License-Identifier: MIT */
/*
 * Offsets past 4 GiB, by address arithmetic: a table, or a cache, is said to begin so far below the
 * workspace that only the one row, expert or block that is asked for lies inside it. The front
 * would refuse such a dispatch, so these go to the back end directly. GPUs only: what C does with
 * pointers that far outside is its own affair.
 */
#include "check.h"

#include "device/device_backend.h"
#include "kernels/ref.h"

#include <stdio.h>
#include <string.h>

/* Builds the dispatch over a workspace that begins at `base`. */
typedef struct dispatch build_fn(uint64_t base, const uint64_t *places);

static bool run_far(struct check *c, build_fn *build, const uint64_t *places)
{
    struct dispatch d = build(c->buf->address, places);
    struct dispatch plain = build((uint64_t)(uintptr_t)c->copy, places);
    struct program *p = NULL;
    struct error err = {0};
    int r;

    if (!check_is_due(c, &d, 1))
        return true;
    ref_run(&plain);
    r = c->dev->ops->program_create(c->dev, &d, 1, &p, &err);
    return check_finish(c, r, p, &err);
}

static bool is_gpu(const struct check *c)
{
    struct device_info info;

    device_get_info(c->dev, &info);
    return !strcmp(info.backend, "vulkan");
}

/* ---- a row of a table of weights ---- */

enum { EMBED_COLS = 512 };
static enum gguf_type embed_type;
static uint32_t embed_row;

static struct dispatch build_embed(uint64_t base, const uint64_t *places)
{
    uint64_t before = embed_row * gguf_type_row_bytes(embed_type, EMBED_COLS);
    struct dispatch d = {
        .op = KERNEL_EMBED, .weight_type = embed_type, .max_rows = 1, .label = "far"};

    d.args.embed = (struct args_embed){.step = base + places[0],
                                       .tokens = base + places[1],
                                       .table = base + places[2] - before,
                                       .out = base + places[3],
                                       .n_rows = embed_row + 1,
                                       .n_cols = EMBED_COLS,
                                       .scale = 1};
    return d;
}

static bool embed_far(struct check *c)
{
    static const enum gguf_type types[] = {GGUF_TYPE_F32, GGUF_TYPE_F16, GGUF_TYPE_Q8_0,
                                           GGUF_TYPE_Q4_K, GGUF_TYPE_Q6_K};

    for (size_t i = 0; is_gpu(c) && i < sizeof(types) / sizeof(*types); i++) {
        const struct gguf_type_info *info = gguf_type_get_info(types[i]);
        uint64_t places[4];

        c->used = 0;
        embed_type = types[i];
        embed_row = (uint32_t)((5ull << 30) / gguf_type_row_bytes(types[i], EMBED_COLS));
        places[0] = check_step(c, 1, 1);
        places[1] = check_tokens(c, 1, 0, 1);
        ((struct step_token *)check_at(c, places[1]))->token = embed_row;
        places[2] = check_take(c, gguf_type_row_bytes(types[i], EMBED_COLS));
        check_fill_weights(c, types[i], places[2], EMBED_COLS / info->block_elements, INPUT_NORMAL);
        places[3] = check_take(c, EMBED_COLS * sizeof(float));
        memcpy(c->copy, c->buf->host, c->used);
        if (!run_far(c, build_embed, places) ||
            !check_floats(c, places[3], EMBED_COLS, 1e-37, 1e-6)) {
            printf("# row %u of %s\n", embed_row, info->name);
            return false;
        }
    }
    return true;
}

/* ---- the weights of an expert ---- */

enum { EXPERT_ROWS = 40, EXPERT_COLS = 512 };
static enum gguf_type expert_type;
static uint32_t far_expert;

/* places: step, choices, weights of the expert, x, out */
static struct dispatch build_expert(uint64_t base, const uint64_t *places)
{
    uint64_t bytes = EXPERT_ROWS * gguf_type_row_bytes(expert_type, EXPERT_COLS);
    struct dispatch d = {
        .op = KERNEL_MATMUL_EXPERTS, .weight_type = expert_type, .max_rows = 1, .label = "far"};

    d.args.matmul_experts =
        (struct args_matmul_experts){.step = base + places[0],
                                     .choices = base + places[1],
                                     .weight = base + places[2] - far_expert * bytes,
                                     .x = base + places[3],
                                     .out = base + places[4],
                                     .n_rows = EXPERT_ROWS,
                                     .n_cols = EXPERT_COLS,
                                     .n_experts = far_expert + 1,
                                     .n_used = 1};
    return d;
}

static bool expert_far(struct check *c)
{
    static const enum gguf_type types[] = {GGUF_TYPE_F16, GGUF_TYPE_Q4_K, GGUF_TYPE_MXFP4,
                                           GGUF_TYPE_IQ2_XS};

    for (size_t i = 0; is_gpu(c) && i < sizeof(types) / sizeof(*types); i++) {
        const struct gguf_type_info *info = gguf_type_get_info(types[i]);
        uint64_t bytes = EXPERT_ROWS * gguf_type_row_bytes(types[i], EXPERT_COLS), places[5];

        c->used = 0;
        expert_type = types[i];
        far_expert = (uint32_t)((5ull << 30) / bytes);
        places[0] = check_step(c, 1, 1);
        places[1] = check_take(c, sizeof(struct expert_choice));
        *(struct expert_choice *)check_at(c, places[1]) =
            (struct expert_choice){.expert = far_expert, .weight = 1};
        places[2] = check_take(c, bytes);
        check_fill_weights(c, types[i], places[2], EXPERT_ROWS * EXPERT_COLS / info->block_elements,
                           INPUT_NORMAL);
        places[3] = check_take(c, EXPERT_COLS * sizeof(float));
        check_fill(c, places[3], EXPERT_COLS, INPUT_NORMAL);
        places[4] = check_take(c, EXPERT_ROWS * sizeof(float));
        memcpy(c->copy, c->buf->host, c->used);
        if (!run_far(c, build_expert, places) ||
            !check_floats(c, places[4], EXPERT_ROWS, 2e-5, 2e-5)) {
            printf("# expert %u of %s\n", far_expert, info->name);
            return false;
        }
    }
    return true;
}

/* ---- a block of the cache ---- */

enum { HEADS = 4, KV_HEADS = 2, CHANNELS = 64, POSITIONS = 20, FAR_BLOCK = 1000000 };
#define BLOCK_BYTES ((uint64_t)KV_BLOCK_TOKENS * KV_HEADS * 2 * CHANNELS * 2)

/* places: step, tokens, seqs, block table, cache block, q / k, v / out */
static struct kv_layer far_layer(uint64_t base, const uint64_t *places)
{
    return (struct kv_layer){.base = base + places[4] - FAR_BLOCK * BLOCK_BYTES,
                             .block_bytes = BLOCK_BYTES,
                             .n_kv_heads = KV_HEADS,
                             .n_channels_k = CHANNELS,
                             .n_channels_v = CHANNELS,
                             .n_blocks = FAR_BLOCK + 1};
}

static struct dispatch build_store(uint64_t base, const uint64_t *places)
{
    struct dispatch d = {.op = KERNEL_KV_STORE, .max_rows = POSITIONS, .label = "far"};

    d.args.kv_store = (struct args_kv_store){.step = base + places[0],
                                             .tokens = base + places[1],
                                             .seqs = base + places[2],
                                             .k = base + places[5],
                                             .v = base + places[6],
                                             .kv = far_layer(base, places)};
    return d;
}

static struct dispatch build_attention(uint64_t base, const uint64_t *places)
{
    struct dispatch d = {.op = KERNEL_ATTENTION, .max_rows = POSITIONS, .label = "far"};

    d.args.attention = (struct args_attention){.step = base + places[0],
                                               .tokens = base + places[1],
                                               .seqs = base + places[2],
                                               .q = base + places[5],
                                               .out = base + places[6],
                                               .kv = far_layer(base, places),
                                               .n_heads = HEADS,
                                               .scale = 0.125f,
                                               .n_splits = 1};
    return d;
}

/* The workspace, and its copy with addresses of its own. */
static void set_up_cache(struct check *c, uint64_t places[7])
{
    struct step_seq *seq;

    c->used = 0;
    places[0] = check_step(c, POSITIONS, 1);
    places[1] = check_tokens(c, POSITIONS, 0, 1);
    places[2] = check_take(c, sizeof(struct step_seq));
    places[3] = check_take(c, sizeof(uint32_t));
    *(uint32_t *)check_at(c, places[3]) = FAR_BLOCK;
    places[4] = check_take(c, BLOCK_BYTES);
    memset(check_at(c, places[4]), 0, BLOCK_BYTES);
    for (int i = 5; i < 7; i++) {
        places[i] = check_take(c, POSITIONS * HEADS * CHANNELS * sizeof(float));
        check_fill(c, places[i], POSITIONS * HEADS * CHANNELS, INPUT_NORMAL);
    }
    seq = check_at(c, places[2]);
    *seq = (struct step_seq){.block_table = check_address(c, places[3]), .n_blocks = 1};
    memcpy(c->copy, c->buf->host, c->used);
    seq = (struct step_seq *)(void *)(c->copy + places[2]);
    seq->block_table = (uint64_t)(uintptr_t)(c->copy + places[3]);
}

static bool cache_far(struct check *c)
{
    uint64_t places[7];

    if (!is_gpu(c))
        return true;
    set_up_cache(c, places);
    return run_far(c, build_store, places) && check_bytes(c, places[4], BLOCK_BYTES) &&
           run_far(c, build_attention, places) &&
           check_floats(c, places[6], POSITIONS * HEADS * CHANNELS, 4e-6, 4e-6);
}

const struct check_case check_far_cases[] = {
    {"embed_far", embed_far},
    {"expert_far", expert_far},
    {"cache_far", cache_far},
    {0},
};
