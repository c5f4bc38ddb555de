/* SPDX-License-Identifier: MIT */
/* Kernels that go over rows of activations once. */
#include "device/cpu/level.h"
#include "device/cpu/vec.h"
#include "kernels/ref_internal.h"

#include <math.h>

uint32_t IN_LEVEL(embed_items)(const struct dispatch *d)
{
    return row_items(d->args.embed.step, ROWS_TOKENS, d->max_rows, d->args.embed.n_cols);
}

static void widen(enum gguf_type type, const void *row, float *out, uint32_t n)
{
    uint32_t i = 0;

    if (type != GGUF_TYPE_F16) {
        ref_dequantize(type, row, out, n);
        return;
    }
    for (; i + LANES <= n; i += LANES)
        vec_store(out + i, vec_load_f16((const uint16_t *)row + i));
    for (; i < n; i++)
        out[i] = ref_f16_to_f32(((const uint16_t *)row)[i]);
}

void IN_LEVEL(embed)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_embed *a = &d->args.embed;
    const struct step_token *tokens = addr_ptr(a->tokens);
    size_t row_bytes = gguf_type_row_bytes(d->weight_type, a->n_cols);
    uint64_t t, end;

    item_range(step_rows(a->step, ROWS_TOKENS, d->max_rows), IN_LEVEL(embed_items)(d), item, &t,
               &end);
    for (; t < end; t++) {
        float *out = (float *)addr_ptr(a->out) + t * a->n_cols;
        uint32_t id = step_token_id(a->step, a->seqs, &tokens[t]) - a->first_row;

        if (id >= a->n_rows) {
            if (!a->first_row)
                memset(out, 0, a->n_cols * sizeof(float));
            continue;
        }
        widen(d->weight_type, (const uint8_t *)addr_ptr(a->table) + id * row_bytes, out, a->n_cols);
        for (uint32_t i = 0; a->scale != 1 && i < a->n_cols; i++)
            out[i] *= a->scale;
    }
}

uint32_t IN_LEVEL(rms_norm_items)(const struct dispatch *d)
{
    const struct args_rms_norm *a = &d->args.rms_norm;

    return row_items(a->step, a->rows, d->max_rows, (uint64_t)a->n_cols * a->n_groups);
}

/* Squares in f32 lanes, a block of 1024 values at a time, the blocks in double. */
static double sum_of_squares(const float *x, uint32_t n)
{
    double total = 0;
    uint32_t i = 0;

    while (i + LANES <= n) {
        uint32_t end = n - i > 1024 ? i + 1024 : n;
        vf sum = {0}, other = {0};

        for (; i + 2 * LANES <= end; i += 2 * LANES) {
            vf v = vec_load(x + i), u = vec_load(x + i + LANES);

            sum += v * v;
            other += u * u;
        }
        for (; i + LANES <= end; i += LANES)
            sum += vec_load(x + i) * vec_load(x + i);
        total += vec_sum(sum + other);
    }
    for (; i < n; i++)
        total += (double)x[i] * x[i];
    return total;
}

void IN_LEVEL(rms_norm)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_rms_norm *a = &d->args.rms_norm;
    const float *weight = addr_ptr(a->weight);
    uint64_t run, end;

    item_range(step_rows(a->step, a->rows, d->max_rows), IN_LEVEL(rms_norm_items)(d), item, &run,
               &end);
    end *= a->n_groups;
    for (run *= a->n_groups; run < end; run++) {
        const float *x = (const float *)addr_ptr(a->x) + run * a->n_cols;
        float *out = (float *)addr_ptr(a->out) + run * a->n_cols;
        double sum = sum_of_squares(x, a->n_cols);
        float inverse;

        if (!(sum < 1e38)) { /* squares beyond f32 */
            sum = 0;
            for (uint32_t i = 0; i < a->n_cols; i++)
                sum += (double)x[i] * x[i];
        }
        inverse = (float)((double)a->scale / sqrt(sum / a->n_cols + (double)a->eps));
        for (uint32_t i = 0; i < a->n_cols; i++)
            out[i] = weight ? x[i] * inverse * weight[i] : x[i] * inverse;
    }
}

uint32_t IN_LEVEL(layer_norm_items)(const struct dispatch *d)
{
    const struct args_layer_norm *a = &d->args.layer_norm;

    return row_items(a->step, a->rows, d->max_rows, a->n_cols);
}

void IN_LEVEL(layer_norm)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_layer_norm *a = &d->args.layer_norm;
    const float *weight = addr_ptr(a->weight), *bias = addr_ptr(a->bias);
    uint32_t n = a->n_cols;
    uint64_t row, end;

    item_range(step_rows(a->step, a->rows, d->max_rows), IN_LEVEL(layer_norm_items)(d), item, &row,
               &end);
    for (; row < end; row++) {
        const float *x = (const float *)addr_ptr(a->x) + row * n;
        float *out = (float *)addr_ptr(a->out) + row * n;
        double mean = 0, squares = 0;
        float inverse, middle;

        for (uint32_t i = 0; i < n; i++)
            mean += (double)x[i];
        mean /= n;
        for (uint32_t i = 0; i < n; i++)
            squares += ((double)x[i] - mean) * ((double)x[i] - mean);
        inverse = (float)(1 / sqrt(squares / n + (double)a->eps));
        middle = (float)mean;
        for (uint32_t i = 0; i < n; i++)
            out[i] = (x[i] - middle) * inverse * weight[i] + (bias ? bias[i] : 0.0f);
    }
}

uint32_t IN_LEVEL(glu_items)(const struct dispatch *d)
{
    return row_items(d->args.glu.step, d->args.glu.rows, d->max_rows, d->args.glu.n_cols);
}

/* x * sigmoid(z): silu with z = x, gelu's tanh form with z = 2 * sqrt(2/pi) * (x + ...), since
 * (1 + tanh(y)) / 2 = sigmoid(2y). */
static inline vf gated(vf x, u32 activation)
{
    vf z = activation == GLU_GELU      ? 1.59576912160573071176f * (x + 0.044715f * x * x * x)
           : activation == GLU_CLAMPED ? GLU_CLAMP_ALPHA * x
                                       : x;

    return vec_gate(activation == GLU_SIGMOID ? vec_set(1.0f) : x, z);
}

/* activation(gate) * up */
static inline vf glu_of(vf gate, vf up, u32 activation)
{
    const vf limit = vec_set(GLU_CLAMP_LIMIT);

    if (activation == GLU_CLAMPED) { /* NaN passes */
        gate = vec_select(gate > limit, limit, gate);
        up = vec_select(up > limit, limit, vec_select(up < -limit, -limit, up)) + 1.0f;
    }
    return gated(gate, activation) * up;
}

void IN_LEVEL(glu)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_glu *a = &d->args.glu;
    const float *gate = addr_ptr(a->gate), *up = addr_ptr(a->up);
    float *out = addr_ptr(a->out);
    uint64_t i, end;

    item_range(step_rows(a->step, a->rows, d->max_rows), IN_LEVEL(glu_items)(d), item, &i, &end);
    i *= a->n_cols;
    end *= a->n_cols;
    for (; i + LANES <= end; i += LANES)
        vec_store(out + i,
                  glu_of(vec_load(gate + i), up ? vec_load(up + i) : vec_set(1.0f), a->activation));
    if (i < end) {
        float g[LANES] = {0}, u[LANES] = {0};
        size_t bytes = (end - i) * sizeof(float);

        memcpy(g, gate + i, bytes);
        vec_store(u, vec_set(1.0f));
        if (up)
            memcpy(u, up + i, bytes);
        vec_store(g, glu_of(vec_load(g), vec_load(u), a->activation));
        memcpy(out + i, g, bytes);
    }
}

uint32_t IN_LEVEL(add_items)(const struct dispatch *d)
{
    return row_items(d->args.add.step, d->args.add.rows, d->max_rows, d->args.add.n_cols);
}

void IN_LEVEL(add)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_add *a = &d->args.add;
    const float *y = addr_ptr(a->y), *scale = addr_ptr(a->scale);
    float *x = addr_ptr(a->x), by = scale ? *scale : 1;
    uint64_t i, end;

    item_range(step_rows(a->step, a->rows, d->max_rows), IN_LEVEL(add_items)(d), item, &i, &end);
    end *= a->n_cols;
    for (i *= a->n_cols; i < end; i++)
        x[i] = (x[i] + y[i]) * by;
}

uint32_t IN_LEVEL(softcap_items)(const struct dispatch *d)
{
    const struct args_softcap *a = &d->args.softcap;

    /* a hyperbolic tangent counts for several values */
    return row_items(a->step, a->rows, d->max_rows, (uint64_t)a->n_cols * 16);
}

void IN_LEVEL(softcap)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_softcap *a = &d->args.softcap;
    float *x = addr_ptr(a->x);
    uint64_t i, end;

    item_range(step_rows(a->step, a->rows, d->max_rows), IN_LEVEL(softcap_items)(d), item, &i,
               &end);
    end *= a->n_cols;
    for (i *= a->n_cols; i < end; i++)
        x[i] = a->cap * tanhf(x[i] / a->cap);
}

uint32_t IN_LEVEL(route_items)(const struct dispatch *d)
{
    const struct args_route *a = &d->args.route;

    /* a choice goes over all experts, and every exponential counts for several values */
    return row_items(a->step, ROWS_TOKENS, d->max_rows, (uint64_t)a->n_experts * (a->n_used + 8));
}

void IN_LEVEL(route)(const struct dispatch *d, uint32_t item, void *scratch)
{
    uint64_t t, end;

    item_range(step_rows(d->args.route.step, ROWS_TOKENS, d->max_rows), IN_LEVEL(route_items)(d),
               item, &t, &end);
    ref_route(d, (uint32_t)t, (uint32_t)end);
}

uint32_t IN_LEVEL(scale_items)(const struct dispatch *d)
{
    const struct args_scale *a = &d->args.scale;

    return row_items(a->step, a->rows, d->max_rows, (uint64_t)a->n_cols * a->n_used);
}

void IN_LEVEL(scale)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_scale *a = &d->args.scale;
    const struct expert_choice *choices = addr_ptr(a->choices);
    uint64_t pair, end;

    item_range(step_rows(a->step, a->rows, d->max_rows), IN_LEVEL(scale_items)(d), item, &pair,
               &end);
    end *= a->n_used;
    for (pair *= a->n_used; pair < end; pair++) {
        const float *x = (const float *)addr_ptr(a->x) + pair * a->n_cols;
        float *out = (float *)addr_ptr(a->out) + pair * a->n_cols;
        uint64_t expert = choices ? choices[pair].expert : pair % a->n_used;
        const float *bias = addr_ptr(a->bias);
        float by;

        if (expert >= a->n_experts)
            continue;
        by = ((const float *)addr_ptr(a->scale))[expert];
        if (bias)
            bias += expert * a->n_cols;
        for (uint32_t i = 0; i < a->n_cols; i++) {
            float y = by * x[i] + (bias ? bias[i] : 0);

            out[i] = a->accumulate ? out[i] + y : y;
        }
    }
}

uint32_t IN_LEVEL(expert_sum_items)(const struct dispatch *d)
{
    const struct args_expert_sum *a = &d->args.expert_sum;

    return row_items(a->step, ROWS_TOKENS, d->max_rows, (uint64_t)a->n_cols * a->n_used);
}

void IN_LEVEL(expert_sum)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_expert_sum *a = &d->args.expert_sum;
    const struct expert_choice *choices = addr_ptr(a->choices);
    uint64_t t, end;

    item_range(step_rows(a->step, ROWS_TOKENS, d->max_rows), IN_LEVEL(expert_sum_items)(d), item,
               &t, &end);
    for (; t < end; t++) {
        float *out = (float *)addr_ptr(a->out) + t * a->n_cols;

        for (uint32_t u = 0; u < a->n_used; u++) {
            const float *y = (const float *)addr_ptr(a->y) + (t * a->n_used + u) * a->n_cols;
            float weight = choices[t * a->n_used + u].weight;

            for (uint32_t i = 0; i < a->n_cols; i++)
                out[i] = (u || a->accumulate ? out[i] : 0) + weight * y[i];
        }
    }
}

uint32_t IN_LEVEL(copy_items)(const struct dispatch *d)
{
    const struct args_copy *a = &d->args.copy;

    return row_items(a->step, ROWS_TOKENS, d->max_rows, (uint64_t)a->n_groups * a->n);
}

void IN_LEVEL(copy)(const struct dispatch *d, uint32_t item, void *scratch)
{
    uint64_t t, end;

    item_range(step_rows(d->args.copy.step, ROWS_TOKENS, d->max_rows), IN_LEVEL(copy_items)(d),
               item, &t, &end);
    ref_copy(d, (uint32_t)t, (uint32_t)end);
}

uint32_t IN_LEVEL(gather_items)(const struct dispatch *d)
{
    return row_items(d->args.gather.step, ROWS_OUTPUTS, d->max_rows, d->args.gather.n_cols);
}

void IN_LEVEL(gather)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_gather *a = &d->args.gather;
    const struct step_header *h = addr_ptr(a->step);
    const uint32_t *rows = addr_ptr(a->output_rows);
    size_t row_bytes = a->n_cols * sizeof(float);
    uint64_t i, end;

    item_range(step_rows(a->step, ROWS_OUTPUTS, d->max_rows), IN_LEVEL(gather_items)(d), item, &i,
               &end);
    for (; i < end; i++) {
        uint8_t *out = (uint8_t *)addr_ptr(a->out) + i * row_bytes;

        if (rows[i] < h->n_tokens)
            memcpy(out, (const uint8_t *)addr_ptr(a->x) + rows[i] * row_bytes, row_bytes);
        else
            memset(out, 0, row_bytes);
    }
}
