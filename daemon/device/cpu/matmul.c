/* SPDX-License-Identifier: MIT */
/* Products of weights and activations: cut into runs of weight rows, dot product by dot product. */
#include "device/cpu/level.h"
#include "device/cpu/vec.h"
#include "device/device.h"
#include "kernels/ref.h"

/* Weights of one item: enough to be worth taking, little enough that workers end together. */
#define ITEM_BYTES (48u << 10)

/* Rows of weights of one item: a multiple of 16, the width of a tile. */
static uint32_t rows_per_item(const struct dispatch *d)
{
    uint64_t row_bytes = gguf_type_row_bytes(d->weight_type, d->args.matmul.n_cols);
    uint64_t n = ITEM_BYTES / row_bytes / 16 * 16;

    if (n > 64)
        n = 64;
    while (n > 16 && d->args.matmul.n_rows / n > CPU_ITEMS_MAX)
        n *= 2;
    return n < 16 ? 16 : (uint32_t)n;
}

uint32_t IN_LEVEL(matmul_items)(const struct dispatch *d)
{
    uint32_t n = rows_per_item(d);

    if (!step_rows(d->args.matmul.step, d->args.matmul.rows, d->max_rows))
        return 0;
    return (d->args.matmul.n_rows + n - 1) / n;
}

static inline __attribute__((always_inline)) void dot_float(const void *w, const void *const *x,
                                                            unsigned n, uint32_t n_cols, float *out,
                                                            enum gguf_type type)
{
    vf sum[DOT_ROWS][2] = {0};
    float tail[DOT_ROWS] = {0};
    uint32_t k = 0;

    for (; k + 2 * LANES <= n_cols; k += 2 * LANES) {
        for (int half = 0; half < 2; half++) {
            uint32_t at = k + (uint32_t)half * LANES;
            vf v = type == GGUF_TYPE_F32   ? vec_load((const float *)w + at)
                   : type == GGUF_TYPE_F16 ? vec_load_f16((const uint16_t *)w + at)
                                           : vec_load_bf16((const uint16_t *)w + at);

            for (unsigned r = 0; r < n; r++)
                sum[r][half] += v * vec_load((const float *)x[r] + at);
        }
    }
    for (; k < n_cols; k++) {
        float v = type == GGUF_TYPE_F32   ? ((const float *)w)[k]
                  : type == GGUF_TYPE_F16 ? ref_f16_to_f32(((const uint16_t *)w)[k])
                                          : ref_bf16_to_f32(((const uint16_t *)w)[k]);

        for (unsigned r = 0; r < n; r++)
            tail[r] += v * ((const float *)x[r])[k];
    }
    for (unsigned r = 0; r < n; r++)
        out[r] = vec_sum(sum[r][0] + sum[r][1]) + tail[r];
}

#define FLOAT_DOT(name, type)                                                                      \
    static void name(const void *w, const void *const *x, unsigned n, uint32_t n_cols, float *out) \
    {                                                                                              \
        if (n == 4)                                                                                \
            dot_float(w, x, 4, n_cols, out, type);                                                 \
        else if (n == 3)                                                                           \
            dot_float(w, x, 3, n_cols, out, type);                                                 \
        else if (n == 2)                                                                           \
            dot_float(w, x, 2, n_cols, out, type);                                                 \
        else                                                                                       \
            dot_float(w, x, 1, n_cols, out, type);                                                 \
    }

FLOAT_DOT(dot_f32, GGUF_TYPE_F32)
FLOAT_DOT(dot_f16, GGUF_TYPE_F16)
FLOAT_DOT(dot_bf16, GGUF_TYPE_BF16)

static dot_fn *choose(enum gguf_type weight, enum activation_type activation)
{
    if (activation != ACT_F32)
        return IN_LEVEL(dot_for)(weight, activation);
    switch (weight) {
    case GGUF_TYPE_F32:
        return dot_f32;
    case GGUF_TYPE_F16:
        return dot_f16;
    case GGUF_TYPE_BF16:
        return dot_bf16;
    default:
        return NULL;
    }
}

static void write_out(const struct args_matmul *a, uint32_t row, uint32_t r, float sum)
{
    float *y = (float *)addr_ptr(a->out) + (size_t)r * a->n_rows + row;
    const float *bias = addr_ptr(a->bias);

    if (bias)
        sum += bias[row];
    *y = a->accumulate ? *y + sum : sum;
}

/* One weight row against all rows of activations. */
static void row_by_dots(const struct dispatch *d, dot_fn *dot, const uint8_t *w, uint32_t row,
                        uint32_t r0, uint32_t n)
{
    const struct args_matmul *a = &d->args.matmul;
    size_t x_bytes = activation_bytes(d->activation, a->n_cols);
    const uint8_t *x = addr_ptr(a->x);
    const void *list[DOT_ROWS];
    float sum[DOT_ROWS];

    for (uint32_t i = 0; i < n; i++)
        list[i] = x + (r0 + i) * x_bytes;
    dot(w, list, n, a->n_cols, sum);
    for (uint32_t i = 0; i < n; i++)
        write_out(a, row, r0 + i, sum[i]);
}

/* Types without a form of their own: blocks to f32, then f32 products with the activations' f32
 * values, a panel of columns at a time so that any width fits the scratch. */
static void row_by_dequant(const struct dispatch *d, const uint8_t *w, uint32_t row, uint32_t rows,
                           float *scratch)
{
    enum { PANEL = 4096 };
    const struct args_matmul *a = &d->args.matmul;
    const struct gguf_type_info *info = gguf_type_get_info(d->weight_type);
    size_t x_bytes = activation_bytes(d->activation, a->n_cols);
    float *wide = scratch, *xs = scratch + PANEL, *sums = scratch + (size_t)2 * PANEL;

    for (uint32_t r = 0; r < rows; r++)
        sums[r] = 0;
    for (uint32_t k = 0; k < a->n_cols; k += PANEL) {
        uint32_t n = a->n_cols - k < PANEL ? a->n_cols - k : PANEL;

        ref_dequantize(d->weight_type, w + k / info->block_elements * info->block_bytes, wide, n);
        for (uint32_t r = 0; r < rows; r++) {
            const uint8_t *x = (const uint8_t *)addr_ptr(a->x) + r * x_bytes;
            const void *list = xs;
            float sum;

            if (d->activation == ACT_F32)
                list = (const float *)(const void *)x + k;
            else if (d->activation == ACT_Q8_32)
                for (uint32_t i = 0; i < n; i++)
                    xs[i] = ((const struct act_q8_32 *)(const void *)x)[(k + i) / 32].scale *
                            ((const struct act_q8_32 *)(const void *)x)[(k + i) / 32].q[i % 32];
            else
                for (uint32_t i = 0; i < n; i++)
                    xs[i] = ((const struct act_q8_256 *)(const void *)x)[(k + i) / 256].scale *
                            ((const struct act_q8_256 *)(const void *)x)[(k + i) / 256].q[i % 256];
            dot_f32(wide, &list, 1, n, &sum);
            sums[r] += sum;
        }
    }
    for (uint32_t r = 0; r < rows; r++)
        write_out(a, row, r, sums[r]);
}

void IN_LEVEL(matmul)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_matmul *a = &d->args.matmul;
    uint32_t per_item = rows_per_item(d), first = item * per_item;
    uint32_t end = a->n_rows - first < per_item ? a->n_rows : first + per_item;
    uint32_t rows = step_rows(a->step, a->rows, d->max_rows);
    size_t row_bytes = gguf_type_row_bytes(d->weight_type, a->n_cols);
    const uint8_t *w = addr_ptr(a->weight);
    dot_fn *dot = choose(d->weight_type, d->activation);

    /* what a program for many rows computes must not depend on how many there are: the end of a
     * prompt may have few */
    if ((rows > DOT_ROWS || d->max_rows > DEVICE_FEW_ROWS) &&
        IN_LEVEL(gemm)(d, first, end - first, rows, scratch))
        return;
    if (!dot) {
        for (uint32_t i = first; i < end; i++)
            row_by_dequant(d, w + i * row_bytes, i, rows, scratch);
        return;
    }
    for (uint32_t r = 0; r < rows; r += DOT_ROWS)
        for (uint32_t i = first; i < end; i++)
            row_by_dots(d, dot, w + i * row_bytes, i, r, rows - r < DOT_ROWS ? rows - r : DOT_ROWS);
}
