/* SPDX-License-Identifier: MIT */
#include "kernels/ref_internal.h"

#include <math.h>

/* Angle by which pair j of a row at `position` turns; see args_rope. */
static double rope_angle(const struct args_rope *a, uint32_t position, uint32_t j)
{
    const float *factors = addr_ptr(a->factors);
    double extrapolated = position * pow(a->base, -2.0 * j / a->n_rot);
    double range = fmax(0.001, (double)a->corr_high - a->corr_low);
    double ramp = 1 - fmin(1, fmax(0, (j - (double)a->corr_low) / range));
    double mix = ramp * a->ext_factor;

    if (factors)
        extrapolated /= factors[j];
    return extrapolated * a->freq_scale * (1 - mix) + extrapolated * mix;
}

void ref_rope(const struct dispatch *d)
{
    const struct args_rope *a = &d->args.rope;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t n_tokens = step_rows(a->step, ROWS_TOKENS, d->max_rows);
    uint32_t half = a->n_rot / 2;

    for (uint32_t t = 0; t < n_tokens; t++) {
        uint32_t p = tokens[t].position;
        double temperature = 1;

        if (a->temp_scale > 0) {
            float step = floorf(((float)p + a->temp_offset) / a->temp_floor);

            temperature += a->temp_scale * log(step + 1.0);
        }
        for (uint32_t h = 0; h < a->n_heads; h++) {
            float *x = (float *)addr_ptr(a->x) + ((size_t)t * a->n_heads + h) * a->n_channels;

            for (uint32_t j = 0; j < half; j++) {
                double angle = rope_angle(a, p, j);
                double cosine = cos(angle) * a->attn_factor, sine = sin(angle) * a->attn_factor;
                float *x0 = a->style == ROPE_SPLIT ? x + j : x + (size_t)2 * j;
                float *x1 = a->style == ROPE_SPLIT ? x0 + half : x0 + 1;
                double v0 = *x0, v1 = *x1;

                *x0 = (float)(v0 * cosine - v1 * sine);
                *x1 = (float)(v0 * sine + v1 * cosine);
            }
            for (uint32_t c = 0; c < a->n_channels; c++)
                x[c] = (float)(x[c] * temperature);
        }
    }
}

void ref_kv_store_row(const struct kv_layer *kv, uint8_t *head, size_t slot, const float *x,
                      uint32_t n)
{
    if (kv->type == KV_Q8_0) {
        for (uint32_t c = 0; c < n; c += KV_RUN) {
            float scale = ref_quantize_block(x + c, kv_row_q8(head, slot, n) + c, KV_RUN);

            kv_row_scales(head, slot, n)[c / KV_RUN] = ref_f32_to_f16(scale);
        }
        return;
    }
    for (uint32_t c = 0; c < n; c++)
        kv_row_f16(head, slot, n)[c] = ref_f32_to_f16(x[c]);
}

void ref_kv_load_row(const struct kv_layer *kv, uint8_t *head, size_t slot, float *x, uint32_t n)
{
    for (uint32_t c = 0; c < n; c++)
        x[c] = kv->type == KV_Q8_0 ? ref_f16_to_f32(kv_row_scales(head, slot, n)[c / KV_RUN]) *
                                         kv_row_q8(head, slot, n)[c]
                                   : ref_f16_to_f32(kv_row_f16(head, slot, n)[c]);
}

/* A row whose sequence or block does not exist is not stored. */
void ref_kv_store(const struct dispatch *d)
{
    const struct args_kv_store *a = &d->args.kv_store;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t n_tokens = step_rows(a->step, ROWS_TOKENS, d->max_rows);
    uint32_t ck = a->kv.n_channels_k, cv = a->kv.n_channels_v;

    for (uint32_t t = 0; t < n_tokens; t++) {
        const struct step_seq *seq = step_seq_of(a->step, a->seqs, &tokens[t]);
        uint8_t *block = seq ? kv_block(&a->kv, seq, tokens[t].position) : NULL;
        size_t slot = tokens[t].position % KV_BLOCK_TOKENS;

        for (uint32_t g = 0; block && g < a->kv.n_kv_heads; g++) {
            size_t row = (size_t)t * a->kv.n_kv_heads + g;
            const float *k = (const float *)addr_ptr(a->k) + row * ck;
            const float *v = (const float *)addr_ptr(a->v) + row * cv;

            ref_kv_store_row(&a->kv, kv_keys(&a->kv, block, g), slot, k, ck);
            ref_kv_store_row(&a->kv, kv_values(&a->kv, block, g), slot, v, cv);
        }
    }
}

static double attention_score(const struct args_attention *a, const float *q, const float *k)
{
    double score = 0;

    for (uint32_t c = 0; c < a->kv.n_channels_k; c++)
        score += (double)q[c] * (double)k[c];
    score *= a->scale;
    return a->softcap > 0 ? a->softcap * tanh(score / a->softcap) : score;
}

/* A softmax over some positions that rescales what it has whenever a greater score comes (Milakov &
 * Gimelshein 2018). Scores are in units of ln 2. */
struct softmax {
    double greatest, total;
    double sum[ATTENTION_CHANNELS_MAX]; /* of weight * value */
};

static void add(struct softmax *s, double score, double total, const float *values, uint32_t n)
{
    double rescale = score > s->greatest ? exp2(s->greatest - score) : 1, weight;

    s->greatest = fmax(s->greatest, score);
    weight = exp2(score - s->greatest);
    s->total = s->total * rescale + weight * total;
    for (uint32_t c = 0; c < n; c++)
        s->sum[c] = s->sum[c] * rescale + weight * (double)values[c];
}

/* Positions [first, end) of one head of row t. Those without a cache block are left out. */
static void attend(const struct args_attention *a, const struct step_seq *seq, uint32_t t,
                   uint32_t first, uint32_t end, uint32_t head, struct softmax *s)
{
    const float *q =
        (const float *)addr_ptr(a->q) + ((size_t)t * a->n_heads + head) * a->kv.n_channels_k;
    uint32_t cv = a->kv.n_channels_v, g = head / (a->n_heads / a->kv.n_kv_heads);
    float keys[ATTENTION_CHANNELS_MAX], values[ATTENTION_CHANNELS_MAX];

    for (uint32_t j = first; j < end; j++) {
        uint8_t *block = kv_block(&a->kv, seq, j);
        size_t slot = j % KV_BLOCK_TOKENS;
        double score;

        if (!block || !(attention_chosen(a, t, j) >> slot & 1))
            continue;
        ref_kv_load_row(&a->kv, kv_keys(&a->kv, block, g), slot, keys, a->kv.n_channels_k);
        score = attention_score(a, q, keys);
        ref_kv_load_row(&a->kv, kv_values(&a->kv, block, g), slot, values, cv);
        add(s, score * M_LOG2E, 1, values, cv);
    }
}

static void start(struct softmax *s)
{
    *s = (struct softmax){.greatest = (double)ATTENTION_NEVER};
}

static void start_with_sink(struct softmax *s, const float *sinks, uint32_t head)
{
    start(s);
    if (sinks) {
        s->greatest = sinks[head] * M_LOG2E;
        s->total = 1;
    }
}

/* A softmax that has seen nothing is zeros. */
static void write_result(const struct softmax *s, uint32_t cv, float *out)
{
    for (uint32_t c = 0; c < cv; c++)
        out[c] = s->total > 0 ? (float)(s->sum[c] / s->total) : 0;
}

/* Total and sums are those of the greatest score as it was rounded. */
static void write_part(const struct softmax *s, uint32_t cv, float *part)
{
    float greatest = (float)s->greatest;
    double rescale = exp2(s->greatest - (double)greatest);

    part[0] = greatest;
    part[1] = (float)(s->total * rescale);
    for (uint32_t c = 0; c < cv; c++)
        part[2 + c] = (float)(s->sum[c] * rescale);
}

/* Head `head` of row t, in ranges; parts: those of the head. */
static void attend_ranges(const struct args_attention *a, const struct step_seq *seq, uint32_t t,
                          uint32_t head, float *parts)
{
    uint32_t position = ((const struct step_token *)addr_ptr(a->tokens))[t].position;
    uint32_t first = attention_first(position, a->window);
    uint32_t width = attention_split_blocks(position, a->window, a->n_splits) * KV_BLOCK_TOKENS;
    struct softmax s;

    for (uint32_t i = 0; i < attention_n_ranges(position, a->window, a->n_splits); i++) {
        uint64_t end = (uint64_t)first / KV_BLOCK_TOKENS * KV_BLOCK_TOKENS + (i + 1ull) * width;
        uint32_t begin = i ? (uint32_t)(end - width) : first;

        start(&s);
        attend(a, seq, t, begin, end > position ? position + 1 : (uint32_t)end, head, &s);
        write_part(&s, a->kv.n_channels_v, parts + (size_t)i * (2 + a->kv.n_channels_v));
    }
}

void ref_attention(const struct dispatch *d)
{
    const struct args_attention *a = &d->args.attention;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t n_tokens = step_rows(a->step, ROWS_TOKENS, d->max_rows), cv = a->kv.n_channels_v;
    struct softmax s;

    for (uint32_t t = 0; t < n_tokens; t++) {
        const struct step_seq *seq = step_seq_of(a->step, a->seqs, &tokens[t]);
        const struct step_seq none = {0};
        uint32_t position = tokens[t].position;

        for (uint32_t h = 0; h < a->n_heads; h++) {
            size_t row = (size_t)t * a->n_heads + h;
            float *out = addr_ptr(a->out);

            if (a->n_splits > 1) {
                attend_ranges(a, seq ? seq : &none, t, h, out + row * a->n_splits * (2 + cv));
                continue;
            }
            start_with_sink(&s, addr_ptr(a->sinks), h);
            attend(a, seq ? seq : &none, t, attention_first(position, a->window), position + 1, h,
                   &s);
            write_result(&s, cv, out + row * cv);
        }
    }
}

void ref_attention_combine(const struct dispatch *d)
{
    const struct args_attention_combine *a = &d->args.attention_combine;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t n_tokens = step_rows(a->step, ROWS_TOKENS, d->max_rows), cv = a->n_channels_v;
    struct softmax s;

    for (uint32_t t = 0; t < n_tokens; t++) {
        uint32_t n = attention_n_ranges(tokens[t].position, a->window, a->n_splits);

        for (uint32_t h = 0; h < a->n_heads; h++) {
            size_t row = (size_t)t * a->n_heads + h;
            const float *part = (const float *)addr_ptr(a->parts) + row * a->n_splits * (2 + cv);

            start_with_sink(&s, addr_ptr(a->sinks), h);
            for (uint32_t i = 0; i < n; i++, part += 2 + cv)
                add(&s, (double)part[0], (double)part[1], part + 2, cv);
            write_result(&s, cv, (float *)addr_ptr(a->out) + row * cv);
        }
    }
}
