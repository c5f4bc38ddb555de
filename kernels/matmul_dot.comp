/* SPDX-License-Identifier: MIT */
/*
 * As matmul.comp with activations of 8 bits (ACT_Q8_32): sums of integer products, four at a time,
 * for each 32 columns, times the scales of W and x. Minima of W are multiplied by the sums that
 * act_q8_32 holds. With groups g of 32 columns and the dot product of their codes,
 *   y[r][i] = sum over g of x_scale[r][g] * (scale[i][g] * dot[i][r][g] - low[i][g] * sum[r][g])
 * or, with two scales in a group (Q6_K), the like of as many dots.
 * A workgroup takes TILE_GROUPS groups of every row of its tile (tile.glsl, which has the grid) at
 * a time into shared memory, as codes and scales.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_spirv_intrinsics : require
#ifdef EXPERTS
#define ARGS args_matmul_experts
#else
#define ARGS args_matmul
#endif
#include "common.glsl"
layout(constant_id = 2) const uint TILE_ROWS = 64;
layout(constant_id = 3) const uint TILE_BATCH = 64;
#include "dequant.glsl"
#include "codes.glsl"
#include "product.glsl"
#include "tile.glsl"

/* OpSDot of four bytes in a word (packing 0), of SPIR-V 1.6: this compiler has no name for it. */
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019],
                  id = 4450) int
dot_of_bytes(uint a, uint b, spirv_literal int packing);

const uint GROUP_VALUES = 32, GROUP_WORDS = 8, ACT_WORDS = 10;
const uint TILE_GROUPS = 2;

/* One array, so that all of it is aligned to 16 bytes:
 *   codes of W [group][word][row], of x [group][word][batch row], then as bits of floats
 *   scales of W [group][half][row], minima of W [group][row],
 *   scales of x [group][batch row], scale * sum of x [group][batch row] */
const uint X_CODES = TILE_GROUPS * GROUP_WORDS * TILE_ROWS;
const uint W_SCALES = X_CODES + TILE_GROUPS * GROUP_WORDS * TILE_BATCH;
const uint W_LOWS = W_SCALES + TILE_GROUPS * 2 * TILE_ROWS;
const uint X_SCALES = W_LOWS + TILE_GROUPS * TILE_ROWS;
const uint X_SUMS = X_SCALES + TILE_GROUPS * TILE_BATCH;
shared uint tile[X_SUMS + TILE_GROUPS * TILE_BATCH];

/* What does not exist gets scales of 0, and any codes. */
void load_weights(uint first_group, uint n_groups)
{
    for (uint i = gl_LocalInvocationID.x; i < TILE_GROUPS * TILE_ROWS; i += WORKGROUP_SIZE) {
        uint group = i / TILE_ROWS, place = i % TILE_ROWS, row = tile_first_row() + place;
        uvec4 codes[2] = uvec4[2](uvec4(0), uvec4(0));
        vec2 scales = vec2(0);
        float low = 0.0;

        if (row < push.a.n_rows && first_group + group < n_groups)
            group_codes(product_weight + uint64_t(row) * row_bytes(push.a.n_cols),
                        first_group + group, codes, scales, low);
        [[unroll]] for (uint j = 0; j < GROUP_WORDS; j++)
            tile[(group * GROUP_WORDS + j) * TILE_ROWS + place] = codes[j / 4][j % 4];
        tile[W_SCALES + group * 2 * TILE_ROWS + place] = floatBitsToUint(scales.x);
        if (HAS_TWO_SCALES)
            tile[W_SCALES + (group * 2 + 1) * TILE_ROWS + place] = floatBitsToUint(scales.y);
        if (HAS_LOW)
            tile[W_LOWS + i] = floatBitsToUint(low);
    }
}

void load_activations(uint first_group, uint n_groups, uint n_batch)
{
    for (uint i = gl_LocalInvocationID.x; i < TILE_GROUPS * TILE_BATCH; i += WORKGROUP_SIZE) {
        uint group = i / TILE_BATCH, place = i % TILE_BATCH, r = tile_first_batch() + place;
        uvec4 codes[2] = uvec4[2](uvec4(0), uvec4(0));
        float scale = 0.0, sum = 0.0;

        if (r < n_batch && first_group + group < n_groups) {
            uint64_t block = push.a.x + (uint64_t(product_x_row(r, n_batch)) * n_groups + first_group +
                                         group) *
                                            (ACT_WORDS * 4);

            scale = F32(block).v[0];
            sum = scale * float(int(U32(block).v[1]));
            codes[0] = Words4(block + 8).v[0];
            codes[1] = Words4(block + 8).v[1];
        }
        [[unroll]] for (uint j = 0; j < GROUP_WORDS; j++)
            tile[X_CODES + (group * GROUP_WORDS + j) * TILE_BATCH + place] = codes[j / 4][j % 4];
        tile[X_SCALES + i] = floatBitsToUint(scale);
        if (HAS_LOW)
            tile[X_SUMS + i] = floatBitsToUint(sum);
    }
}

int dots[8][8]; /* [row of W][row of x] */

float float_at(uint place)
{
    return uintBitsToFloat(tile[place]);
}

void add_words(uint first_word, uint n_words, uint m, uint n)
{
    for (uint word = first_word; word < first_word + n_words; word++) {
        uint w[8], x[8];

        [[unroll]] for (uint i = 0; i < 8; i++) {
            w[i] = tile[word * TILE_ROWS + element(i, m, TILE_ROWS)];
            x[i] = tile[X_CODES + word * TILE_BATCH + element(i, n, TILE_BATCH)];
        }
        [[unroll]] for (uint i = 0; i < 8; i++)
            [[unroll]] for (uint j = 0; j < 8; j++)
                dots[i][j] += dot_of_bytes(w[i], x[j], 0);
    }
}

/* Adds what `dots` holds, the scales of W being from W_SCALES + scale * TILE_ROWS on; clears it. */
void add_dots(uint scale, uint group, uint m, uint n)
{
    [[unroll]] for (uint j = 0; j < 8; j++) {
        float x_scale = float_at(X_SCALES + group * TILE_BATCH + element(j, n, TILE_BATCH));

        [[unroll]] for (uint i = 0; i < 8; i++) {
            float w_scale = float_at(W_SCALES + scale * TILE_ROWS + element(i, m, TILE_ROWS));

            sums[i][j] = fma(float(dots[i][j]), w_scale * x_scale, sums[i][j]);
            dots[i][j] = 0;
        }
    }
}

void subtract_lows(uint group, uint m, uint n)
{
    [[unroll]] for (uint j = 0; j < 8; j++) {
        float x_sum = float_at(X_SUMS + group * TILE_BATCH + element(j, n, TILE_BATCH));

        [[unroll]] for (uint i = 0; i < 8; i++) {
            float low = float_at(W_LOWS + group * TILE_ROWS + element(i, m, TILE_ROWS));

            sums[i][j] = fma(-low, x_sum, sums[i][j]);
        }
    }
}

void add_group(uint group, uint m, uint n)
{
    uint word = group * GROUP_WORDS;

    if (HAS_TWO_SCALES) {
        add_words(word, GROUP_WORDS / 2, m, n);
        add_dots(group * 2, group, m, n);
        add_words(word + GROUP_WORDS / 2, GROUP_WORDS / 2, m, n);
        add_dots(group * 2 + 1, group, m, n);
    } else {
        add_words(word, GROUP_WORDS, m, n);
        add_dots(group * 2, group, m, n);
    }
    if (HAS_LOW)
        subtract_lows(group, m, n);
}

void main()
{
    uint n_batch = begin_product();
    uint n_groups = push.a.n_cols / GROUP_VALUES, m = tile_m(), n = tile_n();

    if (tile_first_batch() >= n_batch || tile_first_row() >= push.a.n_rows)
        return;
    clear_sums();
    [[unroll]] for (uint i = 0; i < 8; i++)
        [[unroll]] for (uint j = 0; j < 8; j++)
            dots[i][j] = 0;
    for (uint g = 0; g < n_groups; g += TILE_GROUPS) {
        load_weights(g, n_groups);
        load_activations(g, n_groups, n_batch);
        barrier();
        /* unrolled, reads of 16 bytes fall into parts: RADV no longer sees that they are aligned */
        [[dont_unroll]] for (uint i = 0; i < TILE_GROUPS; i++)
            add_group(i, m, n);
        barrier();
    }
    store_sums(n_batch);
}
