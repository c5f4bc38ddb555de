/* SPDX-License-Identifier: MIT */
/* Rotary embedding, and storing keys and values: both once per row and head. */
#include "device/cpu/level.h"
#include "device/cpu/vec.h"
#include "kernels/ref.h"

#include <math.h>

#define GRAIN_VALUES 8192u

uint32_t IN_LEVEL(rope_items)(const struct dispatch *d)
{
    const struct args_rope *a = &d->args.rope;
    uint32_t rows = step_rows(a->step, ROWS_TOKENS, d->max_rows);
    uint32_t n = items_for((uint64_t)rows * a->n_heads * a->n_channels, GRAIN_VALUES);

    return n < rows ? n : rows;
}

/* What an item keeps in its worker's scratch. Arrays end on whole vectors. */
struct rope_work {
    double *rates; /* f64[n_rot / 2]: radians per position */
    /* f32[n_rot]: by how much each channel counts, and by how much the other of its pair */
    float *own, *other;
};

static uint32_t padded(uint32_t n)
{
    return (n + LANES - 1) / LANES * LANES;
}

/* Of the pairs of channels: base^(-2j/n_rot), stretched as YaRN does (Peng et al. 2023, 3.4). */
static void fill_rates(const struct args_rope *a, double *rates)
{
    const float *factors = addr_ptr(a->factors);
    double range = fmax(0.001, (double)a->corr_high - a->corr_low), power = 1;
    double ratio = exp2(-2.0 / a->n_rot * log2(a->base));

    for (uint32_t j = 0; j < a->n_rot / 2; j++, power *= ratio) {
        double ramp = 1 - fmin(1, fmax(0, (j - (double)a->corr_low) / range));
        double mix = ramp * a->ext_factor;

        rates[j] = power / (factors ? (double)factors[j] : 1) * (a->freq_scale * (1 - mix) + mix);
    }
    for (uint32_t j = a->n_rot / 2; j < padded(a->n_rot / 2); j++)
        rates[j] = 0;
}

/* The angles' cosines and sines at a position, as turn() wants them. */
static void fill_angles(const struct args_rope *a, uint32_t position, struct rope_work *w)
{
    uint32_t half = a->n_rot / 2;
    float factor = a->attn_factor;

    for (uint32_t j = 0; j < half; j += DOUBLE_LANES) {
        float sines[DOUBLE_LANES], cosines[DOUBLE_LANES];

        vec_sincos(vec_load_f64(w->rates + j) * (double)position, sines, cosines);
        for (uint32_t i = 0; i < DOUBLE_LANES && j + i < half; i++) {
            uint32_t first = a->style == ROPE_SPLIT ? j + i : 2 * (j + i);
            uint32_t second = a->style == ROPE_SPLIT ? first + half : first + 1;

            w->own[first] = w->own[second] = cosines[i] * factor;
            w->other[first] = -sines[i] * factor;
            w->other[second] = sines[i] * factor;
        }
    }
}

/* x[i] = own[i] x[i] + other[i] x[i's pair], of a head's first n_rot channels. */
static void turn(const struct args_rope *a, float *x, const struct rope_work *w)
{
    uint32_t half = a->n_rot / 2, j = 0;

    if (a->style == ROPE_SPLIT) {
        for (; j + LANES <= half; j += LANES) {
            vf v0 = vec_load(x + j), v1 = vec_load(x + half + j);

            vec_store(x + j, v0 * vec_load(w->own + j) + v1 * vec_load(w->other + j));
            vec_store(x + half + j,
                      v1 * vec_load(w->own + half + j) + v0 * vec_load(w->other + half + j));
        }
        for (; j < half; j++) {
            float v0 = x[j], v1 = x[j + half];

            x[j] = v0 * w->own[j] + v1 * w->other[j];
            x[j + half] = v1 * w->own[j + half] + v0 * w->other[j + half];
        }
        return;
    }
    for (; j + LANES <= a->n_rot; j += LANES) {
        vf v = vec_load(x + j);

        vec_store(x + j, v * vec_load(w->own + j) + vec_swap_pairs(v) * vec_load(w->other + j));
    }
    for (; j < a->n_rot; j += 2) {
        float v0 = x[j], v1 = x[j + 1];

        x[j] = v0 * w->own[j] + v1 * w->other[j];
        x[j + 1] = v1 * w->own[j + 1] + v0 * w->other[j + 1];
    }
}

void IN_LEVEL(rope)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_rope *a = &d->args.rope;
    const struct step_token *tokens = addr_ptr(a->tokens);
    struct rope_work w = {.rates = scratch};
    uint64_t t, end;

    if ((size_t)padded(a->n_rot) * 16 > CPU_SCRATCH_BYTES) { /* absurdly wide heads */
        if (item == 0)
            ref_run(d);
        return;
    }
    w.own = (float *)(w.rates + padded(a->n_rot / 2));
    w.other = w.own + padded(a->n_rot);
    item_range(step_rows(a->step, ROWS_TOKENS, d->max_rows), IN_LEVEL(rope_items)(d), item, &t,
               &end);
    fill_rates(a, w.rates);
    for (; t < end; t++) {
        uint32_t p = tokens[t].position;
        float temperature = 1;

        fill_angles(a, p, &w);
        if (a->temp_scale > 0)
            temperature += a->temp_scale *
                           (float)log(floorf(((float)p + a->temp_offset) / a->temp_floor) + 1.0);
        for (uint32_t h = 0; h < a->n_heads; h++) {
            float *x = (float *)addr_ptr(a->x) + (t * a->n_heads + h) * a->n_channels;

            turn(a, x, &w);
            for (uint32_t c = 0; temperature != 1 && c < a->n_channels; c++)
                x[c] *= temperature;
        }
    }
}

uint32_t IN_LEVEL(kv_store_items)(const struct dispatch *d)
{
    const struct args_kv_store *a = &d->args.kv_store;
    uint32_t rows = step_rows(a->step, ROWS_TOKENS, d->max_rows);
    uint64_t channels = (uint64_t)a->kv.n_channels_k + a->kv.n_channels_v;
    uint32_t n = items_for(rows * channels * a->kv.n_kv_heads, GRAIN_VALUES);

    return n < rows ? n : rows;
}

static void store_f16(uint16_t *out, const float *in, uint32_t n)
{
    uint32_t i = 0;

#if defined(__AVX2__)
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i_u *)(void *)(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; i < n; i++)
        out[i] = ref_f32_to_f16(in[i]);
}

static void store_row(const struct kv_layer *kv, uint8_t *head, size_t slot, const float *in,
                      uint32_t n)
{
    if (kv->type == KV_F16)
        store_f16(kv_row_f16(head, slot, n), in, n);
    else
        ref_kv_store_row(kv, head, slot, in, n);
}

void IN_LEVEL(kv_store)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_kv_store *a = &d->args.kv_store;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t ck = a->kv.n_channels_k, cv = a->kv.n_channels_v;
    uint64_t t, end;

    item_range(step_rows(a->step, ROWS_TOKENS, d->max_rows), IN_LEVEL(kv_store_items)(d), item, &t,
               &end);
    for (; t < end; t++) {
        const struct step_seq *seq = step_seq_of(a->step, a->seqs, &tokens[t]);
        uint8_t *block = seq ? kv_block(&a->kv, seq, tokens[t].position) : NULL;
        size_t slot = tokens[t].position % KV_BLOCK_TOKENS;

        for (uint32_t g = 0; block && g < a->kv.n_kv_heads; g++) {
            size_t row = t * a->kv.n_kv_heads + g;

            store_row(&a->kv, kv_keys(&a->kv, block, g), slot,
                      (const float *)addr_ptr(a->k) + row * ck, ck);
            store_row(&a->kv, kv_values(&a->kv, block, g), slot,
                      (const float *)addr_ptr(a->v) + row * cv, cv);
        }
    }
}
