/* SPDX-License-Identifier: MIT */
/*
 * Which experts a token is given to, and what each counts; see args_route.
 * Scores become whole numbers in the order of choice ("keys"), so that the greatest and its lowest
 * number are found exactly: 0 is never chosen, 1 is NaN.
 * Grid: x strides over the tokens; a workgroup is one subgroup, whose lanes take the experts in
 * turn. WORKGROUP_SIZE is SUBGROUP_SIZE.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_route
#include "common.glsl"
#include "exact.glsl"

#define INFINITY     uintBitsToFloat(0x7f800000)
#define NOT_A_NUMBER uintBitsToFloat(0x7fc00000)

/* Of the experts, and from GROUPS on of their groups. */
const uint GROUPS = EXPERTS_MAX;
shared uint keys[2 * EXPERTS_MAX];
shared float weights[EXPERTS_MAX]; /* by slot */

/* By bits: compilers may take for granted that there is no NaN. */
bool is_nan(float v)
{
    return (floatBitsToUint(v) & 0x7fffffff) > 0x7f800000;
}

bool is_infinite(float v)
{
    return (floatBitsToUint(v) & 0x7fffffff) == 0x7f800000;
}

uint key_of(float score)
{
    uint bits = floatBitsToUint(score);

    if (is_nan(score))
        return 1;
    if (bits == 0x80000000) /* equal to the other zero */
        bits = 0;
    return (bits >> 31 != 0 ? ~bits : bits | 0x80000000) + 1; /* from 0x00800000 on */
}

float score_of(uint key)
{
    uint bits = key - 1;

    return key == 1 ? NOT_A_NUMBER
                    : uintBitsToFloat(bits >> 31 != 0 ? bits & 0x7fffffff : ~bits);
}

float logit_at(uint t, uint e)
{
    return F32(push.a.logits + (uint64_t(t) * push.a.n_experts + e) * 4).v[0];
}

/* What a softmax over all of a token's logits needs. */
struct softmax_parts {
    float greatest, sum;
    bool is_bad; /* a NaN among them, or an infinity on top */
};

softmax_parts all_logits(uint t)
{
    softmax_parts s = softmax_parts(-INFINITY, 0.0, false);
    bool has_nan = false;

    if (push.a.gate != GATE_SOFTMAX)
        return s;
    for (uint e = LANE; e < push.a.n_experts; e += SUBGROUP_SIZE) {
        float l = logit_at(t, e);

        if (is_nan(l))
            has_nan = true;
        else
            s.greatest = max(s.greatest, l);
    }
    s.greatest = subgroupMax(s.greatest);
    s.is_bad = subgroupMax(has_nan ? 1u : 0u) != 0 || is_infinite(s.greatest);
    for (uint e = LANE; e < push.a.n_experts; e += SUBGROUP_SIZE)
        s.sum += exp_exact(logit_at(t, e) - s.greatest);
    s.sum = subgroupAdd(s.sum);
    return s;
}

/* gate(l); for GATE_CHOSEN l itself. */
float gated(float l, softmax_parts s)
{
    if (push.a.gate == GATE_CHOSEN || (push.a.gate == GATE_SIGMOID && is_nan(l)))
        return l;
    if (push.a.gate == GATE_SIGMOID)
        return 1.0 / (1.0 + exp_exact(-l));
    return s.is_bad ? NOT_A_NUMBER : exp_exact(l - s.greatest) / s.sum;
}

void write_keys(uint t, softmax_parts s)
{
    bool is_gated = push.a.bias != 0 || push.a.n_groups > 1;

    for (uint e = LANE; e < push.a.n_experts; e += SUBGROUP_SIZE) {
        float score = logit_at(t, e);

        if (is_gated)
            score = gated(score, s);
        if (push.a.bias != 0 && !is_nan(score))
            score += F32(push.a.bias).v[e];
        keys[e] = key_of(score);
    }
}

/* The two greatest scores of a group, added. */
float group_score(uint first, uint size)
{
    uint best = 0, second = 0;

    for (uint e = first; e < first + size; e++) {
        second = max(second, min(best, keys[e]));
        best = max(best, keys[e]);
    }
    if (second == 0)
        return score_of(best);
    /* of an infinity and its opposite C makes NaN, and so do we whatever the compiler thinks */
    if (second == 1 || (is_infinite(score_of(best)) && is_infinite(score_of(second)) &&
                        score_of(best) != score_of(second)))
        return NOT_A_NUMBER;
    return score_of(best) + score_of(second);
}

/* Takes the greatest of n keys from keys[base] on, the first among equals: its place; the key
 * becomes 0. Every lane has what it alone wrote. */
uint take_greatest(uint base, uint n)
{
    uint mine = 0, mine_at = 0xffffffff, place;

    for (uint i = LANE; i < n; i += SUBGROUP_SIZE) {
        if (keys[base + i] > mine) {
            mine = keys[base + i];
            mine_at = i;
        }
    }
    place = subgroupMin(mine == subgroupMax(mine) ? mine_at : 0xffffffff);
    if (place % SUBGROUP_SIZE == LANE)
        keys[base + place] = 0;
    return place;
}

/* Leaves only the experts of the best groups a chance. */
void keep_groups()
{
    uint size = push.a.n_experts / push.a.n_groups;

    for (uint g = LANE; g < push.a.n_groups; g += SUBGROUP_SIZE)
        keys[GROUPS + g] = key_of(group_score(g * size, size));
    for (uint i = 0; i < push.a.n_groups_used; i++)
        take_greatest(GROUPS, push.a.n_groups);
    barrier();
    for (uint e = LANE; e < push.a.n_experts; e += SUBGROUP_SIZE)
        if (keys[GROUPS + e / size] != 0) /* not taken */
            keys[e] = 0;
}

/* Makes weights of what the gate says of n_used chosen experts; greatest and is_bad as of a
 * softmax over these. */
void write_weights(Choices result, float greatest, bool is_bad)
{
    float sum = 0.0;

    for (uint u = LANE; u < push.a.n_used; u += SUBGROUP_SIZE) {
        if (push.a.gate == GATE_CHOSEN)
            weights[u] = is_bad ? NOT_A_NUMBER : exp_exact(weights[u] - greatest);
        sum += weights[u];
    }
    sum = subgroupAdd(sum);
    if (push.a.gate != GATE_CHOSEN)
        sum = push.a.normalise == 0 ? 1.0 : sum < LEAST_WEIGHT ? LEAST_WEIGHT : sum;
    for (uint u = LANE; u < push.a.n_used; u += SUBGROUP_SIZE) {
        float weight = weights[u] / sum * push.a.scale;

        if (push.a.scales != 0)
            weight *= F32(push.a.scales).v[result.v[u].expert];
        result.v[u].weight = weight;
    }
}

void route(uint t)
{
    Choices result = Choices(push.a.out_address + uint64_t(t) * push.a.n_used * 8);
    softmax_parts s = all_logits(t);
    float greatest = -INFINITY;
    bool has_nan = false;

    write_keys(t, s);
    barrier();
    if (push.a.n_groups > 1)
        keep_groups();
    for (uint u = 0; u < push.a.n_used; u++) {
        uint place = take_greatest(0, push.a.n_experts);
        float l = logit_at(t, place);

        if (is_nan(l))
            has_nan = true;
        else
            greatest = max(greatest, l);
        if (u % SUBGROUP_SIZE == LANE) {
            result.v[u].expert = place;
            weights[u] = gated(l, s);
        }
    }
    write_weights(result, greatest, has_nan || is_infinite(greatest));
}

void main()
{
    uint n_tokens = step_rows(push.a.step, ROWS_TOKENS);

    for (uint t = gl_WorkGroupID.x; t < n_tokens; t += gl_NumWorkGroups.x) {
        barrier(); /* what was read of the last token's keys */
        route(t);
    }
}
