/* SPDX-License-Identifier: MIT */
/*
 * Part of each group of x to part of each group of out; see args_copy.
 * Grid: x strides over the values of a token, y is the token.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_copy
#include "common.glsl"

void main()
{
    uint t = gl_WorkGroupID.y, n = push.a.n_groups * push.a.n;

    if (t >= step_rows(push.a.step, ROWS_TOKENS))
        return;
    for (uint i = gl_GlobalInvocationID.x; i < n; i += gl_NumWorkGroups.x * WORKGROUP_SIZE) {
        uint g = i / push.a.n, column = i % push.a.n;
        uint64_t group = uint64_t(t) * push.a.n_groups + g;

        F32(push.a.out_address + (group * push.a.out_cols + push.a.out_first + column) * 4).v[0] =
            F32(push.a.x + (group * push.a.x_cols + push.a.x_first + column) * 4).v[0];
    }
}
