/* SPDX-License-Identifier: MIT */
/*
 * Which positions a row looks at, by their scores; see args_index_choose. Scores become whole numbers
 * in the order of choice ("keys"), and the least key that is chosen is found bit by bit; of the
 * positions that have just that one, the lower are taken.
 * scores f32[T][n_positions], out u32[T][n_positions / 32].
 * Grid: workgroups stride over the rows.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_index_choose
#include "common.glsl"
#include "reduce.glsl"

shared uint equals[WORKGROUP_SIZE]; /* of each invocation's word, how many have the least key */

/* From 1 (NaN) on; by bits, as compilers may take for granted that there is no NaN. */
uint key_of(uint bits)
{
    if ((bits & 0x7fffffff) > 0x7f800000)
        return 1;
    if (bits == 0x80000000) /* equal to the other zero */
        bits = 0;
    return (bits >> 31 != 0 ? ~bits : bits | 0x80000000) + 1;
}

/* How many of n scores have at least that key. */
uint count_from(U32 scores, uint n, uint key)
{
    uint count = 0;

    for (uint j = gl_LocalInvocationID.x; j < n; j += WORKGROUP_SIZE)
        count += key_of(scores.v[j]) >= key ? 1 : 0;
    return workgroup_sum(count);
}

/* The lowest n of a word's bits. */
uint lowest(uint bits, uint n)
{
    uint rest = bits;

    for (uint i = 0; i < n && rest != 0; i++)
        rest &= rest - 1;
    return bits ^ rest;
}

void choose(uint t)
{
    uint n = min(StepTokens(push.a.tokens).v[t].position, push.a.n_positions - 1) + 1;
    U32 scores = U32(push.a.scores + uint64_t(t) * push.a.n_positions * 4);
    U32 words = U32(push.a.out_address + uint64_t(t) * (push.a.n_positions / 32) * 4);
    uint at = gl_LocalInvocationID.x, n_words = (n + 31) / 32, least = 0, n_left = 0;

    if (n > push.a.n_chosen) {
        for (uint bit = 0x80000000; bit != 0; bit >>= 1)
            if (count_from(scores, n, least | bit) >= push.a.n_chosen)
                least |= bit;
        n_left = push.a.n_chosen - count_from(scores, n, least + 1);
    }
    for (uint first = 0; first < n_words; first += WORKGROUP_SIZE) {
        uint w = first + at, above = 0, equal = 0, before = 0, all = 0;

        for (uint i = 0; i < 32 && w * 32 + i < n; i++) {
            uint key = key_of(scores.v[w * 32 + i]);

            above |= key > least ? 1u << i : 0;
            equal |= key == least ? 1u << i : 0;
        }
        barrier(); /* what was read of the last words */
        equals[at] = bitCount(equal);
        barrier();
        for (uint i = 0; i < WORKGROUP_SIZE; i++) {
            before += i < at ? equals[i] : 0;
            all += equals[i];
        }
        if (w < n_words)
            words.v[w] = above | lowest(equal, n_left - min(n_left, before));
        n_left -= min(n_left, all);
    }
}

void main()
{
    uint n_tokens = step_rows(push.a.step, ROWS_TOKENS);

    for (uint t = gl_WorkGroupID.x; t < n_tokens; t += gl_NumWorkGroups.x)
        choose(t);
}
