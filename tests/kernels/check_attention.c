/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "kernels/ref.h"
#include "kernels/step.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct shape {
    uint32_t n_heads, n_kv_heads, ck, cv, rows, first;
    uint32_t window;
    float softcap;
    bool has_sinks, has_hole;
    uint32_t n_splits; /* 0: as 1 */
    enum check_input input;
    uint32_t blocks_more; /* that the cache has and nobody uses */
    uint32_t peak; /* the first sequence's position that its first query looks at alone; 0: none */
    uint32_t type; /* of the cache */
    bool has_chosen; /* positions, of which about half are */
    bool is_decode;  /* each row is the next of a sequence of its own, at position `first` */
};

static uint32_t per_seq_of(const struct shape *s)
{
    return (s->first + s->rows + 31) / 32;
}

static uint32_t n_seqs_of(const struct shape *s)
{
    return s->is_decode ? s->rows : s->rows > 2 ? 2 : 1;
}

/* Two sequences share the rows, or each row has one; their blocks lie scattered. What no sequence
 * has stored is filled with NaN, so that reading it shows. */
static uint64_t make_cache(struct check *c, const struct shape *s, struct kv_layer *kv,
                           uint64_t *ret_tokens, uint64_t *ret_seqs)
{
    uint32_t per_seq = per_seq_of(s), n_seqs = n_seqs_of(s);
    uint64_t row_bytes = kv_row_bytes(s->type, s->ck) + kv_row_bytes(s->type, s->cv);
    uint64_t block_bytes = s->n_kv_heads * 32 * row_bytes + 64;
    uint32_t n_blocks = per_seq * n_seqs + s->blocks_more;
    uint64_t cache = check_take(c, block_bytes * n_blocks), step = check_step(c, s->rows, 1);
    uint64_t seqs = check_take(c, n_seqs * sizeof(struct step_seq));
    struct step_header *h = check_at(c, step);
    struct step_token *tokens;

    *kv = (struct kv_layer){
        check_address(c, cache), block_bytes, s->n_kv_heads, s->ck, s->cv, n_blocks, s->type, 0};
    memset(check_at(c, cache), 0xff, block_bytes * n_blocks);
    h->n_seqs = n_seqs;
    for (uint32_t q = 0; q < n_seqs; q++) {
        uint64_t table = check_take(c, per_seq * sizeof(uint32_t));

        for (uint32_t b = 0; b < per_seq; b++)
            ((uint32_t *)check_at(c, table))[b] = (per_seq - 1 - b) * n_seqs + q;
        if (s->has_hole && per_seq > 1)
            ((uint32_t *)check_at(c, table))[0] = UINT32_MAX;
        ((struct step_seq *)check_at(c, seqs))[q] =
            (struct step_seq){.block_table = check_address(c, table), .n_blocks = per_seq};
    }
    *ret_tokens = check_tokens(c, s->rows, s->first, 1);
    tokens = check_at(c, *ret_tokens);
    for (uint32_t t = 0; s->is_decode && t < s->rows; t++)
        tokens[t] = (struct step_token){.position = s->first, .seq = t};
    for (uint32_t t = s->rows / 2; !s->is_decode && s->rows > 2 && t < s->rows; t++)
        tokens[t] = (struct step_token){.position = t - s->rows / 2, .seq = 1};
    if (s->rows > 8)
        tokens[s->rows - 1].seq = n_seqs + 7; /* no such sequence */
    *ret_seqs = seqs;
    return step;
}

/* Channels of magnitude 0 to 2, any sign. */
static void fill_row(struct check *c, uint32_t type, uint8_t *head, uint32_t slot, uint32_t n)
{
    for (uint32_t i = 0; type == KV_F16 && i < n; i++) /* not below 1 */
        kv_row_f16(head, slot, n)[i] = (uint16_t)(0x3c00 | (check_random(c) & 0x83ff));
    for (uint32_t i = 0; type == KV_Q8_0 && i < n; i++)
        kv_row_q8(head, slot, n)[i] = (int8_t)(check_random(c) % 255 - 127);
    for (uint32_t i = 0; type == KV_Q8_0 && i < n / KV_RUN; i++)
        kv_row_scales(head, slot, n)[i] = (uint16_t)(0x2000 | (check_random(c) & 0x3ff));
}

/* Block i of sequence `seq`. */
static uint8_t *block_of(struct check *c, const struct shape *s, const struct kv_layer *kv,
                         uint32_t seq, uint32_t i)
{
    uint64_t block = (per_seq_of(s) - 1 - i) * n_seqs_of(s) + seq;

    return check_at(c, kv->base - c->buf->address + block * kv->block_bytes);
}

/* Finite keys and values at every position below n of the first sequence and of the others. */
static void fill_cache(struct check *c, const struct shape *s, const struct kv_layer *kv,
                       uint32_t n_first, uint32_t n_second)
{
    for (uint32_t q = 0; q < n_seqs_of(s); q++) {
        for (uint32_t p = 0; p < (q ? n_second : n_first); p++) {
            uint8_t *block = block_of(c, s, kv, q, p / 32);

            for (uint32_t g = 0; g < s->n_kv_heads; g++) {
                fill_row(c, s->type, kv_keys(kv, block, g), p % 32, s->ck);
                fill_row(c, s->type, kv_values(kv, block, g), p % 32, s->cv);
            }
        }
    }
}

/* Makes the key at the shape's peak that of the first query, so much greater that what other
 * positions add is lost. */
static void raise_peak(struct check *c, const struct shape *s, const struct kv_layer *kv,
                       uint64_t q)
{
    uint8_t *keys = kv_keys(kv, block_of(c, s, kv, 0, s->peak / 32), 0);
    float key[ATTENTION_CHANNELS_MAX];

    for (uint32_t i = 0; i < s->ck; i++)
        key[i] = ((const float *)check_at(c, q))[i] * 30;
    if (s->peak)
        ref_kv_store_row(kv, keys, s->peak % 32, key, s->ck);
}

/* What the ranges of every row and head left, which is nothing where they are empty. Weights are as
 * exact as the scores that they are made of: a few units in the last place of the greatest. */
static bool check_parts(struct check *c, const struct shape *s, uint64_t parts)
{
    uint64_t n = (uint64_t)s->rows * s->n_heads * s->n_splits, bytes = (2 + s->cv) * sizeof(float);

    for (uint64_t i = 0; i < n; i++) {
        const float *want = (const float *)(const void *)(c->copy + parts + i * bytes);

        double of_scores = isfinite(want[0]) ? 2 * FLT_EPSILON * fabs((double)want[0]) : 0;

        if (!check_floats(c, parts + i * bytes, 2 + s->cv,
                          (4e-6 + of_scores) * (1 + (double)want[1]), 4e-6 + of_scores)) {
            printf("# range %u of head %u of row %u\n", (uint32_t)(i % s->n_splits),
                   (uint32_t)(i / s->n_splits % s->n_heads),
                   (uint32_t)(i / s->n_splits / s->n_heads));
            return false;
        }
    }
    return true;
}

static void bench(struct check *c, const struct shape *s, const struct dispatch *list, size_t n)
{
    uint32_t most = s->window & ~ATTENTION_CHUNKS;
    double seen = most && most < s->first ? most : s->first + (s->is_decode ? 1 : s->rows / 2.0);
    double read = s->is_decode ? seen * s->rows : seen + s->rows / 2.0;
    char name[96];

    snprintf(name, sizeof(name), "attention %u/%u heads of %u%s, %u %s from %u, %u ranges",
             s->n_heads, s->n_kv_heads, s->ck, s->type == KV_Q8_0 ? " in q8_0" : "", s->rows,
             s->is_decode ? "sequences" : "rows", s->first, s->n_splits ? s->n_splits : 1);
    check_bench(c, name, list, n,
                read * s->n_kv_heads *
                    (double)(kv_row_bytes(s->type, s->ck) + kv_row_bytes(s->type, s->cv)),
                2.0 * s->rows * seen * s->n_heads * (s->ck + s->cv));
}

/* Any bits, of the second block none, of the last all; so much as a word each row has too little.
 */
static uint64_t choose_any(struct check *c, const struct shape *s, uint32_t n_words)
{
    uint64_t chosen = check_take(c, (uint64_t)s->rows * n_words * 4);

    for (uint32_t i = 0; i < s->rows * n_words; i++)
        ((uint32_t *)check_at(c, chosen))[i] = i % n_words == 1             ? 0
                                               : i % n_words == n_words - 1 ? UINT32_MAX
                                                                            : check_random(c);
    return chosen;
}

static bool attention_with(struct check *c, const struct shape *s)
{
    struct dispatch list[2] = {
        {.op = KERNEL_ATTENTION, .max_rows = s->rows},
        {.op = KERNEL_ATTENTION_COMBINE, .max_rows = s->rows, .barrier = true}};
    size_t n = (size_t)s->rows * s->n_heads * s->cv, n_list = s->n_splits > 1 ? 2 : 1;
    uint64_t step, tokens, seqs, q, out, sinks, parts = 0, parts_bytes;
    struct kv_layer kv;

    c->used = 0;
    step = make_cache(c, s, &kv, &tokens, &seqs);
    if (s->is_decode)
        fill_cache(c, s, &kv, s->first + 1, s->first + 1);
    else
        fill_cache(c, s, &kv, s->rows > 2 ? s->first + s->rows / 2 : s->first + s->rows,
                   s->rows - s->rows / 2);
    q = check_take(c, (uint64_t)s->rows * s->n_heads * s->ck * 4);
    check_fill(c, q, (size_t)s->rows * s->n_heads * s->ck, s->input);
    raise_peak(c, s, &kv, q);
    out = check_take(c, n * 4);
    sinks = check_take(c, s->n_heads * 4);
    check_fill(c, sinks, s->n_heads, INPUT_NORMAL);
    if (n_list > 1) {
        parts_bytes = (uint64_t)s->rows * s->n_heads * s->n_splits * (2 + s->cv) * 4;
        parts = check_take(c, parts_bytes);
        memset(check_at(c, parts), 0xff, parts_bytes);
    }
    list[0].args.attention = (struct args_attention){
        .step = check_address(c, step),
        .tokens = check_address(c, tokens),
        .seqs = check_address(c, seqs),
        .q = check_address(c, q),
        .out = check_address(c, parts ? parts : out),
        .sinks = s->has_sinks && !parts ? check_address(c, sinks) : 0,
        .kv = kv,
        .n_heads = s->n_heads,
        .window = s->window,
        .scale = 1 / sqrtf((float)s->ck),
        .softcap = s->softcap,
        .n_splits = parts ? s->n_splits : 1,
    };
    list[1].args.attention_combine = (struct args_attention_combine){
        .step = check_address(c, step),
        .tokens = check_address(c, tokens),
        .parts = check_address(c, parts),
        .out = check_address(c, out),
        .sinks = s->has_sinks ? check_address(c, sinks) : 0,
        .n_heads = s->n_heads,
        .n_channels_v = s->cv,
        .window = s->window,
        .n_splits = s->n_splits,
    };
    if (s->has_chosen) {
        list[0].args.attention.chosen_words = per_seq_of(s);
        list[0].args.attention.chosen = check_address(c, choose_any(c, s, per_seq_of(s)));
    }
    bench(c, s, list, n_list);
    return check_run_list(c, list, n_list) && (!parts || check_parts(c, s, parts)) &&
           check_floats(c, out, n, 4e-6, 4e-6);
}

static bool attention_of_all(struct check *c, const struct shape *shapes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!attention_with(c, &shapes[i])) {
            printf("# shape %zu\n", i);
            return false;
        }
    }
    return true;
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
        {4, 2, 64, 64, 16, 70, .is_decode = true, .window = 37, .has_sinks = true},
        {5, 1, 80, 80, 6, 330, .is_decode = true},
        {3, 1, 128, 72, 5, 260, .is_decode = true},
    };

    return attention_of_all(c, shapes, sizeof(shapes) / sizeof(*shapes));
}

/* Positions in ranges: of which some are empty, end in the middle of a block, begin with a window,
 * or hold what all others are nothing beside. The second sequence is always short. */
static bool attention_in_ranges(struct check *c)
{
    static const struct shape shapes[] = {
        {1, 1, 8, 8, 1, .n_splits = 2},
        {8, 2, 64, 64, 1, 255, .n_splits = 2},
        {8, 2, 64, 64, 1, 256, .n_splits = 2},
        {6, 2, 20, 12, 7, 509, .n_splits = 3},
        {10, 2, 128, 128, 1, 5000, .n_splits = 5},
        {10, 2, 128, 128, 1, 5000, .n_splits = 16, .has_sinks = true},
        {8, 2, 64, 64, 16, 2500, .n_splits = 9, .softcap = 3},
        {8, 2, 64, 64, 40, 700, .n_splits = 4, .has_hole = true},
        {8, 2, 64, 64, 5, 1111, .n_splits = 256, .window = 600},
        {8, 2, 64, 64, 5, 1111, .n_splits = 2, .window = 37, .has_sinks = true},
        {8, 2, 64, 64, 5, 3111, .n_splits = 6, .window = 1024, .softcap = 50, .has_sinks = true},
        {40, 1, 33, 1, 5, 300, .n_splits = 2},
        {8, 2, 64, 64, 1, 2000, .n_splits = 8, .peak = 3},
        {8, 2, 64, 64, 1, 2000, .n_splits = 8, .peak = 1030, .has_sinks = true},
        {8, 2, 64, 64, 1, 2000, .n_splits = 8, .peak = 2000},
        {8, 2, 64, 64, 2, 2000, .n_splits = 8, .input = INPUT_ZERO},
        {8, 2, 64, 64, 2, 2000, .n_splits = 8, .input = INPUT_TINY},
    };

    return attention_of_all(c, shapes, sizeof(shapes) / sizeof(*shapes));
}

/* A cache of q8_0: one run of channels and many, of which a lane has several or a part; blocks that
 * begin with a window, are not there, or whose positions are in ranges. */
static bool attention_q8_0(struct check *c)
{
    static const struct shape shapes[] = {
        {1, 1, 32, 32, 1, .type = KV_Q8_0},
        {8, 2, 64, 64, 1, 100, .type = KV_Q8_0},
        {6, 2, 96, 32, 7, 31, .type = KV_Q8_0},
        {32, 4, 64, 64, 40, 3, .type = KV_Q8_0},
        {6, 2, 128, 128, 21, 63, .type = KV_Q8_0, .has_hole = true},
        {16, 1, 576, 512, 2, 40, .type = KV_Q8_0},
        {2, 1, 1024, 1024, 3, 40, .type = KV_Q8_0},
        {5, 5, 160, 96, 9, 50, .type = KV_Q8_0, .has_sinks = true, .softcap = 3},
        {8, 1, 256, 256, 20, 200, .type = KV_Q8_0, .window = 37},
        {8, 2, 64, 64, 1, 255, .type = KV_Q8_0, .n_splits = 2},
        {6, 2, 32, 96, 7, 509, .type = KV_Q8_0, .n_splits = 3},
        {10, 2, 128, 128, 1, 3000, .type = KV_Q8_0, .n_splits = 5, .has_sinks = true},
        {8, 2, 64, 64, 5, 1111, .type = KV_Q8_0, .n_splits = 4, .window = 600},
        {8, 2, 64, 64, 1, 2000, .type = KV_Q8_0, .n_splits = 8, .peak = 1030},
    };

    return attention_of_all(c, shapes, sizeof(shapes) / sizeof(*shapes));
}

/* Windows that are chunks: of one position and of many, that end in the middle of a block, with
 * rows before a border, on it and behind it; in ranges, which begin anew with a chunk. */
static bool attention_in_chunks(struct check *c)
{
    static const struct shape shapes[] = {
        {6, 2, 20, 12, 7, 3, .window = ATTENTION_CHUNKS | 1},
        {4, 2, 64, 64, 30, 90, .window = ATTENTION_CHUNKS | 37},
        {4, 2, 64, 64, 40, 250, .window = ATTENTION_CHUNKS | 256, .has_sinks = true},
        {4, 2, 64, 64, 70, 60, .window = ATTENTION_CHUNKS | 64, .softcap = 3},
        {8, 2, 64, 64, 1, 511, .window = ATTENTION_CHUNKS | 256},
        {8, 2, 64, 64, 1, 512, .window = ATTENTION_CHUNKS | 256},
        {8, 2, 64, 64, 5, 20, .window = ATTENTION_CHUNKS | 8192},
        {8, 2, 64, 64, 5, 1198, .window = ATTENTION_CHUNKS | 600, .n_splits = 4},
        {8, 2, 64, 64, 5, 1111, .window = ATTENTION_CHUNKS | 37, .n_splits = 2, .has_sinks = true},
        {6, 2, 128, 128, 21, 63, .window = ATTENTION_CHUNKS | 70, .type = KV_Q8_0},
        {8, 2, 64, 64, 5, 1535, .window = ATTENTION_CHUNKS | 768, .type = KV_Q8_0, .n_splits = 3},
    };

    return attention_of_all(c, shapes, sizeof(shapes) / sizeof(*shapes));
}

/* Of a single row and of many, in ranges and not, some of which have nothing chosen. */
static bool attention_to_chosen(struct check *c)
{
    static const struct shape shapes[] = {
        {8, 2, 64, 64, 1, 100, .has_chosen = true},
        {4, 2, 64, 64, 40, 90, .has_chosen = true, .has_sinks = true, .has_hole = true},
        {8, 2, 64, 64, 5, 1111, .has_chosen = true, .n_splits = 4, .window = 600},
        {6, 2, 128, 128, 21, 63, .has_chosen = true, .type = KV_Q8_0},
    };

    return attention_of_all(c, shapes, sizeof(shapes) / sizeof(*shapes));
}

/* Keys alone, of channels that are read by fours or one by one. */
static bool index_scores(struct check *c)
{
    static const struct shape shapes[] = {
        {64, 1, 128, 0, 1, 700},
        {5, 1, 20, 0, 9, 60, .has_hole = true},
        {3, 1, 33, 0, 40, 3},
        {64, 1, 128, 0, 20, 200, .type = KV_Q8_0},
    };

    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        const struct shape *s = &shapes[i];
        struct dispatch d = {.op = KERNEL_INDEX_SCORES, .max_rows = s->rows};
        uint32_t n_positions = per_seq_of(s) * KV_BLOCK_TOKENS;
        size_t n = (size_t)s->rows * n_positions;
        uint64_t step, tokens, seqs, q, weights, out;
        struct kv_layer kv;

        c->used = 0;
        step = make_cache(c, s, &kv, &tokens, &seqs);
        fill_cache(c, s, &kv, s->first + s->rows, s->rows);
        q = check_take(c, (uint64_t)s->rows * s->n_heads * s->ck * 4);
        check_fill(c, q, (size_t)s->rows * s->n_heads * s->ck, INPUT_NORMAL);
        weights = check_take(c, (uint64_t)s->rows * s->n_heads * 4);
        check_fill(c, weights, (size_t)s->rows * s->n_heads, INPUT_NORMAL);
        out = check_take(c, n * 4);
        memset(check_at(c, out), 0, n * 4);
        d.args.index_scores = (struct args_index_scores){
            .step = check_address(c, step),
            .tokens = check_address(c, tokens),
            .seqs = check_address(c, seqs),
            .q = check_address(c, q),
            .weights = check_address(c, weights),
            .out = check_address(c, out),
            .kv = kv,
            .n_heads = s->n_heads,
            .n_positions = n_positions,
            .scale = 1 / sqrtf((float)s->n_heads * (float)s->ck),
        };
        if (!check_run(c, &d))
            return false;
        for (size_t k = 0; k < n; k++) /* infinities have no difference */
            if (isinf(((float *)(void *)(c->copy + out))[k]) !=
                isinf(((float *)check_at(c, out))[k]))
                return false;
            else if (isinf(((float *)check_at(c, out))[k]))
                ((float *)check_at(c, out))[k] = ((float *)(void *)(c->copy + out))[k] = 0;
        if (!check_floats(c, out, n, 2e-5, 2e-5)) {
            printf("# shape %zu\n", i);
            return false;
        }
    }
    return true;
}

/* Scores of a row at random, few different ones, of either sign or none, infinite or no numbers. */
static float any_score(struct check *c, uint32_t kind)
{
    static const float odd[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-40f, -1e-40f, 1.0f};
    uint32_t bits = check_random(c);

    if (kind == 1)
        return (float)(bits % 3) - 1;
    return kind == 2 || bits % 16 == 0 ? odd[bits / 16 % 8] : check_normal(c);
}

static bool index_choose(struct check *c)
{
    static const struct {
        uint32_t rows, first, n_positions, n_chosen;
    } shapes[] = {{1, 0, 32, 1},         {9, 28, 64, 33}, {40, 3, 64, 16},
                  {3, 5000, 8192, 2048}, {2, 99, 96, 20}, {4, 600, 1024, 601}};

    for (size_t i = 0; i < 3 * sizeof(shapes) / sizeof(*shapes); i++) {
        uint32_t rows = shapes[i / 3].rows, n = shapes[i / 3].n_positions;
        struct dispatch d = {.op = KERNEL_INDEX_CHOOSE, .max_rows = rows};
        uint64_t step, tokens, scores, out;

        c->used = 0;
        step = check_step(c, rows, 1);
        tokens = check_tokens(c, rows, shapes[i / 3].first, 1);
        scores = check_take(c, (uint64_t)rows * n * 4);
        for (uint32_t k = 0; k < rows * n; k++)
            ((float *)check_at(c, scores))[k] = any_score(c, i % 3);
        out = check_take(c, (uint64_t)rows * n / 8);
        memset(check_at(c, out), 0x5a, (size_t)rows * n / 8);
        d.args.index_choose = (struct args_index_choose){
            .step = check_address(c, step),
            .tokens = check_address(c, tokens),
            .scores = check_address(c, scores),
            .out = check_address(c, out),
            .n_positions = n,
            .n_chosen = shapes[i / 3].n_chosen,
        };
        if (!check_run(c, &d) || !check_bytes(c, out, (uint64_t)rows * n / 8)) {
            printf("# shape %zu\n", i);
            return false;
        }
    }
    return true;
}

/* A cache so large that a GPU runs the rows in parts. */
static bool attention_in_parts(struct check *c)
{
    static const struct shape shapes[] = {
        {64, 1, 8, 8, 300, .blocks_more = 8000},
        {64, 1, 8, 8, 70, 40, .blocks_more = 30000, .has_sinks = true},
        {64, 1, 32, 32, 70, 40, .blocks_more = 30000, .type = KV_Q8_0},
    };

    return attention_of_all(c, shapes, sizeof(shapes) / sizeof(*shapes));
}

/* A row of a long context, in ranges and not; short answers of many; a prompt. */
static bool attention_speed(struct check *c)
{
    static const struct shape shapes[] = {
        {32, 4, 64, 64, 1, 2000},
        {32, 4, 64, 64, 1, 2000, .n_splits = 8},
        {32, 8, 128, 128, 1, 16000},
        {32, 8, 128, 128, 1, 16000, .n_splits = 32},
        {32, 4, 64, 64, 256},
        {32, 8, 128, 128, 1, 16000, .type = KV_Q8_0},
        {32, 8, 128, 128, 1, 16000, .n_splits = 32, .type = KV_Q8_0},
        {32, 4, 64, 64, 256, .type = KV_Q8_0},
        {4, 2, 64, 64, 16, 200, .is_decode = true},
        {8, 8, 64, 64, 4, 200, .is_decode = true},
        {16, 4, 128, 128, 4, 500, .is_decode = true},
        {32, 4, 64, 64, 4, 500, .is_decode = true},
        {4, 2, 64, 64, 16, 200, .type = KV_Q8_0, .is_decode = true},
        {4, 2, 64, 64, 128},
        {32, 8, 128, 128, 1, 8000},
        {8, 1, 256, 256, 1, 8000},
        {16, 1, 576, 512, 1, 8000},
        {4, 1, 128, 128, 64, 8000},
    };

    return !c->is_bench || attention_of_all(c, shapes, sizeof(shapes) / sizeof(*shapes));
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
        {.n_heads = 1, .n_kv_heads = 1, .ck = 32, .cv = 32, .rows = 1, .type = KV_Q8_0},
        {1, 3, 96, 64, 45, 20, .type = KV_Q8_0, .has_hole = true},
        {1, 1, 576, 1024, 3, 30, .type = KV_Q8_0},
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

/* Every kind of f32 there is, on its way to the cache: each exponent with the mantissas next to a
 * border of rounding to f16, both signs, infinities, NaN. */
static bool store_every_kind(struct check *c, uint32_t type)
{
    static const uint32_t mantissas[] = {0,        1,        0xfff,    0x1000,   0x1001,   0x2000,
                                         0x2fff,   0x3000,   0x3001,   0x3fffff, 0x400000, 0x400001,
                                         0x7fe000, 0x7fefff, 0x7ff000, 0x7fffff};
    struct shape s = {1, 1, 32, 32, .rows = 256, .type = type};
    struct dispatch d = {.op = KERNEL_KV_STORE, .max_rows = s.rows};
    uint64_t tokens, seqs, k, v, step;
    struct kv_layer kv;

    c->used = 0;
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

static bool kv_store_rounds(struct check *c)
{
    return store_every_kind(c, KV_F16);
}

static bool kv_store_rounds_q8_0(struct check *c)
{
    return store_every_kind(c, KV_Q8_0);
}

const struct check_case check_attention_cases[] = {
    {"attention", attention},
    {"attention_in_ranges", attention_in_ranges},
    {"attention_in_chunks", attention_in_chunks},
    {"attention_in_parts", attention_in_parts},
    {"attention_to_chosen", attention_to_chosen},
    {"index_choose", index_choose},
    {"index_scores", index_scores},
    {"attention_q8_0", attention_q8_0},
    {"attention_speed", attention_speed},
    {"kv_store", kv_store},
    {"kv_store_rounds", kv_store_rounds},
    {"kv_store_rounds_q8_0", kv_store_rounds_q8_0},
    {0},
};
