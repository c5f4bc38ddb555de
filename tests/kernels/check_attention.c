/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct shape {
    uint32_t n_heads, n_kv_heads, ck, cv, rows, first;
    uint32_t window;
    float softcap;
    bool has_sinks, has_hole;
};

/* Two sequences share the rows; their blocks lie scattered. What no sequence has stored is filled
 * with NaN, so that reading it shows. */
static uint64_t make_cache(struct check *c, const struct shape *s, struct kv_layer *kv,
                           uint64_t *ret_tokens, uint64_t *ret_seqs)
{
    uint32_t positions = s->first + s->rows, per_seq = (positions + 31) / 32;
    uint64_t block_bytes = (uint64_t)s->n_kv_heads * 32 * (s->ck + s->cv) * 2 + 64;
    uint64_t cache = check_take(c, block_bytes * per_seq * 2), step = check_step(c, s->rows, 1);
    uint64_t seqs = check_take(c, 2 * sizeof(struct step_seq));
    struct step_header *h = check_at(c, step);
    struct step_token *tokens;

    *kv = (struct kv_layer){
        check_address(c, cache), block_bytes, s->n_kv_heads, s->ck, s->cv, per_seq * 2};
    memset(check_at(c, cache), 0xff, block_bytes * per_seq * 2);
    h->n_seqs = 2;
    for (uint32_t q = 0; q < 2; q++) {
        uint64_t table = check_take(c, per_seq * sizeof(uint32_t));

        for (uint32_t b = 0; b < per_seq; b++)
            ((uint32_t *)check_at(c, table))[b] = (per_seq - 1 - b) * 2 + q;
        if (s->has_hole && per_seq > 1)
            ((uint32_t *)check_at(c, table))[0] = UINT32_MAX;
        ((struct step_seq *)check_at(c, seqs))[q] =
            (struct step_seq){.block_table = check_address(c, table), .n_blocks = per_seq};
    }
    *ret_tokens = check_tokens(c, s->rows, s->first, 1);
    tokens = check_at(c, *ret_tokens);
    for (uint32_t t = s->rows / 2; s->rows > 2 && t < s->rows; t++)
        tokens[t] = (struct step_token){.position = t - s->rows / 2, .seq = 1};
    if (s->rows > 8)
        tokens[s->rows - 1].seq = 9; /* no such sequence */
    *ret_seqs = seqs;
    return step;
}

/* Finite keys and values at every position below n of both sequences. */
static void fill_cache(struct check *c, const struct shape *s, const struct kv_layer *kv,
                       uint32_t n_first, uint32_t n_second)
{
    uint32_t per_seq = kv->n_blocks / 2;

    for (uint32_t q = 0; q < 2; q++) {
        for (uint32_t p = 0; p < (q ? n_second : n_first); p++) {
            uint64_t block = (per_seq - 1 - p / 32) * 2 + q;
            uint16_t *keys = check_at(c, kv->base - c->buf->address + block * kv->block_bytes);
            uint16_t *values = keys + (size_t)s->n_kv_heads * 32 * s->ck;

            for (uint32_t g = 0; g < s->n_kv_heads; g++) {
                for (uint32_t i = 0; i < s->ck; i++) /* of magnitude 1 to 2, any sign */
                    keys[((size_t)g * 32 + p % 32) * s->ck + i] =
                        (uint16_t)(0x3c00 | (check_random(c) & 0x83ff));
                for (uint32_t i = 0; i < s->cv; i++)
                    values[((size_t)g * 32 + p % 32) * s->cv + i] =
                        (uint16_t)(0x3c00 | (check_random(c) & 0x83ff));
            }
        }
    }
}

static bool attention_with(struct check *c, const struct shape *s)
{
    struct dispatch d = {.op = KERNEL_ATTENTION, .max_rows = s->rows};
    size_t n = (size_t)s->rows * s->n_heads * s->cv;
    uint64_t step, tokens, seqs, q, out, sinks;
    struct kv_layer kv;
    char name[96];

    c->used = 0;
    step = make_cache(c, s, &kv, &tokens, &seqs);
    fill_cache(c, s, &kv, s->rows > 2 ? s->first + s->rows / 2 : s->first + s->rows,
               s->rows - s->rows / 2);
    q = check_take(c, (uint64_t)s->rows * s->n_heads * s->ck * 4);
    check_fill(c, q, (size_t)s->rows * s->n_heads * s->ck, INPUT_NORMAL);
    out = check_take(c, n * 4);
    sinks = check_take(c, s->n_heads * 4);
    check_fill(c, sinks, s->n_heads, INPUT_NORMAL);
    d.args.attention = (struct args_attention){
        .step = check_address(c, step),
        .tokens = check_address(c, tokens),
        .seqs = check_address(c, seqs),
        .q = check_address(c, q),
        .out = check_address(c, out),
        .sinks = s->has_sinks ? check_address(c, sinks) : 0,
        .kv = kv,
        .n_heads = s->n_heads,
        .window = s->window,
        .scale = 1 / sqrtf((float)s->ck),
        .softcap = s->softcap,
    };
    snprintf(name, sizeof(name), "attention %u/%u heads of %u, %u rows from %u", s->n_heads,
             s->n_kv_heads, s->ck, s->rows, s->first);
    check_bench(c, name, &d, 2.0 * (s->first + s->rows) * s->n_kv_heads * (s->ck + s->cv),
                2.0 * s->rows * (s->first + s->rows / 2.0) * s->n_heads * (s->ck + s->cv));
    return check_run(c, &d) && check_floats(c, out, n, 4e-6, 4e-6);
}

static bool attention(struct check *c)
{
    static const struct shape shapes[] = {
        {.n_heads = 1, .n_kv_heads = 1, .ck = 8, .cv = 8, .rows = 1},
        {.n_heads = 8, .n_kv_heads = 2, .ck = 64, .cv = 64, .rows = 1, .first = 100},
        {.n_heads = 6, .n_kv_heads = 2, .ck = 20, .cv = 12, .rows = 7, .first = 31},
        {.n_heads = 32, .n_kv_heads = 4, .ck = 64, .cv = 64, .rows = 40, .first = 3},
        {.n_heads = 3, .n_kv_heads = 3, .ck = 96, .cv = 100, .rows = 70},
        {.n_heads = 40, .n_kv_heads = 1, .ck = 33, .cv = 1, .rows = 5, .first = 64},
        {.n_heads = 2, .n_kv_heads = 1, .ck = 1024, .cv = 1024, .rows = 3, .first = 40},
        {.n_heads = 4, .n_kv_heads = 2, .ck = 64, .cv = 64, .rows = 30, .first = 90, .window = 37},
        {.n_heads = 4, .n_kv_heads = 2, .ck = 64, .cv = 64, .rows = 9, .first = 5, .softcap = 3},
        {.n_heads = 4,
         .n_kv_heads = 2,
         .ck = 64,
         .cv = 64,
         .rows = 9,
         .first = 50,
         .has_sinks = true},
        {.n_heads = 4,
         .n_kv_heads = 2,
         .ck = 64,
         .cv = 64,
         .rows = 12,
         .first = 30,
         .has_hole = true},
        {.n_heads = 16, .n_kv_heads = 1, .ck = 576, .cv = 512, .rows = 2, .first = 40},
        {.n_heads = 5, .n_kv_heads = 5, .ck = 80, .cv = 80, .rows = 3, .first = 30},
        {.n_heads = 6, .n_kv_heads = 2, .ck = 128, .cv = 128, .rows = 21, .first = 63},
        {.n_heads = 10, .n_kv_heads = 2, .ck = 128, .cv = 128, .rows = 1, .first = 3000},
        {.n_heads = 8,
         .n_kv_heads = 1,
         .ck = 256,
         .cv = 256,
         .rows = 20,
         .first = 1500,
         .window = 1024,
         .softcap = 50,
         .has_sinks = true},
    };

    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        if (!attention_with(c, &shapes[i])) {
            printf("# shape %zu\n", i);
            return false;
        }
    }
    if (!c->is_bench)
        return true;
    return attention_with(c, &(struct shape){32, 4, 64, 64, 1, 2000, 0, 0, false, false}) &&
           attention_with(c, &(struct shape){32, 4, 64, 64, 256, 0, 0, 0, false, false});
}

static bool kv_store(struct check *c)
{
    static const struct shape shapes[] = {
        {.n_heads = 1, .n_kv_heads = 1, .ck = 8, .cv = 8, .rows = 1, .first = 77},
        {.n_heads = 1, .n_kv_heads = 3, .ck = 20, .cv = 13, .rows = 45, .first = 20},
        {.n_heads = 1,
         .n_kv_heads = 2,
         .ck = 64,
         .cv = 64,
         .rows = 12,
         .first = 30,
         .has_hole = true},
    };

    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        for (int kind = 0; kind < INPUT_KINDS; kind++) {
            const struct shape *s = &shapes[i];
            struct dispatch d = {.op = KERNEL_KV_STORE, .max_rows = s->rows};
            uint64_t step, tokens, seqs, k, v;
            struct kv_layer kv;

            c->used = 0;
            step = make_cache(c, s, &kv, &tokens, &seqs);
            k = check_take(c, (uint64_t)s->rows * s->n_kv_heads * s->ck * 4);
            v = check_take(c, (uint64_t)s->rows * s->n_kv_heads * s->cv * 4);
            check_fill(c, k, (size_t)s->rows * s->n_kv_heads * s->ck, (enum check_input)kind);
            check_fill(c, v, (size_t)s->rows * s->n_kv_heads * s->cv, (enum check_input)kind);
            ((float *)check_at(c, k))[0] = 1e30f; /* infinity in f16 */
            d.args.kv_store = (struct args_kv_store){.step = check_address(c, step),
                                                     .tokens = check_address(c, tokens),
                                                     .seqs = check_address(c, seqs),
                                                     .k = check_address(c, k),
                                                     .v = check_address(c, v),
                                                     .kv = kv};
            if (!check_run(c, &d) ||
                !check_bytes(c, kv.base - c->buf->address, kv.block_bytes * kv.n_blocks))
                return false;
        }
    }
    return true;
}

/* Every kind of f32 there is, on its way to f16: each exponent with the mantissas next to a border
 * of rounding, both signs, infinities, NaN. */
static bool kv_store_rounds(struct check *c)
{
    static const uint32_t mantissas[] = {0,        1,        0xfff,    0x1000,   0x1001,   0x2000,
                                         0x2fff,   0x3000,   0x3001,   0x3fffff, 0x400000, 0x400001,
                                         0x7fe000, 0x7fefff, 0x7ff000, 0x7fffff};
    struct shape s = {.n_heads = 1, .n_kv_heads = 1, .ck = 32, .cv = 32, .rows = 256};
    struct dispatch d = {.op = KERNEL_KV_STORE, .max_rows = s.rows};
    uint64_t tokens, seqs, k, v, step;
    struct kv_layer kv;

    step = make_cache(c, &s, &kv, &tokens, &seqs);
    k = check_take(c, (uint64_t)s.rows * s.ck * 4);
    v = check_take(c, (uint64_t)s.rows * s.cv * 4);
    for (uint32_t i = 0; i < s.rows * s.ck; i++) {
        ((uint32_t *)check_at(c, k))[i] = i / 16 << 23 | mantissas[i % 16];
        ((uint32_t *)check_at(c, v))[i] = check_random(c); /* and any bits at all */
    }
    d.args.kv_store = (struct args_kv_store){.step = check_address(c, step),
                                             .tokens = check_address(c, tokens),
                                             .seqs = check_address(c, seqs),
                                             .k = check_address(c, k),
                                             .v = check_address(c, v),
                                             .kv = kv};
    return check_run(c, &d) &&
           check_bytes(c, kv.base - c->buf->address, kv.block_bytes * kv.n_blocks);
}

const struct check_case check_attention_cases[] = {
    {"attention", attention},
    {"kv_store", kv_store},
    {"kv_store_rounds", kv_store_rounds},
    {0},
};
