/* SPDX-License-Identifier: MIT */
/*
 * y = x / sqrt(mean(x^2) + eps) * weight * scale over each run of n_cols values, n_groups runs a row; see
 * args_rms_norm.
 * Squares are summed in f32: values up to about 1e18 / n_cols, where the plain form has no limit.
 * Grid: workgroup i takes the runs i, i + number of workgroups, ...
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_rms_norm
#include "common.glsl"
#include "reduce.glsl"

void main()
{
    uint n_cols = push.a.n_cols;
    uint n_runs = step_rows(push.a.step, push.a.rows) * push.a.n_groups;

    for (uint run = gl_WorkGroupID.x; run < n_runs; run += gl_NumWorkGroups.x) {
        F32 x = F32(push.a.x + uint64_t(run) * n_cols * 4);
        F32 y = F32(push.a.out_address + uint64_t(run) * n_cols * 4);
        float sum = 0.0, inverse;

        for (uint i = gl_LocalInvocationID.x; i < n_cols; i += WORKGROUP_SIZE)
            sum += x.v[i] * x.v[i];
        inverse = inversesqrt(workgroup_sum(sum) / float(n_cols) + push.a.eps) * push.a.scale;
        for (uint i = gl_LocalInvocationID.x; i < n_cols; i += WORKGROUP_SIZE) {
            float v = x.v[i] * inverse;

            y.v[i] = push.a.weight != 0 ? v * F32(push.a.weight).v[i] : v;
        }
    }
}
