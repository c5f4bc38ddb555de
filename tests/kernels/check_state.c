/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Layers whose sequences have state: steps of several sequences, some of which begin. */

#define SLOTS 4u /* a step has five sequences, and the fourth names a slot that there is not */

static const u32 slot_of[] = {2, 0, 3, SLOTS, 1};

struct run {
    u32 seq, position, n;
};

#define RUNS_MOST 6

/* Rows of generated tokens, of prompts, a sequence without a slot, one that the step has not. */
static const struct run layouts[][RUNS_MOST] = {
    {{0, 0, 1}},
    {{0, 7, 1}, {2, 0, 1}, {1, 9, 1}, {4, 1, 1}},
    {{0, 0, 2}, {1, 40, 37}, {3, 5, 4}, {2, 0, 9}, {5, 3, 2}, {4, 2, 3}},
};

struct step {
    uint64_t header, tokens, seqs;
    u32 rows;
};

static struct step step_of(struct check *c, const struct run *runs)
{
    struct step s = {0};
    struct step_token *tokens;
    struct step_seq *seqs;

    for (int i = 0; i < RUNS_MOST; i++)
        s.rows += runs[i].n;
    s.header = check_step(c, s.rows, 1);
    ((struct step_header *)check_at(c, s.header))->n_seqs = 5;
    s.tokens = check_take(c, s.rows * sizeof(*tokens));
    s.seqs = check_take(c, 5 * sizeof(*seqs));
    tokens = check_at(c, s.tokens);
    seqs = check_at(c, s.seqs);
    for (int i = 0; i < 5; i++)
        seqs[i] = (struct step_seq){.slot = slot_of[i]};
    for (int i = 0; i < RUNS_MOST; i++)
        for (u32 r = 0; r < runs[i].n; r++)
            *tokens++ = (struct step_token){.position = runs[i].position + r, .seq = runs[i].seq};
    return s;
}

static uint64_t filled(struct check *c, size_t n)
{
    uint64_t at = check_take(c, n * sizeof(float));

    check_fill(c, at, n, INPUT_NORMAL);
    return at;
}

/* A layer's states: what lies between slots must stay as it is. Those of sequences that begin hold
 * what is no number. */
static uint64_t states(struct check *c, const struct run *runs, size_t n, size_t stride)
{
    uint64_t at = filled(c, SLOTS * stride);
    float *v = check_at(c, at);

    for (int i = 0; i < RUNS_MOST && runs; i++)
        for (size_t k = 0; runs[i].n && !runs[i].position && runs[i].seq < 5 && k < n; k++)
            v[slot_of[runs[i].seq] * stride + k] = NAN;
    return at;
}

static struct seq_state state_at(struct check *c, uint64_t at, size_t stride)
{
    return (struct seq_state){
        .base = check_address(c, at), .slot_bytes = stride * sizeof(float), .n_slots = SLOTS};
}

/* ---- short convolution ---- */

struct conv {
    struct dispatch d;
    struct step step;
    uint64_t x, out, state;
    size_t n_state;
};

static struct conv conv_make(struct check *c, const struct run *runs, u32 n_cols, u32 n_taps)
{
    struct conv v = {.step = step_of(c, runs)};
    size_t n = (size_t)(n_taps - 1) * n_cols, stride = n + 5;

    v.n_state = SLOTS * stride;
    v.state = states(c, runs, n, stride);
    v.x = filled(c, (size_t)v.step.rows * n_cols);
    v.out = filled(c, (size_t)v.step.rows * n_cols);
    v.d = (struct dispatch){.op = KERNEL_SHORT_CONV, .max_rows = v.step.rows};
    v.d.args.short_conv = (struct args_short_conv){
        .step = check_address(c, v.step.header),
        .tokens = check_address(c, v.step.tokens),
        .seqs = check_address(c, v.step.seqs),
        .x = check_address(c, v.x),
        .out = check_address(c, v.out),
        .weight = check_address(c, filled(c, (size_t)n_cols * n_taps)),
        .state = state_at(c, v.state, stride),
        .n_cols = n_cols,
        .n_taps = n_taps,
    };
    return v;
}

static bool short_conv(struct check *c)
{
    static const u32 shapes[][2] = {{1, 4}, {33, 4}, {100, 2}, {257, 8}, {3000, 4}};

    for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++) {
        for (size_t l = 0; l < sizeof(layouts) / sizeof(*layouts); l++) {
            struct conv v;

            c->used = 0;
            v = conv_make(c, layouts[l], shapes[s][0], shapes[s][1]);
            if (check_run(c, &v.d) &&
                check_floats(c, v.out, (size_t)v.step.rows * shapes[s][0], 4e-6, 4e-6) &&
                check_floats(c, v.state, v.n_state, 0, 0))
                continue;
            printf("# %u channels, %u taps, layout %zu\n", shapes[s][0], shapes[s][1], l);
            return false;
        }
    }
    return true;
}

/* ---- gated delta rule ---- */

struct delta_shape {
    u32 n_heads_k, n_heads_v, n_channels_k, n_channels_v, order;
};

struct delta {
    struct dispatch d;
    struct step step;
    uint64_t x, beta, out, state;
    size_t n_state, n_x, n_out; /* of a row: n_x, n_out */
};

static struct delta delta_make(struct check *c, const struct run *runs, const struct delta_shape *s)
{
    struct delta v = {.step = step_of(c, runs)};
    size_t n = (size_t)s->n_heads_v * s->n_channels_k * s->n_channels_v, stride = n + 5;
    size_t gates = (size_t)v.step.rows * s->n_heads_v;
    uint64_t a = filled(c, s->n_heads_v);

    for (u32 h = 0; h < s->n_heads_v; h++)
        ((float *)check_at(c, a))[h] = -(float)h / 3 - 0.01f;
    v.n_state = SLOTS * stride;
    v.n_out = (size_t)s->n_heads_v * s->n_channels_v;
    v.n_x = 2 * (size_t)s->n_heads_k * s->n_channels_k + v.n_out;
    v.state = states(c, runs, n, stride);
    v.x = filled(c, v.step.rows * v.n_x);
    v.beta = filled(c, gates);
    v.out = filled(c, v.step.rows * v.n_out);
    v.d = (struct dispatch){.op = KERNEL_DELTA_NET, .max_rows = v.step.rows};
    v.d.args.delta_net = (struct args_delta_net){
        .step = check_address(c, v.step.header),
        .tokens = check_address(c, v.step.tokens),
        .seqs = check_address(c, v.step.seqs),
        .x = check_address(c, v.x),
        .alpha = check_address(c, filled(c, gates)),
        .beta = check_address(c, v.beta),
        .a = check_address(c, a),
        .dt_bias = check_address(c, filled(c, s->n_heads_v)),
        .out = check_address(c, v.out),
        .state = state_at(c, v.state, stride),
        .n_heads_k = s->n_heads_k,
        .n_heads_v = s->n_heads_v,
        .n_channels_k = s->n_channels_k,
        .n_channels_v = s->n_channels_v,
        .order = s->order,
        .eps = 1e-6f,
    };
    return v;
}

static const struct delta_shape delta_shapes[] = {
    {1, 1, 1, 1, DELTA_GROUPED},     {2, 4, 16, 24, DELTA_TILED},   {3, 6, 7, 33, DELTA_GROUPED},
    {2, 2, 256, 256, DELTA_GROUPED}, {1, 3, 128, 128, DELTA_TILED},
};

static bool delta_net(struct check *c)
{
    for (size_t s = 0; s < sizeof(delta_shapes) / sizeof(*delta_shapes); s++) {
        for (size_t l = 0; l < sizeof(layouts) / sizeof(*layouts); l++) {
            struct delta v;

            c->used = 0;
            v = delta_make(c, layouts[l], &delta_shapes[s]);
            if (check_run(c, &v.d) && check_floats(c, v.out, v.step.rows * v.n_out, 1e-5, 1e-5) &&
                check_floats(c, v.state, v.n_state, 1e-5, 1e-5))
                continue;
            printf("# shape %zu, layout %zu\n", s, l);
            return false;
        }
    }
    return true;
}

/* What the delta rule is for: with beta at 1 a state gives back, for a key, the value last written
 * under it. Here each row's query is its key. */
static bool delta_net_recalls(struct check *c)
{
    static const struct run runs[RUNS_MOST] = {{1, 0, 20}, {0, 0, 1}};
    const struct delta_shape shape = {2, 4, 48, 40, DELTA_TILED};
    struct delta v;

    c->used = 0;
    v = delta_make(c, runs, &shape);
    for (u32 t = 0; t < v.step.rows; t++) {
        float *row = (float *)check_at(c, v.x) + t * v.n_x;

        memcpy(row, row + 96, 96 * sizeof(float));
        for (int h = 0; h < 4; h++)
            ((float *)check_at(c, v.beta))[t * 4 + h] = 40;
    }
    if (!check_run(c, &v.d))
        return false;
    for (u32 t = 0; t < v.step.rows && !c->was_left_out; t++) {
        const float *row = (float *)check_at(c, v.x) + t * v.n_x + 192;
        const float *out = (float *)check_at(c, v.out) + t * v.n_out;

        for (size_t i = 0; i < v.n_out; i++) {
            double want = row[i] / sqrt(48);

            if (fabs(out[i] - want) <= 1e-5)
                continue;
            printf("# row %u, value %zu: %.9g, should be %.9g\n", t, i, (double)out[i], want);
            return false;
        }
    }
    return true;
}

/* ---- a prompt may be cut anywhere ---- */

/* Runs d over rows [0, n) of one sequence: at once, then, the states as before, in pieces of `cut`
 * rows. The results and states of both must be the same to the bit. */
static bool same_in_pieces(struct check *c, const struct dispatch *d, const struct step *step,
                           const uint64_t at[2], const size_t bytes[2], u32 cut)
{
    struct step_token *tokens = check_at(c, step->tokens);
    struct step_header *header = check_at(c, step->header);
    uint64_t whole[2], x_row = 0;
    struct dispatch part = *d;

    if (!check_run(c, d))
        return false;
    for (int i = 0; i < 2; i++) {
        whole[i] = check_take(c, bytes[i]);
        memcpy(check_at(c, whole[i]), check_at(c, at[i]), bytes[i]);
    }
    memset(check_at(c, at[0]), 0x55, bytes[0]);
    for (u32 first = 0; first < step->rows; first += cut) {
        u32 n = step->rows - first < cut ? step->rows - first : cut;

        header->n_tokens = n;
        part.max_rows = n;
        if (d->op == KERNEL_SHORT_CONV) {
            x_row = d->args.short_conv.n_cols * sizeof(float);
            part.args.short_conv.x = d->args.short_conv.x + first * x_row;
            part.args.short_conv.out = d->args.short_conv.out + first * x_row;
        } else {
            const struct args_delta_net *a = &d->args.delta_net;
            uint64_t out_row = (uint64_t)a->n_heads_v * a->n_channels_v * sizeof(float);

            x_row = out_row + 2ull * a->n_heads_k * a->n_channels_k * sizeof(float);
            part.args.delta_net.x = a->x + first * x_row;
            part.args.delta_net.out = a->out + first * out_row;
            part.args.delta_net.alpha = a->alpha + first * a->n_heads_v * sizeof(float);
            part.args.delta_net.beta = a->beta + first * a->n_heads_v * sizeof(float);
        }
        for (u32 r = 0; r < n; r++)
            tokens[r].position = first + r;
        if (!check_run(c, &part))
            return false;
    }
    for (int i = 0; i < 2; i++) {
        if (c->was_left_out || !memcmp(check_at(c, whole[i]), check_at(c, at[i]), bytes[i]))
            continue;
        printf("# %s differ when the prompt is cut at %u rows\n", i ? "states" : "results", cut);
        return false;
    }
    return true;
}

static const struct run prompt[RUNS_MOST] = {{2, 0, 23}};
static const u32 cuts[] = {1, 2, 3, 5, 22};

static bool short_conv_in_pieces(struct check *c)
{
    for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
        struct conv v;

        c->used = 0;
        v = conv_make(c, prompt, 77, 4);
        if (!same_in_pieces(
                c, &v.d, &v.step, (uint64_t[]){v.out, v.state},
                (size_t[]){(size_t)v.step.rows * 77 * sizeof(float), v.n_state * sizeof(float)},
                cuts[i]))
            return false;
    }
    return true;
}

static bool delta_net_in_pieces(struct check *c)
{
    for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
        struct delta v;

        c->used = 0;
        v = delta_make(c, prompt, &delta_shapes[1]);
        if (!same_in_pieces(
                c, &v.d, &v.step, (uint64_t[]){v.out, v.state},
                (size_t[]){v.step.rows * v.n_out * sizeof(float), v.n_state * sizeof(float)},
                cuts[i]))
            return false;
    }
    return true;
}

const struct check_case check_state_cases[] = {
    {"short_conv", short_conv},
    {"short_conv_in_pieces", short_conv_in_pieces},
    {"delta_net", delta_net},
    {"delta_net_recalls", delta_net_recalls},
    {"delta_net_in_pieces", delta_net_in_pieces},
    {0},
};
