/* SPDX-License-Identifier: MIT */
/* Launches of the kernels that read weights, and of the one that makes their activations. */
#include "device/vulkan/vk_dispatch.h"

#include "device/device.h"

#include <stdio.h>

enum {
    UNIT_VALUES = 16,                   /* of dequant.glsl */
    MATVEC_ROWS_MOST = DEVICE_FEW_ROWS, /* what has more rows of x is matmul's */
    MATVEC_MANY = 2048,                 /* rows of W of which a subgroup may take 4, not 2 */
    MATMUL_EDGE = 8,                    /* an invocation of matmul has 8 x 8 sums */
    FEW_TILES = 256,                    /* fewer leave parts of a large GPU idle */
    GRID_MOST = 32768,                  /* of the dimensions but the first; every GPU has more */
    VALUES_PER_QUANTIZE_INVOCATION = 4,
};

/* Types that matmul_dot reads: as integers, with activations in ACT_Q8_32. */
static bool has_dot_form(enum gguf_type type)
{
    return type == GGUF_TYPE_Q4_0 || type == GGUF_TYPE_Q8_0 || type == GGUF_TYPE_Q4_K ||
           type == GGUF_TYPE_Q5_K || type == GGUF_TYPE_Q6_K;
}

/* Few rows are bound by the reading of the weights, for which f32 does as well. */
int vk_activation_for(const struct vk_caps *caps, enum gguf_type type, uint32_t n_cols,
                      uint32_t max_rows)
{
    if (!kernel_supports_type(type))
        return -1;
    return caps->has_fast_dot8 && max_rows > MATVEC_ROWS_MOST && has_dot_form(type) ? ACT_Q8_32
                                                                                    : ACT_F32;
}

static uint32_t ceil_div(uint32_t n, uint32_t by)
{
    return n / by + (n % by != 0);
}

void vk_launch_embed(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    vk_launch_name_typed(l, "embed", d->weight_type);
    l->groups[0] = vk_groups(caps, ceil_div(d->args.embed.n_cols, UNIT_VALUES), l->workgroup_size);
    l->groups[1] = d->max_rows;
}

void vk_launch_quantize(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    l->n_constants = 1;
    l->constants[0] = (uint32_t)activation_block(d->activation);
    l->groups[0] = vk_groups(caps, (uint64_t)d->max_rows * d->args.quantize.n_cols,
                             (uint64_t)l->workgroup_size * VALUES_PER_QUANTIZE_INVOCATION);
}

/* batch: rows of x of a tile, of n_x. */
static void launch_matvec(const char *name, const struct dispatch *d, uint32_t n_rows, uint32_t n_x,
                          uint32_t batch, struct vk_launch *l)
{
    uint32_t rows = n_rows >= MATVEC_MANY ? 4 : 2, n_groups;

    if (batch == 8) /* more would not find room in registers */
        rows = 2;
    n_groups = ceil_div(n_rows, rows * (l->workgroup_size / l->subgroup_size));
    vk_launch_name_typed(l, name, d->weight_type);
    l->n_constants = 3;
    l->constants[0] = d->activation;
    l->constants[1] = rows;
    l->constants[2] = batch;
    l->groups[0] = ceil_div(n_x, batch);
    l->groups[1] = n_groups < GRID_MOST ? n_groups : GRID_MOST;
}

struct tile {
    uint32_t rows, batch;
};

static uint32_t invocations(struct tile t)
{
    return t.rows / MATMUL_EDGE * (t.batch / MATMUL_EDGE);
}

/* A large tile reads less for each product; a small one where there would be few of them, or rows
 * of x to fill only half of it. */
static struct tile choose_tile(uint32_t n_rows, uint32_t max_rows, const struct vk_launch *l)
{
    static const struct tile large = {128, 64}, small = {64, 64}, flat = {128, 32};
    uint64_t n_large = (uint64_t)ceil_div(n_rows, large.rows) * ceil_div(max_rows, large.batch);

    if (l->subgroup_size > invocations(small)) /* and than those of flat */
        return large;
    if (max_rows <= flat.batch)
        return flat;
    return n_large < FEW_TILES ? small : large;
}

/* All of a tiled form but its grid: `suffix` is of the shader's name. */
static struct tile launch_tiles(const char *suffix, const struct dispatch *d, struct tile tile,
                                struct vk_launch *l)
{
    bool is_dot = d->activation == ACT_Q8_32 && has_dot_form(d->weight_type);
    char name[24];

    snprintf(name, sizeof(name), "matmul%s%s", is_dot ? "_dot" : "", suffix);
    vk_launch_name_typed(l, name, d->weight_type);
    l->workgroup_size = invocations(tile);
    if (!is_dot)
        l->constants[l->n_constants++] = d->activation;
    l->constants[l->n_constants++] = tile.rows;
    l->constants[l->n_constants++] = tile.batch;
    return tile;
}

void vk_launch_matmul(const struct vk_caps *caps, const struct dispatch *d, struct vk_launch *l)
{
    uint32_t n_rows = d->args.matmul.n_rows, n_tiles;
    struct tile tile;

    if (d->max_rows <= MATVEC_ROWS_MOST) {
        launch_matvec("matvec", d, n_rows, d->max_rows,
                      d->max_rows == 1   ? 1
                      : d->max_rows <= 4 ? 4
                                         : 8,
                      l);
        return;
    }
    tile = launch_tiles("", d, choose_tile(n_rows, d->max_rows, l), l);
    n_tiles = ceil_div(n_rows, tile.rows);
    l->groups[0] = ceil_div(d->max_rows, tile.batch);
    l->groups[1] = n_tiles < GRID_MOST ? n_tiles : GRID_MOST;
    l->groups[2] = ceil_div(n_tiles, GRID_MOST);
}

/* An expert may have all tokens; the tiles are for what it has when all have as many. */
void vk_launch_matmul_experts(const struct vk_caps *caps, const struct dispatch *d,
                              struct vk_launch *l)
{
    const struct args_matmul_experts *a = &d->args.matmul_experts;
    uint32_t even = ceil_div(d->max_rows * a->n_used, a->n_experts);
    struct tile tile;

    if (d->max_rows <= EXPERTS_FEW_ROWS) {
        launch_matvec("matvec_experts", d, a->n_rows, d->max_rows * a->n_used, 1, l);
        return;
    }
    tile = launch_tiles("_experts", d, choose_tile(a->n_rows, even, l), l);
    l->groups[0] = ceil_div(d->max_rows, tile.batch);
    l->groups[1] = ceil_div(a->n_rows, tile.rows);
    l->groups[2] = a->n_experts;
}
