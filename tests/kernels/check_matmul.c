/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "kernels/ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct shape {
    uint32_t n_rows, n_cols, rows;
};

static double activation_magnitude(enum activation_type type, const void *row, uint32_t k)
{
    const struct act_q8_32 *b32 = row;
    const struct act_q8_256 *b256 = row;

    return fabs(type == ACT_Q8_32    ? (double)b32[k / 32].scale * b32[k / 32].q[k % 32]
                : type == ACT_Q8_256 ? (double)b256[k / 256].scale * b256[k / 256].q[k % 256]
                                     : (double)((const float *)row)[k]);
}

double check_magnitude(const float *w, uint32_t n_cols, enum activation_type type, const void *x)
{
    float greatest = 0;
    double sum = 0;

    for (uint32_t k = 0; k < n_cols; k++)
        greatest = fmaxf(greatest, fabsf(w[k]));
    for (uint32_t k = 0; k < n_cols; k++)
        sum += 0.5 * (fabsf(w[k]) + greatest) * activation_magnitude(type, x, k);
    return sum;
}

/* Of every result. */
static double *magnitudes(struct check *c, const struct dispatch *d, uint32_t rows)
{
    const struct args_matmul *a = &d->args.matmul;
    uint64_t row_bytes = gguf_type_row_bytes(d->weight_type, a->n_cols);
    size_t x_bytes = activation_bytes(d->activation, a->n_cols);
    const uint8_t *weight = check_at(c, a->weight - c->buf->address);
    const uint8_t *activations = check_at(c, a->x - c->buf->address);
    double *m = calloc((size_t)rows * a->n_rows, sizeof(*m));
    float *w = malloc(a->n_cols * sizeof(*w));

    for (uint32_t i = 0; i < a->n_rows; i++) {
        ref_dequantize(d->weight_type, weight + i * row_bytes, w, a->n_cols);
        for (uint32_t r = 0; r < rows; r++)
            m[(size_t)r * a->n_rows + i] =
                check_magnitude(w, a->n_cols, d->activation, activations + r * x_bytes);
    }
    free(w);
    return m;
}

static struct dispatch make(struct check *c, enum gguf_type type, struct shape s,
                            enum check_input kind, enum activation_type activation)
{
    const struct gguf_type_info *info = gguf_type_get_info(type);
    uint64_t step = check_step(c, s.rows, s.rows);
    uint64_t n_blocks = (uint64_t)s.n_rows * s.n_cols / info->block_elements;
    uint64_t weight = check_take(c, n_blocks * info->block_bytes);
    uint64_t x = check_take(c, (uint64_t)s.rows * s.n_cols * 4);
    struct dispatch d = {.op = KERNEL_MATMUL,
                         .weight_type = type,
                         .activation = activation,
                         .max_rows = s.rows,
                         .label = info->name};
    uint64_t quantised = x;

    check_fill_weights(c, type, weight, n_blocks, kind);
    check_fill(c, x, (size_t)s.rows * s.n_cols, kind);
    if (activation != ACT_F32) {
        struct dispatch q = {.op = KERNEL_QUANTIZE, .activation = activation, .max_rows = s.rows};

        quantised = check_take(c, s.rows * activation_bytes(activation, s.n_cols));
        q.args.quantize = (struct args_quantize){.step = check_address(c, step),
                                                 .x = check_address(c, x),
                                                 .out = check_address(c, quantised),
                                                 .n_cols = s.n_cols};
        check_prepare(c, &q);
    }
    d.args.matmul = (struct args_matmul){
        .step = check_address(c, step),
        .weight = check_address(c, weight),
        .x = check_address(c, quantised),
        .out = check_address(c, check_take(c, (uint64_t)s.rows * s.n_rows * 4 + 64)),
        .n_rows = s.n_rows,
        .n_cols = s.n_cols,
    };
    return d;
}

static bool check_shape(struct check *c, enum gguf_type type, struct shape s, enum check_input kind,
                        bool with_extras, enum activation_type activation)
{
    struct dispatch d;
    double *m;
    uint64_t out;
    bool ok;

    c->used = 0;
    d = make(c, type, s, kind, activation);
    out = d.args.matmul.out - c->buf->address;
    check_fill(c, out, (size_t)s.rows * s.n_rows + 16, INPUT_NORMAL);
    if (with_extras) {
        uint64_t bias = check_take(c, s.n_rows * sizeof(float));

        check_fill(c, bias, s.n_rows, INPUT_NORMAL);
        d.args.matmul.bias = check_address(c, bias);
        d.args.matmul.accumulate = 1;
    }
    m = magnitudes(c, &d, s.rows);
    for (size_t i = 0; with_extras && i < (size_t)s.rows * s.n_rows; i++)
        m[i] += 8;
    ok = check_run(c, &d) && check_sums(c, out, m, (size_t)s.rows * s.n_rows, d.weight_type) &&
         check_bytes(c, out + (uint64_t)s.rows * s.n_rows * 4, 64);
    if (!ok)
        printf("# %s: %u x %u, %u rows, input %d\n", gguf_type_get_info(type)->name, s.n_rows,
               s.n_cols, s.rows, kind);
    free(m);
    return ok;
}

static void bench(struct check *c, enum gguf_type type, enum activation_type activation)
{
    static const struct shape shapes[] = {
        {2048, 2048, 1}, {5632, 2048, 1}, {5632, 2048, 4}, {2048, 2048, 128}};
    char name[64];

    for (size_t i = 0; c->is_bench && i < sizeof(shapes) / sizeof(*shapes); i++) {
        struct shape s = shapes[i];
        struct dispatch d;

        c->used = 0;
        d = make(c, type, s, INPUT_NORMAL, activation);
        snprintf(name, sizeof(name), "matmul %s %ux%u, %u rows", gguf_type_get_info(type)->name,
                 s.n_rows, s.n_cols, s.rows);
        check_bench(c, name, &d, 1, (double)gguf_type_row_bytes(type, s.n_cols) * s.n_rows,
                    2.0 * s.n_rows * s.n_cols * s.rows);
    }
}

static bool check_type(struct check *c, enum gguf_type type)
{
    uint32_t block = gguf_type_get_info(type)->block_elements;
    /* f32-like rows may have any width; the others whole blocks, odd numbers of them */
    struct shape shapes[] = {{1, block, 1},      {3, block * 3, 1},   {17, block * 5, 2},
                             {33, block * 2, 3}, {16, block * 7, 4},  {64, block * 4, 5},
                             {70, block, 8},     {37, block * 3, 19}, {130, block * 11, 33}};
    int activation;

    if (block == 1)
        for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
            shapes[i].n_cols = shapes[i].n_cols * 37 + (i == 4 ? 27 : 0);
    activation = device_activation_for(c->dev, type, shapes[0].n_cols, 4);
    if (activation < 0) {
        printf("# %s is not supported\n", gguf_type_get_info(type)->name);
        return false;
    }
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int kind = 0; kind < INPUT_KINDS; kind++)
            if (!check_shape(c, type, shapes[i], (enum check_input)kind, i % 2,
                             (enum activation_type)activation))
                return false;
    /* wide enough to be cut into panels */
    if (!check_shape(c, type, (struct shape){19, block == 1 ? 8999 : 8960, 6}, INPUT_NORMAL, false,
                     (enum activation_type)activation))
        return false;
    /* every device must also take plain f32 activations */
    if (activation != ACT_F32 &&
        !check_shape(c, type, (struct shape){21, block * 3, 5}, INPUT_NORMAL, true, ACT_F32))
        return false;
    bench(c, type, (enum activation_type)activation);
    return true;
}

#define DEFINE(T)                                                                                  \
    static bool matmul_##T(struct check *c)                                                        \
    {                                                                                              \
        return check_type(c, GGUF_TYPE_##T);                                                       \
    }
CHECK_WEIGHT_TYPES(DEFINE)

static bool no_rows(struct check *c)
{
    struct dispatch d = make(c, GGUF_TYPE_Q8_0, (struct shape){40, 64, 4}, INPUT_NORMAL, ACT_Q8_32);
    uint64_t out = d.args.matmul.out - c->buf->address;

    ((struct step_header *)check_at(c, d.args.matmul.step - c->buf->address))->n_tokens = 0;
    return check_run(c, &d) && check_bytes(c, out, 40 * 4 * 4);
}

static bool rows_past_the_recorded(struct check *c)
{
    struct dispatch d = make(c, GGUF_TYPE_Q8_0, (struct shape){40, 64, 4}, INPUT_NORMAL, ACT_Q8_32);
    uint64_t out = d.args.matmul.out - c->buf->address;

    d.max_rows = 2;
    return check_run(c, &d) && check_floats(c, out, 40 * 4, 1e-5, 1e-5) &&
           check_bytes(c, out + 40 * 2 * 4, 40 * 2 * 4);
}

/* Of the rows a program is recorded for, few or many, `present` are there: the others' results are
 * not touched. */
static bool with_rows_present(struct check *c, enum gguf_type type, struct shape s,
                              uint32_t present)
{
    struct dispatch d;
    struct step_header *step;
    size_t n = (size_t)present * s.n_rows, all = (size_t)s.rows * s.n_rows;
    uint64_t out;
    double *m;
    bool ok;

    c->used = 0;
    d = make(c, type, s, INPUT_NORMAL, ACT_F32);
    out = d.args.matmul.out - c->buf->address;
    check_fill(c, out, all, INPUT_NORMAL);
    d.args.matmul.rows = ROWS_OUTPUTS;
    step = check_at(c, d.args.matmul.step - c->buf->address);
    *step = (struct step_header){.n_tokens = s.rows, .n_outputs = present, .n_seqs = 1};
    m = magnitudes(c, &d, s.rows);
    ok = check_run(c, &d) && check_sums(c, out, m, n, d.weight_type) &&
         check_bytes(c, out + n * 4, (all - n) * 4);
    if (!ok)
        printf("# %s: %u x %u, %u rows of %u\n", gguf_type_get_info(type)->name, s.n_rows, s.n_cols,
               present, s.rows);
    free(m);
    return ok;
}

static bool rows_of_the_recorded(struct check *c)
{
    static const uint32_t counts[][2] = {{4, 3},  {16, 1},  {16, 6},   {16, 16},   {17, 1},
                                         {32, 5}, {80, 64}, {200, 65}, {300, 128}, {300, 299}};
    static const enum gguf_type types[] = {GGUF_TYPE_F16, GGUF_TYPE_Q8_0, GGUF_TYPE_Q6_K};

    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
        for (size_t t = 0; t < sizeof(types) / sizeof(*types); t++)
            if (!with_rows_present(c, types[t], (struct shape){150, 256, counts[i][0]},
                                   counts[i][1]))
                return false;
    return true;
}

/* Shapes for which a device may choose differently: many rows of weights, many of both. */
static bool large(struct check *c)
{
    static const struct shape shapes[] = {{4099, 256, 1}, {2051, 512, 3}, {4003, 256, 515}};
    static const enum gguf_type types[] = {GGUF_TYPE_F32, GGUF_TYPE_Q4_0, GGUF_TYPE_Q4_K};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (size_t t = 0; t < sizeof(types) / sizeof(*types); t++)
            if (!check_shape(c, types[t], shapes[i], INPUT_NORMAL, i == 1, ACT_F32))
                return false;
    return true;
}

/* A device takes every activation type with every weight type, whatever it prefers. */
static bool every_activation(struct check *c)
{
    static const struct shape shapes[] = {{21, 768, 3}, {21, 256, 21}};

    for (uint32_t type = 0; type < GGUF_TYPE_LIMIT; type++)
        for (int activation = 0; activation < ACT_TYPE_COUNT; activation++)
            for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
                if (kernel_supports_type((enum gguf_type)type) &&
                    !check_shape(c, (enum gguf_type)type, shapes[i], INPUT_NORMAL, true,
                                 (enum activation_type)activation)) {
                    printf("# activation %d\n", activation);
                    return false;
                }
    return true;
}

/* Prompts with 8-bit activations: where there are integer dot products they are used here. */
static bool prompts_of_bytes(struct check *c)
{
    static const enum gguf_type types[] = {GGUF_TYPE_Q4_0, GGUF_TYPE_Q8_0, GGUF_TYPE_Q4_K,
                                           GGUF_TYPE_Q5_K, GGUF_TYPE_Q6_K};

    for (size_t t = 0; t < sizeof(types) / sizeof(*types); t++) {
        uint32_t block = gguf_type_get_info(types[t])->block_elements;
        struct shape shapes[] = {{1, block, 17}, {130, block * 3, 33}, {300, block * 5, 150}};

        for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
            for (int kind = 0; kind < INPUT_KINDS; kind++)
                if (!check_shape(c, types[t], shapes[i], (enum check_input)kind, i % 2, ACT_Q8_32))
                    return false;
        if (!check_shape(c, types[t], (struct shape){19, 8960, 21}, INPUT_NORMAL, true, ACT_Q8_32))
            return false;
        bench(c, types[t], ACT_Q8_32);
    }
    return true;
}

#define CASE(T) {"matmul_" #T, matmul_##T},
const struct check_case check_matmul_cases[] = {
    CHECK_WEIGHT_TYPES(CASE){"matmul_no_rows", no_rows},
    {"matmul_rows_past_the_recorded", rows_past_the_recorded},
    {"matmul_rows_of_the_recorded", rows_of_the_recorded},
    {"matmul_large", large},
    {"matmul_every_activation", every_activation},
    {"matmul_prompts_of_bytes", prompts_of_bytes},
    {0},
};
