/* SPDX-License-Identifier: MIT */
#include "kernels/ref.h"
#include "kernels/ref_internal.h"

#include <math.h>
#include <string.h>

static void ref_rms_norm(const struct dispatch *d)
{
    const struct args_rms_norm *a = &d->args.rms_norm;
    const float *weight = addr_ptr(a->weight);
    size_t n_runs = (size_t)step_rows(a->step, a->rows, d->max_rows) * a->n_groups;

    for (size_t run = 0; run < n_runs; run++) {
        const float *x = (const float *)addr_ptr(a->x) + run * a->n_cols;
        float *out = (float *)addr_ptr(a->out) + run * a->n_cols;
        double sum = 0, inverse;

        for (uint32_t i = 0; i < a->n_cols; i++)
            sum += (double)x[i] * x[i];
        inverse = 1 / sqrt(sum / a->n_cols + (double)a->eps);
        for (uint32_t i = 0; i < a->n_cols; i++)
            out[i] = (float)(x[i] * inverse * (weight ? (double)weight[i] : 1) * (double)a->scale);
    }
}

static void ref_layer_norm(const struct dispatch *d)
{
    const struct args_layer_norm *a = &d->args.layer_norm;
    const float *weight = addr_ptr(a->weight), *bias = addr_ptr(a->bias);
    uint32_t n_rows = step_rows(a->step, a->rows, d->max_rows), n = a->n_cols;

    for (uint32_t row = 0; row < n_rows; row++) {
        const float *x = (const float *)addr_ptr(a->x) + (size_t)row * n;
        float *out = (float *)addr_ptr(a->out) + (size_t)row * n;
        double mean = 0, squares = 0, inverse;

        for (uint32_t i = 0; i < n; i++)
            mean += (double)x[i] / n;
        for (uint32_t i = 0; i < n; i++)
            squares += (x[i] - mean) * (x[i] - mean);
        inverse = 1 / sqrt(squares / n + (double)a->eps);
        for (uint32_t i = 0; i < n; i++)
            out[i] =
                (float)((x[i] - mean) * inverse * (double)weight[i] + (bias ? (double)bias[i] : 0));
    }
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static double gelu(double x)
{
    const double sqrt_2_over_pi = 0.79788456080286535588;

    return 0.5 * x * (1 + tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x)));
}

/* NaN passes. */
static double clamped_swiglu(double gate, double up)
{
    const double limit = (double)GLU_CLAMP_LIMIT;
    double g = gate > limit ? limit : gate;
    double u = up > limit ? limit : up < -limit ? -limit : up;

    return g / (1 + exp(-(double)GLU_CLAMP_ALPHA * g)) * (u + 1);
}

static void ref_glu(const struct dispatch *d)
{
    const struct args_glu *a = &d->args.glu;
    const float *gate = addr_ptr(a->gate), *up = addr_ptr(a->up);
    float *out = addr_ptr(a->out);
    size_t n = (size_t)step_rows(a->step, a->rows, d->max_rows) * a->n_cols;

    for (size_t i = 0; i < n; i++) {
        double activated = a->activation == GLU_GELU      ? gelu(gate[i])
                           : a->activation == GLU_SIGMOID ? 1 / (1 + exp(-(double)gate[i]))
                                                          : silu(gate[i]);

        out[i] = (float)(a->activation == GLU_CLAMPED ? clamped_swiglu(gate[i], up[i])
                                                      : activated * (up ? (double)up[i] : 1));
    }
}

static void ref_add(const struct dispatch *d)
{
    const struct args_add *a = &d->args.add;
    const float *y = addr_ptr(a->y), *scale = addr_ptr(a->scale);
    float *x = addr_ptr(a->x);
    size_t n = (size_t)step_rows(a->step, a->rows, d->max_rows) * a->n_cols;

    for (size_t i = 0; i < n; i++)
        x[i] = (x[i] + y[i]) * (scale ? *scale : 1);
}

void ref_copy(const struct dispatch *d, uint32_t begin, uint32_t end)
{
    const struct args_copy *a = &d->args.copy;
    uint32_t n_tokens = step_rows(a->step, ROWS_TOKENS, d->max_rows);

    end = end < n_tokens ? end : n_tokens;
    for (size_t i = (size_t)begin * a->n_groups; i < (size_t)end * a->n_groups; i++)
        memcpy((float *)addr_ptr(a->out) + i * a->out_cols + a->out_first,
               (const float *)addr_ptr(a->x) + i * a->x_cols + a->x_first, a->n * sizeof(float));
}

static void ref_softcap(const struct dispatch *d)
{
    const struct args_softcap *a = &d->args.softcap;
    float *x = addr_ptr(a->x);
    size_t n = (size_t)step_rows(a->step, a->rows, d->max_rows) * a->n_cols;

    for (size_t i = 0; i < n; i++)
        x[i] = (float)((double)a->cap * tanh((double)x[i] / (double)a->cap));
}

/* An index past the step's tokens gives a row of zeros. */
static void ref_gather(const struct dispatch *d)
{
    const struct args_gather *a = &d->args.gather;
    const uint32_t *rows = addr_ptr(a->output_rows);
    const float *x = addr_ptr(a->x);
    float *out = addr_ptr(a->out);
    uint32_t n_tokens = ((const struct step_header *)addr_ptr(a->step))->n_tokens;
    uint32_t n_outputs = step_rows(a->step, ROWS_OUTPUTS, d->max_rows);
    size_t row_bytes = a->n_cols * sizeof(float);

    for (uint32_t i = 0; i < n_outputs; i++) {
        if (rows[i] < n_tokens)
            memcpy(out + (size_t)i * a->n_cols, x + (size_t)rows[i] * a->n_cols, row_bytes);
        else
            memset(out + (size_t)i * a->n_cols, 0, row_bytes);
    }
}

void ref_run(const struct dispatch *d)
{
    switch (d->op) {
    case KERNEL_EMBED:
        ref_embed(d);
        break;
    case KERNEL_RMS_NORM:
        ref_rms_norm(d);
        break;
    case KERNEL_LAYER_NORM:
        ref_layer_norm(d);
        break;
    case KERNEL_QUANTIZE:
        ref_quantize(d);
        break;
    case KERNEL_MATMUL:
        ref_matmul(d);
        break;
    case KERNEL_ROPE:
        ref_rope(d);
        break;
    case KERNEL_KV_STORE:
        ref_kv_store(d);
        break;
    case KERNEL_ATTENTION:
        ref_attention(d);
        break;
    case KERNEL_ATTENTION_COMBINE:
        ref_attention_combine(d);
        break;
    case KERNEL_INDEX_SCORES:
        ref_index_scores(d);
        break;
    case KERNEL_INDEX_CHOOSE:
        ref_index_choose(d, 0, UINT32_MAX);
        break;
    case KERNEL_GLU:
        ref_glu(d);
        break;
    case KERNEL_ADD:
        ref_add(d);
        break;
    case KERNEL_SOFTCAP:
        ref_softcap(d);
        break;
    case KERNEL_ROUTE:
        ref_route(d, 0, UINT32_MAX);
        break;
    case KERNEL_EXPERT_ROWS:
        ref_expert_rows(d);
        break;
    case KERNEL_MATMUL_EXPERTS:
        ref_matmul_experts(d);
        break;
    case KERNEL_SCALE:
        ref_scale(d);
        break;
    case KERNEL_EXPERT_SUM:
        ref_expert_sum(d);
        break;
    case KERNEL_SHORT_CONV:
        ref_short_conv(d);
        break;
    case KERNEL_DELTA_NET:
        ref_delta_net(d);
        break;
    case KERNEL_COPY:
        ref_copy(d, 0, UINT32_MAX);
        break;
    case KERNEL_GATHER:
        ref_gather(d);
        break;
    case KERNEL_SAMPLE:
        ref_sample(d);
        break;
    case KERNEL_OP_COUNT:
        break;
    }
}
