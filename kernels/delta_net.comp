/* SPDX-License-Identifier: MIT */
/*
 * The gated delta rule, row after row; see args_delta_net. An invocation has a column of a head's
 * state, which nobody else reads.
 * Grid: x strides over the heads and runs of WORKGROUP_SIZE columns, y over the runs of rows.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_delta_net
#include "common.glsl"
#include "exact.glsl"
#include "reduce.glsl"
#include "state.glsl"

/* The row's query and key, of the lengths they count with. */
shared float query[DELTA_CHANNELS_MAX], key[DELTA_CHANNELS_MAX];

/* ln(1 + e^x) */
float softplus(float x)
{
    precise float e, one_more, lost;

    if (x > 20.0)
        return x + exp_exact(-x);
    e = exp_exact(x);
    one_more = 1.0 + e;
    lost = e - (one_more - 1.0);
    return pair_log2(one_more).x * 0.6931471805599453 + lost / one_more;
}

/* What brings the n_channels_k values of x to this length; every invocation takes part. */
float scale_to(F32 x, float length_wanted)
{
    float sum = 0.0;

    for (uint i = gl_LocalInvocationID.x; i < push.a.n_channels_k; i += WORKGROUP_SIZE)
        sum += x.v[i] * x.v[i];
    return length_wanted / max(sqrt(workgroup_sum(sum)), push.a.eps);
}

void load_row(F32 q, F32 k)
{
    float q_scale = scale_to(q, inversesqrt(float(push.a.n_channels_k)));
    float k_scale = scale_to(k, 1.0);

    for (uint i = gl_LocalInvocationID.x; i < push.a.n_channels_k; i += WORKGROUP_SIZE) {
        query[i] = q.v[i] * q_scale;
        key[i] = k.v[i] * k_scale;
    }
}

/* Column j of head h at row t; `s` is the head's state. */
void delta_column(uint64_t s, bool is_new, uint64_t row, uint t, uint h, uint j)
{
    uint ck = push.a.n_channels_k, cv = push.a.n_channels_v;
    uint64_t at = (uint64_t(t) * push.a.n_heads_v + h) * 4;
    float v = F32(row + (2 * push.a.n_heads_k * ck + h * cv) * 4).v[j];
    float decay = exp_exact(F32(push.a.a).v[h] * softplus(F32(push.a.alpha + at).v[0] +
                                                         F32(push.a.dt_bias).v[h]));
    float beta = 1.0 / (1.0 + exp_exact(-F32(push.a.beta + at).v[0]));
    float seen = 0.0, result = 0.0, change;

    if (!is_new)
        [[dont_unroll]] for (uint i = 0; i < ck; i++)
            seen = fma(key[i], F32(s).v[i * cv + j], seen);
    change = beta * (v - decay * seen);
    [[dont_unroll]] for (uint i = 0; i < ck; i++) {
        float before = is_new ? 0.0 : decay * F32(s).v[i * cv + j];
        float now = fma(key[i], change, before);

        F32(s).v[i * cv + j] = now;
        result = fma(query[i], now, result);
    }
    F32(push.a.out_address + at * cv).v[j] = result;
}

/* Head h's columns from `first` on, of the rows [t, end) of one sequence. */
void delta_run(uint64_t state, uint t, uint end, uint h, uint first)
{
    uint ck = push.a.n_channels_k, cv = push.a.n_channels_v, hk = push.a.n_heads_k;
    uint g = push.a.order == DELTA_TILED ? h % hk : h / (push.a.n_heads_v / hk);
    uint row_values = 2 * hk * ck + push.a.n_heads_v * cv, j = first + gl_LocalInvocationID.x;

    for (; t < end; t++) {
        uint64_t row = push.a.x + uint64_t(t) * row_values * 4;

        if (state == 0) {
            if (j < cv)
                F32(push.a.out_address + (uint64_t(t) * push.a.n_heads_v + h) * cv * 4).v[j] = 0.0;
            continue;
        }
        barrier(); /* what was read of the row before */
        load_row(F32(row + g * ck * 4), F32(row + (hk + g) * ck * 4));
        barrier();
        if (j < cv)
            delta_column(state + uint64_t(h) * ck * cv * 4,
                         StepTokens(push.a.tokens).v[t].position == 0, row, t, h, j);
    }
}

void main()
{
    uint n_tokens = step_rows(push.a.step, ROWS_TOKENS), end;
    uint per_head = (push.a.n_channels_v + WORKGROUP_SIZE - 1) / WORKGROUP_SIZE;

    for (uint t = 0, run = 0; t < n_tokens; t = end, run++) {
        end = run_end(t, n_tokens);
        if (!is_own_run(run))
            continue;
        for (uint i = gl_WorkGroupID.x; i < per_head * push.a.n_heads_v; i += gl_NumWorkGroups.x)
            delta_run(state_of(t), t, end, i / per_head, i % per_head * WORKGROUP_SIZE);
    }
}
