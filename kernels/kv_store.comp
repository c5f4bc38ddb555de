/* SPDX-License-Identifier: MIT */
/*
 * Rounds f32 k[T][G][n_channels_k] and v[T][G][n_channels_v] to f16 and stores each row at its
 * position in the cache; a row whose sequence or block does not exist is left out; see
 * args_kv_store. The rounding (to nearest, ties to even, NaN kept) is integer arithmetic, bit for
 * bit ref_f32_to_f16: no rounding or denormal mode of a driver takes part.
 * Grid: workgroup i takes the pairs (row, head) i, i + number of workgroups, ...
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_kv_store
#include "common.glsl"
#include "kv.glsl"

uint16_t f16_from_bits(uint bits)
{
    uint sign = bits >> 16 & 0x8000, mantissa, shift, half_bits, rest;
    int exponent;

    bits &= 0x7fffffff;
    if (bits > 0x7f800000)
        return uint16_t(sign | 0x7e00 | (bits >> 13 & 0x1ff));
    exponent = int(bits >> 23) - 112;
    if (exponent >= 31)
        return uint16_t(sign | 0x7c00);
    if (exponent < -10)
        return uint16_t(sign);
    /* See ref_f32_to_f16: a carry out of the mantissa belongs in the exponent. */
    mantissa = (bits & 0x7fffff) | 0x800000;
    shift = exponent > 0 ? 13 : uint(14 - exponent);
    half_bits = mantissa >> shift;
    rest = mantissa & ((1u << shift) - 1);
    if (rest > 1u << (shift - 1) || (rest == 1u << (shift - 1) && (half_bits & 1) != 0))
        half_bits++;
    if (exponent > 0)
        half_bits += uint(exponent - 1) << 10;
    return uint16_t(sign | half_bits);
}

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
