/* SPDX-License-Identifier: MIT */
/*
 * y[r][i] = sum over k of W[i][k] * x[r][k] (+ bias[i]) (+ y[r][i]) for few rows r: decoding. See
 * args_matmul; one variant per weight type.
 * A subgroup computes ROWS rows of W times a tile of BATCH rows of x; its lanes take the units of
 * 16 values (dequant.glsl) in turn, so that they read W and x side by side, and W once for the
 * whole tile. Sums are f32.
 * Grid: x is the tile of x, the fastest, so that W is read from memory once; y strides over the
 * rows of W. Tiles past the step's rows end at once.
 * With EXPERTS, args_matmul_experts without rows: a tile is one (token, slot) pair, BATCH 1.
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
layout(constant_id = 3) const uint ROWS = 2;
layout(constant_id = 4) const uint BATCH = 4;
#include "dequant.glsl"
#include "activation.glsl"
#include "product.glsl"

float sums[ROWS][BATCH];
uint64_t weights[ROWS], xs[BATCH]; /* where the rows of W and x begin */

/* Adds the products of a whole unit. `batch` is a constant. */
void add_unit(uint u, const uint batch)
{
    vec4 w[ROWS][4], x[4];

    [[unroll]] for (uint i = 0; i < ROWS; i++)
        unit_values(weights[i], u, w[i]);
    [[unroll]] for (uint b = 0; b < batch; b++) {
        unit_activations(xs[b], u, x);
        [[unroll]] for (uint i = 0; i < ROWS; i++)
            [[unroll]] for (uint j = 0; j < UNIT_VALUES; j++)
                sums[i][b] = fma(w[i][j / 4][j % 4], x[j / 4][j % 4], sums[i][b]);
    }
}

/* Adds the products of column k, of x in f32: rows of 8-bit values have only whole units. */
void add_column(uint k, const uint batch)
{
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        float w = value_at(weights[i], k);

        [[unroll]] for (uint b = 0; b < batch; b++)
            sums[i][b] = fma(w, F32(xs[b]).v[k], sums[i][b]);
    }
}

/* sums[i][b] of this lane's share, for the rows first_row + i of W and first_batch + b of x; rows
 * from n_rows or n_batch on are replaced by the last. */
void sum_rows(uint first_row, uint first_batch, uint n_batch, const uint batch)
{
    uint n_cols = push.a.n_cols, n_whole = n_cols / UNIT_VALUES;

    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        uint row = min(first_row + i, push.a.n_rows - 1);

        weights[i] = product_weight + uint64_t(row) * row_bytes(n_cols);
        [[unroll]] for (uint b = 0; b < batch; b++)
            sums[i][b] = 0.0;
    }
    [[unroll]] for (uint b = 0; b < batch; b++)
        xs[b] = activation_row(push.a.x, product_x_row(min(first_batch + b, n_batch - 1), n_batch), n_cols);
    for (uint u = LANE; u < n_whole; u += SUBGROUP_SIZE)
        add_unit(u, batch);
    if (HAS_PART_UNITS == 1)
        for (uint k = n_whole * UNIT_VALUES + LANE; k < n_cols; k += SUBGROUP_SIZE)
            add_column(k, batch);
}

/* Adds up the lanes' parts and stores the results that exist. */
void store_rows(uint first_row, uint first_batch, uint n_batch, const uint batch)
{
    [[unroll]] for (uint b = 0; b < batch; b++) {
        [[unroll]] for (uint i = 0; i < ROWS; i++) {
            uint r = first_batch + b, row = first_row + i;
            float sum = subgroupAdd(sums[i][b]);
            F32 y = F32(push.a.out_address + (uint64_t(r) * push.a.n_rows + row) * 4);

            if (LANE == 0 && r < n_batch && row < push.a.n_rows) {
                if (product_bias != 0)
                    sum += F32(product_bias).v[row];
                y.v[0] = PRODUCT_ACCUMULATES ? sum + y.v[0] : sum;
            }
        }
    }
}

void compute_rows(uint first_row, uint first_batch, uint n_batch, const uint batch)
{
    sum_rows(first_row, first_batch, n_batch, batch);
    store_rows(first_row, first_batch, n_batch, batch);
}

#ifdef EXPERTS
/* How many rows the product has: the pairs of the step. 0 where the pair of this workgroup chose no
 * expert that there is. */
uint begin_product()
{
    uint n = step_rows(push.a.step, ROWS_TOKENS) * push.a.n_used, pair = gl_WorkGroupID.x;
    uint expert = push.a.n_experts;

    if (pair < n)
        expert = push.a.choices != 0 ? Choices(push.a.choices).v[pair].expert : pair % push.a.n_used;
    if (expert >= push.a.n_experts)
        return 0;
    product_of_expert(subgroupBroadcastFirst(expert));
    return n;
}
#else
uint begin_product()
{
    return step_rows(push.a.step, push.a.rows);
}
#endif

void main()
{
    uint n_batch = begin_product();
    uint first_batch = gl_WorkGroupID.x * BATCH;
    uint stride = gl_NumWorkGroups.y * N_SUBGROUPS * ROWS;

    if (first_batch >= n_batch)
        return;
    weights_init();
    /* the same in every lane, and known to be */
    uint first_row = subgroupBroadcastFirst((gl_WorkGroupID.y * N_SUBGROUPS + SUBGROUP) * ROWS);
    uint n_present = min(n_batch - first_batch, BATCH);

    for (; first_row < push.a.n_rows; first_row += stride) {
        if (n_present == 1) {
            compute_rows(first_row, first_batch, n_batch, 1);
        } else if (BATCH > 4 && n_present <= 4) {
            compute_rows(first_row, first_batch, n_batch, 4);
        } else if (BATCH > 1) {
            compute_rows(first_row, first_batch, n_batch, BATCH);
        }
    }
}
