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
    N_SUMS = 4,   /* tiles that sum */
    X_GROUPS = 2, /* of rows of activations, a tile for each */
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
    tile x[PANEL][X_PARTS][X_GROUPS];  /* [pair][row] */
    float sums[2][N_SUMS][ROWS][ROWS]; /* of the tiles that sum, in turn: [weight row][row] */
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

/* The upper 8 bits of each weight as pairs; the others stay. */
INLINE __m512i cut_weights(struct columns *c)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    __m512i low = _mm512_castps_si512(c->low), high = _mm512_castps_si512(c->high);
    __m512i high_upper = _mm512_and_si512(high, upper);

    c->low = _mm512_sub_ps(c->low, _mm512_castsi512_ps(_mm512_and_si512(low, upper)));
    c->high = _mm512_sub_ps(c->high, _mm512_castsi512_ps(high_upper));
    return join(low, high_upper);
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

/* Weights as they lie in memory: the strip of rows that is read. */
struct strip {
    const uint16_t *w; /* its first row, at the panel's first column */
    size_t stride;     /* of a row, in weights */
    uint32_t n_rows, n_cols;
};

INLINE void load_row(const uint16_t *w, __mmask32 mask, const bool is_bf16, uint32_t *upper,
                     uint32_t *rest)
{
    struct columns v;

    if (is_bf16) {
        _mm512_store_si512(upper, load_bf16(w, mask));
        return;
    }
    v = load_f16(w, mask);
    _mm512_store_si512(upper, cut_weights(&v));
    /* the rest has no more bits than a bf16 */
    _mm512_store_si512(rest, join(_mm512_castps_si512(v.low), _mm512_castps_si512(v.high)));
}

/* Group g of the block of a strip that begins at column k; past the last row that one again. */
INLINE void load_group(const struct strip *s, uint32_t k, uint32_t g, const bool is_bf16,
                       tile to[W_PARTS][GROUPS])
{
    const uint16_t *w = s->w + (size_t)(g * ROWS) * s->stride + k;
    /* too many rows side by side for the hardware to see where they go: to the same rows further
     * on, or to those of the next strip */
    const uint16_t *ahead =
        w + (k + AHEAD < s->n_cols ? AHEAD : STRIP * s->stride + AHEAD - s->stride);

    if ((g + 1) * ROWS <= s->n_rows && k + COLUMNS <= s->n_cols) {
#pragma GCC unroll 4
        for (uint32_t i = 0; i < ROWS; i++, w += s->stride, ahead += s->stride) {
            _mm_prefetch((const char *)ahead, _MM_HINT_T1);
            load_row(w, UINT32_MAX, is_bf16, to[0][g][i], to[1][g][i]);
        }
        return;
    }
    for (uint32_t i = 0; i < ROWS; i++) {
        uint32_t row = g * ROWS + i < s->n_rows ? g * ROWS + i : s->n_rows - 1;

        load_row(s->w + row * s->stride + k, present(s->n_cols - k), is_bf16, to[0][g][i],
                 to[1][g][i]);
    }
}

/* Columns [k, k + n) of n_rows rows of activations from r0 on, as a group; rows past the end are
 * zeros. */
static void load_activations(const struct product *p, uint32_t r0, uint32_t n_rows, uint32_t k,
                             uint32_t n, uint32_t group, struct panel *panel)
{
    const float *rows[ROWS];

    for (uint32_t i = 0; i < n_rows; i++)
        rows[i] = (const float *)product_x(p, r0 + i) + k;
    for (uint32_t c = 0; c < n; c += COLUMNS) {
        const __mmask32 mask = present(n - c);
        __m512i parts[X_PARTS][ROWS];

        for (uint32_t i = 0; i < n_rows; i++) {
            struct columns v = {_mm512_maskz_loadu_ps((__mmask16)mask, rows[i] + c),
                                _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), rows[i] + c + 16)};

            for (int part = 0; part < X_PARTS; part++)
                parts[part][i] = cut_part(&v);
        }
        for (uint32_t i = n_rows; i < ROWS; i++)
            parts[0][i] = parts[1][i] = _mm512_setzero_si512();
        for (int part = 0; part < X_PARTS; part++) {
            transpose(parts[part]);
            memcpy(panel->x[c / COLUMNS][part][group], parts[part], sizeof(tile));
        }
    }
}

/*
 * Tiles 0 to 3 are sums, 4 and 5 hold activations, 6 and 7 weights. However the work is cut, each
 * sum has the same terms in the same order: the lower bits of the weights with the first part of
 * the activations, the upper ones with it, and these with the second part.
 */

/* Tile `sum` += group g of weights: tiles 4 and 5 hold the parts of a group of activations. */
#define ADD_GROUP(sum, g)                                                                          \
    do {                                                                                           \
        if (has_two_parts) {                                                                       \
            _tile_loadd(7, w[1][g], 64);                                                           \
            _tile_dpbf16ps(sum, 7, 4);                                                             \
        }                                                                                          \
        _tile_loadd(6, w[0][g], 64);                                                               \
        _tile_dpbf16ps(sum, 6, 4);                                                                 \
        _tile_dpbf16ps(sum, 6, 5);                                                                 \
    } while (0)

/* Two groups of weights, 6 and 7, and two of activations, 4 and 5. */
#define ADD_SQUARE()                                                                               \
    do {                                                                                           \
        _tile_dpbf16ps(0, 6, 4);                                                                   \
        _tile_dpbf16ps(1, 6, 5);                                                                   \
        _tile_dpbf16ps(2, 7, 4);                                                                   \
        _tile_dpbf16ps(3, 7, 5);                                                                   \
    } while (0)

/* Sums 2a + b += group g + a of weights with group b of activations. */
INLINE void add_square(const tile w[W_PARTS][GROUPS], uint32_t g, const tile x[X_PARTS][X_GROUPS],
                       const bool has_two_parts)
{
    _tile_loadd(4, x[0][0], 64);
    _tile_loadd(5, x[0][1], 64);
    if (has_two_parts) {
        _tile_loadd(6, w[1][g], 64);
        _tile_loadd(7, w[1][g + 1], 64);
        ADD_SQUARE();
    }
    _tile_loadd(6, w[0][g], 64);
    _tile_loadd(7, w[0][g + 1], 64);
    ADD_SQUARE();
    _tile_loadd(4, x[1][0], 64);
    _tile_loadd(5, x[1][1], 64);
    ADD_SQUARE();
}

INLINE void begin_sums(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

/* Of a tile to the result: rows [r0, r0 + n), weight rows [first, first + n_weights), at most ROWS
 * of either. */
struct sums {
    float (*tile)[ROWS];
    uint32_t r0, n, first, n_weights;
};

/* What was summed last and is not in the result yet: it gets there while the next tiles sum, which
 * keeps the vector units no more than halfway busy. */
struct waiting {
    const struct product *p;
    struct sums sums[N_SUMS];
    uint32_t n, next, turn;
    bool is_first_panel; /* of columns */
};

static void add_sums(const struct product *p, const struct sums *s, bool is_first_panel)
{
    _Alignas(64) float sums[ROWS][ROWS];
    __m512i v[ROWS];

    memcpy(v, s->tile, sizeof(v));
    transpose(v);
    memcpy(sums, v, sizeof(v));
    gemm_add_sums(p, sums, s->r0, s->n, s->first, s->n_weights < ROWS ? s->n_weights : ROWS,
                  is_first_panel);
}

INLINE void add_one(struct waiting *w)
{
    if (w->next < w->n)
        add_sums(w->p, &w->sums[w->next++], w->is_first_panel);
}

static void add_all(struct waiting *w)
{
    while (w->next < w->n)
        add_one(w);
    w->n = w->next = 0;
}

/* The sums of the tiles are what waits next; the caller says where they belong. */
static void store_sums(struct panel *panel, struct waiting *w)
{
    float(*to)[ROWS][ROWS] = panel->sums[w->turn++ % 2];

    add_all(w);
    _tile_stored(0, to[0], 64);
    _tile_stored(1, to[1], 64);
    _tile_stored(2, to[2], 64);
    _tile_stored(3, to[3], 64);
    for (uint32_t i = 0; i < N_SUMS; i++)
        w->sums[i].tile = to[i];
}

/* Two groups, from g on, of a strip that lies in the panel, and two of activations. */
INLINE void multiply_square(struct panel *panel, const tile (*strip)[W_PARTS][GROUPS], uint32_t g,
                            uint32_t n_blocks, const bool has_two_parts, struct waiting *w)
{
    begin_sums();
    for (uint32_t b = 0; b < n_blocks; b++) {
        add_square(strip[b], g, panel->x[b], has_two_parts);
        add_one(w);
    }
    store_sums(panel, w);
}

/* A strip that is needed this once: its blocks do not leave the nearest cache. Each is loaded while
 * the one before is multiplied, group by group: a tile cannot be read before what was just written
 * has reached the cache, and products take their time beside what the vector units do. */
INLINE void multiply_passing(struct panel *panel, const struct strip *s, const bool is_bf16,
                             struct waiting *waiting)
{
    begin_sums();
    for (uint32_t g = 0; g < GROUPS; g++)
        load_group(s, 0, g, is_bf16, panel->w[0]);
    for (uint32_t k = 0; k < s->n_cols; k += COLUMNS) {
        const tile(*w)[GROUPS] = panel->w[k / COLUMNS % 2];
        tile(*to)[GROUPS] = panel->w[(k / COLUMNS + 1) % 2];
        const bool has_two_parts = !is_bf16;

        _tile_loadd(4, panel->x[k / COLUMNS][0][0], 64);
        _tile_loadd(5, panel->x[k / COLUMNS][1][0], 64);
        if (k + COLUMNS >= s->n_cols) {
            ADD_GROUP(0, 0);
            ADD_GROUP(1, 1);
            ADD_GROUP(2, 2);
            ADD_GROUP(3, 3);
            break;
        }
        load_group(s, k + COLUMNS, 0, is_bf16, to);
        ADD_GROUP(0, 0);
        load_group(s, k + COLUMNS, 1, is_bf16, to);
        ADD_GROUP(1, 1);
        load_group(s, k + COLUMNS, 2, is_bf16, to);
        ADD_GROUP(2, 2);
        load_group(s, k + COLUMNS, 3, is_bf16, to);
        ADD_GROUP(3, 3);
        add_one(waiting);
    }
    store_sums(panel, waiting);
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

/* n_rows weight rows from first on, n_cols columns from k on. */
static struct strip strip_of(const struct product *p, uint32_t first, uint32_t n_rows, uint32_t k,
                             uint32_t n_cols)
{
    return (struct strip){
        .w = (const uint16_t *)(const void *)p->weight + (size_t)first * p->n_cols + k,
        .stride = p->n_cols,
        .n_rows = n_rows < STRIP ? n_rows : STRIP,
        .n_cols = n_cols,
    };
}

static uint32_t at_most(uint32_t n, uint32_t most)
{
    return n < most ? n : most;
}

/* All rows, at most ROWS, against columns [k, k + n_cols) of all strips. */
static void multiply_few(const struct product *p, uint32_t k, uint32_t n_cols, uint32_t first,
                         uint32_t n_weights, struct panel *panel)
{
    struct waiting w = {.p = p, .is_first_panel = k == 0};

    load_activations(p, 0, p->rows, k, n_cols, 0, panel);
    for (uint32_t i = 0; i < n_weights; i += STRIP) {
        struct strip s = strip_of(p, first + i, n_weights - i, k, n_cols);

        if (p->weight_type == GGUF_TYPE_BF16)
            multiply_passing(panel, &s, true, &w);
        else
            multiply_passing(panel, &s, false, &w);
        for (; w.n * ROWS < s.n_rows; w.n++) {
            struct sums *sums = &w.sums[w.n];

            sums->r0 = 0;
            sums->n = p->rows;
            sums->first = first + i + w.n * ROWS;
            sums->n_weights = s.n_rows - w.n * ROWS;
        }
    }
    add_all(&w);
}

/* The rows from r0 on, at most two groups, against columns [k, k + n_cols) of all strips, which lie
 * in the panel. */
static void multiply_many(const struct product *p, uint32_t r0, uint32_t k, uint32_t n_cols,
                          uint32_t first, uint32_t n_weights, struct panel *panel)
{
    uint32_t n_blocks = (n_cols + COLUMNS - 1) / COLUMNS, n[X_GROUPS];
    struct waiting w = {.p = p, .is_first_panel = k == 0};

    for (uint32_t g = 0; g < X_GROUPS; g++) {
        n[g] = p->rows - r0 < g * ROWS ? 0 : at_most(p->rows - r0 - g * ROWS, ROWS);
        load_activations(p, r0 + g * ROWS, n[g], k, n_cols, g, panel);
    }
    for (uint32_t i = 0; i < n_weights; i += X_GROUPS * ROWS) {
        const tile(*strip)[W_PARTS][GROUPS] = panel->w + (size_t)(i / STRIP) * n_blocks;

        if (p->weight_type == GGUF_TYPE_BF16)
            multiply_square(panel, strip, i / ROWS % GROUPS, n_blocks, false, &w);
        else
            multiply_square(panel, strip, i / ROWS % GROUPS, n_blocks, true, &w);
        for (uint32_t t = 0; t < N_SUMS; t++) {
            uint32_t at = i + t / 2 * ROWS;

            w.sums[w.n].tile = w.sums[t].tile;
            w.sums[w.n].r0 = r0 + t % 2 * ROWS;
            w.sums[w.n].n = n[t % 2];
            w.sums[w.n].first = first + at;
            w.sums[w.n].n_weights = at < n_weights ? n_weights - at : 0;
            w.n += n[t % 2] && at < n_weights;
        }
    }
    add_all(&w);
}

/* Columns [k, k + n_cols) of all strips. */
static void load_strips(const struct product *p, uint32_t k, uint32_t n_cols, uint32_t first,
                        uint32_t n_weights, struct panel *panel)
{
    tile(*to)[W_PARTS][GROUPS] = panel->w;

    for (uint32_t i = 0; i < n_weights; i += STRIP) {
        struct strip s = strip_of(p, first + i, n_weights - i, k, n_cols);

        for (uint32_t c = 0; c < n_cols; c += COLUMNS, to++)
            for (uint32_t g = 0; g < GROUPS; g++) {
                if (p->weight_type == GGUF_TYPE_BF16)
                    load_group(&s, c, g, true, *to);
                else
                    load_group(&s, c, g, false, *to);
            }
    }
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
        if (p->rows <= ROWS) {
            multiply_few(p, k, n_cols, first, n, panel);
            continue;
        }
        load_strips(p, k, n_cols, first, n, panel);
        for (uint32_t r = 0; r < p->rows; r += X_GROUPS * ROWS)
            multiply_many(p, r, k, n_cols, first, n, panel);
    }
    _tile_release();
    return true;
}
