/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "kernels/ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- who is chosen ---- */

struct routing {
    u32 n_experts, n_used, gate, normalise, n_groups, n_groups_used;
    bool with_bias;
    float scale;
};

/* Logits and biases come in coarse steps: scores are then equal to the bit, or far enough apart
 * that no rounding turns them round, and there are many ties. */
enum logits { LOGITS_STEPS, LOGITS_EQUAL, LOGITS_FAR, LOGITS_BROKEN, LOGITS_KINDS };

static float logit_of(struct check *c, enum logits kind)
{
    float v = (float)(int)(check_random(c) % 17 - 8) * 0.5f;
    uint32_t which = check_random(c) % 8;

    switch (kind) {
    case LOGITS_EQUAL:
        return 0.25f;
    case LOGITS_FAR:
        return v * 10; /* no exponential of them is denormal */
    case LOGITS_BROKEN:
        return which == 0   ? NAN
               : which == 1 ? -INFINITY
               : which == 2 ? INFINITY
               : which == 3 ? -0.0f
                            : v;
    default:
        return v;
    }
}

/* The chosen must be the same, to the bit; their weights nearly. */
static bool same_choices(struct check *c, uint64_t out, size_t n)
{
    const struct expert_choice *got = check_at(c, out), *want = (const void *)(c->copy + out);

    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)got[i].weight - want[i].weight);

        if (got[i].expert != want[i].expert) {
            printf("# choice %zu is expert %u, should be %u\n", i, got[i].expert, want[i].expert);
            return false;
        }
        if (isnan(want[i].weight) ? isnan(got[i].weight)
                                  : difference <= 1e-37 + 4e-6 * fabs((double)want[i].weight))
            continue;
        printf("# choice %zu weighs %.9g, should %.9g\n", i, (double)got[i].weight,
               (double)want[i].weight);
        return false;
    }
    return true;
}

static bool route_one(struct check *c, const struct routing *r, uint32_t rows, enum logits kind)
{
    size_t n = (size_t)rows * r->n_used;
    uint64_t logits, bias, scales, out;
    struct dispatch d = {.op = KERNEL_ROUTE, .max_rows = rows};

    c->used = 0;
    logits = check_take(c, (uint64_t)rows * r->n_experts * sizeof(float));
    bias = check_take(c, r->n_experts * sizeof(float));
    scales = check_take(c, r->n_experts * sizeof(float));
    check_fill(c, scales, r->n_experts, INPUT_NORMAL);
    out = check_take(c, n * sizeof(struct expert_choice) + 64);
    for (size_t i = 0; i < (size_t)rows * r->n_experts; i++)
        ((float *)check_at(c, logits))[i] = logit_of(c, i < r->n_experts ? LOGITS_STEPS : kind);
    for (uint32_t e = 0; e < r->n_experts; e++)
        ((float *)check_at(c, bias))[e] = (float)(int)(check_random(c) % 5 - 2) * 0.125f;
    memset(check_at(c, out), 0x55, n * sizeof(struct expert_choice) + 64);
    d.args.route = (struct args_route){.step = check_address(c, check_step(c, rows, 1)),
                                       .logits = check_address(c, logits),
                                       .bias = r->with_bias ? check_address(c, bias) : 0,
                                       .scales = rows > 1 ? check_address(c, scales) : 0,
                                       .out = check_address(c, out),
                                       .n_experts = r->n_experts,
                                       .n_used = r->n_used,
                                       .gate = r->gate,
                                       .normalise = r->normalise,
                                       .scale = r->scale,
                                       .n_groups = r->n_groups,
                                       .n_groups_used = r->n_groups_used};
    if (check_run(c, &d) && same_choices(c, out, n) &&
        check_bytes(c, out + n * sizeof(struct expert_choice), 64))
        return true;
    printf("# %u of %u experts, gate %u, normalise %u, %u of %u groups, bias %d, %u rows, logits "
           "%d\n",
           r->n_used, r->n_experts, r->gate, r->normalise, r->n_groups_used, r->n_groups,
           r->with_bias, rows, kind);
    return false;
}

static bool route_all(struct check *c, const struct routing *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (int kind = 0; kind < LOGITS_KINDS; kind++)
            if (!route_one(c, &list[i], 1, (enum logits)kind) ||
                !route_one(c, &list[i], 37, (enum logits)kind))
                return false;
    return true;
}

#define ROUTE_ALL(c, list) route_all(c, list, sizeof(list) / sizeof(*(list)))

/* Mixtral, Qwen (with and without a sum of 1), one expert of one, all of an odd number. */
static bool route_softmax(struct check *c)
{
    static const struct routing list[] = {
        {8, 2, GATE_SOFTMAX, 1, 1, 1, false, 1},   {60, 4, GATE_SOFTMAX, 0, 1, 1, false, 1},
        {128, 8, GATE_SOFTMAX, 1, 1, 1, false, 1}, {512, 10, GATE_SOFTMAX, 1, 1, 1, false, 1},
        {1, 1, GATE_SOFTMAX, 0, 1, 1, false, 1},   {13, 13, GATE_SOFTMAX, 1, 1, 1, false, 0.5f},
        {67, 6, GATE_SOFTMAX, 0, 1, 1, true, 16},  {1024, 33, GATE_SOFTMAX, 1, 1, 1, false, 1},
    };

    return ROUTE_ALL(c, list);
}

/* GLM 4.5, Llama 4, the gate of a shared expert. */
static bool route_sigmoid(struct check *c)
{
    static const struct routing list[] = {
        {128, 8, GATE_SIGMOID, 1, 1, 1, true, 2.5f}, {16, 1, GATE_SIGMOID, 0, 1, 1, false, 1},
        {1, 1, GATE_SIGMOID, 0, 1, 1, false, 1},     {160, 8, GATE_SIGMOID, 1, 1, 1, true, 1},
        {70, 9, GATE_SIGMOID, 1, 1, 1, false, 1},
    };

    return ROUTE_ALL(c, list);
}

/* gpt-oss. */
static bool route_chosen(struct check *c)
{
    static const struct routing list[] = {
        {32, 4, GATE_CHOSEN, 0, 1, 1, false, 1},
        {128, 4, GATE_CHOSEN, 0, 1, 1, false, 1},
        {9, 9, GATE_CHOSEN, 0, 1, 1, true, 3},
    };

    return ROUTE_ALL(c, list);
}

/* DeepSeek V3, groups of one and of two, all groups. */
static bool route_groups(struct check *c)
{
    static const struct routing list[] = {
        {256, 8, GATE_SIGMOID, 1, 8, 4, true, 2.5f}, {160, 6, GATE_SOFTMAX, 0, 8, 3, false, 16},
        {24, 3, GATE_SIGMOID, 1, 24, 3, true, 1},    {30, 4, GATE_SIGMOID, 0, 15, 2, false, 1},
        {30, 30, GATE_SIGMOID, 1, 3, 3, true, 1},
    };

    return ROUTE_ALL(c, list);
}

/* ---- pairs by expert ---- */

enum choices {
    CHOICES_ANY,
    CHOICES_ONE_EXPERT,
    CHOICES_SOME_MISSING,
    CHOICES_KINDS,
    CHOICES_NONE = CHOICES_KINDS, /* each slot is an expert's */
};

/* n_used different experts for each token, or one for all, or some that there are not. */
static uint64_t choices_of(struct check *c, uint32_t rows, uint32_t n_experts, uint32_t n_used,
                           enum choices kind)
{
    uint64_t at = check_take(c, (uint64_t)rows * n_used * sizeof(struct expert_choice));
    struct expert_choice *list = check_at(c, at);

    for (uint32_t t = 0; t < rows; t++) {
        uint32_t first = check_random(c);

        for (uint32_t u = 0; u < n_used; u++) {
            struct expert_choice *choice = &list[t * n_used + u];

            choice->expert = (first + u) % n_experts;
            choice->weight = check_normal(c);
            if (kind == CHOICES_ONE_EXPERT && !u)
                choice->expert = n_experts - 1;
            else if (kind == CHOICES_ONE_EXPERT)
                choice->expert = (u - 1) % n_experts;
            if (kind == CHOICES_SOME_MISSING && check_random(c) % 4 == 0)
                choice->expert = check_random(c) % 2 ? n_experts : 0xffffffff;
        }
    }
    return at;
}

static bool expert_rows(struct check *c)
{
    static const uint32_t shapes[][3] = {{1, 8, 2},  {37, 128, 8},   {64, 7, 7},
                                         {17, 1, 1}, {100, 1024, 3}, {515, 60, 4}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        for (int kind = 0; kind < CHOICES_KINDS; kind++) {
            uint32_t rows = shapes[i][0], n_experts = shapes[i][1], n_used = shapes[i][2];
            size_t bytes = expert_rows_bytes(n_experts, n_used, rows);
            struct dispatch d = {.op = KERNEL_EXPERT_ROWS, .max_rows = rows + i % 2};
            uint64_t choices, out;

            c->used = 0;
            choices = choices_of(c, rows + 1, n_experts, n_used, (enum choices)kind);
            out = check_take(c, bytes + (size_t)n_used * 4 + 64);
            memset(check_at(c, out), 0x55, bytes + (size_t)n_used * 4 + 64);
            d.args.expert_rows =
                (struct args_expert_rows){.step = check_address(c, check_step(c, rows, 1)),
                                          .choices = check_address(c, choices),
                                          .out = check_address(c, out),
                                          .n_experts = n_experts,
                                          .n_used = n_used};
            if (!check_run(c, &d) || !check_bytes(c, out, bytes + (size_t)n_used * 4 + 64)) {
                printf("# %u rows, %u of %u experts, choices %d\n", rows, n_used, n_experts, kind);
                return false;
            }
        }
    }
    return true;
}

/* ---- products ---- */

struct shape {
    uint32_t n_experts, n_used, n_rows, n_cols, rows; /* rows: tokens there are */
    bool x_per_slot;
};

static double *magnitudes(struct check *c, const struct dispatch *d, uint32_t rows)
{
    const struct args_matmul_experts *a = &d->args.matmul_experts;
    uint64_t row_bytes = gguf_type_row_bytes(d->weight_type, a->n_cols);
    size_t x_bytes = activation_bytes(d->activation, a->n_cols), n = (size_t)rows * a->n_used;
    const struct expert_choice *choices = check_at(c, a->choices - c->buf->address);
    const uint8_t *weight = check_at(c, a->weight - c->buf->address);
    const uint8_t *x = check_at(c, a->x - c->buf->address);
    double *m = calloc(n * a->n_rows, sizeof(*m));
    float *w = malloc(a->n_cols * sizeof(*w));

    for (size_t row = 0; row < (size_t)a->n_experts * a->n_rows; row++) {
        ref_dequantize(d->weight_type, weight + row * row_bytes, w, a->n_cols);
        for (size_t i = 0; i < n; i++)
            if (choices[i].expert == row / a->n_rows)
                m[i * a->n_rows + row % a->n_rows] =
                    8 + check_magnitude(w, a->n_cols, d->activation,
                                        x + (a->x_per_slot ? i : i / a->n_used) * x_bytes);
    }
    free(w);
    return m;
}

/* The quantised x of a product, or x itself. */
static uint64_t quantised(struct check *c, uint64_t step, uint64_t x, uint32_t max_rows,
                          uint32_t n_cols, enum activation_type activation)
{
    struct dispatch q = {.op = KERNEL_QUANTIZE, .activation = activation, .max_rows = max_rows};
    uint64_t out;

    if (activation == ACT_F32)
        return x;
    out = check_take(c, max_rows * activation_bytes(activation, n_cols));
    q.args.quantize = (struct args_quantize){.step = check_address(c, step),
                                             .x = check_address(c, x),
                                             .out = check_address(c, out),
                                             .n_cols = n_cols};
    check_prepare(c, &q);
    return out;
}

/* As a program for max_rows does it, by pairs if they are few. */
static bool product_one(struct check *c, enum gguf_type type, struct shape s, uint32_t max_rows,
                        enum choices kind, enum activation_type activation)
{
    const struct gguf_type_info *info = gguf_type_get_info(type);
    uint64_t n_blocks = (uint64_t)s.n_experts * s.n_rows * s.n_cols / info->block_elements;
    size_t n = (size_t)max_rows * s.n_used * s.n_rows, x_slots = s.x_per_slot ? s.n_used : 1;
    size_t present = (size_t)s.rows * s.n_used * s.n_rows;
    uint64_t step, weight, x, bias, choices, rows, out;
    struct dispatch d = {.op = KERNEL_MATMUL_EXPERTS,
                         .weight_type = type,
                         .activation = activation,
                         .max_rows = max_rows};
    double *m;
    bool ok;

    c->used = 0;
    step = check_step(c, s.rows, 1);
    weight = check_take(c, n_blocks * info->block_bytes);
    x = check_take(c, max_rows * x_slots * s.n_cols * sizeof(float));
    bias = check_take(c, (uint64_t)s.n_experts * s.n_rows * sizeof(float));
    choices = choices_of(c, max_rows, s.n_experts, s.n_used, kind);
    rows = check_take(c, expert_rows_bytes(s.n_experts, s.n_used, max_rows));
    out = check_take(c, n * sizeof(float));
    check_fill_weights(c, type, weight, n_blocks, INPUT_NORMAL);
    check_fill(c, x, max_rows * x_slots * s.n_cols, INPUT_NORMAL);
    check_fill(c, bias, (size_t)s.n_experts * s.n_rows, INPUT_NORMAL);
    check_fill(c, out, n, INPUT_NORMAL);
    d.args.matmul_experts = (struct args_matmul_experts){
        .step = check_address(c, step),
        .weight = check_address(c, weight),
        .x = check_address(
            c, quantised(c, step, x, max_rows, (uint32_t)x_slots * s.n_cols, activation)),
        .out = check_address(c, out),
        .bias = s.n_rows % 2 ? check_address(c, bias) : 0,
        .choices = check_address(c, choices),
        .n_rows = s.n_rows,
        .n_cols = s.n_cols,
        .n_experts = s.n_experts,
        .n_used = s.n_used,
        .x_per_slot = s.x_per_slot,
    };
    for (uint32_t i = 0; kind == CHOICES_NONE && i < max_rows * s.n_used; i++)
        ((struct expert_choice *)check_at(c, choices))[i].expert = i % s.n_used;
    if (max_rows > EXPERTS_FEW_ROWS && kind != CHOICES_NONE) {
        struct dispatch by_expert = {.op = KERNEL_EXPERT_ROWS, .max_rows = max_rows};

        by_expert.args.expert_rows = (struct args_expert_rows){.step = check_address(c, step),
                                                               .choices = check_address(c, choices),
                                                               .out = check_address(c, rows),
                                                               .n_experts = s.n_experts,
                                                               .n_used = s.n_used};
        check_prepare(c, &by_expert);
        d.args.matmul_experts.rows = check_address(c, rows);
    }
    m = magnitudes(c, &d, s.rows);
    if (kind == CHOICES_NONE)
        d.args.matmul_experts.choices = 0;
    ok = check_run(c, &d) && check_sums(c, out, m, present, d.weight_type) &&
         check_bytes(c, out + present * 4, (n - present) * 4);
    if (!ok)
        printf("# %s: %u of %u experts, %u x %u, %u of %u rows, activation %d, choices %d\n",
               info->name, s.n_used, s.n_experts, s.n_rows, s.n_cols, s.rows, max_rows, activation,
               kind);
    free(m);
    return ok;
}

/* Few rows and many, fewer than recorded, tiles that end inside an expert's rows. */
static bool product_type(struct check *c, enum gguf_type type, enum activation_type few,
                         enum activation_type many)
{
    uint32_t block = gguf_type_get_info(type)->block_elements, width = block == 1 ? 45 : block;
    struct shape shapes[] = {{5, 3, 17, width * 3, 1, false}, {8, 2, 70, width * 2, 4, true},
                             {7, 2, 33, width, 16, false},    {4, 2, 131, width * 3, 40, false},
                             {3, 3, 66, width * 2, 40, true}, {6, 1, 64, width, 150, true}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int kind = 0; kind < CHOICES_KINDS; kind++)
            if (!product_one(c, type, shapes[i], shapes[i].rows + (i % 2) * 5, (enum choices)kind,
                             i < 3 ? few : many))
                return false;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        shapes[i].n_used = shapes[i].n_experts;
        if (!product_one(c, type, shapes[i], shapes[i].rows + 1 - i % 2, CHOICES_NONE,
                         shapes[i].rows + 1 - i % 2 <= EXPERTS_FEW_ROWS ? few : many))
            return false;
    }
    return true;
}

static bool experts_of(struct check *c, enum gguf_type type)
{
    uint32_t n_cols = gguf_type_get_info(type)->block_elements;
    int few = device_activation_for(c->dev, type, n_cols, 1);
    int many = device_activation_for(c->dev, type, n_cols, 64);

    if (few < 0 || many < 0)
        return false;
    return product_type(c, type, (enum activation_type)few, (enum activation_type)many);
}

#define DEFINE(T)                                                                                  \
    static bool experts_##T(struct check *c)                                                       \
    {                                                                                              \
        return experts_of(c, GGUF_TYPE_##T);                                                       \
    }
CHECK_WEIGHT_TYPES(DEFINE)

/* Activations of 8 bits, whatever the device prefers: where there are integer dot products they are
 * used. */
static bool experts_of_bytes(struct check *c)
{
    static const enum gguf_type types[] = {GGUF_TYPE_Q4_0, GGUF_TYPE_Q8_0, GGUF_TYPE_Q4_K,
                                           GGUF_TYPE_Q5_K, GGUF_TYPE_Q6_K};

    for (size_t t = 0; t < sizeof(types) / sizeof(*types); t++)
        if (!product_type(c, types[t], ACT_Q8_32, ACT_Q8_32))
            return false;
    return true;
}

/* ---- scales of weights ---- */

/* In place, added to what is there, with a bias; what there is no expert for, and what lies behind
 * the rows of the step, stays. */
static bool scale_one(struct check *c, struct shape s, enum choices kind, unsigned form)
{
    bool in_place = form == 1, adds = form >= 2, is_biased = form % 2;
    size_t n = (size_t)s.rows * s.n_used * s.n_cols;
    struct dispatch d = {.op = KERNEL_SCALE, .max_rows = s.rows + 3};
    uint64_t choices, x, out, scale, bias;

    c->used = 0;
    choices = choices_of(c, s.rows + 3, s.n_experts, s.n_used, kind);
    x = check_take(c, (n + 3 * s.n_used * s.n_cols) * sizeof(float));
    out = check_take(c, (n + 3 * s.n_used * s.n_cols) * sizeof(float));
    scale = check_take(c, s.n_experts * sizeof(float));
    bias = check_take(c, (size_t)s.n_experts * s.n_cols * sizeof(float));
    check_fill(c, x, n + 3 * s.n_used * s.n_cols, INPUT_NORMAL);
    check_fill(c, out, n + 3 * s.n_used * s.n_cols, INPUT_NORMAL);
    check_fill(c, scale, s.n_experts, INPUT_NORMAL);
    check_fill(c, bias, (size_t)s.n_experts * s.n_cols, INPUT_NORMAL);
    ((float *)check_at(c, x))[n - 1] = NAN;
    out = in_place ? x : out;
    d.args.scale = (struct args_scale){
        .step = check_address(c, check_step(c, kind == CHOICES_NONE ? 1 : s.rows, s.rows)),
        .x = check_address(c, x),
        .out = check_address(c, out),
        .scale = check_address(c, scale),
        .bias = is_biased ? check_address(c, bias) : 0,
        .choices = kind == CHOICES_NONE ? 0 : check_address(c, choices),
        .n_cols = s.n_cols,
        .n_experts = s.n_experts,
        .n_used = s.n_used,
        .rows = kind == CHOICES_NONE ? ROWS_OUTPUTS : ROWS_TOKENS,
        .accumulate = adds,
    };
    if (check_run(c, &d) && check_floats(c, out, n, 4e-6, 1e-6) &&
        check_bytes(c, out + n * sizeof(float), 3 * s.n_used * s.n_cols * sizeof(float)))
        return true;
    printf("# %u of %u experts, %u columns, %u rows, choices %d, form %u\n", s.n_used, s.n_experts,
           s.n_cols, s.rows, kind, form);
    return false;
}

static bool scale(struct check *c)
{
    static const struct shape shapes[] = {{.n_experts = 1, .n_used = 1, .n_cols = 2048, .rows = 1},
                                          {.n_experts = 1, .n_used = 1, .n_cols = 33, .rows = 37},
                                          {.n_experts = 7, .n_used = 7, .n_cols = 45, .rows = 5},
                                          {.n_experts = 60, .n_used = 4, .n_cols = 100, .rows = 1},
                                          {.n_experts = 9, .n_used = 3, .n_cols = 129, .rows = 70}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int kind = 0; kind <= CHOICES_NONE; kind++)
            for (unsigned form = 0; form < 4; form++)
                if ((kind != CHOICES_NONE || shapes[i].n_used == shapes[i].n_experts) &&
                    !scale_one(c, shapes[i], (enum choices)kind, form))
                    return false;
    return true;
}

/* ---- the sum of what the experts say ---- */

static bool expert_sum(struct check *c)
{
    static const uint32_t shapes[][3] = {{1, 1, 7}, {1, 8, 2048}, {37, 4, 100}, {200, 10, 33}};

    for (int i = 0; i < 8; i++) {
        uint32_t rows = shapes[i / 2][0], n_used = shapes[i / 2][1], n_cols = shapes[i / 2][2];
        size_t n = (size_t)rows * n_cols;
        struct dispatch d = {.op = KERNEL_EXPERT_SUM, .max_rows = rows};
        uint64_t choices, y, out;

        c->used = 0;
        choices = choices_of(c, rows, 64, n_used, CHOICES_ANY);
        y = check_take(c, n * n_used * sizeof(float));
        out = check_take(c, n * sizeof(float) + 64);
        check_fill(c, y, n * n_used, INPUT_NORMAL);
        check_fill(c, out, n + 16, INPUT_NORMAL);
        ((float *)check_at(c, y))[n * n_used - 1] = NAN;
        d.args.expert_sum =
            (struct args_expert_sum){.step = check_address(c, check_step(c, rows, 1)),
                                     .choices = check_address(c, choices),
                                     .y = check_address(c, y),
                                     .out = check_address(c, out),
                                     .n_cols = n_cols,
                                     .n_used = n_used,
                                     .accumulate = i % 2};
        if (!check_run(c, &d) || !check_floats(c, out, n, 4e-6, 1e-6) ||
            !check_bytes(c, out + n * sizeof(float), 64)) {
            printf("# %u rows of %u values, %u experts\n", rows, n_cols, n_used);
            return false;
        }
    }
    return true;
}

#define CASE(T) {"experts_" #T, experts_##T},
const struct check_case check_experts_cases[] = {
    {"route_softmax", route_softmax},
    {"route_sigmoid", route_sigmoid},
    {"route_chosen", route_chosen},
    {"route_groups", route_groups},
    {"expert_rows", expert_rows},
    CHECK_WEIGHT_TYPES(CASE){"experts_of_bytes", experts_of_bytes},
    {"scale", scale},
    {"expert_sum", expert_sum},
    {0},
};
