/* SPDX-License-Identifier: MIT */
/*
 * out[t] = row tokens[t].token - first_row of table, dequantised, times scale; zeros for a token
 * that the table has not, where it begins with row 0, else what was there. See args_embed; one
 * variant per weight type, with the very numbers of ref_embed.
 * Grid: y is t, x the units of 16 values (dequant.glsl) of the row, one an invocation.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_embed
#include "common.glsl"
#define EXACT precise
#include "dequant.glsl"

/* TOKEN_DRAWN looked up; 0xffffffff, which no table has, where it cannot be. */
uint token_id(step_token token)
{
    step_seq seq;

    if (token.token != TOKEN_DRAWN || push.a.seqs == 0 || token.seq >= step_n_seqs(push.a.step))
        return token.token;
    seq = StepSeqs(push.a.seqs).v[token.seq];
    return seq.history != 0 ? U32(seq.history).v[token.position] : TOKEN_DRAWN;
}

void main()
{
    uint n_cols = push.a.n_cols, t = gl_WorkGroupID.y, n_units = row_units(n_cols), id;

    weights_init();
    if (t >= step_rows(push.a.step, ROWS_TOKENS))
        return;
    id = token_id(StepTokens(push.a.tokens).v[t]) - push.a.first_row;
    if (id >= push.a.n_rows && push.a.first_row != 0)
        return;
    for (uint u = gl_GlobalInvocationID.x; u < n_units;
         u += gl_NumWorkGroups.x * WORKGROUP_SIZE) {
        F32 y = F32(push.a.out_address + uint64_t(t) * n_cols * 4);
        uint first = unit_first(u);
        uint64_t row = push.a.table + uint64_t(id) * row_bytes(n_cols);
        vec4 w[4];

        if (id >= push.a.n_rows)
            w = vec4[4](vec4(0), vec4(0), vec4(0), vec4(0));
        else if (is_part_unit(u, n_cols))
            part_unit_values(row, u, n_cols, w);
        else
            unit_values(row, u, w);
        [[unroll]] for (uint i = 0; i < UNIT_VALUES; i++) {
            uint k = first + i % 8 + i / 8 * UNIT_STRIDE;

            if (HAS_PART_UNITS == 0 || k < n_cols)
                y.v[k] = w[i / 4][i % 4] * push.a.scale;
        }
    }
}
