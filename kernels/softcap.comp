/* SPDX-License-Identifier: MIT */
/*
 * x = cap * tanh(x / cap) on f32[rows][n_cols]; see args_softcap.
 * Grid: workgroups stride over all values.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_softcap
#include "common.glsl"
#include "tanh.glsl"

void main()
{
    uint64_t n = uint64_t(step_rows(push.a.step, push.a.rows)) * push.a.n_cols;
    uint64_t stride = uint64_t(gl_NumWorkGroups.x) * WORKGROUP_SIZE;

    for (uint64_t i = gl_GlobalInvocationID.x; i < n; i += stride) {
        F32 x = F32(push.a.x + i * 4);

        x.v[0] = push.a.cap * tanh_exact(x.v[0] / push.a.cap);
    }
}
