/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <math.h>
#include <stdio.h>

static const uint32_t widths[] = {1, 7, 16, 33, 100, 256, 2048, 5000};
static const uint32_t row_counts[] = {1, 2, 5, 37};

/* Calls one(c, n_cols, rows, kind) over sizes and inputs. */
static bool sweep(struct check *c, uint32_t multiple,
                  bool (*one)(struct check *, uint32_t, uint32_t, enum check_input))
{
    for (size_t w = 0; w < sizeof(widths) / sizeof(*widths); w++) {
        for (size_t r = 0; r < sizeof(row_counts) / sizeof(*row_counts); r++) {
            for (int kind = 0; kind < INPUT_KINDS; kind++) {
                uint32_t n_cols = (widths[w] + multiple - 1) / multiple * multiple;

                c->used = 0;
                if (!one(c, n_cols, row_counts[r], (enum check_input)kind)) {
                    printf("# %u columns, %u rows, input %d\n", n_cols, row_counts[r], kind);
                    return false;
                }
            }
        }
    }
    return true;
}

static uint64_t filled(struct check *c, size_t n, enum check_input kind)
{
    uint64_t at = check_take(c, n * sizeof(float));

    check_fill(c, at, n, kind);
    return at;
}

static bool norm_one(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind)
{
    uint32_t n_groups = n_cols < 300 ? 3 : 1;
    size_t n = (size_t)rows * n_cols * n_groups;
    uint64_t x = filled(c, n, kind), out = filled(c, n, INPUT_NORMAL);
    bool in_place = n_cols % 2;
    struct dispatch d = {.op = KERNEL_RMS_NORM, .max_rows = rows};

    d.args.rms_norm = (struct args_rms_norm){
        .step = check_address(c, check_step(c, rows, 1)),
        .x = check_address(c, x),
        .out = check_address(c, in_place ? x : out),
        .weight = rows == 2 ? 0 : check_address(c, filled(c, n_cols, INPUT_NORMAL)),
        .n_cols = n_cols,
        .n_groups = n_groups,
        .eps = kind == INPUT_TINY ? 1e-12f : 1e-5f,
        .scale = rows % 2 ? 1.0f : 0.375f,
    };
    if (n_cols == 2048 && rows == 37 && kind == INPUT_NORMAL)
        check_bench(c, "rms_norm 2048, 37 rows", &d, 1, (double)n * 8, (double)n * 4);
    return check_run(c, &d) && check_floats(c, in_place ? x : out, n, 1e-37, 4e-6);
}

static bool rms_norm(struct check *c)
{
    return sweep(c, 1, norm_one);
}

/* A weight, a bias, a mean far from zero (which the squares of the values would drown in), none. */
static bool layer_norm_one(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind)
{
    size_t n = (size_t)rows * n_cols;
    uint64_t x = filled(c, n, kind), out = filled(c, n, INPUT_NORMAL);
    bool in_place = n_cols % 2, is_far = rows == 5 && kind == INPUT_NORMAL;
    float *values = check_at(c, x);
    struct dispatch d = {.op = KERNEL_LAYER_NORM, .max_rows = rows};

    for (size_t i = 0; is_far && i < n; i++)
        values[i] += 100;
    d.args.layer_norm = (struct args_layer_norm){
        .step = check_address(c, check_step(c, 1, rows)),
        .x = check_address(c, x),
        .out = check_address(c, in_place ? x : out),
        .weight = check_address(c, filled(c, n_cols, INPUT_NORMAL)),
        .bias = rows == 2 ? 0 : check_address(c, filled(c, n_cols, INPUT_NORMAL)),
        .n_cols = n_cols,
        .rows = ROWS_OUTPUTS,
        .eps = kind == INPUT_TINY ? 1e-12f : 1e-5f,
    };
    if (n_cols == 2048 && rows == 37 && kind == INPUT_NORMAL)
        check_bench(c, "layer_norm 2048, 37 rows", &d, 1, (double)n * 8, (double)n * 8);
    return check_run(c, &d) &&
           check_floats(c, in_place ? x : out, n, is_far ? 1e-3 : 2e-5, is_far ? 1e-4 : 1e-5);
}

static bool layer_norm(struct check *c)
{
    return sweep(c, 1, layer_norm_one);
}

/* gelu's tail is the exponential of a cubic: the rounding of its exponent counts in full. */
static bool glu_with(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind,
                     u32 activation)
{
    bool has_up = activation != GLU_GELU || rows != 2;
    size_t n = (size_t)rows * n_cols;
    uint64_t gate = filled(c, n, kind), up = filled(c, n, kind), out = filled(c, n, INPUT_NORMAL);
    bool in_place = n_cols % 2;
    struct dispatch d = {.op = KERNEL_GLU, .max_rows = rows};

    d.args.glu = (struct args_glu){.step = check_address(c, check_step(c, 1, rows)),
                                   .gate = check_address(c, gate),
                                   .up = has_up ? check_address(c, up) : 0,
                                   .out = check_address(c, in_place ? gate : out),
                                   .n_cols = n_cols,
                                   .activation = activation,
                                   .rows = ROWS_OUTPUTS};
    return check_run(c, &d) &&
           check_floats(c, in_place ? gate : out, n, activation == GLU_GELU ? 1e-9 : 1e-30,
                        activation == GLU_GELU ? 2e-5 : 4e-6);
}

static bool silu_one(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind)
{
    return glu_with(c, n_cols, rows, kind, GLU_SILU);
}

static bool gelu_one(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind)
{
    return glu_with(c, n_cols, rows, kind, GLU_GELU);
}

static bool sigmoid_one(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind)
{
    return glu_with(c, n_cols, rows, kind, GLU_SIGMOID);
}

static bool glu_sigmoid(struct check *c)
{
    return sweep(c, 1, sigmoid_one);
}

static bool glu_silu(struct check *c)
{
    return sweep(c, 1, silu_one);
}

static bool glu_gelu(struct check *c)
{
    return sweep(c, 1, gelu_one);
}

/* Gates and ups beyond the limits on either side, and what is no number. */
static bool clamped_one(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind)
{
    size_t n = (size_t)rows * n_cols;
    uint64_t gate = filled(c, n, kind), up = filled(c, n, kind), out = filled(c, n, INPUT_NORMAL);
    float *g = check_at(c, gate), *u = check_at(c, up);
    struct dispatch d = {.op = KERNEL_GLU, .max_rows = rows};

    for (size_t i = 0; i < n; i++) {
        g[i] *= i % 3 ? 5 : 20;
        u[i] *= i % 2 ? 5 : 30;
    }
    if (kind == INPUT_LARGE) {
        g[0] = NAN;
        u[n - 1] = NAN;
        g[n / 2] = -INFINITY;
        g[n / 3] = INFINITY;
        u[n / 3] = -INFINITY;
    }
    d.args.glu = (struct args_glu){.step = check_address(c, check_step(c, rows, 1)),
                                   .gate = check_address(c, gate),
                                   .up = check_address(c, up),
                                   .out = check_address(c, out),
                                   .n_cols = n_cols,
                                   .activation = GLU_CLAMPED};
    return check_run(c, &d) && check_floats(c, out, n, 1e-30, 2e-5);
}

static bool glu_clamped(struct check *c)
{
    return sweep(c, 1, clamped_one);
}

static bool add_one(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind)
{
    size_t n = (size_t)rows * n_cols;
    uint64_t x = filled(c, n, kind), y = filled(c, n, kind), scale = filled(c, 1, INPUT_NORMAL);
    struct dispatch d = {.op = KERNEL_ADD, .max_rows = rows};

    d.args.add = (struct args_add){.step = check_address(c, check_step(c, rows + 3, 1)),
                                   .x = check_address(c, x),
                                   .y = check_address(c, y),
                                   .scale = n_cols % 2 ? check_address(c, scale) : 0,
                                   .n_cols = n_cols};
    return check_run(c, &d) && check_floats(c, x, n, 0, 0);
}

static bool add(struct check *c)
{
    return sweep(c, 1, add_one);
}

/* What is far below the cap, about it and far above; and what is no number. */
static bool softcap_one(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind)
{
    size_t n = (size_t)rows * n_cols;
    uint64_t x = filled(c, n, kind);
    float *v = check_at(c, x);
    struct dispatch d = {.op = KERNEL_SOFTCAP, .max_rows = rows};

    for (size_t i = 0; i < n; i++)
        v[i] *= i % 3 ? 20 : 400;
    if (kind == INPUT_LARGE) {
        v[0] = INFINITY;
        v[n / 2] = -INFINITY;
        v[n - 1] = NAN;
    }
    d.args.softcap = (struct args_softcap){.step = check_address(c, check_step(c, 1, rows)),
                                           .x = check_address(c, x),
                                           .n_cols = n_cols,
                                           .rows = ROWS_OUTPUTS,
                                           .cap = 30};
    return check_run(c, &d) && check_floats(c, x, n, 1e-37, 4e-6);
}

static bool softcap(struct check *c)
{
    return sweep(c, 1, softcap_one);
}

static bool quantize_with(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind,
                          enum activation_type type)
{
    size_t n = (size_t)rows * n_cols;
    uint64_t x = filled(c, n, kind), out = check_take(c, activation_bytes(type, n));
    struct dispatch d = {.op = KERNEL_QUANTIZE, .activation = type, .max_rows = rows};

    if (kind == INPUT_ZERO) /* just not nothing */
        ((float *)check_at(c, x))[0] = 1.1e-30f;
    if (kind == INPUT_LARGE) { /* what is not finite shows as NaN */
        ((float *)check_at(c, x))[0] = 3.3e38f;
        ((float *)check_at(c, x))[n / 2] = INFINITY;
        ((float *)check_at(c, x))[n - 1] = NAN;
    }
    d.args.quantize = (struct args_quantize){.step = check_address(c, check_step(c, rows, 1)),
                                             .x = check_address(c, x),
                                             .out = check_address(c, out),
                                             .n_cols = n_cols};
    if (!check_run(c, &d))
        return false;
    for (size_t i = 0; i < n / activation_block(type); i++) { /* NaN has many bit patterns */
        size_t bytes = activation_bytes(type, activation_block(type));

        if (!check_floats(c, out + i * bytes, 1, 0, 0) ||
            !check_bytes(c, out + i * bytes + 4, bytes - 4))
            return false;
    }
    return true;
}

static bool quantize_32_one(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind)
{
    return quantize_with(c, n_cols, rows, kind, ACT_Q8_32);
}

static bool quantize_256_one(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind)
{
    return quantize_with(c, n_cols, rows, kind, ACT_Q8_256);
}

static bool quantize_32(struct check *c)
{
    return sweep(c, 32, quantize_32_one);
}

static bool quantize_256(struct check *c)
{
    return sweep(c, 256, quantize_256_one);
}

static bool gather_one(struct check *c, uint32_t n_cols, uint32_t rows, enum check_input kind)
{
    uint32_t n_outputs = (rows + 1) / 2;
    uint64_t x = filled(c, (size_t)rows * n_cols, kind);
    uint64_t out = filled(c, (size_t)rows * n_cols, INPUT_NORMAL);
    uint64_t list = check_take(c, rows * sizeof(uint32_t));
    struct dispatch d = {.op = KERNEL_GATHER, .max_rows = rows};

    for (uint32_t i = 0; i < rows; i++) /* one of them past the end */
        ((uint32_t *)check_at(c, list))[i] = i == 1 ? 1000000 : rows - 1 - i;
    d.args.gather = (struct args_gather){.step = check_address(c, check_step(c, rows, n_outputs)),
                                         .output_rows = check_address(c, list),
                                         .x = check_address(c, x),
                                         .out = check_address(c, out),
                                         .n_cols = n_cols};
    return check_run(c, &d) && check_bytes(c, out, (size_t)rows * n_cols * 4);
}

static bool gather(struct check *c)
{
    return sweep(c, 1, gather_one);
}

/* Into the middle of a group, from its middle, all of it. */
static bool copy(struct check *c)
{
    static const struct args_copy parts[] = {
        {.n_groups = 3, .n = 5, .x_cols = 17, .x_first = 12, .out_cols = 9, .out_first = 2},
        {.n_groups = 1, .n = 512, .x_cols = 576, .out_cols = 512},
        {.n_groups = 16, .n = 512, .x_cols = 512, .out_cols = 576, .out_first = 64},
        {.n_groups = 7, .n = 1, .x_cols = 1, .out_cols = 1},
    };

    for (size_t i = 0; i < 2 * sizeof(parts) / sizeof(*parts); i++) {
        const struct args_copy *p = &parts[i / 2];
        uint32_t rows = i % 2 ? 37 : 1;
        size_t n_out = (size_t)(rows + 1) * p->n_groups * p->out_cols;
        struct dispatch d = {.op = KERNEL_COPY, .max_rows = rows + 1, .args.copy = *p};
        uint64_t x, out;

        c->used = 0;
        x = filled(c, (size_t)(rows + 1) * p->n_groups * p->x_cols, INPUT_NORMAL);
        out = filled(c, n_out, INPUT_NORMAL);
        d.args.copy.step = check_address(c, check_step(c, rows, 1));
        d.args.copy.x = check_address(c, x);
        d.args.copy.out = check_address(c, out);
        if (!check_run(c, &d) || !check_bytes(c, out, n_out * sizeof(float))) {
            printf("# part %zu, %u rows\n", i / 2, rows);
            return false;
        }
    }
    return true;
}

/* Tables of bytes at random: scales among them that are denormal, infinite or no number. */
enum { INPUT_BYTES = INPUT_KINDS };

/* Every value has the bits of the C form, but what is denormal may be zero. */
/* first: the token of the table's first row. */
static bool embed_one(struct check *c, enum gguf_type type, uint32_t n_cols, int kind,
                      uint32_t first)
{
    const struct gguf_type_info *info = gguf_type_get_info(type);
    uint32_t n_rows = 50, rows = 21;
    uint64_t n_blocks = (uint64_t)n_rows * n_cols / info->block_elements;
    uint64_t table, out, tokens, seqs, history;
    struct step_token *list;
    struct dispatch d = {.op = KERNEL_EMBED, .weight_type = type, .max_rows = rows};

    c->used = 0;
    table = check_take(c, n_blocks * info->block_bytes);
    if (kind < INPUT_KINDS)
        check_fill_weights(c, type, table, n_blocks, (enum check_input)kind);
    for (uint64_t i = 0; kind == INPUT_BYTES && i < n_blocks * info->block_bytes; i++)
        *(uint8_t *)check_at(c, table + i) = (uint8_t)check_random(c);
    out = filled(c, (size_t)rows * n_cols + 16, INPUT_NORMAL);
    tokens = check_tokens(c, rows, 0, n_rows);
    list = check_at(c, tokens);
    list[3].token = n_rows; /* not in the table */
    seqs = check_take(c, sizeof(struct step_seq));
    history = check_take(c, rows * sizeof(uint32_t));
    *(struct step_seq *)check_at(c, seqs) = (struct step_seq){.history = check_address(c, history)};
    for (uint32_t i = 0; i < rows; i++)
        ((uint32_t *)check_at(c, history))[i] = first + check_random(c) % (n_rows + 1);
    for (uint32_t i = 0; i < rows; i++)
        list[i].token += i % 4 ? first : first / 2; /* some of a piece before this one */
    for (uint32_t i = 5; i < rows; i += 3)
        list[i].token = TOKEN_DRAWN;
    list[8].seq = 1; /* no such sequence */
    d.args.embed = (struct args_embed){.step = check_address(c, check_step(c, rows, 1)),
                                       .tokens = check_address(c, tokens),
                                       .seqs = kind == INPUT_ZERO ? 0 : check_address(c, seqs),
                                       .table = check_address(c, table),
                                       .out = check_address(c, out),
                                       .n_rows = n_rows,
                                       .n_cols = n_cols,
                                       .scale = kind % 2 ? 1 : 22.6f,
                                       .first_row = first};
    if (check_run(c, &d) && check_floats(c, out, (size_t)rows * n_cols, 0x1p-126, 0) &&
        check_bytes(c, out + (uint64_t)rows * n_cols * 4, 64))
        return true;
    printf("# %s, %u columns, input %d, from row %u\n", info->name, n_cols, kind, first);
    return false;
}

static bool embed(struct check *c)
{
    for (uint32_t type = 0; type < GGUF_TYPE_LIMIT; type++) {
        uint32_t block;

        if (!kernel_supports_type((enum gguf_type)type))
            continue;
        block = gguf_type_get_info(type)->block_elements;
        for (int kind = 0; kind <= INPUT_BYTES; kind++)
            if (!embed_one(c, (enum gguf_type)type, block == 1 ? 777 : 768, kind, 0) ||
                !embed_one(c, (enum gguf_type)type, block, kind, kind % 2 ? 1000 : 0))
                return false;
    }
    return true;
}

static bool rope_with(struct check *c, u32 style, uint32_t n_rot, bool is_scaled, uint32_t first,
                      float base)
{
    uint32_t rows = 29, n_heads = 5, n_channels = 70;
    size_t n = (size_t)rows * n_heads * n_channels;
    uint64_t x, tokens, factors;
    struct dispatch d = {.op = KERNEL_ROPE, .max_rows = rows};

    c->used = 0;
    x = filled(c, n, INPUT_NORMAL);
    tokens = check_tokens(c, rows, first, 1);
    factors = check_take(c, n_rot / 2 * sizeof(float));
    for (uint32_t j = 0; j < n_rot / 2; j++)
        ((float *)check_at(c, factors))[j] = 1 + 0.25f * (float)j;
    d.args.rope = (struct args_rope){.step = check_address(c, check_step(c, rows, 1)),
                                     .tokens = check_address(c, tokens),
                                     .x = check_address(c, x),
                                     .n_heads = n_heads,
                                     .n_channels = n_channels,
                                     .n_rot = n_rot,
                                     .style = style,
                                     .base = base,
                                     .freq_scale = 1,
                                     .attn_factor = 1};
    if (is_scaled) {
        d.args.rope.factors = check_address(c, factors);
        d.args.rope.freq_scale = 0.25f;
        d.args.rope.ext_factor = 1;
        d.args.rope.attn_factor = 1.2f;
        d.args.rope.corr_low = 3;
        d.args.rope.corr_high = 17;
        d.args.rope.temp_scale = 0.1f;
        d.args.rope.temp_floor = 8192;
        d.args.rope.temp_offset = 1;
    }
    return check_run(c, &d) && check_floats(c, x, n, 4e-6, 1e-6);
}

static bool rope(struct check *c)
{
    for (int i = 0; i < 8; i++)
        if (!rope_with(c, i % 2, i & 2 ? 70 : 34, i & 4, i & 4 ? 30000 : 0, 10000))
            return false;
    return true;
}

/* Angles of thousands of turns, as exact as those of the first rows. */
static bool rope_far(struct check *c)
{
    static const uint32_t positions[] = {4090, 131060, (1u << 20) - 3, (1u << 24) - 14};
    static const float bases[] = {10000, 500000, 1e6f, 1.5f};

    for (size_t p = 0; p < sizeof(positions) / sizeof(*positions); p++) {
        for (int i = 0; i < 16; i++) {
            if (!rope_with(c, i % 2, i & 2 ? 70 : 2, i & 4, positions[p], bases[i / 4])) {
                printf("# position %u, base %g\n", positions[p], (double)bases[i / 4]);
                return false;
            }
        }
    }
    return true;
}

/* A row of one step of a model: cosines and sines are made for few heads and for many. */
static bool rope_wide(struct check *c)
{
    static const uint32_t shapes[][3] = {{1, 1, 128}, {1, 32, 128}, {3, 2, 600}, {100, 8, 64}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        uint32_t rows = shapes[i][0], n_heads = shapes[i][1], n_channels = shapes[i][2];
        size_t n = (size_t)rows * n_heads * n_channels;
        struct dispatch d = {.op = KERNEL_ROPE, .max_rows = rows};
        uint64_t x;

        c->used = 0;
        x = filled(c, n, INPUT_NORMAL);
        d.args.rope = (struct args_rope){.step = check_address(c, check_step(c, rows, 1)),
                                         .tokens = check_address(c, check_tokens(c, rows, 500, 1)),
                                         .x = check_address(c, x),
                                         .n_heads = n_heads,
                                         .n_channels = n_channels,
                                         .n_rot = n_channels,
                                         .style = i % 2,
                                         .base = 1e6f,
                                         .freq_scale = 1,
                                         .attn_factor = 1};
        if (!check_run(c, &d) || !check_floats(c, x, n, 4e-6, 1e-6)) {
            printf("# %u rows of %u heads of %u\n", rows, n_heads, n_channels);
            return false;
        }
    }
    return true;
}

const struct check_case check_row_cases[] = {
    {"rms_norm", rms_norm},
    {"layer_norm", layer_norm},
    {"glu_silu", glu_silu},
    {"glu_gelu", glu_gelu},
    {"glu_sigmoid", glu_sigmoid},
    {"glu_clamped", glu_clamped},
    {"add", add},
    {"softcap", softcap},
    {"quantize_32", quantize_32},
    {"quantize_256", quantize_256},
    {"copy", copy},
    {"gather", gather},
    {"embed", embed},
    {"rope", rope},
    {"rope_far", rope_far},
    {"rope_wide", rope_wide},
    {0},
};
