/* SPDX-License-Identifier: MIT */
#include "kernels/quants.h"
#include "kernels/ref.h"
#include "kernels/ref_internal.h"

#include <math.h>
#include <string.h>

/* One block at `in`, as many values as the type's block holds to `out`. */
typedef void dequant_fn(const void *in, float *out);

static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
/* twice the value of a four-bit float (sign, two bits exponent, one bit mantissa) */
static const int8_t e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* Element i of a 32-value block that keeps its first half in the low nibbles. */
static int nibble(const uint8_t *qs, int i)
{
    return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
}

static int high_bit(const uint8_t qh[4], int i)
{
    return qh[i / 8] >> (i % 8) & 1;
}

static void dequant_f32(const void *in, float *out)
{
    memcpy(out, in, sizeof(float));
}

static void dequant_f16(const void *in, float *out)
{
    *out = ref_f16_to_f32(*(const uint16_t *)in);
}

static void dequant_bf16(const void *in, float *out)
{
    *out = ref_bf16_to_f32(*(const uint16_t *)in);
}

static void dequant_q4_0(const void *in, float *out)
{
    const struct block_q4_0 *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(nibble(b->qs, i) - 8);
}

static void dequant_q4_1(const void *in, float *out)
{
    const struct block_q4_1 *b = in;
    float d = ref_f16_to_f32(b->d), m = ref_f16_to_f32(b->m);

    for (int i = 0; i < 32; i++)
        out[i] = d * (float)nibble(b->qs, i) + m;
}

static void dequant_q5_0(const void *in, float *out)
{
    const struct block_q5_0 *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int i = 0; i < 32; i++)
        out[i] = d * (float)((nibble(b->qs, i) | high_bit(b->qh, i) << 4) - 16);
}

static void dequant_q5_1(const void *in, float *out)
{
    const struct block_q5_1 *b = in;
    float d = ref_f16_to_f32(b->d), m = ref_f16_to_f32(b->m);

    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(nibble(b->qs, i) | high_bit(b->qh, i) << 4) + m;
}

static void dequant_q8_0(const void *in, float *out)
{
    const struct block_q8_0 *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int i = 0; i < 32; i++)
        out[i] = d * (float)b->qs[i];
}

static int two_bits(const uint8_t qs[64], int i)
{
    return qs[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4)) & 3;
}

static void dequant_q2_k(const void *in, float *out)
{
    const struct block_q2_k *b = in;
    float d = ref_f16_to_f32(b->d), dmin = ref_f16_to_f32(b->dmin);

    for (int i = 0; i < 256; i++) {
        uint8_t s = b->scales[i / 16];
        float scale = d * (float)(s & 15), min = dmin * (float)(s >> 4);

        out[i] = scale * (float)two_bits(b->qs, i) - min;
    }
}

static void dequant_q3_k(const void *in, float *out)
{
    const struct block_q3_k *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int i = 0; i < 256; i++) {
        float scale = d * (float)(quants_q3_k_scale(b->scales, i / 16) - 32);
        int high = b->hmask[i % 32] >> (i / 32) & 1;

        out[i] = scale * (float)(two_bits(b->qs, i) - (high ? 0 : 4));
    }
}

static void dequant_q4_k(const void *in, float *out)
{
    const struct block_q4_k *b = in;
    float d = ref_f16_to_f32(b->d), dmin = ref_f16_to_f32(b->dmin);
    uint8_t scales[8], mins[8];

    quants_k4_scales(b->scales, scales, mins);
    for (int i = 0; i < 256; i++) {
        int sub = i / 32;
        uint8_t byte = b->qs[i / 64 * 32 + i % 32];
        int q = sub % 2 ? byte >> 4 : byte & 15;

        out[i] = d * (float)scales[sub] * (float)q - dmin * (float)mins[sub];
    }
}

static void dequant_q5_k(const void *in, float *out)
{
    const struct block_q5_k *b = in;
    float d = ref_f16_to_f32(b->d), dmin = ref_f16_to_f32(b->dmin);
    uint8_t scales[8], mins[8];

    quants_k4_scales(b->scales, scales, mins);
    for (int i = 0; i < 256; i++) {
        int sub = i / 32;
        uint8_t byte = b->qs[i / 64 * 32 + i % 32];
        int q = (sub % 2 ? byte >> 4 : byte & 15) | (b->qh[i % 32] >> sub & 1) << 4;

        out[i] = d * (float)scales[sub] * (float)q - dmin * (float)mins[sub];
    }
}

static void dequant_q6_k(const void *in, float *out)
{
    const struct block_q6_k *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int i = 0; i < 256; i++) {
        uint8_t low = b->ql[i / 128 * 64 + i % 64];
        uint8_t high = b->qh[i / 128 * 32 + i % 32];
        int q = (i % 128 < 64 ? low & 15 : low >> 4) | (high >> (2 * (i / 32 % 4)) & 3) << 4;

        out[i] = d * (float)b->scales[i / 16] * (float)(q - 32);
    }
}

static void dequant_iq4_nl(const void *in, float *out)
{
    const struct block_iq4_nl *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int i = 0; i < 32; i++)
        out[i] = d * (float)iq4_values[nibble(b->qs, i)];
}

static void dequant_iq4_xs(const void *in, float *out)
{
    const struct block_iq4_xs *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int sub = 0; sub < 8; sub++) {
        int low = b->scales_l[sub / 2] >> (4 * (sub % 2)) & 15;
        int high = b->scales_h >> (2 * sub) & 3;
        float scale = d * (float)((low | high << 4) - 32);

        for (int i = 0; i < 32; i++)
            out[sub * 32 + i] = scale * (float)iq4_values[nibble(b->qs + sub * 16, i)];
    }
}

static void dequant_mxfp4(const void *in, float *out)
{
    const struct block_mxfp4 *b = in;
    float half_scale = ldexpf(1.0f, (int)b->e - 128);

    for (int i = 0; i < 32; i++)
        out[i] = half_scale * (float)e2m1_doubled[nibble(b->qs, i)];
}

static float ue4m3(uint8_t bits)
{
    int exponent = bits >> 3 & 15, mantissa = bits & 7;

    if ((bits & 127) == 127)
        return 0;
    return exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
}

static void dequant_nvfp4(const void *in, float *out)
{
    const struct block_nvfp4 *b = in;

    for (int i = 0; i < 64; i++) {
        uint8_t byte = b->qs[i / 16 * 8 + i % 8];
        int q = i % 16 < 8 ? byte & 15 : byte >> 4;

        out[i] = ue4m3(b->d[i / 16]) * 0.5f * (float)e2m1_doubled[q];
    }
}

static void dequant_tq1_0(const void *in, float *out)
{
    const struct block_tq1_0 *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int i = 0; i < 256; i++) {
        int digit = i < 160   ? quants_tq1_digit(b->qs[i % 32], i / 32)
                    : i < 240 ? quants_tq1_digit(b->qs[32 + i % 16], (i - 160) / 16)
                              : quants_tq1_digit(b->qh[i % 4], (i - 240) / 4);

        out[i] = d * (float)(digit - 1);
    }
}

static void dequant_tq2_0(const void *in, float *out)
{
    const struct block_tq2_0 *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int i = 0; i < 256; i++)
        out[i] = d * (float)(two_bits(b->qs, i) - 1);
}

static dequant_fn *const dequant_table[GGUF_TYPE_LIMIT] = {
    [GGUF_TYPE_F32] = dequant_f32,
    [GGUF_TYPE_F16] = dequant_f16,
    [GGUF_TYPE_BF16] = dequant_bf16,
    [GGUF_TYPE_Q4_0] = dequant_q4_0,
    [GGUF_TYPE_Q4_1] = dequant_q4_1,
    [GGUF_TYPE_Q5_0] = dequant_q5_0,
    [GGUF_TYPE_Q5_1] = dequant_q5_1,
    [GGUF_TYPE_Q8_0] = dequant_q8_0,
    [GGUF_TYPE_Q2_K] = dequant_q2_k,
    [GGUF_TYPE_Q3_K] = dequant_q3_k,
    [GGUF_TYPE_Q4_K] = dequant_q4_k,
    [GGUF_TYPE_Q5_K] = dequant_q5_k,
    [GGUF_TYPE_Q6_K] = dequant_q6_k,
    [GGUF_TYPE_IQ4_NL] = dequant_iq4_nl,
    [GGUF_TYPE_IQ4_XS] = dequant_iq4_xs,
    [GGUF_TYPE_MXFP4] = dequant_mxfp4,
    [GGUF_TYPE_IQ2_XXS] = ref_dequant_iq2_xxs,
    [GGUF_TYPE_IQ2_XS] = ref_dequant_iq2_xs,
    [GGUF_TYPE_IQ2_S] = ref_dequant_iq2_s,
    [GGUF_TYPE_IQ3_XXS] = ref_dequant_iq3_xxs,
    [GGUF_TYPE_IQ3_S] = ref_dequant_iq3_s,
    [GGUF_TYPE_IQ1_S] = ref_dequant_iq1_s,
    [GGUF_TYPE_IQ1_M] = ref_dequant_iq1_m,
    [GGUF_TYPE_TQ1_0] = dequant_tq1_0,
    [GGUF_TYPE_TQ2_0] = dequant_tq2_0,
    [GGUF_TYPE_NVFP4] = dequant_nvfp4,
};

void ref_dequantize(enum gguf_type type, const void *blocks, float *out, size_t n)
{
    const struct gguf_type_info *info = gguf_type_get_info(type);
    const uint8_t *in = blocks;

    for (size_t i = 0; i < n; i += info->block_elements, in += info->block_bytes)
        dequant_table[type](in, out + i);
}
