/* SPDX-License-Identifier: MIT */
/*
 * y = (x - mean) / sqrt(variance + eps) * weight + bias over each row; see args_layer_norm. The
 * variance is summed up of differences to the mean, as a row's mean may be far from zero.
 * Grid: workgroup i takes the rows i, i + number of workgroups, ...
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_layer_norm
#include "common.glsl"
#include "reduce.glsl"

void main()
{
    uint n_cols = push.a.n_cols, n_rows = step_rows(push.a.step, push.a.rows);

    for (uint row = gl_WorkGroupID.x; row < n_rows; row += gl_NumWorkGroups.x) {
        F32 x = F32(push.a.x + uint64_t(row) * n_cols * 4);
        F32 y = F32(push.a.out_address + uint64_t(row) * n_cols * 4);
        float sum = 0.0, squares = 0.0, mean, inverse;

        for (uint i = gl_LocalInvocationID.x; i < n_cols; i += WORKGROUP_SIZE)
            sum += x.v[i];
        mean = workgroup_sum(sum) / float(n_cols);
        for (uint i = gl_LocalInvocationID.x; i < n_cols; i += WORKGROUP_SIZE)
            squares += (x.v[i] - mean) * (x.v[i] - mean);
        inverse = inversesqrt(workgroup_sum(squares) / float(n_cols) + push.a.eps);
        for (uint i = gl_LocalInvocationID.x; i < n_cols; i += WORKGROUP_SIZE)
            y.v[i] = (x.v[i] - mean) * inverse * F32(push.a.weight).v[i] +
                     (push.a.bias != 0 ? F32(push.a.bias).v[i] : 0.0);
    }
}
