/* SPDX-License-Identifier: MIT */
/*
 * Many rows of float activations at once, AMX: its products are of bf16, so each number becomes a
 * sum of those, by cutting bits off: a weight two (F16 has 11 bits, bf16 8) or one (BF16), an
 * activation three (24 bits). Nothing of them is lost, and of their products only what is less than
 * 2^-22 of the whole, so the sums are as good as those of f32. What is not finite gives sums that
 * are not.
 *
 * A block is 32 columns; pair i of it is columns i and i + 16, of weights and activations alike.
 */
#include "device/cpu/gemm_sums_avx512.h"
#include "device/cpu/level.h"
#include "device/cpu/product.h"
#include "device/cpu/transpose_avx512.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    COLUMNS = 32, /* of a block */
    ROWS = 16,    /* of a tile, in each direction */
    GROUPS = 4,   /* of weight rows whose sums are made at once, a tile for each */
    STRIP = GROUPS * ROWS,
    X_PARTS = 3,
    W_PARTS = 2,
    PANEL = GEMM_FLOAT_VALUES / STRIP / COLUMNS /* blocks of all strips at a time */
};
_Static_assert(GEMM_FLOAT_ROWS == STRIP, "an item is made of whole strips");

typedef uint32_t tile[ROWS][ROWS]; /* of pairs */

/* In the worker's scratch. */
struct panel {
    /* strip after strip, all blocks of each: [weight row][pair] */
    _Alignas(64) tile w[PANEL][W_PARTS][GROUPS];
    tile x[PANEL][X_PARTS];         /* [pair][row] */
    float sums[GROUPS][ROWS][ROWS]; /* [weight row][row] */
};
_Static_assert(sizeof(struct panel) <= CPU_SCRATCH_BYTES, "a panel must fit the scratch");

/* Columns i and i + 16 of a row, each as f32. */
struct columns {
    __m512 low, high;
};

/* The leading bf16 of each, as pairs; what is left of it stays. */
INLINE __m512i cut_part(struct columns *c)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    __m512i low = _mm512_and_si512(_mm512_castps_si512(c->low), upper);
    __m512i high = _mm512_and_si512(_mm512_castps_si512(c->high), upper);

    c->low = _mm512_sub_ps(c->low, _mm512_castsi512_ps(low));
    c->high = _mm512_sub_ps(c->high, _mm512_castsi512_ps(high));
    return _mm512_or_si512(_mm512_srli_epi32(low, 16), high);
}

/* Columns from k on of which n are there, at most COLUMNS; the others are zeros. */
INLINE __mmask32 present(uint32_t n)
{
    return n >= COLUMNS ? UINT32_MAX : (1u << n) - 1;
}

INLINE struct columns load_f16(const uint16_t *w, __mmask32 mask)
{
    __m512i v = _mm512_maskz_loadu_epi16(mask, w);

    return (struct columns){_mm512_cvtph_ps(_mm512_castsi512_si256(v)),
                            _mm512_cvtph_ps(_mm512_extracti64x4_epi64(v, 1))};
}

INLINE __m512i load_bf16(const uint16_t *w, __mmask32 mask)
{
    __m512i v = _mm512_maskz_loadu_epi16(mask, w);
    __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(v));
    __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(v, 1));

    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/* Columns [k, k + n) of the strip of weight rows [first, first + n_rows); past the end the last row
 * again. */
static void load_weights(const struct product *p, uint32_t first, uint32_t n_rows, uint32_t k,
                         uint32_t n, tile (*strip)[W_PARTS][GROUPS])
{
    const uint16_t *w = (const uint16_t *)(const void *)p->weight + (size_t)first * p->n_cols + k;

    for (uint32_t c = 0; c < n; c += COLUMNS, strip++, w += COLUMNS) {
        __mmask32 mask = present(n - c);

        for (uint32_t i = 0; i < STRIP; i++) {
            const uint16_t *row = w + (size_t)(i < n_rows ? i : n_rows - 1) * p->n_cols;
            struct columns v;

            if (p->weight_type == GGUF_TYPE_BF16) {
                _mm512_store_si512(strip[0][0][i / ROWS][i % ROWS], load_bf16(row, mask));
                continue;
            }
            v = load_f16(row, mask);
            for (int part = 0; part < W_PARTS; part++)
                _mm512_store_si512(strip[0][part][i / ROWS][i % ROWS], cut_part(&v));
        }
    }
}

/* Columns [k, k + n) of n_rows rows of activations from r0 on; rows past the end are zeros. */
static void load_activations(const struct product *p, uint32_t r0, uint32_t n_rows, uint32_t k,
                             uint32_t n, struct panel *panel)
{
    for (uint32_t c = 0; c < n; c += COLUMNS) {
        __mmask32 mask = present(n - c);
        __m512i parts[X_PARTS][ROWS] = {0};

        for (uint32_t i = 0; i < n_rows; i++) {
            const float *x = (const float *)product_x(p, r0 + i) + k + c;
            struct columns v = {_mm512_maskz_loadu_ps((__mmask16)mask, x),
                                _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), x + 16)};

            for (int part = 0; part < X_PARTS; part++)
                parts[part][i] = cut_part(&v);
        }
        for (int part = 0; part < X_PARTS; part++) {
            transpose(parts[part]);
            memcpy(panel->x[c / COLUMNS][part], parts[part], sizeof(tile));
        }
    }
}

/* Tile `sum` += group g of a block: tiles 4 to 6 hold the activations' parts. */
#define ADD_GROUP(sum, g)                                                                          \
    do {                                                                                           \
        _tile_loadd(7, w[0][g], 64);                                                               \
        _tile_dpbf16ps(sum, 7, 4);                                                                 \
        _tile_dpbf16ps(sum, 7, 5);                                                                 \
        _tile_dpbf16ps(sum, 7, 6);                                                                 \
        if (has_two_parts) {                                                                       \
            _tile_loadd(7, w[1][g], 64);                                                           \
            _tile_dpbf16ps(sum, 7, 4);                                                             \
            _tile_dpbf16ps(sum, 7, 5);                                                             \
        }                                                                                          \
    } while (0)

INLINE void multiply_strip(struct panel *panel, const tile (*strip)[W_PARTS][GROUPS],
                           uint32_t n_blocks, const bool has_two_parts)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (uint32_t b = 0; b < n_blocks; b++) {
        const tile(*w)[GROUPS] = strip[b];

        _tile_loadd(4, panel->x[b][0], 64);
        _tile_loadd(5, panel->x[b][1], 64);
        _tile_loadd(6, panel->x[b][2], 64);
        ADD_GROUP(0, 0);
        ADD_GROUP(1, 1);
        ADD_GROUP(2, 2);
        ADD_GROUP(3, 3);
    }
    _tile_stored(0, panel->sums[0], 64);
    _tile_stored(1, panel->sums[1], 64);
    _tile_stored(2, panel->sums[2], 64);
    _tile_stored(3, panel->sums[3], 64);
}

/* Of a panel to the result: rows [r0, r0 + n), weight rows [first, first + n_rows). */
static void add_sums(const struct product *p, struct panel *panel, uint32_t r0, uint32_t n,
                     uint32_t first, uint32_t n_rows, bool is_first_panel)
{
    for (uint32_t g = 0; g * ROWS < n_rows; g++) {
        uint32_t width = n_rows - g * ROWS < ROWS ? n_rows - g * ROWS : ROWS;
        _Alignas(64) float sums[ROWS][ROWS];
        __m512i v[ROWS];

        memcpy(v, panel->sums[g], sizeof(v));
        transpose(v);
        memcpy(sums, v, sizeof(v));
        gemm_add_sums(p, sums, r0, n, first + g * ROWS, width, is_first_panel);
    }
}

/* Eight tiles of sixteen rows of 64 bytes. */
static void configure_tiles(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};

    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = ROWS;
    }
    _tile_loadconfig(&config);
}

/* Rows [r0, r0 + n) against columns [k, k + n_cols) of all strips. */
static void multiply_rows(const struct product *p, uint32_t r0, uint32_t n, uint32_t k,
                          uint32_t n_cols, uint32_t first, uint32_t n_weights, struct panel *panel)
{
    uint32_t n_blocks = (n_cols + COLUMNS - 1) / COLUMNS;

    load_activations(p, r0, n, k, n_cols, panel);
    for (uint32_t i = 0; i < n_weights; i += STRIP) {
        const tile(*strip)[W_PARTS][GROUPS] = panel->w + (size_t)(i / STRIP) * n_blocks;

        if (p->weight_type == GGUF_TYPE_F16)
            multiply_strip(panel, strip, n_blocks, true);
        else
            multiply_strip(panel, strip, n_blocks, false);
        add_sums(p, panel, r0, n, first + i, n_weights - i < STRIP ? n_weights - i : STRIP, k == 0);
    }
}

bool IN_LEVEL(gemm_float)(const struct product *p, uint32_t first, uint32_t n, void *scratch)
{
    uint32_t n_strips = (n + STRIP - 1) / STRIP, most = PANEL / n_strips * COLUMNS, n_cols;
    struct panel *panel = scratch;

    if (p->activation != ACT_F32 || !most ||
        (p->weight_type != GGUF_TYPE_F16 && p->weight_type != GGUF_TYPE_BF16))
        return false;
    configure_tiles();
    for (uint32_t k = 0; k < p->n_cols; k += n_cols) {
        n_cols = p->n_cols - k < most ? p->n_cols - k : most;
        for (uint32_t i = 0; i < n; i += STRIP)
            load_weights(p, first + i, n - i < STRIP ? n - i : STRIP, k, n_cols,
                         panel->w + (size_t)(i / STRIP) * ((n_cols + COLUMNS - 1) / COLUMNS));
        for (uint32_t r = 0; r < p->rows; r += ROWS)
            multiply_rows(p, r, p->rows - r < ROWS ? p->rows - r : ROWS, k, n_cols, first, n,
                          panel);
    }
    _tile_release();
    return true;
}
