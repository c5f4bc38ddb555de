/* SPDX-License-Identifier: MIT */
/*
 * y[r][i] = sum over k of W[i][k] * x[r][k] (+ bias[i]) (+ y[r][i]) for many rows r: prompts. See
 * args_matmul; one variant per weight type.
 * A workgroup computes TILE_ROWS rows of W times TILE_BATCH rows of x. It takes TILE_UNITS units
 * (dequant.glsl) of every row at a time, dequantised, into shared memory: `weights` and `xs`, with
 * the k of a unit in any order as long as both have the same. Each invocation then adds to 8 x 8
 * sums in registers: the rows of W at 4 * m and half a tile further, and the rows of x likewise, so
 * that neighbours read neighbouring 16 bytes. Sums are f32.
 * Grid: x is the tile of x, the fastest, so that workgroups at work together read the same part of
 * W; y and z count the tiles of W. Tiles past the step's rows end at once.
 * WORKGROUP_SIZE is TILE_ROWS / 8 * TILE_BATCH / 8.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_matmul
#include "common.glsl"
layout(constant_id = 2) const uint ACTIVATION = 0;
layout(constant_id = 3) const uint TILE_ROWS = 64;
layout(constant_id = 4) const uint TILE_BATCH = 64;
#include "dequant.glsl"
#include "activation.glsl"

const uint TILE_UNITS = 2;
const uint TILE_K = TILE_UNITS * UNIT_VALUES;

shared float weights[TILE_K * TILE_ROWS]; /* [k][row], k by unit and place in it */
shared float xs[TILE_K * TILE_BATCH];     /* [k][batch row] */

/* Units first_unit.. of the tile's rows; rows and units that do not exist become zeros. */
void load_tile(uint first_unit, uint first_row, uint first_batch, uint n_batch)
{
    uint n_cols = push.a.n_cols, n_units = row_units(n_cols);
    vec4 v[4];

    for (uint i = gl_LocalInvocationID.x; i < TILE_UNITS * TILE_ROWS; i += WORKGROUP_SIZE) {
        uint row = first_row + i % TILE_ROWS, u = first_unit + i / TILE_ROWS;
        uint place = i / TILE_ROWS * UNIT_VALUES * TILE_ROWS + i % TILE_ROWS;

        uint64_t address = push.a.weight + uint64_t(row) * row_bytes(n_cols);

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
        uint r = first_batch + i % TILE_BATCH, u = first_unit + i / TILE_BATCH;
        uint place = i / TILE_BATCH * UNIT_VALUES * TILE_BATCH + i % TILE_BATCH;

        uint64_t address = activation_row(push.a.x, r, n_cols);

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

/* Element i of the 8 that invocation `place` has of a tile's `size`. */
uint element(uint i, uint place, uint size)
{
    return place * 4 + i % 4 + i / 4 * (size / 2);
}

float sums[8][8]; /* [row of W][row of x] */

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

void store_sums(uint first_row, uint m, uint first_batch, uint n, uint n_batch)
{
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint row = first_row + element(i, m, TILE_ROWS);
        float bias = 0.0;

        if (row >= push.a.n_rows)
            continue;
        if (push.a.bias != 0)
            bias = F32(push.a.bias).v[row];
        [[unroll]] for (uint j = 0; j < 8; j++) {
            uint r = first_batch + element(j, n, TILE_BATCH);
            F32 y = F32(push.a.out_address + (uint64_t(r) * push.a.n_rows + row) * 4);

            if (r < n_batch)
                y.v[0] = sums[i][j] + bias + (push.a.accumulate != 0 ? y.v[0] : 0.0);
        }
    }
}

void main()
{
    uint n_batch = step_rows(push.a.step, push.a.rows);
    uint first_batch = gl_WorkGroupID.x * TILE_BATCH;
    uint first_row = (gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y) * TILE_ROWS;
    uint m = gl_LocalInvocationID.x % (TILE_ROWS / 8), n = gl_LocalInvocationID.x / (TILE_ROWS / 8);
    uint n_units = row_units(push.a.n_cols);

    if (first_batch >= n_batch || first_row >= push.a.n_rows)
        return;
    weights_init();
    [[unroll]] for (uint i = 0; i < 8; i++)
        [[unroll]] for (uint j = 0; j < 8; j++)
            sums[i][j] = 0.0;
    for (uint u = 0; u < n_units; u += TILE_UNITS) {
        load_tile(u, first_row, first_batch, n_batch);
        barrier();
        for (uint k = 0; k < TILE_K; k += 2) {
            add_column(k, m, n);
            add_column(k + 1, m, n);
        }
        barrier();
    }
    store_sums(first_row, m, first_batch, n, n_batch);
}
