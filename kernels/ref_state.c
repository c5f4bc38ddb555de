/* SPDX-License-Identifier: MIT */
/* Layers whose sequences have state of fixed size. */
#include "kernels/ref_internal.h"

#include <math.h>
#include <string.h>

/* ---- short convolution ---- */

/* The input of channel c at row t, which may lie before the run's first. */
static double conv_input(const struct args_short_conv *a, const float *state, bool is_new,
                         uint32_t first, int64_t t, uint32_t c)
{
    if (t >= first)
        return ((const float *)addr_ptr(a->x))[(size_t)t * a->n_cols + c];
    return is_new ? 0 : state[(size_t)(t - first + a->n_taps - 1) * a->n_cols + c];
}

static void conv_run(const struct args_short_conv *a, float *state, uint32_t first, uint32_t end)
{
    bool is_new = ((const struct step_token *)addr_ptr(a->tokens))[first].position == 0;
    const float *weight = addr_ptr(a->weight);
    float *out = addr_ptr(a->out);

    for (uint32_t t = first; t < end; t++) {
        for (uint32_t c = 0; c < a->n_cols; c++) {
            double sum = 0;

            for (uint32_t k = 0; k < a->n_taps; k++)
                sum += weight[(size_t)c * a->n_taps + k] *
                       conv_input(a, state, is_new, first, (int64_t)t + k + 1 - a->n_taps, c);
            out[(size_t)t * a->n_cols + c] = (float)(sum / (1 + exp(-sum)));
        }
    }
    /* ascending: what is read lies behind what is written */
    for (uint32_t k = 0; k + 1 < a->n_taps; k++)
        for (uint32_t c = 0; c < a->n_cols; c++)
            state[(size_t)k * a->n_cols + c] =
                (float)conv_input(a, state, is_new, first, (int64_t)end + k + 1 - a->n_taps, c);
}

void ref_short_conv(const struct dispatch *d)
{
    const struct args_short_conv *a = &d->args.short_conv;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t n = step_rows(a->step, ROWS_TOKENS, d->max_rows);

    for (uint32_t t = 0, end; t < n; t = end) {
        float *state = step_state(&a->state, a->step, a->seqs, &tokens[t]);

        end = step_run_end(tokens, t, n);
        if (state)
            conv_run(a, state, t, end);
        else
            memset((float *)addr_ptr(a->out) + (size_t)t * a->n_cols, 0,
                   (size_t)(end - t) * a->n_cols * sizeof(float));
    }
}

/* ---- gated delta rule ---- */

/* 1 / max(|x|, eps) */
static double inverse_length(const float *x, uint32_t n, double eps)
{
    double sum = 0;

    for (uint32_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return 1 / fmax(sqrt(sum), eps);
}

/* One row of head h: state and out. */
static void delta_row(const struct args_delta_net *a, float *state, uint32_t t, uint32_t h)
{
    uint32_t ck = a->n_channels_k, cv = a->n_channels_v;
    uint32_t g = delta_key_head(a, h);
    const float *q = delta_row_of(a, t) + (size_t)g * ck, *k = q + (size_t)a->n_heads_k * ck;
    const float *v = delta_row_of(a, t) + 2 * (size_t)a->n_heads_k * ck + (size_t)h * cv;
    float *out = (float *)addr_ptr(a->out) + ((size_t)t * a->n_heads_v + h) * cv;
    double length_q = inverse_length(q, ck, (double)a->eps) / sqrt(ck);
    double length_k = inverse_length(k, ck, (double)a->eps);
    struct delta_gates gates = delta_gates(a, t, h);

    for (uint32_t j = 0; j < cv; j++) {
        double seen = 0, result = 0, change;

        for (uint32_t i = 0; i < ck; i++)
            seen += gates.decay * state[(size_t)i * cv + j] * (k[i] * length_k);
        change = gates.beta * (v[j] - seen);
        for (uint32_t i = 0; i < ck; i++) {
            float *s = &state[(size_t)i * cv + j];

            *s = (float)(gates.decay * *s + k[i] * length_k * change);
            result += *s * (q[i] * length_q);
        }
        out[j] = (float)result;
    }
}

struct delta_gates delta_gates(const struct args_delta_net *a, uint32_t t, uint32_t h)
{
    size_t at = (size_t)t * a->n_heads_v + h;
    double x = (double)((const float *)addr_ptr(a->alpha))[at] +
               (double)((const float *)addr_ptr(a->dt_bias))[h];
    double softplus = x > 40 ? x : log1p(exp(x));

    return (struct delta_gates){
        .decay = exp((double)((const float *)addr_ptr(a->a))[h] * softplus),
        .beta = 1 / (1 + exp(-(double)((const float *)addr_ptr(a->beta))[at])),
    };
}

void ref_delta_net(const struct dispatch *d)
{
    const struct args_delta_net *a = &d->args.delta_net;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t n = step_rows(a->step, ROWS_TOKENS, d->max_rows);
    size_t per_head = (size_t)a->n_channels_k * a->n_channels_v;
    size_t row = (size_t)a->n_heads_v * a->n_channels_v;

    for (uint32_t t = 0; t < n; t++) {
        float *state = step_state(&a->state, a->step, a->seqs, &tokens[t]);

        if (!state) {
            memset((float *)addr_ptr(a->out) + t * row, 0, row * sizeof(float));
            continue;
        }
        if (tokens[t].position == 0)
            memset(state, 0, per_head * a->n_heads_v * sizeof(float));
        for (uint32_t h = 0; h < a->n_heads_v; h++)
            delta_row(a, state + h * per_head, t, h);
    }
}
