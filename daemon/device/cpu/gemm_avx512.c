/* SPDX-License-Identifier: MIT */
/*
 * Many rows of activations at once, AVX-512 VNNI. Sixteen rows of weights become a tile: their
 * integers as unsigned bytes with four columns of a row side by side, so that one vpdpbusd adds
 * four columns of an activation (broadcast) to all sixteen rows; scales turn into vectors over the
 * rows. A tile is unpacked once and serves every activation row.
 */
#include "device/cpu/gemm_sums_avx512.h"
#include "device/cpu/gemm_tile.h"
#include "device/cpu/level.h"
#include "device/cpu/product.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
/* Activation rows of one pass: with three vectors each they fill the registers. */
#define PASS_ROWS 8

INLINE __m512i broadcast_four(const void *p)
{
    int32_t v;

    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}

/* sum[r] += one tile of 256 columns against r rows. n_subs: 8 or 16 sub-blocks. */
INLINE void multiply_256(const struct tile_256 *t, const unsigned n_subs,
                         const struct act_q8_256 *const *x, uint32_t block, const unsigned n,
                         __m512 *sum)
{
    const unsigned quads = 64 / n_subs;
    __m512 f[PASS_ROWS];
    __m512i m[PASS_ROWS];

    for (unsigned r = 0; r < n; r++)
        f[r] = _mm512_setzero_ps();
    for (unsigned s = 0; s < n_subs; s++) {
        __m512 scale = _mm512_load_ps(t->scale[s]);
        __m512i dot[PASS_ROWS];

        for (unsigned r = 0; r < n; r++)
            dot[r] = _mm512_setzero_si512();
        for (unsigned k = s * quads; k < (s + 1) * quads; k++) {
            __m512i w = _mm512_load_si512(t->q[k]);

            for (unsigned r = 0; r < n; r++)
                dot[r] = _mm512_dpbusd_epi32(dot[r], w, broadcast_four(x[r][block].q + k * 4));
        }
        for (unsigned r = 0; r < n; r++)
            f[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]), scale, f[r]);
    }
    for (unsigned r = 0; r < n; r++)
        m[r] = _mm512_setzero_si512();
    for (unsigned p = 0; p < 8; p++) {
        __m512i w = _mm512_load_si512(t->min[p]);

        for (unsigned r = 0; r < n; r++)
            m[r] = _mm512_dpwssd_epi32(m[r], w, broadcast_four(&x[r][block].sums[p * 2]));
    }
    for (unsigned r = 0; r < n; r++) {
        f[r] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(m[r]), _mm512_load_ps(t->dmin), f[r]);
        sum[r] = _mm512_fmadd_ps(f[r], _mm512_set1_ps(x[r][block].scale), sum[r]);
    }
}

INLINE void multiply_32(const struct tile_32 *t, int offset, const struct act_q8_32 *const *x,
                        uint32_t block, const unsigned n, __m512 *sum)
{
    __m512 scale = _mm512_load_ps(t->scale);
    __m512i dot[PASS_ROWS];

    for (unsigned r = 0; r < n; r++)
        dot[r] = _mm512_set1_epi32(-offset * x[r][block].sum);
    for (unsigned k = 0; k < 8; k++) {
        __m512i w = _mm512_load_si512(t->q[k]);

        for (unsigned r = 0; r < n; r++)
            dot[r] = _mm512_dpbusd_epi32(dot[r], w, broadcast_four(x[r][block].q + k * 4));
    }
    for (unsigned r = 0; r < n; r++)
        sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]),
                                 _mm512_mul_ps(scale, _mm512_set1_ps(x[r][block].scale)), sum[r]);
}

/* A run of tiles, [block, block + n_tiles) of the columns, against n rows. */
struct pass {
    const struct tile_format *format;
    const void *tiles;
    uint32_t block, n_tiles;
    const void *x[PASS_ROWS];
};

INLINE void run_pass(const struct pass *p, const unsigned n, __m512 *sum)
{
    const struct tile_256 *t256 = p->tiles;
    const struct tile_32 *t32 = p->tiles;

    for (uint32_t i = 0; i < p->n_tiles; i++) {
        const void *const *x = p->x;

        if (p->format->columns == 32)
            multiply_32(&t32[i], p->format->offset, (const struct act_q8_32 *const *)x,
                        p->block + i, n, sum);
        else if (p->format->n_subs == 16)
            multiply_256(&t256[i], 16, (const struct act_q8_256 *const *)x, p->block + i, n, sum);
        else
            multiply_256(&t256[i], 8, (const struct act_q8_256 *const *)x, p->block + i, n, sum);
    }
}

/* Separate functions, so that each keeps its sums in registers. */
#define PASS(n)                                                                                    \
    static __attribute__((noinline)) void pass_##n(const struct pass *p, float(*out)[16])          \
    {                                                                                              \
        __m512 sum[PASS_ROWS];                                                                     \
                                                                                                   \
        for (int r = 0; r < n; r++)                                                                \
            sum[r] = _mm512_setzero_ps();                                                          \
        run_pass(p, n, sum);                                                                       \
        for (int r = 0; r < n; r++)                                                                \
            _mm512_store_ps(out[r], sum[r]);                                                       \
    }

PASS(1)
PASS(2)
PASS(3)
PASS(4)
PASS(5)
PASS(6)
PASS(7)
PASS(8)

static void run(const struct pass *p, unsigned n, float (*out)[16])
{
    static void (*const passes[PASS_ROWS])(const struct pass *, float(*)[16]) = {
        pass_1, pass_2, pass_3, pass_4, pass_5, pass_6, pass_7, pass_8};

    passes[n - 1](p, out);
}

/* All activation rows against the unpacked panel: groups of sixteen weight rows one after the other
 * while the activations of a pass are near. */
static void run_panel(const struct product *p, const struct tile_format *format,
                      const uint8_t *tiles, uint32_t block, uint32_t n_tiles, uint32_t first,
                      uint32_t n)
{
    _Alignas(64) float sums[PASS_ROWS][16];

    for (uint32_t r = 0; r < p->rows; r += PASS_ROWS) {
        unsigned n_pass = p->rows - r < PASS_ROWS ? p->rows - r : PASS_ROWS;

        for (uint32_t g = 0; g < n; g += 16) {
            struct pass pass = {
                format, tiles + g / 16 * n_tiles * format->tile_bytes, block, n_tiles, {0}};

            for (unsigned i = 0; i < n_pass; i++)
                pass.x[i] = product_x(p, r + i);
            run(&pass, n_pass, sums);
            gemm_add_sums(p, sums, r, n_pass, first + g, n - g < 16 ? n - g : 16, block == 0);
        }
    }
}

bool IN_LEVEL(gemm)(const struct product *p, uint32_t first, uint32_t n, void *scratch)
{
    const struct tile_format *format = tile_format_of(p->weight_type, p->activation);
    size_t row_bytes = gguf_type_row_bytes(p->weight_type, p->n_cols);
    uint32_t n_groups = (n + 15) / 16, n_blocks, panel;

    if (!format)
        return false;
    n_blocks = p->n_cols / format->columns;
    panel = (uint32_t)(CPU_SCRATCH_BYTES / 2 / format->tile_bytes / n_groups);
    if (!panel)
        return false;
    for (uint32_t b = 0; b < n_blocks; b += panel) {
        uint32_t n_tiles = n_blocks - b < panel ? n_blocks - b : panel;

        for (uint32_t g = 0; g < n; g += 16) {
            const uint8_t *rows16[16];

            for (uint32_t i = 0; i < 16; i++) { /* past the end the last row again */
                uint32_t row = first + (g + i < n ? g + i : n - 1);

                rows16[i] = p->weight + row * row_bytes;
            }
            format->unpack(rows16, b, n_tiles,
                           (uint8_t *)scratch + g / 16 * n_tiles * format->tile_bytes);
        }
        run_panel(p, format, scratch, b, n_tiles, first, n);
    }
    return true;
}
