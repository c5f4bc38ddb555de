/* SPDX-License-Identifier: MIT */
#include "kernels/ref_internal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The finaliser of splitmix64 (Steele, Lea & Flood 2014). */
static uint64_t mix64(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

float ref_uniform(uint64_t seed, uint32_t draw)
{
    const uint64_t golden = 0x9e3779b97f4a7c15u;
    uint64_t z = mix64(mix64(seed + golden) + (draw + (uint64_t)1) * golden);

    return (float)(z >> 40) * 0x1p-24f;
}

/* Greater logits first, among equals lower ids. */
static int compare_candidates(const void *pa, const void *pb)
{
    const struct ref_candidate *a = pa, *b = pb;

    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* NaN can never be chosen: it becomes minus infinity. Plus infinity becomes the greatest number. */
static void tame(float *logits, uint32_t n_vocab)
{
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (isnan(logits[i]))
            logits[i] = -INFINITY;
        else if (logits[i] > FLT_MAX)
            logits[i] = FLT_MAX;
    }
}

static float penalized(const struct step_sample *s, float logit, uint32_t count)
{
    if (!isfinite(logit) || !count)
        return logit;
    logit = logit > 0 ? logit / s->repeat_penalty : logit * s->repeat_penalty;
    return logit - ((float)count * s->frequency_penalty + s->presence_penalty);
}

void ref_sample_penalize(const struct step_sample *s, float *logits, uint32_t n_vocab,
                         uint32_t *counts)
{
    const struct logit_bias *bias = addr_ptr(s->bias);
    const uint32_t *history = addr_ptr(s->history);

    for (uint32_t i = 0; i < s->n_bias; i++)
        if (bias[i].token < n_vocab)
            logits[bias[i].token] += bias[i].bias;
    for (uint32_t i = 0; i < s->n_history; i++)
        if (history[i] < n_vocab)
            counts[history[i]] = 0;
    for (uint32_t i = 0; i < s->n_history; i++)
        if (history[i] < n_vocab)
            counts[history[i]]++;
    for (uint32_t i = 0; i < s->n_history; i++) {
        if (history[i] >= n_vocab)
            continue;
        logits[history[i]] = penalized(s, logits[history[i]], counts[history[i]]);
        counts[history[i]] = 0; /* each token is penalised once */
    }
}

static double log_sum_exp(const float *logits, uint32_t n)
{
    double greatest = -INFINITY, sum = 0;

    for (uint32_t i = 0; i < n; i++)
        greatest = fmax(greatest, logits[i]);
    if (greatest == -INFINITY)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        sum += exp(logits[i] - greatest);
    return greatest + log(sum);
}

static bool is_allowed(const struct step_sample *s, uint32_t id)
{
    const uint32_t *mask = addr_ptr(s->allowed);

    return !mask || (mask[id / 32] >> (id % 32) & 1);
}

/* Allowed candidates of a finite logit, in order. */
static uint32_t collect(const struct step_sample *s, const float *logits, uint32_t n_vocab,
                        struct ref_candidate *out)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < n_vocab; i++)
        if (logits[i] > -INFINITY && is_allowed(s, i))
            out[n++] = (struct ref_candidate){i, logits[i]};
    qsort(out, n, sizeof(*out), compare_candidates);
    return n;
}

uint32_t ref_sample_draw(const struct step_sample *s, const struct ref_candidate *c, uint32_t n)
{
    uint64_t seed = (uint64_t)s->seed_high << 32 | s->seed_low;
    double total = 0, running = 0, kept = 0, target, min_weight;
    uint32_t n_kept = 0;

    if (s->top_k && n > s->top_k)
        n = s->top_k;
    for (uint32_t i = 0; i < n; i++)
        total += exp(((double)c[i].logit - c[0].logit) / s->temperature);
    min_weight = s->min_p > 0 ? (double)s->min_p : 0; /* the first weight is 1 */
    while (n_kept < n) {
        double w = exp(((double)c[n_kept].logit - c[0].logit) / s->temperature);

        if (n_kept && (w < min_weight || (s->top_p < 1 && kept >= s->top_p * total)))
            break;
        kept += w;
        n_kept++;
    }
    target = (double)ref_uniform(seed, s->draw) * kept;
    for (uint32_t i = 0; i + 1 < n_kept; i++) {
        running += exp(((double)c[i].logit - c[0].logit) / s->temperature);
        if (running > target)
            return c[i].id;
    }
    return c[n_kept - 1].id;
}

/* What to say when every logit is minus infinity or forbidden: the lowest allowed id, else 0. */
static uint32_t fallback(const struct step_sample *s, uint32_t n_vocab)
{
    for (uint32_t i = 0; i < n_vocab; i++)
        if (is_allowed(s, i))
            return i;
    return 0;
}

static void report(const struct step_sample *s, const float *logits, uint32_t n_vocab, double lse,
                   struct ref_candidate *scratch, struct sample_result *result)
{
    uint32_t n = s->n_top < SAMPLE_TOP_MAX ? s->n_top : SAMPLE_TOP_MAX;
    uint32_t n_finite = 0;

    result->n_top = 0;
    if (!n)
        return;
    for (uint32_t i = 0; i < n_vocab; i++)
        if (logits[i] > -INFINITY)
            scratch[n_finite++] = (struct ref_candidate){i, logits[i]};
    qsort(scratch, n_finite, sizeof(*scratch), compare_candidates);
    for (; result->n_top < n && result->n_top < n_finite; result->n_top++) {
        result->top_token[result->n_top] = scratch[result->n_top].id;
        result->top_logprob[result->n_top] = (float)(scratch[result->n_top].logit - lse);
    }
}

static void sample_row(const struct step_sample *s, float *logits, uint32_t n_vocab, void *scratch,
                       struct sample_result *result)
{
    struct ref_candidate *list = scratch;
    uint32_t n;
    double lse;

    tame(logits, n_vocab);
    ref_sample_penalize(s, logits, n_vocab, scratch);
    lse = log_sum_exp(logits, n_vocab);
    report(s, logits, n_vocab, lse, list, result);
    n = collect(s, logits, n_vocab, list);
    if (!n)
        result->token = fallback(s, n_vocab);
    else if (s->temperature > 0)
        result->token = ref_sample_draw(s, list, n);
    else
        result->token = list[0].id;
    result->logprob = (float)(logits[result->token] - lse);
}

void ref_sample(const struct dispatch *d)
{
    const struct args_sample *a = &d->args.sample;
    const struct step_sample *samples = addr_ptr(a->samples);
    struct sample_result *results = addr_ptr(a->results);
    uint8_t *scratch = addr_ptr(a->scratch);
    float *logits = addr_ptr(a->logits);
    uint32_t n = step_rows(a->step, ROWS_OUTPUTS, d->max_rows);

    for (uint32_t i = 0; i < n; i++)
        if (samples[i].enabled) {
            sample_row(&samples[i], logits + (size_t)i * a->n_vocab, a->n_vocab,
                       scratch + i * sample_scratch_bytes(a->n_vocab), &results[i]);
            if (samples[i].drawn)
                *(uint32_t *)addr_ptr(samples[i].drawn) = results[i].token;
        }
}
