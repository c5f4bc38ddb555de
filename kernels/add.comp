/* SPDX-License-Identifier: MIT */
/*
 * x[r] = (x[r] + y[r]) * scale on f32[rows][n_cols]; see args_add.
 * Grid: workgroups stride over all values.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_add
#include "common.glsl"

void main()
{
    uint64_t n = uint64_t(step_rows(push.a.step, push.a.rows)) * push.a.n_cols;
    uint64_t stride = uint64_t(gl_NumWorkGroups.x) * WORKGROUP_SIZE;
    float scale = push.a.scale != 0 ? F32(push.a.scale).v[0] : 1.0;

    for (uint64_t i = gl_GlobalInvocationID.x; i < n; i += stride) {
        F32 x = F32(push.a.x + i * 4);

        x.v[0] = (x.v[0] + F32(push.a.y + i * 4).v[0]) * scale;
    }
}
