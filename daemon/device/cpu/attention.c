/* SPDX-License-Identifier: MIT */
/*
 * Attention over the paged cache. An item is a run of query rows that share their keys: rows of
 * one sequence that follow one another, times the query heads of one key head. It walks the cache
 * block by block, a running softmax per query (Milakov & Gimelshein 2018).
 */
#include "device/cpu/attention_products.h"

#include <math.h>

/* Up to so many queries, copying a block's values costs more than it saves. */
#define FEW_QUERIES 8u

/* A score so far below the greatest has no weight: beside that one's 1 it is nothing, and exp of
 * less is denormal, which takes a CPU a hundred times as long. */
#define LEAST_SCORE -87.0f

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

/* What a query sees of a block of scores; the rest becomes -infinity. Returns the greatest of each
 * lane, and what was the greatest so far. */
static vf mask(const struct args_attention *a, const struct attention_work *w, uint32_t q,
               uint32_t first, float *s, vf greatest)
{
    uint32_t begin = attention_first(w->position[q], a->window);
    uint32_t n_hidden = begin > first ? begin - first : 0;
    uint32_t n_seen = w->position[q] < first ? 0 : w->position[q] - first + 1;
    uint32_t chosen = attention_chosen(a, w->row[q], first);

    if (a->softcap > 0)
        for (uint32_t c = 0; c < BLOCK; c++)
            s[c] = a->softcap * tanhf(s[c] / a->softcap);
    if (!n_hidden && n_seen >= BLOCK && chosen == UINT32_MAX) {
        for (uint32_t j = 0; j < BLOCK; j += LANES)
            greatest = vec_max(vec_load(s + j), greatest);
        return greatest;
    }
    for (uint32_t j = 0; j < BLOCK; j += LANES) {
        vu slot = vec_numbers() + j;
        vi is_seen = (slot >= n_hidden) & (slot < n_seen) & -(vi)(((vu){0} + chosen) >> slot & 1);
        vf x = vec_select(is_seen, vec_load(s + j), vec_set(-INFINITY));

        vec_store(s + j, x);
        greatest = vec_max(x, greatest);
    }
    return greatest;
}

/* Scores of one query with the span to weights; sums and total so far are rescaled to the new
 * greatest score. */
static void soften(const struct args_attention *a, struct attention_work *w, uint32_t q)
{
    float *s = w->scores + (size_t)q * SPAN, *sums = w->sums + (size_t)q * w->width_v, greatest;
    vf most = vec_set(w->greatest[q]), sum = {0};

    for (uint32_t i = 0; i < w->n_blocks; i++)
        most = mask(a, w, q, w->blocks[i].first, s + (size_t)i * BLOCK, most);
    greatest = vec_greatest(most);
    if (greatest == -INFINITY) { /* nothing seen yet */
        memset(s, 0, (size_t)w->n_blocks * BLOCK * sizeof(float));
        return;
    }
    for (uint32_t j = 0; j < w->n_blocks * BLOCK; j += LANES) {
        vf x = vec_load(s + j) - greatest;

        x = vec_select(x < LEAST_SCORE, (vf){0}, vec_exp(vec_max(vec_set(LEAST_SCORE), x)));
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

static void soften_all(const struct args_attention *a, struct attention_work *w)
{
    for (uint32_t q = 0; q < w->n; q++)
        soften(a, w, q);
}

/* Scores of a block: in one form for any number of queries, so that those of a row do not depend on
 * the rows beside it. */
INLINE void score(const struct args_attention *a, struct attention_work *w, uint32_t i,
                  const enum lanes form)
{
    const struct attention_block *b = &w->blocks[i];
    float *s = w->scores + (size_t)i * BLOCK;

    for (uint32_t q = 0; q < w->n_padded; q += FEW_AT_ONCE)
        if (w->n_padded == 1)
            score_few(a, w, b, q, s, 1, form);
        else if (w->n_padded == 2)
            score_few(a, w, b, q, s, 2, form);
        else
            score_few(a, w, b, q, s, FEW_AT_ONCE, form);
}

/* Few queries' weights with a block's values. */
INLINE void mix_of_few(const struct args_attention *a, struct attention_work *w, uint32_t i,
                       const enum lanes form)
{
    const struct attention_block *b = &w->blocks[i];
    float *s = w->scores + (size_t)i * BLOCK;

    for (uint32_t q = 0; q < w->n_padded; q += FEW_AT_ONCE)
        if (w->n_padded == 1)
            mix_few(a, w, b, q, s, 1, form);
        else if (w->n_padded == 2)
            mix_few(a, w, b, q, s, 2, form);
        else
            mix_few(a, w, b, q, s, FEW_AT_ONCE, form);
}

/* Many queries'. */
INLINE void mix_of_many(const struct args_attention *a, struct attention_work *w, uint32_t i,
                        const enum lanes form)
{
    uint32_t rest = w->n_padded / MANY_AT_ONCE * MANY_AT_ONCE;
    float *s = w->scores + (size_t)i * BLOCK;

    load_values(a, w, &w->blocks[i], form);
    for (uint32_t q = 0; q < rest; q += MANY_AT_ONCE)
        mix_many(w, &w->blocks[i], q, s, MANY_AT_ONCE);
    if (rest < w->n_padded)
        mix_many(w, &w->blocks[i], rest, s, MANY_AT_ONCE / 2);
}

INLINE void attend_blocks(const struct args_attention *a, struct attention_work *w,
                          const enum lanes form)
{
    for (uint32_t i = 0; i < w->n_blocks; i++)
        score(a, w, i, form);
    soften_all(a, w);
    for (uint32_t i = 0; i < w->n_blocks; i++)
        if (w->n <= FEW_QUERIES)
            mix_of_few(a, w, i, form);
        else
            mix_of_many(a, w, i, form);
}

/* The queries against the blocks of the span, which is empty then. */
static void attend_span(const struct args_attention *a, struct attention_work *w)
{
    if (a->kv.type == KV_Q8_0)
        attend_blocks(a, w, LANES_Q8_0);
    else
        attend_blocks(a, w, LANES_F16);
    w->n_blocks = 0;
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
    uint32_t first = UINT32_MAX, last = 0;

    for (uint32_t q = 0; q < w->n; q++) {
        uint32_t begin = attention_first(w->position[q], a->window);

        first = begin < first ? begin : first;
        last = w->position[q] > last ? w->position[q] : last;
    }
    w->n_blocks = 0;
    for (uint32_t b = first / BLOCK; b <= last / BLOCK && b < seq->n_blocks; b++) {
        uint8_t *block = kv_block(&a->kv, seq, b * BLOCK);

        /* spans begin at multiples of their length, whatever rows an item has */
        if (b % SPAN_BLOCKS == 0 && w->n_blocks)
            attend_span(a, w);
        if (!block || !is_seen(a, w, b * BLOCK))
            continue;
        w->blocks[w->n_blocks++] = (struct attention_block){
            .keys = kv_keys(&a->kv, block, g),
            .values = kv_values(&a->kv, block, g),
            .first = b * BLOCK,
            .begin = b == first / BLOCK ? first % BLOCK : 0,
            .end = b == last / BLOCK ? last % BLOCK + 1 : BLOCK,
        };
    }
    if (w->n_blocks)
        attend_span(a, w);
}

/* Sums of nothing seen are zeros. */
static void finish(const struct args_attention *a, struct attention_work *w, uint32_t q, float *out)
{
    const float *sums = w->sums + (size_t)q * w->width_v;
    vf total = vec_set(w->total[q] > 0 ? w->total[q] : 1);
    uint32_t n = a->kv.n_channels_v, c = 0;

    for (; c + LANES <= n; c += LANES)
        vec_store(out + c, vec_load(sums + c) / total);
    for (; c < n; c++)
        out[c] = sums[c] / total[0];
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
    w->values = scratch;
    w->scores = w->values + (size_t)BLOCK * w->width_v;
    w->sums = w->scores + (size_t)QUERIES_MAX * SPAN;
}

_Static_assert((ATTENTION_CHANNELS_MAX * BLOCK + QUERIES_MAX * SPAN +
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
