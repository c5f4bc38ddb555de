/* SPDX-License-Identifier: MIT */
/*
 * Causal convolution of each channel over a sequence's last rows, then silu; see args_short_conv.
 * Grid: x strides over the channels, y over the runs.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_short_conv
#include "common.glsl"
#include "exact.glsl"
#include "state.glsl"

/* The input of channel c `back` rows before row t, of a run that begins with row first. */
float input_at(uint64_t state, bool is_new, uint first, uint t, uint back, uint c)
{
    uint n_cols = push.a.n_cols;

    if (t >= first + back)
        return F32(push.a.x + uint64_t(t - back) * n_cols * 4).v[c];
    if (is_new)
        return 0.0;
    return F32(state + uint64_t(t + push.a.n_taps - 1 - back - first) * n_cols * 4).v[c];
}

void conv_run(uint64_t state, uint first, uint end, uint c)
{
    bool is_new = StepTokens(push.a.tokens).v[first].position == 0;
    uint n_taps = push.a.n_taps, n_cols = push.a.n_cols;
    F32 weight = F32(push.a.weight + uint64_t(c) * n_taps * 4);

    for (uint t = first; t < end; t++) {
        float sum = 0.0;

        if (state != 0)
            [[dont_unroll]] for (uint k = 0; k < n_taps; k++)
                sum = fma(weight.v[k], input_at(state, is_new, first, t, n_taps - 1 - k, c), sum);
        F32(push.a.out_address + uint64_t(t) * n_cols * 4).v[c] = sum / (1.0 + exp_exact(-sum));
    }
    if (state == 0)
        return;
    /* ascending: what is read lies behind what is written */
    [[dont_unroll]] for (uint k = 0; k + 1 < n_taps; k++)
        F32(state + uint64_t(k) * n_cols * 4).v[c] =
            input_at(state, is_new, first, end, n_taps - 1 - k, c);
}

void main()
{
    uint n_tokens = step_rows(push.a.step, ROWS_TOKENS), end;
    uint stride = gl_NumWorkGroups.x * WORKGROUP_SIZE;

    for (uint t = 0, run = 0; t < n_tokens; t = end, run++) {
        end = run_end(t, n_tokens);
        if (!is_own_run(run))
            continue;
        for (uint c = gl_GlobalInvocationID.x; c < push.a.n_cols; c += stride)
            conv_run(state_of(t), t, end, c);
    }
}
