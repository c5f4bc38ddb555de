/* SPDX-License-Identifier: MIT */
/* Launches of the kernels around the KV cache, and of the sampler. */
#include "device/vulkan/vk_dispatch.h"

#include <stdio.h>

enum {
    ROPE_FEW_ROWS = 16,
    ROPE_PAIRS = 4, /* that an invocation turns, of few rows */
    ROPE_ROWS = 4,  /* that a workgroup turns, of many */
    ATTENTION_FEW_ROWS = 16,
    ATTENTION_QUERIES = 8,
    ATTENTION_SUMS = 64,                              /* values a lane adds up */
    ATTENTION_CHANNELS = 4096,                        /* of all queries of a workgroup */
    ATTENTION_SUBGROUPS_FEW = ATTENTION_SPLIT_BLOCKS, /* of few rows: they share a range's blocks */
    ATTENTION_SUBGROUPS = 4,
    ATTENTION_SPLIT_GROUPS = 256, /* workgroups that a row of a long context is worth */
    ATTENTION_GROUPS_MOST = 1024, /* of few rows: more of them are empty, or wait */
    SAMPLE_WORKGROUP = 1024,
    INDEX_GROUPS = 64, /* workgroups of a row's scores, at most */
};

void vk_launch_rope(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    const struct args_rope *a = &d->args.rope;
    uint64_t pairs = (uint64_t)a->n_heads * (a->n_rot / 2);

    /* Few rows: several workgroups share a row. Many: each keeps its pairs' constants for more. */
    if (d->max_rows <= ROPE_FEW_ROWS) {
        l->groups[0] = vk_groups(caps, d->max_rows, 1);
        l->groups[1] = vk_groups(caps, pairs, (uint64_t)l->workgroup_size * ROPE_PAIRS);
    } else {
        l->groups[0] = vk_groups(caps, d->max_rows, ROPE_ROWS);
    }
}

/* The variant of a kernel for the cache's type. */
static void name_for_cache(struct vk_launch *l, const char *name, const struct kv_layer *kv)
{
    snprintf(l->shader, sizeof(l->shader), "%s%s", name, kv->type == KV_Q8_0 ? "_q8_0" : "");
}

void vk_launch_kv_store(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    name_for_cache(l, "kv_store", &d->args.kv_store.kv);
    l->groups[0] = vk_groups(caps, (uint64_t)d->max_rows * d->args.kv_store.kv.n_kv_heads, 1);
}

/* ---- attention: see kernels/attention.comp for what its constants mean ---- */

/* Queries of a workgroup: their sums and weights must fit the registers of a subgroup, and they
 * themselves the shared memory. Half as many where a lane has several runs of channels, since the
 * weights then wait for all of them, and where it has several positions (lavapipe), since the code
 * is long enough. */
static uint32_t most_queries(const struct args_attention *a, const struct vk_launch *l)
{
    uint32_t per_lane = (a->kv.n_channels_v - 1) / l->subgroup_size + 1, n = ATTENTION_QUERIES;

    if (per_lane > 4 || l->subgroup_size < KV_BLOCK_TOKENS)
        n /= 2;
    while (n > 1 && (n * per_lane > ATTENTION_SUMS || n * a->kv.n_channels_k > ATTENTION_CHANNELS))
        n--;
    return n;
}

/* Channels of values that a lane reads at once: as many as leave no lane without. */
static uint32_t value_width(const struct kv_layer *kv, uint32_t subgroup)
{
    uint32_t n = 4, bytes = kv->type == KV_Q8_0 ? 1 : 2;

    while (n > 1 && (kv->n_channels_v % n || (kv->base | kv->block_bytes) % (n * bytes) ||
                     n / 2 * subgroup >= kv->n_channels_v))
        n /= 2;
    return n;
}

/* Workgroups of one row and range: what is left of the query heads when each of them is shared. */
struct attention_tile {
    uint32_t heads, rows, chunks;
};

static struct attention_tile tile_of(const struct args_attention *a, const struct vk_launch *l,
                                     bool is_few)
{
    uint32_t group = a->n_heads / a->kv.n_kv_heads, queries = most_queries(a, l);
    uint32_t chunks = (group - 1) / queries + 1, heads = (group - 1) / chunks + 1;

    return (struct attention_tile){heads, is_few ? 1 : queries / heads, chunks};
}

/* A lane for each position of a block. */
static void choose_subgroup(const struct vk_caps *caps, struct vk_launch *l)
{
    if (caps->subgroup_min <= KV_BLOCK_TOKENS && caps->subgroup_max >= KV_BLOCK_TOKENS)
        l->subgroup_size = KV_BLOCK_TOKENS;
}

uint32_t vk_attention_splits(const struct vk_caps *caps, const struct args_attention *a,
                             uint32_t max_rows)
{
    struct vk_launch l = {.subgroup_size = caps->subgroup_default};
    uint32_t most = (a->kv.n_blocks - 1) / ATTENTION_SPLIT_BLOCKS + 1, n;

    if (max_rows > ATTENTION_FEW_ROWS)
        return 1;
    choose_subgroup(caps, &l);
    n = ATTENTION_SPLIT_GROUPS / (a->kv.n_kv_heads * tile_of(a, &l, true).chunks);
    n = n < most ? n : most;
    return n > 1 ? n : 1;
}

/* What one position costs one row, in nanoseconds, on a GPU that multiplies and adds 500 times in
 * one (12 compute units that do it at a quarter of their peak) and reads 100 bytes: rows of a
 * prompt share what they read in its caches, single rows share it among a workgroup's query heads.
 *
 * A chunk of 512 rows of an 8B model (32 heads of 128 channels) behind 131072 positions is 5.5e11
 * products to add in each layer: 1.1 s there, and on 40 compute units of 256 GB/s, about four times
 * as fast, 0.3 s. Hence the parts of VK_PART_NS: 11 of them, 25 to 30 ms each on the latter. Few
 * rows are never too long: 16 of them read all the keys and values of a layer once, and those of
 * all layers lie in memory, so that one has at most some 4 GB: 40 ms. */
static float cost_of_position(const struct args_attention *a, const struct attention_tile *tile,
                              bool is_few)
{
    double products = (double)a->n_heads * (a->kv.n_channels_k + a->kv.n_channels_v);

    return (float)(is_few ? products * 2 / tile->heads / 100 : products / 500);
}

/* Parts of whole tiles of rows, each short enough were the cache one sequence. */
static void cut_rows(const struct args_attention *a, const struct attention_tile *tile,
                     struct vk_launch *l)
{
    double positions = (double)a->kv.n_blocks * KV_BLOCK_TOKENS;
    double tiles = VK_PART_NS / (positions * (double)l->position_ns * tile->rows);
    uint32_t tile_groups = a->kv.n_kv_heads * tile->chunks, n_tiles = l->groups[0] / tile_groups;

    if (tiles >= n_tiles)
        return;
    l->part_rows = (tiles > 1 ? (uint32_t)tiles : 1) * tile->rows;
    l->part_groups = l->part_rows / tile->rows * tile_groups;
}

void vk_launch_attention(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    const struct args_attention *a = &d->args.attention;
    uint32_t k_width = a->kv.n_channels_k % 8 || (a->kv.base | a->kv.block_bytes) % 16 ? 1 : 8;
    bool is_split = a->n_splits > 1, is_few = is_split || d->max_rows <= ATTENTION_FEW_ROWS;
    uint32_t subgroups = is_few ? ATTENTION_SUBGROUPS_FEW : ATTENTION_SUBGROUPS;
    struct attention_tile tile;
    uint64_t items;

    name_for_cache(l, "attention", &a->kv);
    choose_subgroup(caps, l);
    tile = tile_of(a, l, is_few);
    for (; subgroups > 1; subgroups /= 2) {
        uint32_t padded = (a->kv.n_channels_k + 31) / 32 * 32;
        uint32_t shared =
            tile.heads * tile.rows * (padded + subgroups * (l->subgroup_size + 2)) * 4;

        if (subgroups * l->subgroup_size <= caps->workgroup_max && shared <= caps->shared_bytes)
            break;
    }
    l->workgroup_size = subgroups * l->subgroup_size;
    l->constants[0] = tile.heads;
    l->constants[1] = tile.rows;
    l->constants[2] = a->kv.n_channels_k;
    l->constants[3] = k_width;
    l->constants[4] = value_width(&a->kv, l->subgroup_size);
    l->constants[5] = (a->kv.n_channels_v - 1) / (l->subgroup_size * l->constants[4]) + 1;
    l->constants[6] = a->chosen != 0;
    l->n_constants = 7;
    items = (uint64_t)((d->max_rows - 1) / tile.rows + 1) * a->kv.n_kv_heads * tile.chunks;
    if (is_split)
        items = items * a->n_splits < ATTENTION_GROUPS_MOST ? items * a->n_splits
                : items < ATTENTION_GROUPS_MOST             ? ATTENTION_GROUPS_MOST
                                                            : items;
    l->groups[0] = vk_groups(caps, items, 1);
    l->position_ns = cost_of_position(a, &tile, is_few);
    if (!is_few && l->groups[0] == items) /* else a workgroup has more than one tile */
        cut_rows(a, &tile, l);
}

/* A row's positions are cut among as many workgroups as there are in the first dimension for it;
 * parts are of whole rows, by the same arithmetic as above. */
void vk_launch_index_scores(const struct vk_caps *caps, const struct dispatch *d,
                            struct vk_launch *l)
{
    const struct args_index_scores *a = &d->args.index_scores;
    uint32_t blocks = a->n_positions / KV_BLOCK_TOKENS, per_row = caps->groups_max / d->max_rows;
    double rows;

    name_for_cache(l, "index_scores", &a->kv);
    per_row = per_row < INDEX_GROUPS ? per_row : INDEX_GROUPS;
    per_row = per_row < blocks ? per_row : blocks;
    per_row = per_row ? per_row : 1;
    l->constants[0] = a->kv.n_channels_k;
    l->constants[1] = a->kv.n_channels_k % 4 || (a->kv.base | a->kv.block_bytes) % 8 ? 1 : 4;
    l->constants[2] = per_row;
    l->n_constants = 3;
    l->groups[0] = vk_groups(caps, (uint64_t)d->max_rows * per_row, 1);
    l->position_ns = (float)((double)a->n_heads * a->kv.n_channels_k / 500);
    rows = VK_PART_NS / ((double)a->n_positions * (double)l->position_ns);
    if (rows >= d->max_rows || l->groups[0] != d->max_rows * per_row)
        return;
    l->part_rows = rows > 1 ? (uint32_t)rows : 1;
    l->part_groups = l->part_rows * per_row;
}

void vk_launch_sample(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    /* One workgroup looks at a whole row: as large as it may be. */
    l->workgroup_size =
        caps->workgroup_max < SAMPLE_WORKGROUP ? caps->workgroup_max : SAMPLE_WORKGROUP;
    l->workgroup_size -= l->workgroup_size % l->subgroup_size;
    l->groups[0] = vk_groups(caps, d->max_rows, 1);
}
