/* SPDX-License-Identifier: MIT */
/* Products of weights and activations: cut into runs of weight rows, dot product by dot product. */
#include "device/cpu/level.h"
#include "device/cpu/product.h"
#include "device/cpu/vec.h"
#include "device/device.h"
#include "kernels/ref.h"

/* Weights of one item: enough to be worth taking, little enough that workers end together. */
#define ITEM_BYTES (48u << 10)

/* Rows of weights that a tile of float products has beside n rows of activations: as many as there
 * are registers for all sums. */
static inline uint32_t tile_rows(uint32_t n)
{
    return LANES < 16 ? (n < 3 ? 2 : 1) : n < 3 ? 4 : 2;
}
#define TILE_SUMS 8 /* of a tile at most */

/* Whether gemm_float has items of a size of its own. */
static bool is_gemm_float(enum gguf_type type, bool is_many)
{
    return is_many && HAS_GEMM_FLOAT && (type == GGUF_TYPE_F16 || type == GGUF_TYPE_BF16);
}

/* Rows of weights of one item, of n_rows in each of n_products: a multiple of 16, the width of a
 * tile. is_many: most are for many rows of activations. */
static uint32_t rows_per_item(enum gguf_type type, bool is_many, uint32_t n_products,
                              uint32_t n_rows, uint32_t n_cols)
{
    uint64_t n = ITEM_BYTES / gguf_type_row_bytes(type, n_cols) / 16 * 16;

    if (is_gemm_float(type, is_many)) {
        n = GEMM_FLOAT_VALUES / GEMM_FLOAT_ROWS / n_cols;
        return GEMM_FLOAT_ROWS * (n > 4 ? 4 : n ? (uint32_t)n : 1);
    }
    if (n > 64)
        n = 64;
    if (n < 16)
        n = 16;
    while (n_products * ((n_rows + n - 1) / n) > CPU_ITEMS_MAX && n < n_rows)
        n *= 2;
    return (uint32_t)n;
}

#if defined(__AVX512F__)
/* Four vectors at once: halves added to one another as vec_sum does. */
static inline __attribute__((always_inline)) void sum_four(__m512 a, __m512 b, __m512 c, __m512 d,
                                                           float *out)
{
    __m512 ab = _mm512_shuffle_f32x4(a, b, 0x44) + _mm512_shuffle_f32x4(a, b, 0xee);
    __m512 cd = _mm512_shuffle_f32x4(c, d, 0x44) + _mm512_shuffle_f32x4(c, d, 0xee);
    __m512 sum = _mm512_shuffle_f32x4(ab, cd, 0x88) + _mm512_shuffle_f32x4(ab, cd, 0xdd);

    sum += _mm512_permute_ps(sum, 0xee);
    sum += _mm512_movehdup_ps(sum);
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, sum)));
}
#endif

/* out[i] = vec_sum(sum[i][0]), with the same bits. */
static inline __attribute__((always_inline)) void sum_vectors(vf (*sum)[2], unsigned n, float *out)
{
    unsigned i = 0;

#if defined(__AVX512F__)
#pragma GCC unroll 2
    for (; i + 4 <= n; i += 4)
        sum_four((__m512)sum[i][0], (__m512)sum[i + 1][0], (__m512)sum[i + 2][0],
                 (__m512)sum[i + 3][0], out + i);
#endif
#pragma GCC unroll 8
    for (; i < n; i++)
        out[i] = vec_sum(sum[i][0]);
}

/* out[n_w][n] += what the columns from k on, too few for vectors, come to. */
static void add_rest(const uint8_t *w, size_t w_bytes, unsigned n_w, const void *const *x,
                     unsigned n, uint32_t k, uint32_t n_cols, float *out, enum gguf_type type)
{
    for (unsigned i = 0; i < n_w * n; i++) {
        const void *row = w + i / n * w_bytes;
        const float *values = x[i % n];
        float sum = 0;

        for (uint32_t c = k; c < n_cols; c++)
            sum +=
                values[c] * (type == GGUF_TYPE_F32   ? ((const float *)row)[c]
                             : type == GGUF_TYPE_F16 ? ref_f16_to_f32(((const uint16_t *)row)[c])
                                                     : ref_bf16_to_f32(((const uint16_t *)row)[c]));
        out[i] += sum;
    }
}

/* The line that follows `at` bytes of a row in AHEAD bytes, or, past the row's end, in the rows
 * that come after these n_w: with rows side by side, or short ones, the hardware does not see where
 * they go. */
static inline void prefetch_weights(const uint8_t *row, size_t at, size_t w_bytes, unsigned n_w)
{
    enum { AHEAD = 1024 };

    at += AHEAD;
    __builtin_prefetch(row + (at < w_bytes ? at : at + (n_w - 1) * w_bytes));
}

/* n_w rows of weights, w_bytes apart, with n rows of activations: out[n_w][n]. Each sum is made in
 * the same order whatever it is computed with. */
static inline __attribute__((always_inline)) void dot_float(const uint8_t *w, size_t w_bytes,
                                                            unsigned n_w, const void *const *x,
                                                            unsigned n, uint32_t n_cols, float *out,
                                                            enum gguf_type type)
{
    const size_t value_bytes = type == GGUF_TYPE_F32 ? 4 : 2;
    vf sum[TILE_SUMS][2];
    uint32_t k = 0;

#pragma GCC unroll 8 /* all of them: so that the sums stay in registers */
    for (unsigned i = 0; i < n_w * n; i++)
        sum[i][0] = sum[i][1] = vec_set(0);
    for (; k + 2 * LANES <= n_cols; k += 2 * LANES) {
#pragma GCC unroll 4
        for (unsigned i = 0; i < n_w; i++)
            prefetch_weights(w + i * w_bytes, k * value_bytes, w_bytes, n_w);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            uint32_t at = k + (uint32_t)half * LANES;

#pragma GCC unroll 8
            for (unsigned i = 0; i < n_w * n; i++) {
                const void *row = w + i / n * w_bytes;
                vf v = type == GGUF_TYPE_F32   ? vec_load((const float *)row + at)
                       : type == GGUF_TYPE_F16 ? vec_load_f16((const uint16_t *)row + at)
                                               : vec_load_bf16((const uint16_t *)row + at);

                sum[i][half] += v * vec_load((const float *)x[i % n] + at);
            }
        }
    }
#pragma GCC unroll 8
    for (unsigned i = 0; i < n_w * n; i++)
        sum[i][0] += sum[i][1];
    sum_vectors(sum, n_w * n, out);
    if (k < n_cols)
        add_rest(w, w_bytes, n_w, x, n, k, n_cols, out, type);
}

#define FLOAT_DOT(name, type)                                                                      \
    static void name(const void *w, const void *const *x, unsigned n, uint32_t n_cols, float *out) \
    {                                                                                              \
        if (n == 4)                                                                                \
            dot_float(w, 0, 1, x, 4, n_cols, out, type);                                           \
        else if (n == 3)                                                                           \
            dot_float(w, 0, 1, x, 3, n_cols, out, type);                                           \
        else if (n == 2)                                                                           \
            dot_float(w, 0, 1, x, 2, n_cols, out, type);                                           \
        else                                                                                       \
            dot_float(w, 0, 1, x, 1, n_cols, out, type);                                           \
    }                                                                                              \
    static void name##_tile(const void *w, size_t w_bytes, const void *const *x, unsigned n,       \
                            uint32_t n_cols, float *out)                                           \
    {                                                                                              \
        if (n == 4)                                                                                \
            dot_float(w, w_bytes, tile_rows(4), x, 4, n_cols, out, type);                          \
        else if (n == 3)                                                                           \
            dot_float(w, w_bytes, tile_rows(3), x, 3, n_cols, out, type);                          \
        else if (n == 2)                                                                           \
            dot_float(w, w_bytes, tile_rows(2), x, 2, n_cols, out, type);                          \
        else                                                                                       \
            dot_float(w, w_bytes, tile_rows(1), x, 1, n_cols, out, type);                          \
    }

FLOAT_DOT(dot_f32, GGUF_TYPE_F32)
FLOAT_DOT(dot_f16, GGUF_TYPE_F16)
FLOAT_DOT(dot_bf16, GGUF_TYPE_BF16)

/* tile_rows(n) rows of weights, w_bytes apart, with n of activations: out[tile_rows(n)][n], the
 * same bits as of single rows. */
typedef void tile_fn(const void *w, size_t w_bytes, const void *const *x, unsigned n,
                     uint32_t n_cols, float *out);

static tile_fn *choose_tile(enum gguf_type weight, enum activation_type activation)
{
    if (activation != ACT_F32)
        return NULL;
    return weight == GGUF_TYPE_F32    ? dot_f32_tile
           : weight == GGUF_TYPE_F16  ? dot_f16_tile
           : weight == GGUF_TYPE_BF16 ? dot_bf16_tile
                                      : NULL;
}

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

static void write_to(const struct product *p, uint32_t row, float *out, float sum)
{
    float *y = out + row;

    if (p->bias)
        sum += p->bias[row];
    *y = p->accumulate ? *y + sum : sum;
}

static void write_out(const struct product *p, uint32_t row, uint32_t r, float sum)
{
    write_to(p, row, product_out(p, r), sum);
}

/* Weight rows [first, end) against n rows of activations from r0 on, at most DOT_ROWS. */
static void rows_by_dots(const struct product *p, dot_fn *dot, uint32_t first, uint32_t end,
                         uint32_t r0, uint32_t n)
{
    size_t row_bytes = gguf_type_row_bytes(p->weight_type, p->n_cols);
    tile_fn *tile = choose_tile(p->weight_type, p->activation);
    const void *list[DOT_ROWS];
    float *outs[DOT_ROWS], sum[TILE_SUMS];
    uint32_t at_once;

    for (uint32_t i = 0; i < n; i++) {
        list[i] = product_x(p, r0 + i);
        outs[i] = product_out(p, r0 + i);
    }
    for (uint32_t row = first; row < end; row += at_once) {
        const uint8_t *w = p->weight + row * row_bytes;

        at_once = tile && end - row >= tile_rows(n) ? tile_rows(n) : 1;
        if (at_once > 1)
            tile(w, row_bytes, list, n, p->n_cols, sum);
        else
            dot(w, list, n, p->n_cols, sum);
        for (uint32_t i = 0; i < at_once * n; i++)
            write_to(p, row + i / n, outs[i % n], sum[i]);
    }
}

enum { PANEL = 4096 };

/* Values [k, k + n) of a row of activations as f32; xs is room for them. */
static const float *wide_activations(enum activation_type type, const void *x, uint32_t k,
                                     uint32_t n, float *xs)
{
    const struct act_q8_32 *b32 = x;
    const struct act_q8_256 *b256 = x;

    if (type == ACT_F32)
        return (const float *)x + k;
    for (uint32_t i = 0; i < n; i++)
        xs[i] = type == ACT_Q8_32 ? b32[(k + i) / 32].scale * b32[(k + i) / 32].q[i % 32]
                                  : b256[(k + i) / 256].scale * b256[(k + i) / 256].q[i % 256];
    return xs;
}

/* Types without a form of their own: blocks to f32, then f32 products with the activations' f32
 * values, a panel of columns at a time so that any width fits the scratch. */
static void row_by_dequant(const struct product *p, const uint8_t *w, uint32_t row, float *scratch)
{
    const struct gguf_type_info *info = gguf_type_get_info(p->weight_type);
    float *wide = scratch, *xs = scratch + PANEL, *sums = scratch + (size_t)2 * PANEL;

    for (uint32_t r = 0; r < p->rows; r++)
        sums[r] = 0;
    for (uint32_t k = 0; k < p->n_cols; k += PANEL) {
        uint32_t n = p->n_cols - k < PANEL ? p->n_cols - k : PANEL;

        ref_dequantize(p->weight_type, w + k / info->block_elements * info->block_bytes, wide, n);
        for (uint32_t r = 0; r < p->rows; r++) {
            const void *list = wide_activations(p->activation, product_x(p, r), k, n, xs);
            float sum;

            dot_f32(wide, &list, 1, n, &sum);
            sums[r] += sum;
        }
    }
    for (uint32_t r = 0; r < p->rows; r++)
        write_out(p, row, r, sums[r]);
}

/* Weight rows [first, end). is_many: as a program for many rows does it. */
static void multiply(const struct product *p, uint32_t first, uint32_t end, bool is_many,
                     void *scratch)
{
    size_t row_bytes = gguf_type_row_bytes(p->weight_type, p->n_cols);
    dot_fn *dot = choose(p->weight_type, p->activation);

    if (!p->rows || (is_many && (IN_LEVEL(gemm)(p, first, end - first, scratch) ||
                                 IN_LEVEL(gemm_float)(p, first, end - first, scratch))))
        return;
    if (!dot) {
        for (uint32_t i = first; i < end; i++)
            row_by_dequant(p, p->weight + i * row_bytes, i, scratch);
        return;
    }
    for (uint32_t r = 0; r < p->rows; r += DOT_ROWS)
        rows_by_dots(p, dot, first, end, r, p->rows - r < DOT_ROWS ? p->rows - r : DOT_ROWS);
}

/* ---- matmul ---- */

static uint32_t matmul_rows_per_item(const struct dispatch *d)
{
    return rows_per_item(d->weight_type, d->max_rows > DOT_ROWS, 1, d->args.matmul.n_rows,
                         d->args.matmul.n_cols);
}

uint32_t IN_LEVEL(matmul_items)(const struct dispatch *d)
{
    uint32_t n = matmul_rows_per_item(d);

    if (!step_rows(d->args.matmul.step, d->args.matmul.rows, d->max_rows))
        return 0;
    return (d->args.matmul.n_rows + n - 1) / n;
}

void IN_LEVEL(matmul)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_matmul *a = &d->args.matmul;
    uint32_t per_item = matmul_rows_per_item(d), first = item * per_item;
    uint32_t end = a->n_rows - first < per_item ? a->n_rows : first + per_item;
    const struct product p = {
        .weight_type = d->weight_type,
        .activation = d->activation,
        .weight = addr_ptr(a->weight),
        .bias = addr_ptr(a->bias),
        .x = addr_ptr(a->x),
        .out = addr_ptr(a->out),
        .n_rows = a->n_rows,
        .n_cols = a->n_cols,
        .rows = step_rows(a->step, a->rows, d->max_rows),
        .accumulate = a->accumulate,
        .pair_step = 1,
        .pairs_per_x = 1,
    };

    /* what a program for many rows computes must not depend on how many there are: the end of a
     * prompt may have few */
    multiply(&p, first, end, p.rows > DOT_ROWS || d->max_rows > DEVICE_FEW_ROWS, scratch);
}

/* ---- matmul_experts: a product for each expert, or, of few rows, for each pair ---- */

static uint32_t expert_products(const struct dispatch *d)
{
    const struct args_matmul_experts *a = &d->args.matmul_experts;

    return d->max_rows > EXPERTS_FEW_ROWS
               ? a->n_experts
               : step_rows(a->step, ROWS_TOKENS, d->max_rows) * a->n_used;
}

static uint32_t expert_rows_per_item(const struct dispatch *d)
{
    const struct args_matmul_experts *a = &d->args.matmul_experts;

    return rows_per_item(d->weight_type, d->max_rows > EXPERTS_FEW_ROWS, expert_products(d),
                         a->n_rows, a->n_cols);
}

uint32_t IN_LEVEL(matmul_experts_items)(const struct dispatch *d)
{
    uint32_t n = expert_rows_per_item(d);

    return expert_products(d) * ((d->args.matmul_experts.n_rows + n - 1) / n);
}

void IN_LEVEL(matmul_experts)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_matmul_experts *a = &d->args.matmul_experts;
    const struct expert_choice *choices = addr_ptr(a->choices);
    uint32_t per_item = expert_rows_per_item(d), n_shares = (a->n_rows + per_item - 1) / per_item;
    uint32_t product = item / n_shares, first = item % n_shares * per_item;
    uint32_t end = a->n_rows - first < per_item ? a->n_rows : first + per_item;
    const uint32_t *begins = addr_ptr(a->rows);
    bool is_many = d->max_rows > EXPERTS_FEW_ROWS;
    uint32_t expert = is_many ? product : choices ? choices[product].expert : product % a->n_used;
    struct product p = {
        .weight_type = d->weight_type,
        .activation = d->activation,
        .x = addr_ptr(a->x),
        .out = addr_ptr(a->out),
        .n_rows = a->n_rows,
        .n_cols = a->n_cols,
        .rows = is_many ? step_rows(a->step, ROWS_TOKENS, d->max_rows) : 1,
        .first_pair = product,
        .pair_step = a->n_used,
        .pairs_per_x = a->x_per_slot ? 1 : a->n_used,
    };

    if (expert >= a->n_experts)
        return;
    if (is_many && choices) {
        p.rows = begins[expert + 1] - begins[expert];
        p.pairs = begins + a->n_experts + 1 + begins[expert];
    }
    p.weight = (const uint8_t *)addr_ptr(a->weight) +
               (size_t)expert * a->n_rows * gguf_type_row_bytes(d->weight_type, a->n_cols);
    if (a->bias)
        p.bias = (const float *)addr_ptr(a->bias) + (size_t)expert * a->n_rows;
    multiply(&p, first, end, is_many, scratch);
}
