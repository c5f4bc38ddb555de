/* SPDX-License-Identifier: MIT */
/* Tiles of weights: sixteen rows unpacked for integer products (gemm_avx512.c). */
#ifndef HEARTH_DEVICE_CPU_GEMM_TILE_H
#define HEARTH_DEVICE_CPU_GEMM_TILE_H

#include "kernels/kernels.h"

/* 256 columns of K-quants. value = scale[sub] * q - dmin * min: q[k / 4][row * 4 + k % 4];
 * min[k / 32][row * 2 + k / 16 % 2], an integer for each 16 columns. */
struct tile_256 {
    _Alignas(64) uint8_t q[64][64];
    float scale[16][16]; /* [sub-block][row]; the first n_subs used */
    int16_t min[8][32];
    float dmin[16];
};

/* 32 columns: value = scale * (q - offset). */
struct tile_32 {
    _Alignas(64) uint8_t q[8][64];
    float scale[16];
};

struct tile_format {
    uint32_t columns; /* of a tile: 32 or 256 */
    unsigned n_subs;  /* of tile_256 */
    int offset;       /* of tile_32 */
    size_t tile_bytes;
    /* Blocks [block, block + n) of sixteen rows to n tiles, 64-byte aligned. */
    void (*unpack)(const uint8_t *const rows[16], uint32_t block, uint32_t n, void *tiles);
};

/* NULL when there are no tiles of these types. */
const struct tile_format *tile_format_of(enum gguf_type weight, enum activation_type activation);

#endif
