/* SPDX-License-Identifier: MIT */
/*
 * Rounds f32 k[T][G][n_channels_k] and v[T][G][n_channels_v] to f16 and stores each row at its
 * position in the cache; a row whose sequence or block does not exist is left out; see
 * args_kv_store.
 * Grid: workgroup i takes the pairs (row, head) i, i + number of workgroups, ...
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_kv_store
#include "common.glsl"
#include "f16.glsl"
#include "kv.glsl"

void store(uint64_t from, uint64_t to, uint n)
{
    for (uint c = gl_LocalInvocationID.x; c < n; c += WORKGROUP_SIZE)
        U16(to).v[c] = f16_from_bits(U32(from).v[c]);
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

        if (block == 0)
            continue;
        store(push.a.k + uint64_t(i) * ck * 4, block + kv_keys(kv, g) + slot * ck * 2, ck);
        store(push.a.v + uint64_t(i) * cv * 4, block + kv_values(kv, g) + slot * cv * 2, cv);
    }
}
