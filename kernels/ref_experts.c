/* SPDX-License-Identifier: MIT */
/* Mixtures of experts: who is chosen, their products, the sum of what they say. */
#include "kernels/ref_internal.h"

#include <math.h>
#include <string.h>

/* gate(l) of every expert; for GATE_CHOSEN the logits themselves. */
static void gate_logits(const struct args_route *a, const float *logits, double *gated)
{
    double greatest = -INFINITY, sum = 0;

    for (uint32_t e = 0; e < a->n_experts; e++)
        greatest = logits[e] > greatest ? logits[e] : greatest;
    for (uint32_t e = 0; e < a->n_experts; e++)
        sum += exp(logits[e] - greatest);
    for (uint32_t e = 0; e < a->n_experts; e++) {
        if (a->gate == GATE_SOFTMAX)
            gated[e] = exp(logits[e] - greatest) / sum;
        else
            gated[e] = a->gate == GATE_SIGMOID ? 1 / (1 + exp(-(double)logits[e])) : logits[e];
    }
}

/* Whether score a comes before b in the order of choice, the lower number first among equals. */
static bool is_greater(float a, float b)
{
    return isnan(b) ? !isnan(a) : a > b;
}

/* The index of the greatest of n scores that is not taken yet; n when all are. */
static uint32_t greatest_of(const float *scores, const bool *is_taken, uint32_t n)
{
    uint32_t best = n;

    for (uint32_t i = 0; i < n; i++)
        if (!is_taken[i] && (best == n || is_greater(scores[i], scores[best])))
            best = i;
    return best;
}

/* Takes all experts out that are not of the best groups. */
static void keep_groups(const struct args_route *a, const float *scores, bool *is_taken)
{
    uint32_t size = a->n_experts / a->n_groups;
    float sums[EXPERTS_MAX];
    bool is_kept[EXPERTS_MAX] = {false};

    for (uint32_t g = 0; g < a->n_groups; g++) {
        const float *of_group = scores + (size_t)g * size;
        bool is_seen[EXPERTS_MAX] = {false};
        uint32_t first = greatest_of(of_group, is_seen, size), second;

        is_seen[first] = true;
        second = greatest_of(of_group, is_seen, size);
        sums[g] = second < size ? of_group[first] + of_group[second] : of_group[first];
    }
    for (uint32_t i = 0; i < a->n_groups_used; i++)
        is_kept[greatest_of(sums, is_kept, a->n_groups)] = true;
    for (uint32_t e = 0; e < a->n_experts; e++)
        is_taken[e] = !is_kept[e / size];
}

static void choose(const struct args_route *a, const float *logits, const double *gated,
                   struct expert_choice *out)
{
    const float *bias = addr_ptr(a->bias);
    float scores[EXPERTS_MAX];
    bool is_taken[EXPERTS_MAX] = {false};

    for (uint32_t e = 0; e < a->n_experts; e++) {
        scores[e] = bias || a->n_groups > 1 ? (float)gated[e] : logits[e];
        if (bias)
            scores[e] += bias[e];
    }
    if (a->n_groups > 1)
        keep_groups(a, scores, is_taken);
    for (uint32_t u = 0; u < a->n_used; u++) {
        out[u].expert = greatest_of(scores, is_taken, a->n_experts);
        is_taken[out[u].expert] = true;
    }
}

static void weigh(const struct args_route *a, const double *gated, struct expert_choice *out)
{
    const float *scales = addr_ptr(a->scales);
    double weights[EXPERTS_MAX], greatest = -INFINITY, sum = 0;

    for (uint32_t u = 0; u < a->n_used; u++)
        greatest = gated[out[u].expert] > greatest ? gated[out[u].expert] : greatest;
    for (uint32_t u = 0; u < a->n_used; u++) {
        double g = gated[out[u].expert];

        weights[u] = a->gate == GATE_CHOSEN ? exp(g - greatest) : g;
        sum += weights[u];
    }
    for (uint32_t u = 0; u < a->n_used; u++) {
        if (a->gate == GATE_CHOSEN)
            weights[u] /= sum;
        else if (a->normalise)
            weights[u] /= sum < (double)LEAST_WEIGHT ? (double)LEAST_WEIGHT : sum;
        if (scales)
            weights[u] *= (double)scales[out[u].expert];
        out[u].weight = (float)(weights[u] * (double)a->scale);
    }
}

void ref_route(const struct dispatch *d, uint32_t begin, uint32_t end)
{
    const struct args_route *a = &d->args.route;
    uint32_t n_tokens = step_rows(a->step, ROWS_TOKENS, d->max_rows);

    for (uint32_t t = begin; t < end && t < n_tokens; t++) {
        const float *logits = (const float *)addr_ptr(a->logits) + (size_t)t * a->n_experts;
        struct expert_choice *out =
            (struct expert_choice *)addr_ptr(a->out) + (size_t)t * a->n_used;
        double gated[EXPERTS_MAX];

        gate_logits(a, logits, gated);
        choose(a, logits, gated, out);
        weigh(a, gated, out);
    }
}

void ref_expert_rows(const struct dispatch *d)
{
    const struct args_expert_rows *a = &d->args.expert_rows;
    const struct expert_choice *choices = addr_ptr(a->choices);
    uint32_t n = step_rows(a->step, ROWS_TOKENS, d->max_rows) * a->n_used;
    uint32_t *first = addr_ptr(a->out), *pairs = first + a->n_experts + 1;
    uint32_t next[EXPERTS_MAX];

    memset(first, 0, (a->n_experts + 1) * sizeof(*first));
    for (uint32_t i = 0; i < n; i++)
        if (choices[i].expert < a->n_experts)
            first[choices[i].expert + 1]++;
    for (uint32_t e = 0; e < a->n_experts; e++) {
        next[e] = first[e];
        first[e + 1] += first[e];
    }
    for (uint32_t i = 0; i < n; i++)
        if (choices[i].expert < a->n_experts)
            pairs[next[choices[i].expert]++] = i;
}

void ref_matmul_experts(const struct dispatch *d)
{
    const struct args_matmul_experts *a = &d->args.matmul_experts;
    const struct expert_choice *choices = addr_ptr(a->choices);
    const uint8_t *weight = addr_ptr(a->weight), *x = addr_ptr(a->x);
    const float *bias = addr_ptr(a->bias);
    float *out = addr_ptr(a->out);
    size_t weight_row_bytes = gguf_type_row_bytes(d->weight_type, a->n_cols);
    size_t x_row_bytes = activation_bytes(d->activation, a->n_cols);
    uint32_t n = step_rows(a->step, ROWS_TOKENS, d->max_rows) * a->n_used;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t expert = choices ? choices[i].expert : i % a->n_used;
        size_t first_row = (size_t)expert * a->n_rows;
        uint32_t x_row = a->x_per_slot ? i : i / a->n_used;

        if (expert >= a->n_experts)
            continue;
        for (uint32_t k = 0; k < a->n_rows; k++) {
            double sum = ref_dot(d, a->n_cols, weight + (first_row + k) * weight_row_bytes,
                                 x + x_row * x_row_bytes);

            out[(size_t)i * a->n_rows + k] = (float)(bias ? sum + bias[first_row + k] : sum);
        }
    }
}

void ref_scale(const struct dispatch *d)
{
    const struct args_scale *a = &d->args.scale;
    const struct expert_choice *choices = addr_ptr(a->choices);
    const float *scale = addr_ptr(a->scale), *bias = addr_ptr(a->bias);
    size_t n = (size_t)step_rows(a->step, a->rows, d->max_rows) * a->n_used;

    for (size_t pair = 0; pair < n; pair++) {
        const float *x = (const float *)addr_ptr(a->x) + pair * a->n_cols;
        float *out = (float *)addr_ptr(a->out) + pair * a->n_cols;
        size_t expert = choices ? choices[pair].expert : pair % a->n_used;

        for (size_t i = 0; expert < a->n_experts && i < a->n_cols; i++) {
            double y = (double)scale[expert] * (double)x[i];

            if (bias)
                y += (double)bias[expert * a->n_cols + i];
            out[i] = (float)(a->accumulate ? (double)out[i] + y : y);
        }
    }
}

void ref_expert_sum(const struct dispatch *d)
{
    const struct args_expert_sum *a = &d->args.expert_sum;
    const struct expert_choice *choices = addr_ptr(a->choices);
    const float *y = addr_ptr(a->y);
    float *out = addr_ptr(a->out);
    uint32_t n_tokens = step_rows(a->step, ROWS_TOKENS, d->max_rows);

    for (size_t t = 0; t < n_tokens; t++) {
        for (uint32_t i = 0; i < a->n_cols; i++) {
            double sum = a->accumulate ? out[t * a->n_cols + i] : 0;

            for (size_t pair = t * a->n_used; pair < (t + 1) * a->n_used; pair++)
                sum += (double)choices[pair].weight * y[pair * a->n_cols + i];
            out[t * a->n_cols + i] = (float)sum;
        }
    }
}
