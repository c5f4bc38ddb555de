/* SPDX-License-Identifier: MIT */
/*
 * out[i] = x[output_rows[i]], f32[O][n_cols]; zeros for an index past the step's tokens; see
 * args_gather. Values are moved as words, so that every bit pattern arrives.
 * Grid: workgroup i takes the output rows i, i + number of workgroups, ...
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_gather
#include "common.glsl"

void main()
{
    uint n_cols = push.a.n_cols;
    uint n_tokens = StepHeaders(push.a.step).v[0].n_tokens;
    uint n_outputs = step_rows(push.a.step, ROWS_OUTPUTS);

    for (uint i = gl_WorkGroupID.x; i < n_outputs; i += gl_NumWorkGroups.x) {
        uint row = U32(push.a.output_rows).v[i];
        U32 from = U32(push.a.x + uint64_t(row) * n_cols * 4);
        U32 to = U32(push.a.out_address + uint64_t(i) * n_cols * 4);

        for (uint c = gl_LocalInvocationID.x; c < n_cols; c += WORKGROUP_SIZE)
            to.v[c] = row < n_tokens ? from.v[c] : 0;
    }
}
