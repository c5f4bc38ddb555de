/* SPDX-License-Identifier: MIT */
/*
 * out (+)= scale * x (+ bias), each slot of a row by its expert's; see args_scale.
 * Grid: x strides over the slots and columns, y is the row.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_scale
#include "common.glsl"

void main()
{
    uint n_cols = push.a.n_cols, n = push.a.n_used * n_cols, row = gl_WorkGroupID.y;

    if (row >= step_rows(push.a.step, push.a.rows))
        return;
    for (uint k = gl_GlobalInvocationID.x; k < n; k += gl_NumWorkGroups.x * WORKGROUP_SIZE) {
        uint slot = k / n_cols, expert = slot;
        F32 result = F32(push.a.out_address + (uint64_t(row) * n + k) * 4);
        float y = F32(push.a.x + (uint64_t(row) * n + k) * 4).v[0];

        if (push.a.choices != 0)
            expert = Choices(push.a.choices).v[row * push.a.n_used + slot].expert;
        if (expert >= push.a.n_experts)
            continue;
        y *= F32(push.a.scale).v[expert];
        if (push.a.bias != 0)
            y += F32(push.a.bias + uint64_t(expert) * n_cols * 4).v[k % n_cols];
        result.v[0] = push.a.accumulate != 0 ? result.v[0] + y : y;
    }
}
