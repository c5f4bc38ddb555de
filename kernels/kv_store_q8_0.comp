/* SPDX-License-Identifier: MIT */
/*
 * As kv_store.comp, to 8-bit integers with an f16 scale for each run of KV_RUN channels; bit for bit
 * ref_kv_store_row.
 * Grid: workgroup i takes the pairs (row, head) i, i + number of workgroups, ... An invocation takes
 * four consecutive channels, KV_RUN / 4 of them a run.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_kv_store
#define KV_TYPE_Q8_0
#include "common.glsl"
#include "exact.glsl"
#include "f16.glsl"
#include "q8.glsl"
#include "kv.glsl"

const uint RUN_INVOCATIONS = KV_RUN / 4;

/* By run, of |x|: non-negative floats are ordered as their bits are. */
shared uint greatest_bits[WORKGROUP_SIZE / RUN_INVOCATIONS];

/* n channels at `from` to the position's integers and scales. */
void store(uint64_t from, uint64_t integers, uint64_t scales, uint n)
{
    uint run = gl_LocalInvocationID.x / RUN_INVOCATIONS;

    for (uint first = 0; first < n; first += WORKGROUP_SIZE * 4) {
        uint c = first + gl_LocalInvocationID.x * 4;
        vec4 x = vec4(0);
        q8_block b;
        uvec4 bits;

        barrier(); /* what was read of the last ones */
        if (gl_LocalInvocationID.x % RUN_INVOCATIONS == 0)
            greatest_bits[run] = 0;
        barrier();
        if (c < n)
            x = vec4(F32(from).v[c], F32(from).v[c + 1], F32(from).v[c + 2], F32(from).v[c + 3]);
        bits = floatBitsToUint(x) & 0x7fffffff;
        atomicMax(greatest_bits[run], max(max(bits.x, bits.y), max(bits.z, bits.w)));
        barrier();
        if (c >= n)
            continue;
        b = q8_of(x, greatest_bits[run]);
        U32(integers).v[c / 4] = q8_pack(b.q);
        if (c % KV_RUN == 0)
            U16(scales).v[c / KV_RUN] = f16_from_bits(floatBitsToUint(b.scale));
    }
}

void main()
{
    kv_layer kv = push.a.kv;
    uint n_heads = kv.n_kv_heads, ck = kv.n_channels_k, cv = kv.n_channels_v;
    uint n = step_rows(push.a.step, ROWS_TOKENS) * n_heads;

    for (uint i = gl_WorkGroupID.x; i < n; i += gl_NumWorkGroups.x) {
        step_token token = StepTokens(push.a.tokens).v[i / n_heads];
        step_seq seq = kv_seq_of(push.a.step, push.a.seqs, token.seq);
        uint64_t block = kv_block(kv, seq, token.position / KV_BLOCK_TOKENS);
        uint slot = token.position % KV_BLOCK_TOKENS, g = i % n_heads;
        uint64_t keys = block + kv_keys(kv, g), values = block + kv_values(kv, g);

        if (block == 0)
            continue;
        store(push.a.k + uint64_t(i) * ck * 4, keys + slot * ck,
              keys + KV_BLOCK_TOKENS * ck + slot * (ck / KV_RUN) * 2, ck);
        store(push.a.v + uint64_t(i) * cv * 4, values + slot * cv,
              values + KV_BLOCK_TOKENS * cv + slot * (cv / KV_RUN) * 2, cv);
    }
}
