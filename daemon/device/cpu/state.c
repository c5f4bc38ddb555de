/* SPDX-License-Identifier: MIT */
/* Layers whose sequences have state of fixed size. An item goes over all rows with the part of the
 * states that is its own, so that nothing is waited for between rows. */
#include "device/cpu/level.h"
#include "device/cpu/vec.h"
#include "kernels/ref_internal.h"

#include <math.h>
#include <string.h>

/* ---- short convolution: an item has some channels ---- */

uint32_t IN_LEVEL(short_conv_items)(const struct dispatch *d)
{
    const struct args_short_conv *a = &d->args.short_conv;
    uint64_t rows = step_rows(a->step, ROWS_TOKENS, d->max_rows);
    uint32_t n = items_for(rows * a->n_cols * a->n_taps, ROW_GRAIN_VALUES);
    uint32_t most = (a->n_cols + LANES - 1) / LANES;

    return n < most ? n : most;
}

/* silu in place of n values. */
static void silu(float *x, size_t n)
{
    float rest[LANES] = {0};

    for (size_t i = 0; i < n; i += LANES) {
        bool is_rest = i + LANES > n;
        float *at = is_rest ? rest : x + i;

        if (is_rest)
            memcpy(rest, x + i, (n - i) * sizeof(float));
        vec_store(at, vec_gate(vec_load(at), vec_load(at)));
        if (is_rest)
            memcpy(x + i, rest, (n - i) * sizeof(float));
    }
}

/* The inputs at row t from channel c on; t may lie before the run's first row. NULL: zeros. */
static const float *conv_input(const struct args_short_conv *a, const float *state, bool is_new,
                               uint32_t first, int64_t t, uint64_t c)
{
    if (t >= first)
        return (const float *)addr_ptr(a->x) + (size_t)t * a->n_cols + c;
    return is_new ? NULL : state + (size_t)(t - first + a->n_taps - 1) * a->n_cols + c;
}

/* Channels [c, c + n) of the rows of one sequence. */
static void conv_run(const struct args_short_conv *a, float *state, uint32_t first, uint32_t end,
                     uint64_t c, size_t n)
{
    bool is_new = ((const struct step_token *)addr_ptr(a->tokens))[first].position == 0;
    const float *weight = (const float *)addr_ptr(a->weight) + c * a->n_taps;

    for (uint32_t t = first; t < end; t++) {
        float *out = (float *)addr_ptr(a->out) + (size_t)t * a->n_cols + c;

        memset(out, 0, n * sizeof(float));
        for (uint32_t k = 0; k < a->n_taps; k++) {
            const float *x = conv_input(a, state, is_new, first, (int64_t)t + k + 1 - a->n_taps, c);

            for (size_t i = 0; x && i < n; i++)
                out[i] += weight[i * a->n_taps + k] * x[i];
        }
        silu(out, n);
    }
    /* ascending: what is read lies behind what is written */
    for (uint32_t k = 0; k + 1 < a->n_taps; k++) {
        const float *x = conv_input(a, state, is_new, first, (int64_t)end + k + 1 - a->n_taps, c);
        float *kept = state + (size_t)k * a->n_cols + c;

        if (x)
            memmove(kept, x, n * sizeof(float));
        else
            memset(kept, 0, n * sizeof(float));
    }
}

void IN_LEVEL(short_conv)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_short_conv *a = &d->args.short_conv;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t n = step_rows(a->step, ROWS_TOKENS, d->max_rows);
    uint64_t c, c_end;

    item_range(a->n_cols, IN_LEVEL(short_conv_items)(d), item, &c, &c_end);
    for (uint32_t t = 0, end; t < n; t = end) {
        float *state = step_state(&a->state, a->step, a->seqs, &tokens[t]);

        end = step_run_end(tokens, t, n);
        if (state)
            conv_run(a, state, t, end, c, c_end - c);
        for (uint32_t r = t; !state && r < end; r++)
            memset((float *)addr_ptr(a->out) + (size_t)r * a->n_cols + c, 0,
                   (c_end - c) * sizeof(float));
    }
}

/* ---- gated delta rule: an item has some heads ---- */

uint32_t IN_LEVEL(delta_net_items)(const struct dispatch *d)
{
    return step_rows(d->args.delta_net.step, ROWS_TOKENS, d->max_rows) ? d->args.delta_net.n_heads_v
                                                                       : 0;
}

/* What a row brings to a head. */
struct delta_news {
    float q[DELTA_CHANNELS_MAX], k[DELTA_CHANNELS_MAX]; /* of the lengths they count with */
    float decay, beta;
};

/* x scaled to the length `length`, or less where it is shorter than eps. */
static void to_length(float *out, const float *x, uint32_t n, double eps, double length)
{
    double sum = 0;
    float scale;

    for (uint32_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    scale = (float)(length / fmax(sqrt(sum), eps));
    for (uint32_t i = 0; i < n; i++)
        out[i] = x[i] * scale;
}

/* LANES columns of a state, the first at s, rows `stride` apart. */
static vf delta_columns(const struct delta_news *news, float *s, uint32_t ck, size_t stride, vf v)
{
    vf seen = {0}, result = {0}, change;

    for (uint32_t i = 0; i < ck; i++)
        seen += news->k[i] * vec_load(s + i * stride);
    change = news->beta * (v - news->decay * seen);
    for (uint32_t i = 0; i < ck; i++) {
        vf now = news->decay * vec_load(s + i * stride) + news->k[i] * change;

        vec_store(s + i * stride, now);
        result += news->q[i] * now;
    }
    return result;
}

/* The same of one column. */
static float delta_column(const struct delta_news *news, float *s, uint32_t ck, size_t stride,
                          float v)
{
    float seen = 0, result = 0, change;

    for (uint32_t i = 0; i < ck; i++)
        seen += news->k[i] * s[i * stride];
    change = news->beta * (v - news->decay * seen);
    for (uint32_t i = 0; i < ck; i++) {
        s[i * stride] = news->decay * s[i * stride] + news->k[i] * change;
        result += news->q[i] * s[i * stride];
    }
    return result;
}

static void delta_row(const struct args_delta_net *a, float *state, uint32_t t, uint32_t h)
{
    uint32_t ck = a->n_channels_k, cv = a->n_channels_v, j = 0;
    size_t keys = (size_t)a->n_heads_k * ck;
    const float *row = delta_row_of(a, t), *q = row + (size_t)delta_key_head(a, h) * ck;
    const float *v = row + 2 * keys + (size_t)h * cv;
    float *out = (float *)addr_ptr(a->out) + ((size_t)t * a->n_heads_v + h) * cv;
    struct delta_gates gates = delta_gates(a, t, h);
    struct delta_news news;

    to_length(news.q, q, ck, (double)a->eps, 1 / sqrt(ck));
    to_length(news.k, q + keys, ck, (double)a->eps, 1);
    news.decay = (float)gates.decay;
    news.beta = (float)gates.beta;
    for (; j + LANES <= cv; j += LANES)
        vec_store(out + j, delta_columns(&news, state + j, ck, cv, vec_load(v + j)));
    for (; j < cv; j++)
        out[j] = delta_column(&news, state + j, ck, cv, v[j]);
}

void IN_LEVEL(delta_net)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_delta_net *a = &d->args.delta_net;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t n = step_rows(a->step, ROWS_TOKENS, d->max_rows);
    size_t per_head = (size_t)a->n_channels_k * a->n_channels_v;

    for (uint32_t t = 0; t < n; t++) {
        float *state = step_state(&a->state, a->step, a->seqs, &tokens[t]);

        if (!state) {
            memset((float *)addr_ptr(a->out) + ((size_t)t * a->n_heads_v + item) * a->n_channels_v,
                   0, a->n_channels_v * sizeof(float));
            continue;
        }
        state += item * per_head;
        if (tokens[t].position == 0)
            memset(state, 0, per_head * sizeof(float));
        delta_row(a, state, t, item);
    }
}
