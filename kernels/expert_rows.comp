/* SPDX-License-Identifier: MIT */
/*
 * The (token, slot) pairs of a step by their experts, each expert's ascending; see
 * args_expert_rows.
 * Grid: x strides over the experts; a workgroup is one subgroup, which goes over all choices once to
 * count those of lower experts, and once to write its own. WORKGROUP_SIZE is SUBGROUP_SIZE.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_expert_rows
#include "common.glsl"

/* Of a choice past the end: no expert there is. */
uint expert_at(uint pair, uint n)
{
    return pair < n ? Choices(push.a.choices).v[pair].expert : 0xffffffff;
}

uint count_below(uint expert, uint n)
{
    uint count = 0;

    for (uint pair = LANE; pair < n; pair += SUBGROUP_SIZE)
        count += expert_at(pair, n) < expert ? 1 : 0;
    return subgroupAdd(count);
}

void main()
{
    uint n = step_rows(push.a.step, ROWS_TOKENS) * push.a.n_used;
    U32 first = U32(push.a.out_address);

    for (uint expert = gl_WorkGroupID.x; expert < push.a.n_experts;
         expert += gl_NumWorkGroups.x) {
        uint at = push.a.n_experts + 1 + count_below(expert, n);

        if (LANE == 0)
            first.v[expert] = at - (push.a.n_experts + 1);
        for (uint begin = 0; begin < n; begin += SUBGROUP_SIZE) {
            bool is_mine = expert_at(begin + LANE, n) == expert;
            uint rank = subgroupExclusiveAdd(is_mine ? 1 : 0);

            if (is_mine)
                first.v[at + rank] = begin + LANE;
            at += subgroupAdd(is_mine ? 1 : 0);
        }
        if (LANE == 0 && expert == push.a.n_experts - 1)
            first.v[push.a.n_experts] = at - (push.a.n_experts + 1);
    }
}
