/* SPDX-License-Identifier: MIT */
/*
 * What the tiled forms of matmul share (product.glsl comes before this): a workgroup's tile of
 * TILE_ROWS rows of W and TILE_BATCH rows of x, and an invocation's 8 x 8 of its sums. Of the rows
 * of W an invocation has those at 4 * m and half a tile further, m its place among TILE_ROWS / 8,
 * and of x likewise with n, so that neighbours read neighbouring 16 bytes of shared memory.
 * Grid: x is the tile of x, the fastest, so that workgroups at work together read the same part of
 * W; y and z count the tiles of W. Tiles past the step's rows end at once.
 * With EXPERTS (args_matmul_experts with rows): x is the tile among an expert's pairs, y that of W,
 * z the expert.
 * WORKGROUP_SIZE is TILE_ROWS / 8 * TILE_BATCH / 8.
 */

/* Rows of x that the product of this workgroup has. */
uint begin_product()
{
#ifdef EXPERTS
    return product_of_pairs(gl_WorkGroupID.z);
#else
    return step_rows(push.a.step, push.a.rows);
#endif
}

float sums[8][8]; /* [row of W][row of x] */

uint tile_m()
{
    return gl_LocalInvocationID.x % (TILE_ROWS / 8);
}

uint tile_n()
{
    return gl_LocalInvocationID.x / (TILE_ROWS / 8);
}

uint tile_first_batch()
{
    return gl_WorkGroupID.x * TILE_BATCH;
}

uint tile_first_row()
{
#ifdef EXPERTS
    return gl_WorkGroupID.y * TILE_ROWS;
#else
    return (gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y) * TILE_ROWS;
#endif
}

/* Element i of the 8 that invocation `place` has of a tile's `size`. */
uint element(uint i, uint place, uint size)
{
    return place * 4 + i % 4 + i / 4 * (size / 2);
}

void clear_sums()
{
    [[unroll]] for (uint i = 0; i < 8; i++)
        [[unroll]] for (uint j = 0; j < 8; j++)
            sums[i][j] = 0.0;
}

/* Stores the results that exist. */
void store_sums(uint n_batch)
{
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint row = tile_first_row() + element(i, tile_m(), TILE_ROWS);
        float bias = 0.0;

        if (row >= push.a.n_rows)
            continue;
        if (product_bias != 0)
            bias = F32(product_bias).v[row];
        [[unroll]] for (uint j = 0; j < 8; j++) {
            uint r = tile_first_batch() + element(j, tile_n(), TILE_BATCH);
            F32 y = F32(push.a.out_address +
                        (uint64_t(product_out_row(r, n_batch)) * push.a.n_rows + row) * 4);

            if (r < n_batch)
                y.v[0] = sums[i][j] + bias + (PRODUCT_ACCUMULATES ? y.v[0] : 0.0);
        }
    }
}
