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

            for (uint32_t c = 0; c < ck; c++)
                kv_keys(&a->kv, block, g)[slot * ck + c] = ref_f32_to_f16(k[c]);
            for (uint32_t c = 0; c < cv; c++)
                kv_values(&a->kv, block, g)[slot * cv + c] = ref_f32_to_f16(v[c]);
        }
    }
}

static double attention_score(const struct args_attention *a, const float *q, const uint16_t *k)
{
    double score = 0;

    for (uint32_t c = 0; c < a->kv.n_channels_k; c++)
        score += (double)q[c] * ref_f16_to_f32(k[c]);
    score *= a->scale;
    return a->softcap > 0 ? a->softcap * tanh(score / a->softcap) : score;
}

/* One head of one row: a softmax that rescales what it has whenever a greater score comes
 * (Milakov & Gimelshein 2018). Positions without a cache block are left out; a row that sees no
 * position at all is zeros. */
static void attend(const struct args_attention *a, const struct step_seq *seq, uint32_t position,
                   uint32_t head, const float *q, float *out)
{
    const float *sinks = addr_ptr(a->sinks);
    uint32_t cv = a->kv.n_channels_v, g = head / (a->n_heads / a->kv.n_kv_heads);
    double greatest = sinks ? sinks[head] : -INFINITY, total = sinks ? 1 : 0;
    double sum[ATTENTION_CHANNELS_MAX] = {0};

    for (uint32_t j = attention_first(position, a->window); j <= position; j++) {
        uint8_t *block = kv_block(&a->kv, seq, j);
        size_t slot = j % KV_BLOCK_TOKENS;
        double score, weight, rescale;

        if (!block)
            continue;
        score = attention_score(a, q, kv_keys(&a->kv, block, g) + slot * a->kv.n_channels_k);
        rescale = score > greatest ? exp(greatest - score) : 1;
        greatest = fmax(greatest, score);
        weight = exp(score - greatest);
        total = total * rescale + weight;
        for (uint32_t c = 0; c < cv; c++) {
            float v = ref_f16_to_f32(kv_values(&a->kv, block, g)[slot * cv + c]);

            sum[c] = sum[c] * rescale + weight * v;
        }
    }
    for (uint32_t c = 0; c < cv; c++)
        out[c] = total > 0 ? (float)(sum[c] / total) : 0;
}

void ref_attention(const struct dispatch *d)
{
    const struct args_attention *a = &d->args.attention;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t n_tokens = step_rows(a->step, ROWS_TOKENS, d->max_rows);

    for (uint32_t t = 0; t < n_tokens; t++) {
        const struct step_seq *seq = step_seq_of(a->step, a->seqs, &tokens[t]);
        const struct step_seq none = {0};

        for (uint32_t h = 0; h < a->n_heads; h++) {
            size_t row = (size_t)t * a->n_heads + h;
            const float *q = (const float *)addr_ptr(a->q) + row * a->kv.n_channels_k;
            float *out = (float *)addr_ptr(a->out) + row * a->kv.n_channels_v;

            attend(a, seq ? seq : &none, tokens[t].position, h, q, out);
        }
    }
}
