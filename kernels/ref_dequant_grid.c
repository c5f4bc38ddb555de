/* SPDX-License-Identifier: MIT */
/* Blocks of indices into grids of points (quants_grids.h). */
#include "kernels/quants.h"
#include "kernels/quants_grids.h"
#include "kernels/ref.h"
#include "kernels/ref_internal.h"

static uint32_t grid_point(const uint32_t *grid, uint32_t i)
{
    return grid[i / 2] >> (i % 2 * 16) & 0xffff;
}

const uint32_t *ref_grid(enum gguf_type type, size_t *ret_words)
{
#define LIST(name) (*ret_words = sizeof(name) / sizeof(*(name)), (name))
    switch (type) {
    case GGUF_TYPE_IQ2_XXS:
        return LIST(grid_iq2_xxs);
    case GGUF_TYPE_IQ2_XS:
        return LIST(grid_iq2_xs);
    case GGUF_TYPE_IQ2_S:
        return LIST(grid_iq2_s);
    case GGUF_TYPE_IQ3_XXS:
        return LIST(grid_iq3_xxs);
    case GGUF_TYPE_IQ3_S:
        return LIST(grid_iq3_s);
    case GGUF_TYPE_IQ1_S:
    case GGUF_TYPE_IQ1_M:
        return LIST(grid_iq1);
    default:
        *ret_words = 0;
        return NULL;
    }
#undef LIST
}

/* All eight signs of a sign code. */
static unsigned even_signs(unsigned code)
{
    code &= 127;
    return code | (unsigned)__builtin_parity(code) << 7;
}

/* A grid of points of eight values, 8, 25 or 43. */
static void write_point_iq2(uint32_t point, unsigned signs, float scale, float out[8])
{
    static const float values[4] = {8, 25, 43};

    for (int j = 0; j < 8; j++)
        out[j] = scale * values[point >> (2 * j) & 3] * (signs >> j & 1 ? -1.0f : 1.0f);
}

static void write_point_iq3(uint32_t point, const float values[8], unsigned signs, float scale,
                            float out[4])
{
    for (int j = 0; j < 4; j++)
        out[j] = scale * values[point >> (3 * j) & 7] * (signs >> j & 1 ? -1.0f : 1.0f);
}

static void write_point_iq1(uint32_t point, float delta, float scale, float out[8])
{
    for (int j = 0; j < 8; j++)
        out[j] = scale * ((float)(int)(point >> (2 * j) & 3) - 1.0f + delta);
}

static unsigned scale_nibble(const uint8_t *scales, int j)
{
    return scales[j / 2] >> (4 * (j % 2)) & 15;
}

void ref_dequant_iq2_xxs(const void *in, float *out)
{
    const struct block_iq2_xxs *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int sub = 0; sub < 8; sub++) {
        const uint16_t *qs = b->qs + sub * 4;
        uint32_t aux = qs[2] | (uint32_t)qs[3] << 16;
        float scale = d * (0.5f + (float)(aux >> 28)) * 0.25f;

        for (int j = 0; j < 4; j++)
            write_point_iq2(grid_point(grid_iq2_xxs, qs[j / 2] >> (8 * (j % 2)) & 255),
                            even_signs(aux >> (7 * j)), scale, out + sub * 32 + j * 8);
    }
}

void ref_dequant_iq2_xs(const void *in, float *out)
{
    const struct block_iq2_xs *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int j = 0; j < 32; j++)
        write_point_iq2(grid_point(grid_iq2_xs, b->qs[j] & 511), even_signs(b->qs[j] >> 9),
                        d * (0.5f + (float)scale_nibble(b->scales, j / 2)) * 0.25f, out + j * 8);
}

void ref_dequant_iq2_s(const void *in, float *out)
{
    const struct block_iq2_s *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int j = 0; j < 32; j++) {
        unsigned high = b->qh[j / 4] >> (j % 4 * 2) & 3;

        write_point_iq2(grid_point(grid_iq2_s, b->qs[j] | high << 8), b->signs[j],
                        d * (0.5f + (float)scale_nibble(b->scales, j / 2)) * 0.25f, out + j * 8);
    }
}

void ref_dequant_iq3_xxs(const void *in, float *out)
{
    static const float values[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    const struct block_iq3_xxs *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int j = 0; j < 64; j++) {
        int sub = j / 8;
        uint32_t aux = b->aux[2 * sub] | (uint32_t)b->aux[2 * sub + 1] << 16;
        unsigned signs = even_signs(aux >> (7 * (j / 2 % 4))) >> (4 * (j % 2));

        write_point_iq3(grid_point(grid_iq3_xxs, b->qs[j]), values, signs,
                        d * (0.5f + (float)(aux >> 28)) * 0.5f, out + j * 4);
    }
}

void ref_dequant_iq3_s(const void *in, float *out)
{
    static const float values[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    const struct block_iq3_s *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int j = 0; j < 64; j++) {
        unsigned high = b->qh[j / 8] >> (j % 8) & 1;

        write_point_iq3(grid_point(grid_iq3_s, b->qs[j] | high << 8), values,
                        b->signs[j / 2] >> (4 * (j % 2)),
                        d * (float)(1 + 2 * scale_nibble(b->scales, j / 8)), out + j * 4);
    }
}

void ref_dequant_iq1_s(const void *in, float *out)
{
    const struct block_iq1_s *b = in;
    float d = ref_f16_to_f32(b->d);

    for (int j = 0; j < 32; j++) {
        unsigned qh = b->qh[j / 4], high = qh >> (j % 4 * 3) & 7;

        write_point_iq1(grid_point(grid_iq1, b->qs[j] | high << 8), qh & 0x8000 ? -0.125f : 0.125f,
                        d * (float)(2 * (qh >> 12 & 7) + 1), out + j * 8);
    }
}

void ref_dequant_iq1_m(const void *in, float *out)
{
    const struct block_iq1_m *b = in;
    const uint16_t *s = b->scales;
    float d = ref_f16_to_f32(
        (uint16_t)(s[0] >> 12 | (s[1] >> 12) << 4 | (s[2] >> 12) << 8 | (s[3] >> 12) << 12));

    for (int j = 0; j < 32; j++) {
        unsigned high = b->qh[j / 2] >> (j % 2 * 4);
        unsigned scale = s[j / 8] >> (j / 2 % 4 * 3) & 7;

        write_point_iq1(grid_point(grid_iq1, b->qs[j] | (high & 7) << 8),
                        high & 8 ? -0.125f : 0.125f, d * (float)(2 * scale + 1), out + j * 8);
    }
}
