/* SPDX-License-Identifier: MIT */
/*
 * y[r][i] = sum over k of W[i][k] * x[r][k] (+ bias[i]) (+ y[r][i]) for many rows r: prompts. See
 * args_matmul; one variant per weight type.
 * A workgroup takes TILE_UNITS units (dequant.glsl) of every row of its tile (tile.glsl, which has
 * the grid) at a time, dequantised, into shared memory: `weights` and `xs`, with the k of a unit in
 * any order as long as both have the same. Each invocation adds their products to its 8 x 8 sums in
 * registers, f32.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#ifdef EXPERTS
#define ARGS args_matmul_experts
#else
#define ARGS args_matmul
#endif
#include "common.glsl"
layout(constant_id = 2) const uint ACTIVATION = 0;
layout(constant_id = 3) const uint TILE_ROWS = 64;
layout(constant_id = 4) const uint TILE_BATCH = 64;
#include "dequant.glsl"
#include "activation.glsl"
#include "product.glsl"
#include "tile.glsl"

const uint TILE_UNITS = 2;
const uint TILE_K = TILE_UNITS * UNIT_VALUES;

shared float weights[TILE_K * TILE_ROWS]; /* [k][row], k by unit and place in it */
shared float xs[TILE_K * TILE_BATCH];     /* [k][batch row] */

/* Units first_unit.. of the tile's rows; rows and units that do not exist become zeros. */
void load_tile(uint first_unit, uint n_batch)
{
    uint n_cols = push.a.n_cols, n_units = row_units(n_cols);
    vec4 v[4];

    for (uint i = gl_LocalInvocationID.x; i < TILE_UNITS * TILE_ROWS; i += WORKGROUP_SIZE) {
        uint row = tile_first_row() + i % TILE_ROWS, u = first_unit + i / TILE_ROWS;
        uint place = i / TILE_ROWS * UNIT_VALUES * TILE_ROWS + i % TILE_ROWS;
        uint64_t address = product_weight + uint64_t(row) * row_bytes(n_cols);

        if (row >= push.a.n_rows || u >= n_units)
            v = vec4[4](vec4(0), vec4(0), vec4(0), vec4(0));
        else if (is_part_unit(u, n_cols))
            part_unit_values(address, u, n_cols, v);
        else
            unit_values(address, u, v);
        [[unroll]] for (uint j = 0; j < UNIT_VALUES; j++)
            weights[place + j * TILE_ROWS] = v[j / 4][j % 4];
    }
    for (uint i = gl_LocalInvocationID.x; i < TILE_UNITS * TILE_BATCH; i += WORKGROUP_SIZE) {
        uint r = tile_first_batch() + i % TILE_BATCH, u = first_unit + i / TILE_BATCH;
        uint place = i / TILE_BATCH * UNIT_VALUES * TILE_BATCH + i % TILE_BATCH;
        uint64_t address = activation_row(push.a.x, product_x_row(r, n_batch), n_cols);

        if (r >= n_batch || u >= n_units)
            v = vec4[4](vec4(0), vec4(0), vec4(0), vec4(0));
        else if (is_part_unit(u, n_cols))
            part_unit_activations(address, u, n_cols, v);
        else
            unit_activations(address, u, v);
        [[unroll]] for (uint j = 0; j < UNIT_VALUES; j++)
            xs[place + j * TILE_BATCH] = v[j / 4][j % 4];
    }
}

/* Adds the products of one k of the tiles, for place m of the rows of W and n of the rows of x. */
void add_column(uint k, uint m, uint n)
{
    float w[8], x[8];

    [[unroll]] for (uint i = 0; i < 8; i++) {
        w[i] = weights[k * TILE_ROWS + element(i, m, TILE_ROWS)];
        x[i] = xs[k * TILE_BATCH + element(i, n, TILE_BATCH)];
    }
    [[unroll]] for (uint i = 0; i < 8; i++)
        [[unroll]] for (uint j = 0; j < 8; j++)
            sums[i][j] = fma(w[i], x[j], sums[i][j]);
}

void main()
{
    uint n_batch = begin_product();
    uint n_units = row_units(push.a.n_cols), m = tile_m(), n = tile_n();

    if (tile_first_batch() >= n_batch || tile_first_row() >= push.a.n_rows)
        return;
    weights_init();
    clear_sums();
    for (uint u = 0; u < n_units; u += TILE_UNITS) {
        load_tile(u, n_batch);
        barrier();
        for (uint k = 0; k < TILE_K; k += 2) {
            add_column(k, m, n);
            add_column(k + 1, m, n);
        }
        barrier();
    }
    store_sums(n_batch);
}
