/* SPDX-License-Identifier: MIT */
/* The sampler: vectors over the vocabulary, and sorting only of what can be chosen. */
#include "device/cpu/level.h"
#include "device/cpu/vec.h"
#include "kernels/ref_internal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

uint32_t IN_LEVEL(sample_items)(const struct dispatch *d)
{
    return step_rows(d->args.sample.step, ROWS_OUTPUTS, d->max_rows);
}

static void tame(float *logits, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        float v = logits[i] > FLT_MAX ? FLT_MAX : logits[i];

        logits[i] = v == v ? v : -INFINITY;
    }
}

static float greatest_of(const float *x, uint32_t n)
{
    vf m = vec_set(-INFINITY);
    float greatest;
    uint32_t i = 0;

    for (; i + LANES <= n; i += LANES)
        m = vec_max(vec_load(x + i), m);
    greatest = vec_greatest(m);
    for (; i < n; i++)
        greatest = x[i] > greatest ? x[i] : greatest;
    return greatest;
}

static double log_sum_exp(const float *x, uint32_t n)
{
    float greatest = greatest_of(x, n);
    double total = 0;
    uint32_t i = 0;

    if (greatest == -INFINITY)
        return 0;
    while (i + LANES <= n) {
        vf sum = {0};

        for (int k = 0; k < 64 && i + LANES <= n; k++, i += LANES) {
            vf v = vec_load(x + i) - greatest;

            sum += vec_select(v < -103.0f, (vf){0}, vec_exp(v));
        }
        total += vec_sum(sum);
    }
    for (; i < n; i++)
        total += exp((double)x[i] - greatest);
    return greatest + log(total);
}

static bool is_before(struct ref_candidate a, struct ref_candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static int compare(const void *a, const void *b)
{
    return is_before(*(const struct ref_candidate *)a, *(const struct ref_candidate *)b) ? -1 : 1;
}

/* Puts the first k of n candidates, in order, at the front. Hoare's selection, then a sort. */
static void select_first(struct ref_candidate *c, uint32_t n, uint32_t k)
{
    int64_t low = 0, high = (int64_t)n - 1;

    while (k < n && low < high) {
        struct ref_candidate pivot = c[low + (high - low) / 2];
        int64_t i = low, j = high;

        while (i <= j) {
            while (is_before(c[i], pivot))
                i++;
            while (is_before(pivot, c[j]))
                j--;
            if (i <= j) {
                struct ref_candidate swapped = c[i];

                c[i++] = c[j];
                c[j--] = swapped;
            }
        }
        if ((int64_t)k <= j)
            high = j;
        else if ((int64_t)k > i)
            low = i;
        else
            break;
    }
    qsort(c, k < n ? k : n, sizeof(*c), compare);
}

static bool is_allowed(const struct step_sample *s, uint32_t id)
{
    const uint32_t *mask = addr_ptr(s->allowed);

    return !mask || (mask[id / 32] >> (id % 32) & 1);
}

/* Candidates of at least `least` (and more than minus infinity); allowed ones only with s. */
static uint32_t collect(const struct step_sample *s, const float *logits, uint32_t n_vocab,
                        float least, struct ref_candidate *out)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < n_vocab; i++)
        if (logits[i] >= least && logits[i] > -INFINITY && (!s || is_allowed(s, i)))
            out[n++] = (struct ref_candidate){i, logits[i]};
    return n;
}

static void report(const struct step_sample *s, const float *logits, uint32_t n_vocab, double lse,
                   struct ref_candidate *list, struct sample_result *result)
{
    uint32_t n_top = s->n_top < SAMPLE_TOP_MAX ? s->n_top : SAMPLE_TOP_MAX, n;

    result->n_top = 0;
    if (!n_top)
        return;
    n = collect(NULL, logits, n_vocab, -INFINITY, list);
    n_top = n_top < n ? n_top : n;
    select_first(list, n, n_top);
    for (; result->n_top < n_top; result->n_top++) {
        result->top_token[result->n_top] = list[result->n_top].id;
        result->top_logprob[result->n_top] = (float)(list[result->n_top].logit - lse);
    }
}

/* The greatest allowed logit, lowest id among equals; the lowest allowed id when none is above
 * minus infinity. */
static uint32_t greedy(const struct step_sample *s, const float *logits, uint32_t n_vocab)
{
    uint32_t best = UINT32_MAX;

    if (!s->allowed) {
        float greatest = greatest_of(logits, n_vocab);

        for (best = 0; best + 1 < n_vocab && logits[best] != greatest; best++)
            ;
        return best;
    }
    for (uint32_t i = 0; i < n_vocab; i++)
        if (is_allowed(s, i) && (best == UINT32_MAX || logits[i] > logits[best]))
            best = i;
    return best == UINT32_MAX ? 0 : best;
}

/* Below this a candidate's weight is lost in the 24 bits of the draw, however many there are. */
static float least_that_counts(const struct step_sample *s, float greatest)
{
    return greatest - 45 * s->temperature;
}

static void sample_row(const struct step_sample *s, float *logits, uint32_t n_vocab, void *scratch,
                       struct sample_result *result)
{
    struct ref_candidate *list = scratch;
    uint32_t n = 0;
    double lse;

    tame(logits, n_vocab);
    ref_sample_penalize(s, logits, n_vocab, scratch);
    lse = log_sum_exp(logits, n_vocab);
    report(s, logits, n_vocab, lse, list, result);
    result->token = greedy(s, logits, n_vocab);
    if (s->temperature > 0 && logits[result->token] > -INFINITY)
        n = collect(s, logits, n_vocab, least_that_counts(s, logits[result->token]), list);
    if (n) { /* else the mask allows nothing, and greedy has said what to answer */
        select_first(list, n, s->top_k && s->top_k < n ? s->top_k : n);
        result->token = ref_sample_draw(s, list, n);
    }
    result->logprob = (float)(logits[result->token] - lse);
}

void IN_LEVEL(sample)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_sample *a = &d->args.sample;
    const struct step_sample *s = (const struct step_sample *)addr_ptr(a->samples) + item;
    struct sample_result *result = (struct sample_result *)addr_ptr(a->results) + item;

    if (!s->enabled)
        return;
    sample_row(s, (float *)addr_ptr(a->logits) + (size_t)item * a->n_vocab, a->n_vocab,
               (uint8_t *)addr_ptr(a->scratch) + item * sample_scratch_bytes(a->n_vocab), result);
    if (s->drawn)
        *(uint32_t *)addr_ptr(s->drawn) = result->token;
}
