/* SPDX-License-Identifier: MIT */
/*
 * Dot products of quantised weights with 8-bit activations in plain C, written so that compilers
 * make vectors of the inner loops: a block is first spread to 16-bit integers.
 */
#include "device/cpu/level.h"
#include "kernels/quants.h"
#include "kernels/ref.h"

#include <string.h>

/* A block of 256 as sub-blocks of 16: value = d * scale[j] * q - dmin * min[j]. */
struct spread {
    int16_t q[256];
    int16_t scale[16], min[16];
    float d, dmin;
};

static void spread_k4(const uint8_t *packed, const uint8_t *qs, const uint8_t *qh, uint16_t d,
                      uint16_t dmin, struct spread *s)
{
    uint8_t scales[8], mins[8];

    quants_k4_scales(packed, scales, mins);
    for (int j = 0; j < 16; j++) {
        s->scale[j] = scales[j / 2];
        s->min[j] = mins[j / 2];
    }
    for (int c = 0; c < 4; c++) {
        for (int i = 0; i < 32; i++) {
            s->q[c * 64 + i] = qs[c * 32 + i] & 15;
            s->q[c * 64 + 32 + i] = qs[c * 32 + i] >> 4;
        }
    }
    for (int j = 0; qh && j < 8; j++)
        for (int i = 0; i < 32; i++)
            s->q[j * 32 + i] = (int16_t)(s->q[j * 32 + i] | (qh[i] >> j & 1) << 4);
    s->d = ref_f16_to_f32(d);
    s->dmin = ref_f16_to_f32(dmin);
}

static void spread_q4_k(const void *block, struct spread *s)
{
    const struct block_q4_k *b = block;

    spread_k4(b->scales, b->qs, NULL, b->d, b->dmin, s);
}

static void spread_q5_k(const void *block, struct spread *s)
{
    const struct block_q5_k *b = block;

    spread_k4(b->scales, b->qs, b->qh, b->d, b->dmin, s);
}

static void spread_q6_k(const void *block, struct spread *s)
{
    const struct block_q6_k *b = block;

    for (int h = 0; h < 2; h++) {
        for (int i = 0; i < 32; i++) {
            uint8_t low0 = b->ql[h * 64 + i], low1 = b->ql[h * 64 + 32 + i];
            uint8_t high = b->qh[h * 32 + i];

            s->q[h * 128 + i] = (int16_t)(((low0 & 15) | (high & 3) << 4) - 32);
            s->q[h * 128 + 32 + i] = (int16_t)(((low1 & 15) | (high >> 2 & 3) << 4) - 32);
            s->q[h * 128 + 64 + i] = (int16_t)((low0 >> 4 | (high >> 4 & 3) << 4) - 32);
            s->q[h * 128 + 96 + i] = (int16_t)((low1 >> 4 | high >> 6 << 4) - 32);
        }
    }
    for (int j = 0; j < 16; j++) {
        s->scale[j] = b->scales[j];
        s->min[j] = 0;
    }
    s->d = ref_f16_to_f32(b->d);
    s->dmin = 0;
}

static inline __attribute__((always_inline)) void
dot_256(const void *w, const void *const *x, unsigned n, uint32_t n_cols, float *out,
        void (*spread)(const void *, struct spread *), size_t block_bytes)
{
    struct spread s;

    for (unsigned r = 0; r < n; r++)
        out[r] = 0;
    for (uint32_t b = 0; b < n_cols / 256; b++) {
        spread((const uint8_t *)w + b * block_bytes, &s);
        for (unsigned r = 0; r < n; r++) {
            const struct act_q8_256 *a = (const struct act_q8_256 *)x[r] + b;
            int32_t scaled = 0, minima = 0;

            for (int j = 0; j < 16; j++) {
                int32_t dot = 0;

                for (int i = 0; i < 16; i++)
                    dot += s.q[j * 16 + i] * (int16_t)a->q[j * 16 + i];
                scaled += s.scale[j] * dot;
                minima += s.min[j] * a->sums[j];
            }
            out[r] += a->scale * (s.d * (float)scaled - s.dmin * (float)minima);
        }
    }
}

static void dot_q4_k(const void *w, const void *const *x, unsigned n, uint32_t n_cols, float *out)
{
    dot_256(w, x, n, n_cols, out, spread_q4_k, sizeof(struct block_q4_k));
}

static void dot_q5_k(const void *w, const void *const *x, unsigned n, uint32_t n_cols, float *out)
{
    dot_256(w, x, n, n_cols, out, spread_q5_k, sizeof(struct block_q5_k));
}

static void dot_q6_k(const void *w, const void *const *x, unsigned n, uint32_t n_cols, float *out)
{
    dot_256(w, x, n, n_cols, out, spread_q6_k, sizeof(struct block_q6_k));
}

static void dot_q8_0(const void *w, const void *const *x, unsigned n, uint32_t n_cols, float *out)
{
    const struct block_q8_0 *b = w;

    for (unsigned r = 0; r < n; r++)
        out[r] = 0;
    for (uint32_t k = 0; k < n_cols / 32; k++) {
        float d = ref_f16_to_f32(b[k].d);

        for (unsigned r = 0; r < n; r++) {
            const struct act_q8_32 *a = (const struct act_q8_32 *)x[r] + k;
            int32_t dot = 0;

            for (int i = 0; i < 32; i++)
                dot += (int16_t)b[k].qs[i] * (int16_t)a->q[i];
            out[r] += d * a->scale * (float)dot;
        }
    }
}

static void dot_q4_0(const void *w, const void *const *x, unsigned n, uint32_t n_cols, float *out)
{
    const struct block_q4_0 *b = w;

    for (unsigned r = 0; r < n; r++)
        out[r] = 0;
    for (uint32_t k = 0; k < n_cols / 32; k++) {
        float d = ref_f16_to_f32(b[k].d);

        for (unsigned r = 0; r < n; r++) {
            const struct act_q8_32 *a = (const struct act_q8_32 *)x[r] + k;
            int32_t dot = 0;

            for (int i = 0; i < 16; i++)
                dot += (int16_t)(b[k].qs[i] & 15) * (int16_t)a->q[i] +
                       (int16_t)(b[k].qs[i] >> 4) * (int16_t)a->q[i + 16];
            out[r] += d * a->scale * (float)(dot - 8 * a->sum);
        }
    }
}

dot_fn *IN_LEVEL(dot_for)(enum gguf_type weight, enum activation_type activation)
{
    if (activation == ACT_Q8_32)
        return weight == GGUF_TYPE_Q8_0 ? dot_q8_0 : weight == GGUF_TYPE_Q4_0 ? dot_q4_0 : NULL;
    if (activation != ACT_Q8_256)
        return NULL;
    switch (weight) {
    case GGUF_TYPE_Q4_K:
        return dot_q4_k;
    case GGUF_TYPE_Q5_K:
        return dot_q5_k;
    case GGUF_TYPE_Q6_K:
        return dot_q6_k;
    default:
        return NULL;
    }
}
