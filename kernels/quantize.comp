/* SPDX-License-Identifier: MIT */
/*
 * f32 activations to blocks of 8-bit integers with one scale: q = round(x / scale), scale =
 * max|x| / 127; see args_quantize, act_q8_32, act_q8_256 and, for what is not finite or tiny,
 * ref_quantize_block in ref_matmul.c, whose bits this gives.
 * Grid: workgroups stride over runs of values of all rows; an invocation takes four consecutive
 * ones. WORKGROUP_SIZE is a multiple of 64, a run whole blocks.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_quantize
#include "common.glsl"
#include "exact.glsl"
#include "q8.glsl"

/* Values of a block: 32 or 256. */
layout(constant_id = 2) const uint BLOCK_VALUES = 32;
const uint RUN_VALUES = WORKGROUP_SIZE * 4;
const uint RUN_BLOCKS = RUN_VALUES / BLOCK_VALUES;
/* Values of which a block keeps the sum, and words of a block. */
#define SUM_VALUES  (BLOCK_VALUES == 32 ? 32u : 16u)
#define BLOCK_WORDS (BLOCK_VALUES == 32 ? 10u : 73u)

/* By block, of |x|: non-negative floats are ordered as their bits are. */
shared uint greatest_bits[WORKGROUP_SIZE * 4 / 32];
shared int sums[WORKGROUP_SIZE * 4 / 16];

VIEW(Floats4, vec4, 4);
VIEW(I16, int16_t, 2);

void quantize_run(uint64_t run, uint64_t n)
{
    uint at = gl_LocalInvocationID.x * 4, block = at / BLOCK_VALUES;
    bool is_inside = run * RUN_VALUES + at < n;
    U32 words = U32(push.a.out_address + (run * RUN_BLOCKS + block) * (BLOCK_WORDS * 4));
    vec4 x = vec4(0);
    q8_block b;
    uvec4 bits;

    if (is_inside)
        x = Floats4(push.a.x + (run * RUN_VALUES + at) * 4).v[0];
    bits = floatBitsToUint(x) & 0x7fffffff;
    atomicMax(greatest_bits[block], max(max(bits.x, bits.y), max(bits.z, bits.w)));
    barrier();
    b = q8_of(x, greatest_bits[block]);
    atomicAdd(sums[at / SUM_VALUES], b.q.x + b.q.y + b.q.z + b.q.w);
    barrier();
    if (!is_inside)
        return;
    words.v[(BLOCK_VALUES == 32 ? 2 : 1) + at % BLOCK_VALUES / 4] = q8_pack(b.q);
    if (at % BLOCK_VALUES == 0) {
        words.v[0] = floatBitsToUint(b.scale);
        if (BLOCK_VALUES == 32)
            words.v[1] = uint(sums[block]);
    }
    if (BLOCK_VALUES == 256 && at % SUM_VALUES == 0)
        I16(uint64_t(words) + 4 + 256).v[at % BLOCK_VALUES / SUM_VALUES] =
            int16_t(sums[at / SUM_VALUES]);
}

void main()
{
    uint64_t n = uint64_t(step_rows(push.a.step, push.a.rows)) * push.a.n_cols;
    uint64_t n_runs = (n + RUN_VALUES - 1) / RUN_VALUES;

    for (uint64_t run = gl_WorkGroupID.x; run < n_runs; run += gl_NumWorkGroups.x) {
        barrier(); /* what was read of the last run */
        if (gl_LocalInvocationID.x < WORKGROUP_SIZE / 8)
            greatest_bits[gl_LocalInvocationID.x] = 0;
        if (gl_LocalInvocationID.x < WORKGROUP_SIZE / 4)
            sums[gl_LocalInvocationID.x] = 0;
        barrier();
        quantize_run(run, n);
    }
}
