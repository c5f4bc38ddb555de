/* SPDX-License-Identifier: MIT */
/*
 * out[t][j] = scale * sum over h of weights[t][h] * max(0, q[t][h].k[j]) over the paged cache; see
 * args_index_scores. A variant for each type of cache.
 * q f32[T][H][CHANNELS], weights f32[T][H], out f32[T][n_positions].
 *
 * Grid: GROUPS workgroups for each row take the blocks of its cache in turn. An invocation is a
 * position of the block and a share of the heads, HEADS of which meet a channel of the key at once.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_index_scores
#include "common.glsl"
#include "kv.glsl"

layout(constant_id = 2) const uint CHANNELS = 128;
layout(constant_id = 3) const uint K_WIDTH = 1; /* 4: channels of f16 that are read at once */
layout(constant_id = 4) const uint GROUPS = 1;

const uint BLOCK = KV_BLOCK_TOKENS;
const uint SHARES = WORKGROUP_SIZE / BLOCK;
const uint HEADS = 4;
const uint QUADS = (CHANNELS + 3) / 4;
#define INFINITY uintBitsToFloat(0x7f800000)

layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer Pairs { uvec2 v[]; };

shared float sums[WORKGROUP_SIZE];

/* Channels 4 c.. of a position's key, zeros behind the last. */
#ifdef KV_TYPE_Q8_0
vec4 load_key(uint64_t keys, uint slot, uint c)
{
    uint at = slot * CHANNELS + c * 4;
    int x = int(U32(keys).v[at / 4]);

    return vec4(bitfieldExtract(x, 0, 8), bitfieldExtract(x, 8, 8), bitfieldExtract(x, 16, 8),
                bitfieldExtract(x, 24, 8)) *
           float(F16(keys + BLOCK * CHANNELS).v[at / KV_RUN]);
}
#else
vec4 load_key(uint64_t keys, uint slot, uint c)
{
    vec4 k = vec4(0.0);

    if (K_WIDTH == 4) {
        uvec2 x = Pairs(keys + slot * CHANNELS * 2).v[c];

        return vec4(unpackHalf2x16(x.x), unpackHalf2x16(x.y));
    }
    for (uint i = 0; i < 4 && c * 4 + i < CHANNELS; i++)
        k[i] = float(F16(keys).v[slot * CHANNELS + c * 4 + i]);
    return k;
}
#endif

vec4 load_query(F32 q, uint h, uint c)
{
    vec4 x = vec4(0.0);

    [[unroll]] for (uint i = 0; i < 4; i++)
        if (c * 4 + i < CHANNELS)
            x[i] = q.v[h * CHANNELS + c * 4 + i];
    return x;
}

/* What this invocation's share of the heads says of its position. */
float score(uint t, uint64_t keys)
{
    uint n_heads = push.a.n_heads, slot = gl_LocalInvocationID.x % BLOCK;
    F32 q = F32(push.a.q + uint64_t(t) * n_heads * CHANNELS * 4);
    F32 weights = F32(push.a.weights + uint64_t(t) * n_heads * 4);
    float sum = 0.0;

    for (uint h = gl_LocalInvocationID.x / BLOCK * HEADS; h < n_heads; h += SHARES * HEADS) {
        float products[HEADS];

        [[unroll]] for (uint i = 0; i < HEADS; i++)
            products[i] = 0.0;
        [[dont_unroll]] for (uint c = 0; c < QUADS; c++) {
            vec4 k = load_key(keys, slot, c);

            [[unroll]] for (uint i = 0; i < HEADS; i++)
                products[i] += dot(load_query(q, min(h + i, n_heads - 1), c), k);
        }
        [[unroll]] for (uint i = 0; i < HEADS; i++)
            if (h + i < n_heads && products[i] > 0.0)
                sum += products[i] * weights.v[h + i];
    }
    return sum;
}

void main()
{
    uint t = gl_WorkGroupID.x / GROUPS, at = gl_LocalInvocationID.x, end;
    step_token token;
    step_seq seq;

    if (t >= step_rows(push.a.step, ROWS_TOKENS))
        return;
    token = StepTokens(push.a.tokens).v[t];
    seq = kv_seq_of(push.a.step, push.a.seqs, token.seq);
    end = min(token.position, push.a.n_positions - 1) / BLOCK + 1;
    for (uint b = gl_WorkGroupID.x % GROUPS; b < end; b += GROUPS) {
        uint64_t block = kv_block(push.a.kv, seq, b);
        uint j = b * BLOCK + at;

        barrier(); /* what was read of the last block's sums */
        sums[at] = block == 0 ? -INFINITY : score(t, block);
        barrier();
        if (at >= BLOCK || j > token.position)
            continue;
        for (uint i = 1; i < SHARES; i++)
            sums[at] += sums[i * BLOCK + at];
        F32(push.a.out_address + uint64_t(t) * push.a.n_positions * 4).v[j] =
            sums[at] * push.a.scale;
    }
}
