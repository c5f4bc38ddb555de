/* SPDX-License-Identifier: MIT */
/*
 * Attention over the paged cache. An item is a run of query rows that share their keys: rows of
 * one sequence that follow one another, times the query heads of one key head. It walks the cache
 * block by block, a running softmax per query (Milakov & Gimelshein 2018).
 */
#include "device/cpu/level.h"
#include "device/cpu/vec.h"
#include "kernels/ref.h"

#include <math.h>

#define BLOCK  KV_BLOCK_TOKENS
#define INLINE static inline __attribute__((always_inline))
/* Queries that are worked on together, where there are as many. */
#define QUERIES_AT_ONCE 4
/* Queries of one item at most, so that their sums stay in the second-level cache; a multiple of
 * QUERIES_AT_ONCE. */
#define QUERIES_MAX 32u

/* Everything an item keeps in its worker's scratch. Widths are padded with zeros to pairs of
 * vectors, query counts above two to fours. */
struct attention_work {
    float *keys;   /* f32[n_channels_k][BLOCK]: a block transposed */
    float *values; /* f32[BLOCK][width_v] */
    float *scores; /* f32[QUERIES_MAX][BLOCK] */
    float *sums;   /* f32[QUERIES_MAX][width_v] */
    const float *queries[QUERIES_MAX];
    uint32_t position[QUERIES_MAX], row[QUERIES_MAX];
    float greatest[QUERIES_MAX], total[QUERIES_MAX];
    uint32_t n, n_padded, width_v;
};

/* Tokens per item. */
static uint32_t tokens_per_item(const struct args_attention *a)
{
    uint32_t heads = a->n_heads / a->kv.n_kv_heads;
    uint32_t wide = a->kv.n_channels_v > 256 ? QUERIES_MAX / 4 : QUERIES_MAX;

    return heads >= wide ? 1 : wide / heads;
}

uint32_t IN_LEVEL(attention_items)(const struct dispatch *d)
{
    const struct args_attention *a = &d->args.attention;
    uint32_t rows = step_rows(a->step, ROWS_TOKENS, d->max_rows), n = tokens_per_item(a);
    uint64_t items = (uint64_t)((rows + n - 1) / n) * a->kv.n_kv_heads;

    if (a->n_splits > 1) /* what this device never asks for has the plain form only */
        return 1;
    return items < CPU_ITEMS_MAX ? (uint32_t)items : CPU_ITEMS_MAX;
}

/* Channels c.. of the keys or values at a position of a block, whole vectors. */
static vf load_lanes(const struct kv_layer *kv, uint8_t *head, uint32_t slot, uint32_t n,
                     uint32_t c)
{
    if (kv->type == KV_Q8_0)
        return vec_load_i8(kv_row_q8(head, slot, n) + c) *
               ref_f16_to_f32(kv_row_scales(head, slot, n)[c / KV_RUN]);
    return vec_load_f16(kv_row_f16(head, slot, n) + c);
}

/* Slots [begin, end) of a block's keys; the others may hold anything and become zeros. */
static void load_keys(const struct args_attention *a, uint8_t *keys, uint32_t begin, uint32_t end,
                      struct attention_work *w)
{
    uint32_t n = a->kv.n_channels_k, c = 0;

    for (; c + LANES <= n; c += LANES)
        for (uint32_t j = 0; j < BLOCK; j += LANES) {
            vf v[LANES];

            for (uint32_t i = 0; i < LANES; i++)
                v[i] =
                    j + i < begin || j + i >= end ? (vf){0} : load_lanes(&a->kv, keys, j + i, n, c);
            vec_transpose(v);
            for (uint32_t i = 0; i < LANES; i++)
                vec_store(w->keys + (size_t)(c + i) * BLOCK + j, v[i]);
        }
    for (; c < n; c++) /* f16: others have no such rest */
        for (uint32_t j = 0; j < BLOCK; j++)
            w->keys[(size_t)c * BLOCK + j] =
                j < begin || j >= end ? 0 : ref_f16_to_f32(kv_row_f16(keys, j, n)[c]);
}

/* The same of its values. */
static void load_values(const struct args_attention *a, uint8_t *values, uint32_t begin,
                        uint32_t end, struct attention_work *w)
{
    uint32_t n = a->kv.n_channels_v;

    for (uint32_t j = 0; j < BLOCK; j++) {
        float *to = w->values + (size_t)j * w->width_v;
        uint32_t c = 0;

        if (j < begin || j >= end) {
            memset(to, 0, w->width_v * sizeof(float));
            continue;
        }
        for (; c + LANES <= n; c += LANES)
            vec_store(to + c, load_lanes(&a->kv, values, j, n, c));
        for (; c < n; c++)
            to[c] = ref_f16_to_f32(kv_row_f16(values, j, n)[c]);
    }
}

/* scores[n][BLOCK] of n queries. */
INLINE void score(const struct args_attention *a, struct attention_work *w, uint32_t q, const int n)
{
    enum { N = BLOCK / LANES };
    vf sum[QUERIES_AT_ONCE][N] = {0};

    for (uint32_t c = 0; c < a->kv.n_channels_k; c++) {
        const float *k = w->keys + (size_t)c * BLOCK;

        for (int r = 0; r < n; r++)
            for (int i = 0; i < N; i++)
                sum[r][i] += w->queries[q + (uint32_t)r][c] * vec_load(k + i * LANES);
    }
    for (int r = 0; r < n; r++)
        for (int i = 0; i < N; i++)
            vec_store(w->scores + (size_t)(q + (uint32_t)r) * BLOCK + i * LANES,
                      sum[r][i] * a->scale);
}

/* What a query sees of a block of scores that begins at position first; the rest becomes
 * -infinity. Returns the greatest, and what was the greatest so far. */
static float mask(const struct args_attention *a, const struct attention_work *w, uint32_t q,
                  uint32_t first)
{
    float *s = w->scores + (size_t)q * BLOCK;
    uint32_t begin = attention_first(w->position[q], a->window);
    uint32_t n_hidden = begin > first ? begin - first : 0;
    uint32_t n_seen = w->position[q] < first ? 0 : w->position[q] - first + 1;
    uint32_t chosen = attention_chosen(a, w->row[q], first);
    vf greatest = vec_set(w->greatest[q]);

    if (a->softcap > 0)
        for (uint32_t c = 0; c < BLOCK; c++)
            s[c] = a->softcap * tanhf(s[c] / a->softcap);
    for (uint32_t j = 0; j < BLOCK; j += LANES) {
        vu slot = vec_numbers() + j;
        vi is_seen = (slot >= n_hidden) & (slot < n_seen) & -(vi)(((vu){0} + chosen) >> slot & 1);
        vf x = vec_select(is_seen, vec_load(s + j), vec_set(-INFINITY));

        vec_store(s + j, x);
        greatest = vec_max(x, greatest);
    }
    return vec_greatest(greatest);
}

/* Scores of one query to weights; sums and total so far are rescaled to the new greatest score. */
static void soften(const struct args_attention *a, struct attention_work *w, uint32_t q,
                   uint32_t first)
{
    float *s = w->scores + (size_t)q * BLOCK, greatest = mask(a, w, q, first);
    float *sums = w->sums + (size_t)q * w->width_v;
    vf sum = {0};

    if (greatest == -INFINITY) { /* nothing seen yet */
        memset(s, 0, BLOCK * sizeof(float));
        return;
    }
    for (uint32_t j = 0; j < BLOCK; j += LANES) {
        vf x = vec_load(s + j) - greatest;

        x = vec_select(x < -103.0f, (vf){0}, vec_exp(x));
        vec_store(s + j, x);
        sum += x;
    }
    if (w->greatest[q] != greatest) {
        float rescale = expf(w->greatest[q] - greatest);

        w->total[q] *= rescale;
        for (uint32_t c = 0; c < w->width_v; c += LANES)
            vec_store(sums + c, vec_load(sums + c) * rescale);
    }
    w->total[q] += vec_sum(sum);
    w->greatest[q] = greatest;
}

/* sums[q..q+n] += weights * values. */
INLINE void mix(struct attention_work *w, uint32_t q, const int n)
{
    for (uint32_t c = 0; c < w->width_v; c += 2 * LANES) {
        vf sum[QUERIES_AT_ONCE][2];

        for (int r = 0; r < n; r++)
            for (int i = 0; i < 2; i++)
                sum[r][i] = vec_load(w->sums + (size_t)(q + (uint32_t)r) * w->width_v + c +
                                     (uint32_t)i * LANES);
        for (uint32_t j = 0; j < BLOCK; j++) {
            const float *v = w->values + (size_t)j * w->width_v + c;

            for (int r = 0; r < n; r++)
                for (int i = 0; i < 2; i++)
                    sum[r][i] +=
                        w->scores[(size_t)(q + (uint32_t)r) * BLOCK + j] * vec_load(v + i * LANES);
        }
        for (int r = 0; r < n; r++)
            for (int i = 0; i < 2; i++)
                vec_store(w->sums + (size_t)(q + (uint32_t)r) * w->width_v + c +
                              (uint32_t)i * LANES,
                          sum[r][i]);
    }
}

/* A block, loaded, that begins at position first, against all queries. */
INLINE void attend_block(const struct args_attention *a, struct attention_work *w, uint32_t first,
                         const int at_once)
{
    for (uint32_t q = 0; q < w->n_padded; q += (uint32_t)at_once)
        score(a, w, q, at_once);
    for (uint32_t q = 0; q < w->n; q++)
        soften(a, w, q, first);
    for (uint32_t q = 0; q < w->n_padded; q += (uint32_t)at_once)
        mix(w, q, at_once);
}

/* Whether any of the queries looks at a position of the block. */
static bool is_seen(const struct args_attention *a, const struct attention_work *w, uint32_t first)
{
    uint32_t chosen = 0;

    for (uint32_t q = 0; q < w->n && !chosen; q++)
        chosen |= attention_chosen(a, w->row[q], first);
    return chosen != 0;
}

/* The queries gathered in w against the cache of their sequence. */
static void attend(const struct args_attention *a, const struct step_seq *seq, uint32_t g,
                   struct attention_work *w)
{
    uint32_t first = UINT32_MAX, last = 0, begin, end;

    for (uint32_t q = 0; q < w->n; q++) {
        begin = attention_first(w->position[q], a->window);
        first = begin < first ? begin : first;
        last = w->position[q] > last ? w->position[q] : last;
    }
    for (uint32_t b = first / BLOCK; b <= last / BLOCK; b++) {
        uint8_t *block = b < seq->n_blocks ? kv_block(&a->kv, seq, b * BLOCK) : NULL;

        if (b >= seq->n_blocks)
            break;
        if (!block || !is_seen(a, w, b * BLOCK))
            continue;
        begin = b == first / BLOCK ? first % BLOCK : 0;
        end = b == last / BLOCK ? last % BLOCK + 1 : BLOCK;
        load_keys(a, kv_keys(&a->kv, block, g), begin, end, w);
        load_values(a, kv_values(&a->kv, block, g), begin, end, w);
        if (w->n_padded == 1)
            attend_block(a, w, b * BLOCK, 1);
        else if (w->n_padded == 2)
            attend_block(a, w, b * BLOCK, 2);
        else
            attend_block(a, w, b * BLOCK, QUERIES_AT_ONCE);
    }
}

static void finish(const struct args_attention *a, struct attention_work *w, uint32_t q, float *out)
{
    for (uint32_t c = 0; c < a->kv.n_channels_v; c++)
        out[c] = w->total[q] > 0 ? w->sums[(size_t)q * w->width_v + c] / w->total[q] : 0;
}

/* Rows [t, end) of one sequence, query heads [head, head + heads) of key head g. */
static void attend_rows(const struct args_attention *a, uint32_t t, uint32_t end, uint32_t head,
                        uint32_t heads, uint32_t g, struct attention_work *w)
{
    const struct step_token *tokens = addr_ptr(a->tokens);
    const struct step_seq *seq = step_seq_of(a->step, a->seqs, &tokens[t]);
    const float *sinks = addr_ptr(a->sinks), *queries = addr_ptr(a->q);
    float *out = addr_ptr(a->out);

    w->n = (end - t) * heads;
    w->n_padded = w->n < 3 ? w->n : (w->n + 3) / 4 * 4;
    for (uint32_t q = 0; q < w->n_padded; q++) {
        uint32_t i = q < w->n ? q : w->n - 1; /* padding repeats the last query */
        uint32_t h = head + i % heads;
        size_t row = (size_t)(t + i / heads) * a->n_heads + h;

        w->queries[q] = queries + row * a->kv.n_channels_k;
        w->position[q] = tokens[t + i / heads].position;
        w->row[q] = t + i / heads;
        w->greatest[q] = sinks ? sinks[h] : -INFINITY;
        w->total[q] = sinks ? 1 : 0;
    }
    memset(w->sums, 0, (size_t)w->n_padded * w->width_v * sizeof(float));
    if (seq)
        attend(a, seq, g, w);
    for (uint32_t q = 0; q < w->n; q++) {
        size_t row = (size_t)(t + q / heads) * a->n_heads + head + q % heads;

        finish(a, w, q, out + row * a->kv.n_channels_v);
    }
}

static void lay_out(const struct args_attention *a, void *scratch, struct attention_work *w)
{
    uint32_t cv = a->kv.n_channels_v;

    w->width_v = (cv + 2 * LANES - 1) / (2 * LANES) * (2 * LANES);
    w->keys = scratch;
    w->values = w->keys + (size_t)a->kv.n_channels_k * BLOCK;
    w->scores = w->values + (size_t)BLOCK * w->width_v;
    w->sums = w->scores + (size_t)QUERIES_MAX * BLOCK;
    if (w->width_v != cv)
        memset(w->values, 0, (size_t)BLOCK * w->width_v * sizeof(float));
}

_Static_assert((2 * ATTENTION_CHANNELS_MAX * BLOCK + QUERIES_MAX * BLOCK +
                QUERIES_MAX * (ATTENTION_CHANNELS_MAX + 32)) *
                       sizeof(float) <=
                   CPU_SCRATCH_BYTES,
               "the widest heads must fit the scratch");

/* Item of tokens [t, end): sequences and head groups too large are cut. */
static void attend_tokens(const struct args_attention *a, uint32_t t, uint32_t end, uint32_t g,
                          struct attention_work *w)
{
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t group = a->n_heads / a->kv.n_kv_heads, run;

    for (; t < end; t += run) {
        for (run = 1; t + run < end && tokens[t + run].seq == tokens[t].seq; run++)
            ;
        for (uint32_t h = 0; h < group; h += QUERIES_MAX)
            attend_rows(a, t, t + run, g * group + h,
                        group - h < QUERIES_MAX ? group - h : QUERIES_MAX, g, w);
    }
}

void IN_LEVEL(attention)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_attention *a = &d->args.attention;
    uint32_t rows = step_rows(a->step, ROWS_TOKENS, d->max_rows), n = tokens_per_item(a);
    uint64_t units = (uint64_t)((rows + n - 1) / n) * a->kv.n_kv_heads, unit, end;
    struct attention_work w;

    if (a->n_splits > 1) {
        ref_run(d);
        return;
    }
    lay_out(a, scratch, &w);
    item_range(units, IN_LEVEL(attention_items)(d), item, &unit, &end);
    for (; unit < end; unit++) {
        uint32_t t = (uint32_t)(unit / a->kv.n_kv_heads) * n;

        attend_tokens(a, t, rows - t < n ? rows : t + n, (uint32_t)(unit % a->kv.n_kv_heads), &w);
    }
}
