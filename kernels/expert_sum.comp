/* SPDX-License-Identifier: MIT */
/*
 * out[t] (+)= sum over slots of weight * y[t][slot], f32[T][n_cols]; see args_expert_sum.
 * Grid: x strides over the columns, y is the token.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_expert_sum
#include "common.glsl"

void main()
{
    uint n_cols = push.a.n_cols, n_used = push.a.n_used, t = gl_WorkGroupID.y;

    if (t >= step_rows(push.a.step, ROWS_TOKENS))
        return;
    for (uint i = gl_GlobalInvocationID.x; i < n_cols; i += gl_NumWorkGroups.x * WORKGROUP_SIZE) {
        F32 result = F32(push.a.out_address + (uint64_t(t) * n_cols + i) * 4);
        float sum = push.a.accumulate != 0 ? result.v[0] : 0.0;

        [[dont_unroll]] for (uint pair = t * n_used; pair < (t + 1) * n_used; pair++)
            sum = fma(Choices(push.a.choices).v[pair].weight,
                      F32(push.a.y + (uint64_t(pair) * n_cols + i) * 4).v[0], sum);
        result.v[0] = sum;
    }
}
