/* SPDX-License-Identifier: MIT */
/*
 * Puts together what attention.comp made of the ranges of each row's positions; see
 * args_attention_combine. With ranges i of greatest score s_i, total z_i and sums u_i[c], in units
 * of ln 2, and S the greatest of all s_i and of the sink:
 *   out[t][h][c] = sum_i 2^(s_i - S) u_i[c] / (sum_i 2^(s_i - S) z_i + 2^(sink - S))
 * parts f32[T][H][n_splits][2 + n_channels_v] (s, z, u), out f32[T][H][n_channels_v].
 *
 * Grid: workgroups stride over (row, head); an invocation adds up channels.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_attention_combine
#include "common.glsl"
#include "kv.glsl"

const float LOG2_E = 1.4426950408889634;

/* Every subgroup for itself: the greatest score and the total of all n ranges. */
void weigh(F32 parts, uint n, float sink, out float most, out float total)
{
    uint stride = push.a.n_channels_v + 2;

    most = sink;
    for (uint i = LANE; i < n; i += SUBGROUP_SIZE)
        most = max(most, parts.v[i * stride]);
    most = subgroupMax(most);
    total = 0.0;
    for (uint i = LANE; i < n; i += SUBGROUP_SIZE)
        total += exp2(parts.v[i * stride] - most) * parts.v[i * stride + 1];
    total = subgroupAdd(total);
}

void main()
{
    uint n_heads = push.a.n_heads, cv = push.a.n_channels_v;
    uint n_items = step_rows(push.a.step, ROWS_TOKENS) * n_heads;

    for (uint item = gl_WorkGroupID.x; item < n_items; item += gl_NumWorkGroups.x) {
        uint position = StepTokens(push.a.tokens).v[item / n_heads].position;
        uint n = attention_n_ranges(position, push.a.window, push.a.n_splits);
        F32 parts = F32(push.a.parts + uint64_t(item) * push.a.n_splits * (cv + 2) * 4);
        bool has_sink = push.a.sinks != 0;
        float sink = has_sink ? F32(push.a.sinks).v[item % n_heads] * LOG2_E : ATTENTION_NEVER;
        float most, total;

        weigh(parts, n, sink, most, total);
        if (has_sink)
            total += exp2(sink - most);
        for (uint c = gl_LocalInvocationID.x; c < cv; c += WORKGROUP_SIZE) {
            float sum = 0.0;

            for (uint i = 0; i < n; i++)
                sum += exp2(parts.v[i * (cv + 2)] - most) * parts.v[i * (cv + 2) + 2 + c];
            F32(push.a.out_address + uint64_t(item) * cv * 4).v[c] = total > 0.0 ? sum / total : 0.0;
        }
    }
}
