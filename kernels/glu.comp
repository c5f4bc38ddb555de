/* SPDX-License-Identifier: MIT */
/*
 * out = activation(gate) * up on f32[rows][n_cols], out may be gate; see args_glu. The activations
 * are a logistic: silu(x) = x / (1 + e^-x), and gelu(x) = x / (1 + e^-2u), because
 * (1 + tanh(u)) / 2 = 1 / (1 + e^-2u).
 * Grid: workgroups stride over all values.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_glu
#include "common.glsl"
#include "exact.glsl"

float activated(float x)
{
    const float sqrt_2_over_pi = 0.7978845608;
    float u = x;

    if (push.a.activation == GLU_GELU)
        u = 2.0 * sqrt_2_over_pi * (x + 0.044715 * x * x * x);
    if (push.a.activation == GLU_CLAMPED)
        u = GLU_CLAMP_ALPHA * x;
    return (push.a.activation == GLU_SIGMOID ? 1.0 : x) / (1.0 + exp_exact(-u));
}

void main()
{
    uint64_t n = uint64_t(step_rows(push.a.step, push.a.rows)) * push.a.n_cols;
    uint64_t stride = uint64_t(gl_NumWorkGroups.x) * WORKGROUP_SIZE;

    for (uint64_t i = gl_GlobalInvocationID.x; i < n; i += stride) {
        float gate = F32(push.a.gate + i * 4).v[0];
        float up = push.a.up != 0 ? F32(push.a.up + i * 4).v[0] : 1.0;

        if (push.a.activation == GLU_CLAMPED) { /* NaN passes */
            gate = gate > GLU_CLAMP_LIMIT ? GLU_CLAMP_LIMIT : gate;
            up = up > GLU_CLAMP_LIMIT ? GLU_CLAMP_LIMIT : up < -GLU_CLAMP_LIMIT ? -GLU_CLAMP_LIMIT : up;
            up += 1.0;
        }
        F32(push.a.out_address + i * 4).v[0] = activated(gate) * up;
    }
}
