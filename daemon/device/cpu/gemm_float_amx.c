/* SPDX-License-Identifier: MIT */
/*
 * Many rows of float activations at once, AMX: its products are of bf16, so each number becomes a
 * sum of those: a weight of two (F16 has 11 bits, bf16 8) or one (BF16), which loses nothing, an
 * activation of two, which rounds it to 16 bits, 5 more than F16 has. Of their products the least
 * is left out. Together that is at most 2^-15 of a term, and either sign is as likely. What is not
 * finite, or so great that no bf16 is near it, gives sums that are not.
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
    X_PARTS = 2,
    W_PARTS = 2,
    AHEAD = 8 * COLUMNS,                        /* of what is read */
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

INLINE __m512i join(__m512i low, __m512i high)
{
    return _mm512_or_si512(_mm512_srli_epi32(low, 16), high);
}

/* The bf16 nearest to each, as pairs; what is left of it stays. */
INLINE __m512i cut_part(struct columns *c)
{
    const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32((int)0xffff0000);
    __m512i low = _mm512_add_epi32(_mm512_castps_si512(c->low), half);
    __m512i high = _mm512_add_epi32(_mm512_castps_si512(c->high), half);

    low = _mm512_and_si512(low, upper);
    high = _mm512_and_si512(high, upper);
    c->low = _mm512_sub_ps(c->low, _mm512_castsi512_ps(low));
    c->high = _mm512_sub_ps(c->high, _mm512_castsi512_ps(high));
    return join(low, high);
}

/* Columns from k on of which n are there, at most COLUMNS; the others are zeros. */
INLINE __mmask32 present(uint32_t n)
{
    return n >= COLUMNS ? UINT32_MAX : (1u << n) - 1;
}

INLINE struct columns load_f16(const uint16_t *w, __mmask32 mask)
{
    __m512i v;

    if (mask == UINT32_MAX)
        return (struct columns){
            _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)(const void *)w)),
            _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)(const void *)(w + 16)))};
    v = _mm512_maskz_loadu_epi16(mask, w);
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

/* A block, with n columns from k on, of the strip of weight rows [first, first + n_rows); past the
 * end the last row again. */
INLINE void load_block(const struct product *p, uint32_t first, uint32_t n_rows, uint32_t k,
                       uint32_t n, tile to[W_PARTS][GROUPS])
{
    const uint16_t *w = (const uint16_t *)(const void *)p->weight + (size_t)first * p->n_cols + k;
    const __mmask32 mask = present(n);

#pragma GCC unroll 4
    for (uint32_t i = 0; i < STRIP; i++) {
        const uint16_t *row = w + (size_t)(i < n_rows ? i : n_rows - 1) * p->n_cols;
        struct columns v;

        /* too many rows side by side for the hardware to see where they go */
        _mm_prefetch((const char *)(row + AHEAD), _MM_HINT_T0);
        if (p->weight_type == GGUF_TYPE_BF16) {
            _mm512_store_si512(to[0][i / ROWS][i % ROWS], load_bf16(row, mask));
            continue;
        }
        v = load_f16(row, mask);
        _mm512_store_si512(to[0][i / ROWS][i % ROWS], cut_part(&v));
        /* the rest has no more bits than a bf16 */
        _mm512_store_si512(to[1][i / ROWS][i % ROWS],
                           join(_mm512_castps_si512(v.low), _mm512_castps_si512(v.high)));
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

/* Tile `sum` += group g of a block: tiles 4 and 5 hold the activations' parts. */
#define ADD_GROUP(sum, g)                                                                          \
    do {                                                                                           \
        _tile_loadd(6, w[0][g], 64);                                                               \
        _tile_dpbf16ps(sum, 6, 4);                                                                 \
        _tile_dpbf16ps(sum, 6, 5);                                                                 \
        if (has_two_parts) {                                                                       \
            _tile_loadd(7, w[1][g], 64);                                                           \
            _tile_dpbf16ps(sum, 7, 4);                                                             \
        }                                                                                          \
    } while (0)

INLINE void add_block(const tile w[W_PARTS][GROUPS], const tile x[X_PARTS],
                      const bool has_two_parts)
{
    _tile_loadd(4, x[0], 64);
    _tile_loadd(5, x[1], 64);
    ADD_GROUP(0, 0);
    ADD_GROUP(1, 1);
    ADD_GROUP(2, 2);
    ADD_GROUP(3, 3);
}

INLINE void begin_sums(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

static void store_sums(struct panel *panel)
{
    _tile_stored(0, panel->sums[0], 64);
    _tile_stored(1, panel->sums[1], 64);
    _tile_stored(2, panel->sums[2], 64);
    _tile_stored(3, panel->sums[3], 64);
}

/* A strip that lies in the panel. */
INLINE void multiply_strip(struct panel *panel, const tile (*strip)[W_PARTS][GROUPS],
                           uint32_t n_blocks, const bool has_two_parts)
{
    begin_sums();
    for (uint32_t b = 0; b < n_blocks; b++)
        add_block(strip[b], panel->x[b], has_two_parts);
    store_sums(panel);
}

/* A strip that is needed this once: its blocks do not leave the nearest cache. Each is loaded while
 * the one before is multiplied: a tile cannot be read before what was just written has reached the
 * cache. */
INLINE void multiply_passing(const struct product *p, struct panel *panel, uint32_t first,
                             uint32_t n_rows, uint32_t k, uint32_t n_cols, const bool has_two_parts)
{
    uint32_t n_blocks = (n_cols + COLUMNS - 1) / COLUMNS;

    begin_sums();
    load_block(p, first, n_rows, k, n_cols, panel->w[0]);
    for (uint32_t b = 0; b < n_blocks; b++) {
        uint32_t next = (b + 1) * COLUMNS;

        if (next < n_cols)
            load_block(p, first, n_rows, k + next, n_cols - next, panel->w[(b + 1) % 2]);
        add_block(panel->w[b % 2], panel->x[b], has_two_parts);
    }
    store_sums(panel);
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

/* The rows from r0 on, at most ROWS, against columns [k, k + n_cols) of all strips, which lie in
 * the panel where there are more rows than these. */
static void multiply_rows(const struct product *p, uint32_t r0, uint32_t k, uint32_t n_cols,
                          uint32_t first, uint32_t n_weights, struct panel *panel)
{
    uint32_t n = p->rows - r0 < ROWS ? p->rows - r0 : ROWS;
    uint32_t n_blocks = (n_cols + COLUMNS - 1) / COLUMNS;
    bool has_two_parts = p->weight_type == GGUF_TYPE_F16;

    load_activations(p, r0, n, k, n_cols, panel);
    for (uint32_t i = 0; i < n_weights; i += STRIP) {
        const tile(*strip)[W_PARTS][GROUPS] = panel->w + (size_t)(i / STRIP) * n_blocks;
        uint32_t n_rows = n_weights - i < STRIP ? n_weights - i : STRIP;

        if (p->rows <= ROWS && has_two_parts)
            multiply_passing(p, panel, first + i, n_rows, k, n_cols, true);
        else if (p->rows <= ROWS)
            multiply_passing(p, panel, first + i, n_rows, k, n_cols, false);
        else if (has_two_parts)
            multiply_strip(panel, strip, n_blocks, true);
        else
            multiply_strip(panel, strip, n_blocks, false);
        add_sums(p, panel, r0, n, first + i, n_rows, k == 0);
    }
}

/* Columns [k, k + n_cols) of all strips. */
static void load_strips(const struct product *p, uint32_t k, uint32_t n_cols, uint32_t first,
                        uint32_t n_weights, struct panel *panel)
{
    tile(*to)[W_PARTS][GROUPS] = panel->w;

    for (uint32_t i = 0; i < n_weights; i += STRIP)
        for (uint32_t c = 0; c < n_cols; c += COLUMNS)
            load_block(p, first + i, n_weights - i < STRIP ? n_weights - i : STRIP, k + c,
                       n_cols - c, *to++);
}

bool IN_LEVEL(gemm_float)(const struct product *p, uint32_t first, uint32_t n, void *scratch)
{
    uint32_t most = PANEL / ((n + STRIP - 1) / STRIP) * COLUMNS, n_cols;
    struct panel *panel = scratch;

    if (p->activation != ACT_F32 || !most ||
        (p->weight_type != GGUF_TYPE_F16 && p->weight_type != GGUF_TYPE_BF16))
        return false;
    configure_tiles();
    for (uint32_t k = 0; k < p->n_cols; k += n_cols) {
        n_cols = p->n_cols - k < most ? p->n_cols - k : most;
        if (p->rows > ROWS)
            load_strips(p, k, n_cols, first, n, panel);
        for (uint32_t r = 0; r < p->rows; r += ROWS)
            multiply_rows(p, r, k, n_cols, first, n, panel);
    }
    _tile_release();
    return true;
}
