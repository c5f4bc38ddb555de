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

/* Cosine and sine of every pair at a position; f32[n_rot / 2] each. powers: base^(-2j/n_rot). */
static void angles(const struct args_rope *a, uint32_t position, const double *powers,
                   float *cosines, float *sines)
{
    const float *factors = addr_ptr(a->factors);
    double range = fmax(0.001, (double)a->corr_high - a->corr_low);

    for (uint32_t j = 0; j < a->n_rot / 2; j++) {
        double extrapolated = position * powers[j] / (factors ? (double)factors[j] : 1);
        double ramp = 1 - fmin(1, fmax(0, (j - (double)a->corr_low) / range));
        double mix = ramp * a->ext_factor;
        double angle = extrapolated * a->freq_scale * (1 - mix) + extrapolated * mix;
        double sine, cosine;

        sincos(angle, &sine, &cosine);
        cosines[j] = (float)(cosine * a->attn_factor);
        sines[j] = (float)(sine * a->attn_factor);
    }
}

static void turn(const struct args_rope *a, float *x, const float *cosines, const float *sines)
{
    uint32_t half = a->n_rot / 2;

    if (a->style == ROPE_SPLIT) {
        for (uint32_t j = 0; j < half; j++) {
            float v0 = x[j], v1 = x[j + half];

            x[j] = v0 * cosines[j] - v1 * sines[j];
            x[j + half] = v0 * sines[j] + v1 * cosines[j];
        }
    } else {
        for (uint32_t j = 0; j < half; j++) {
            float v0 = x[2 * j], v1 = x[2 * j + 1];

            x[2 * j] = v0 * cosines[j] - v1 * sines[j];
            x[2 * j + 1] = v0 * sines[j] + v1 * cosines[j];
        }
    }
}

void IN_LEVEL(rope)(const struct dispatch *d, uint32_t item, void *scratch)
{
    const struct args_rope *a = &d->args.rope;
    const struct step_token *tokens = addr_ptr(a->tokens);
    uint32_t half = a->n_rot / 2;
    uint64_t t, end;
    double *powers = scratch;
    float *cosines = (float *)(powers + half), *sines = cosines + half;

    if ((size_t)half * 16 > CPU_SCRATCH_BYTES) { /* absurdly wide heads */
        if (item == 0)
            ref_run(d);
        return;
    }
    item_range(step_rows(a->step, ROWS_TOKENS, d->max_rows), IN_LEVEL(rope_items)(d), item, &t,
               &end);
    for (uint32_t j = 0; j < half; j++)
        powers[j] = exp2(-2.0 * j / a->n_rot * log2(a->base));
    for (; t < end; t++) {
        uint32_t p = tokens[t].position;
        float temperature = 1;

        angles(a, p, powers, cosines, sines);
        if (a->temp_scale > 0)
            temperature += a->temp_scale *
                           (float)log(floorf(((float)p + a->temp_offset) / a->temp_floor) + 1.0);
        for (uint32_t h = 0; h < a->n_heads; h++) {
            float *x = (float *)addr_ptr(a->x) + (t * a->n_heads + h) * a->n_channels;

            turn(a, x, cosines, sines);
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
