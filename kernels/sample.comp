/* SPDX-License-Identifier: MIT */
/*
 * Chooses a token after each output row from logits f32[O][n_vocab], as ref_sample does: NaN and
 * infinity tamed, bias, penalties, log-sum-exp, report of the most likely, then greedy or
 * temperature, top_k, top_p, min_p and the draw; see args_sample and step_sample. Nothing is
 * sorted: see sample_order.glsl.
 *
 * Weights are integers of 44 bits made from a float's exponential, where C adds doubles: a border
 * between two tokens lies within 2^-22 of all that is kept of where C has it.
 *
 * Grid: workgroup i takes the output rows i, i + number of workgroups, ...
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_sample
#include "common.glsl"
#include "exact.glsl"
#include "reduce.glsl"
#include "sample_order.glsl"

VIEW(Samples, step_sample, 8);
VIEW(Biases, logit_bias, 4);
VIEW(Results, sample_result, 4);

const float LOWEST = -3.40282347e38;
const uint NO_ID = 0xffffffff;

shared uint n_reported, reported_id[SAMPLE_TOP_MAX], reported_bits[SAMPLE_TOP_MAX];

uint64_t row_marks; /* u32[n_vocab], any content */
/* Of a row's logits: the greatest, the logarithm of the sum of exponentials of what each is less
 * than it, how many are finite; and of those that may be chosen the first in order, and how many. */
float row_greatest, row_log_sum;
uint n_finite, n_candidates, best_id;

/* NaN can never be chosen: it becomes minus infinity. Plus infinity becomes the greatest number. */
uint tamed(uint bits)
{
    if ((bits & 0x7fffffff) > 0x7f800000)
        return ORDER_NONE;
    return bits == 0x7f800000 ? 0x7f7fffff : bits;
}

float logit_at(uint id)
{
    return uintBitsToFloat(tamed(Words(row_logits).v[id]));
}

void set_logit(uint id, float logit)
{
    Words(row_logits).v[id] = tamed(floatBitsToUint(logit));
}

/* Biases in their order, should a token have several: of those of one stretch of the list the
 * first comes first, by a mark at the token. */
void add_bias(step_sample s)
{
    for (uint first = 0; first < s.n_bias; first += WORKGROUP_SIZE) {
        uint i = first + gl_LocalInvocationID.x;
        logit_bias own = Biases(s.bias).v[min(i, s.n_bias - 1)];
        bool is_waiting = i < s.n_bias && own.token < push.a.n_vocab;

        while (workgroup_sum(is_waiting ? 1u : 0u) != 0) {
            if (is_waiting)
                Words(row_marks).v[own.token] = NO_ID;
            synchronize();
            if (is_waiting)
                atomicMin(Words(row_marks).v[own.token], i);
            synchronize();
            if (is_waiting && Words(row_marks).v[own.token] == i) {
                set_logit(own.token, logit_at(own.token) + own.bias);
                is_waiting = false;
            }
            synchronize();
        }
    }
}

float penalized(step_sample s, float logit, uint count)
{
    precise float penalty = float(count) * s.frequency_penalty, changed;

    penalty = penalty + s.presence_penalty;
    if (floatBitsToUint(logit) == ORDER_NONE)
        return logit;
    if (!(logit > 0.0))
        changed = logit * s.repeat_penalty;
    else if (logit < 1e30)
        changed = divide_exact(logit, s.repeat_penalty);
    else
        changed = logit / s.repeat_penalty;
    changed = changed - penalty;
    return changed;
}

/* Each token of the history once, with its count. */
void penalize(step_sample s)
{
    uint begin = gl_LocalInvocationID.x;
    U32 history = U32(s.history);

    for (uint i = begin; i < s.n_history; i += WORKGROUP_SIZE)
        if (history.v[i] < push.a.n_vocab)
            Words(row_marks).v[history.v[i]] = 0;
    synchronize();
    for (uint i = begin; i < s.n_history; i += WORKGROUP_SIZE)
        if (history.v[i] < push.a.n_vocab)
            atomicAdd(Words(row_marks).v[history.v[i]], 1);
    synchronize();
    for (uint i = begin; i < s.n_history; i += WORKGROUP_SIZE) {
        uint token = history.v[i];
        uint count = token < push.a.n_vocab ? atomicExchange(Words(row_marks).v[token], 0) : 0;

        if (count != 0)
            set_logit(token, penalized(s, logit_at(token), count));
    }
    synchronize();
}

/* Tames the row and looks at all of it once: what the globals above say. */
void survey(step_sample s)
{
    float greatest = LOWEST, sum = 0.0;
    uint finite = 0, candidates = 0, id_of_best = NO_ID, order_of_best = ORDER_NONE, order;

    for (uint first = 0; first < push.a.n_vocab; first += AT_ONCE * WORKGROUP_SIZE) {
        uint bits[AT_ONCE];

        load_logits(first, bits);
        [[unroll]] for (uint k = 0; k < AT_ONCE; k++) {
            uint id = first + k * WORKGROUP_SIZE + gl_LocalInvocationID.x, old = bits[k];
            float logit;

            bits[k] = tamed(old);
            if (bits[k] != old)
                Words(row_logits).v[id] = bits[k];
            if (bits[k] == ORDER_NONE)
                continue;
            finite++;
            logit = uintBitsToFloat(bits[k]);
            if (logit > greatest) {
                sum *= exp(greatest - logit);
                greatest = logit;
            }
            sum += exp(logit - greatest);
            if (!is_allowed(s.allowed, id))
                continue;
            candidates++;
            order = uint(order_of(bits[k], 0) >> 32);
            if (order < order_of_best) {
                order_of_best = order;
                id_of_best = id;
            }
        }
    }
    row_greatest = workgroup_max(greatest);
    sum = workgroup_sum(sum * exp(greatest - row_greatest));
    n_finite = workgroup_sum(finite);
    n_candidates = workgroup_sum(candidates);
    row_log_sum = n_finite != 0 ? log(sum) : 0.0;
    row_greatest = n_finite != 0 ? row_greatest : 0.0;
    order = workgroup_min(order_of_best);
    best_id = workgroup_min(order == order_of_best ? id_of_best : NO_ID);
    synchronize();
}

/* What to say when every logit is minus infinity or forbidden: the lowest allowed id, else 0. */
uint fallback(step_sample s)
{
    uint lowest = NO_ID;

    for (uint id = gl_LocalInvocationID.x; id < push.a.n_vocab; id += WORKGROUP_SIZE)
        if (is_allowed(s.allowed, id))
            lowest = min(lowest, id);
    lowest = workgroup_min(lowest);
    return lowest == NO_ID ? 0 : lowest;
}

float log_probability(uint bits)
{
    if (bits == ORDER_NONE)
        return uintBitsToFloat(ORDER_NONE);
    return (uintBitsToFloat(bits) - row_greatest) - row_log_sum;
}

/* Writes the elements up to an order, of which there are n, each at its rank. */
void report(uint row, uint64_t last, uint n)
{
    if (gl_LocalInvocationID.x == 0)
        n_reported = 0;
    barrier();
    for (uint first = 0; first < push.a.n_vocab; first += AT_ONCE * WORKGROUP_SIZE) {
        uint bits[AT_ONCE];

        load_logits(first, bits);
        [[unroll]] for (uint k = 0; k < AT_ONCE; k++) {
            uint id = first + k * WORKGROUP_SIZE + gl_LocalInvocationID.x;

            if (bits[k] != ORDER_NONE && order_of(bits[k], id) <= last) {
                uint at = min(atomicAdd(n_reported, 1), SAMPLE_TOP_MAX - 1);

                reported_id[at] = id;
                reported_bits[at] = bits[k];
            }
        }
    }
    barrier();
    for (uint i = gl_LocalInvocationID.x; i < n; i += WORKGROUP_SIZE) {
        uint rank = 0;

        for (uint k = 0; k < n; k++)
            if (order_of(reported_bits[k], reported_id[k]) <
                order_of(reported_bits[i], reported_id[i]))
                rank++;
        Results(push.a.results).v[row].top_token[rank] = reported_id[i];
        Results(push.a.results).v[row].top_logprob[rank] = log_probability(reported_bits[i]);
    }
}

/* The finaliser of splitmix64 (Steele, Lea & Flood 2014). */
uint64_t mix64(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ul;
    z = (z ^ z >> 27) * 0x94d049bb133111ebul;
    return z ^ z >> 31;
}

/* The 24 random bits of a draw: ref_uniform is this by 2^-24. */
uint random_bits(uint64_t seed, uint draw)
{
    const uint64_t golden = 0x9e3779b97f4a7c15ul;

    return uint(mix64(mix64(seed + golden) + (draw + uint64_t(1)) * golden) >> 40);
}

/* floor(mass * part / 2^bits) for a part below 2^bits, without overflow; bits at most 32. */
uint64_t mass_part(uint64_t mass, uint part, uint bits)
{
    uint64_t low = mass & ((uint64_t(1) << bits) - 1);

    return (mass >> bits) * part + (low * part >> bits);
}

/* The mass of what min_p leaves. */
uint64_t mass_of_likely(float min_p)
{
    uint64_t sum = 0;

    for (uint first = 0; first < push.a.n_vocab; first += AT_ONCE * WORKGROUP_SIZE) {
        uint bits[AT_ONCE];

        load_logits(first, bits);
        [[unroll]] for (uint k = 0; k < AT_ONCE; k++)
            if (is_ordered(bits[k], first + k * WORKGROUP_SIZE + gl_LocalInvocationID.x) &&
                exp_exact(-distance_of(bits[k])) >= min_p)
                sum += mass_of(bits[k]);
    }
    return max(workgroup_sum64(sum), uint64_t(1) << MASS_BITS); /* the first stays */
}

/* ---- what is searched for, one after the other ---- */

#define STAGE_REPORT 0u
#define STAGE_TOP_K  1u
#define STAGE_TOP_P  2u
#define STAGE_DRAW   3u
#define STAGE_COUNT  4u

/* The threshold of a stage's search, over `kept` of the mass; false where it has none. */
bool stage_threshold(step_sample s, uint stage, uint64_t kept, out uint64_t threshold)
{
    uint64_t seed = uint64_t(s.seed_high) << 32 | s.seed_low;
    uint part;

    threshold = 0;
    switch (stage) {
    case STAGE_REPORT:
        threshold = min(min(s.n_top, SAMPLE_TOP_MAX), n_finite) - 1;
        return s.n_top != 0 && n_finite != 0;
    case STAGE_TOP_K:
        threshold = s.top_k - 1;
        return s.top_k != 0 && s.top_k < n_candidates;
    case STAGE_TOP_P:
        part = uint(max(s.top_p, 0.0) * 4294967296.0);
        threshold = max(mass_part(kept, part, 32), uint64_t(1)) - 1;
        return s.top_p < 1.0;
    default:
        threshold = mass_part(kept, random_bits(seed, s.draw), 24);
        return true;
    }
}

/* Reports and, with a temperature, draws: the token, or best_id without. One loop, so that the code
 * of a search is there once. */
uint search_stages(step_sample s, uint row)
{
    bool is_draw = s.temperature > 0.0 && n_candidates != 0;
    uint64_t kept = 0, threshold;
    uint token = best_id;

    for (uint stage = STAGE_REPORT; stage < (is_draw ? STAGE_COUNT : STAGE_TOP_K); stage++) {
        if (stage == STAGE_TOP_K) {
            order_elements(s.allowed, uintBitsToFloat(Words(row_logits).v[best_id]),
                           min(1.0 / s.temperature, 3e38));
            kept = ordered_mass();
        }
        if (stage == STAGE_DRAW && s.min_p > 0.0)
            kept = min(kept, mass_of_likely(s.min_p));
        if (!stage_threshold(s, stage, kept, threshold))
            continue;
        if (stage == STAGE_REPORT)
            order_elements(0, row_greatest, 1.0);
        search(stage < STAGE_TOP_P, threshold);
        if (stage == STAGE_REPORT)
            report(row, found_order, uint(threshold) + 1);
        else if (stage == STAGE_DRAW)
            token = uint(found_order);
        else
            kept = before_mass + mass_of(Words(row_logits).v[uint(found_order)]);
    }
    return token;
}

void main()
{
    uint n_rows = step_rows(push.a.step, ROWS_OUTPUTS), n_vocab = push.a.n_vocab;

    for (uint row = gl_WorkGroupID.x; row < n_rows; row += gl_NumWorkGroups.x) {
        step_sample s = Samples(push.a.samples).v[row];
        uint64_t scratch = push.a.scratch + uint64_t(row) * n_vocab * 8;
        uint token;

        if (s.enabled == 0)
            continue;
        row_logits = push.a.logits + uint64_t(row) * n_vocab * 4;
        row_marks = scratch;
        row_list = scratch + uint64_t(n_vocab) * 4;
        if (s.n_bias != 0)
            add_bias(s);
        if (s.n_history != 0)
            penalize(s);
        survey(s);
        token = search_stages(s, row);
        if (n_candidates == 0)
            token = fallback(s);
        if (gl_LocalInvocationID.x == 0) {
            Results(push.a.results).v[row].token = token;
            if (s.drawn != 0)
                U32(s.drawn).v[0] = token;
            Results(push.a.results).v[row].logprob =
                log_probability(Words(row_logits).v[token]);
            Results(push.a.results).v[row].n_top =
                n_finite != 0 ? min(min(s.n_top, SAMPLE_TOP_MAX), n_finite) : 0;
        }
    }
}
