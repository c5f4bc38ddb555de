/* SPDX-License-Identifier: MIT */
/*
 * Rotary embedding in place on x f32[T][n_heads][n_channels]; the formula is at args_rope.
 *
 * Pair j turns by position * (a constant of the pair). The constant is computed to 44 bits with
 * pairs of floats and kept in turns, as a 64-bit fraction of one: its product with a position wraps
 * around by itself, and what is left of the angle is exact at any position.
 *
 * Grid: workgroup (x, y) takes the rows x, x + number of workgroups in x, ...; those of one x share
 * a row's pairs by y.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_rope
#include "common.glsl"
#include "exact.glsl"

#define PER_TURN vec2(0.15915493667125702, 6.420638243924713e-09) /* 1 / (2 pi) */

/* Cosine and sine of the pairs a workgroup works on. */
shared vec2 turns[WORKGROUP_SIZE];

/* What pair j's extrapolated angle is multiplied by, YaRN's mix of both: see args_rope. */
vec2 angle_factor(uint j)
{
    vec2 range = two_sum(push.a.corr_high, -push.a.corr_low);
    vec2 least = vec2(0.0010000000474974513, -4.749745130538949e-11);
    vec2 ramp = pair_divide(two_sum(float(j), -push.a.corr_low), range.x > least.x ? range : least);
    vec2 mix_factor;

    ramp = ramp.x < 0.0 ? vec2(0.0) : ramp.x > 1.0 ? vec2(1.0, 0.0) : ramp;
    ramp = pair_add(vec2(1.0, 0.0), -ramp);
    mix_factor = pair_multiply(ramp, vec2(push.a.ext_factor, 0.0));
    /* scale * (1 - mix) + mix */
    return pair_add(vec2(push.a.freq_scale, 0.0),
                    pair_multiply(mix_factor, two_sum(1.0, -push.a.freq_scale)));
}

/* By what fraction of a turn pair j goes on from one position to the next, in 2^-64. */
uint64_t turn_of(uint j, vec2 log_base)
{
    vec2 exponent = pair_divide(vec2(-2.0 * float(j), 0.0), vec2(float(push.a.n_rot), 0.0));
    vec2 t = pair_exp2(pair_multiply(exponent, log_base));

    t = pair_multiply(pair_multiply(t, PER_TURN), angle_factor(j));
    if (push.a.factors != 0)
        t = pair_divide(t, vec2(F32(push.a.factors).v[j], 0.0));
    t.x -= floor(t.x);
    t *= exp2_int(62);
    return uint64_t(int64_t(t.x) + int64_t(t.y)) << 2;
}

/* Cosine and sine of a fraction of a turn. */
vec2 cos_sin(uint64_t turn)
{
    uint top = uint(turn >> 32), quarter = (top + 0x20000000) >> 30;
    float a = float(int(top - (quarter << 30))) * 1.4629180792671596e-09; /* 2 pi / 2^32 */
    float s = a * a, sine, cosine;

    sine = 1.0 - s / 6.0 * (1.0 - s / 20.0 * (1.0 - s / 42.0 * (1.0 - s / 72.0)));
    sine *= a;
    cosine = 1.0 - s / 2.0 * (1.0 - s / 12.0 * (1.0 - s / 30.0 * (1.0 - s / 56.0 *
             (1.0 - s / 90.0))));
    switch (quarter & 3) {
    case 0:
        return vec2(cosine, sine);
    case 1:
        return vec2(-sine, cosine);
    case 2:
        return vec2(-cosine, -sine);
    default:
        return vec2(sine, -cosine);
    }
}

/* What every channel of a row is multiplied by. */
float temperature_at(uint position)
{
    precise float x = float(position) + push.a.temp_offset, step, next;

    if (!(push.a.temp_scale > 0.0))
        return 1.0;
    step = floor(x / push.a.temp_floor);
    next = step + 1.0;
    /* a quotient just below or above a whole number */
    if (next * push.a.temp_floor <= x)
        step = next;
    else if (step * push.a.temp_floor > x)
        step -= 1.0;
    return step == 0.0 ? 1.0 : 1.0 + push.a.temp_scale * log(step + 1.0);
}

/* Pairs [first, first + n) of every head of row t, whose cosines and sines lie in turns. */
void turn_row(uint t, uint first, uint n, float temperature)
{
    uint stride = gl_NumWorkGroups.y * WORKGROUP_SIZE, n_rot = push.a.n_rot;
    uint64_t row = push.a.x + uint64_t(t) * push.a.n_heads * push.a.n_channels * 4;
    bool is_split = push.a.style == ROPE_SPLIT;

    for (uint i = gl_WorkGroupID.y * WORKGROUP_SIZE + gl_LocalInvocationID.x;
         i < n * push.a.n_heads; i += stride) {
        uint j = first + i % n, c0 = is_split ? j : 2 * j, c1 = is_split ? j + n_rot / 2 : c0 + 1;
        F32 x = F32(row + uint64_t(i / n) * push.a.n_channels * 4);
        vec2 turn = turns[i % n] * temperature;
        float v0 = x.v[c0], v1 = x.v[c1];

        x.v[c0] = v0 * turn.x - v1 * turn.y;
        x.v[c1] = v0 * turn.y + v1 * turn.x;
    }
}

/* Channels that do not turn. */
void warm_rest(uint t, float temperature)
{
    uint begin = push.a.n_rot / 2 * 2, n = push.a.n_channels - begin;
    uint stride = gl_NumWorkGroups.y * WORKGROUP_SIZE;
    uint64_t row = push.a.x + uint64_t(t) * push.a.n_heads * push.a.n_channels * 4;

    for (uint i = gl_WorkGroupID.y * WORKGROUP_SIZE + gl_LocalInvocationID.x;
         i < n * push.a.n_heads; i += stride) {
        F32 x = F32(row + uint64_t(i / n) * push.a.n_channels * 4);

        x.v[begin + i % n] *= temperature;
    }
}

void main()
{
    uint n_tokens = step_rows(push.a.step, ROWS_TOKENS), half_rot = push.a.n_rot / 2;
    vec2 log_base = pair_log2(push.a.base);

    for (uint first = 0; first < half_rot; first += WORKGROUP_SIZE) {
        uint n = min(half_rot - first, WORKGROUP_SIZE), j = gl_LocalInvocationID.x;
        uint64_t turn = j < n ? turn_of(first + j, log_base) : 0;

        for (uint t = gl_WorkGroupID.x; t < n_tokens; t += gl_NumWorkGroups.x) {
            uint position = StepTokens(push.a.tokens).v[t].position;

            turns[j] = cos_sin(turn * position) * push.a.attn_factor;
            barrier();
            turn_row(t, first, n, temperature_at(position));
            barrier();
        }
    }
    for (uint t = gl_WorkGroupID.x; t < n_tokens; t += gl_NumWorkGroups.x) {
        float temperature = temperature_at(StepTokens(push.a.tokens).v[t].position);

        if (temperature != 1.0)
            warm_rest(t, temperature);
    }
}
