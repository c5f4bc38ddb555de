/* SPDX-License-Identifier: MIT */
/*
 * What the sources compiled once per level of the instruction set share. LEVEL (plain, avx2,
 * avx512) comes from the build; IN_LEVEL(name) is the name of a function in this level.
 */
#ifndef HEARTH_DEVICE_CPU_LEVEL_H
#define HEARTH_DEVICE_CPU_LEVEL_H

#include "device/cpu/cpu.h"

#define LEVEL_PASTE2(name, level) cpu_##level##_##name
#define LEVEL_PASTE(name, level)  LEVEL_PASTE2(name, level)
#define IN_LEVEL(name)            LEVEL_PASTE(name, LEVEL)

/* Dot products of one row of weights with n_x (1 to DOT_ROWS) rows of activations. */
#define DOT_ROWS 4
typedef void dot_fn(const void *w, const void *const *x, unsigned n_x, uint32_t n_cols, float *out);

/* The form for a pair of types, or NULL when this level has none. */
dot_fn *IN_LEVEL(dot_for)(enum gguf_type weight, enum activation_type activation);

/* Many rows at once: weight rows [first, first + n) of a product against all rows of activations.
 * Returns false when this level has no such form for the types. */
struct product;
bool IN_LEVEL(gemm)(const struct product *p, uint32_t first, uint32_t n, void *scratch);
/* The same of float weights and activations. An item has GEMM_FLOAT_ROWS weight rows, of narrow
 * ones as many times that as come to GEMM_FLOAT_VALUES, since what is made of the activations
 * serves them all. */
bool IN_LEVEL(gemm_float)(const struct product *p, uint32_t first, uint32_t n, void *scratch);
#define GEMM_FLOAT_ROWS   64u
#define GEMM_FLOAT_VALUES 65536u
#if defined(__AMX_BF16__)
#define HAS_GEMM_FLOAT 1
#else
#define HAS_GEMM_FLOAT 0
#endif

/* Few items for work that is little: one per `grain` units, at most CPU_ITEMS_MAX. */
#define CPU_ITEMS_MAX 16384u

/* Unit range [*begin, *end) of an item when total units are cut into n_items. */
static inline void item_range(uint64_t total, uint32_t n_items, uint32_t item, uint64_t *begin,
                              uint64_t *end)
{
    *begin = total * item / n_items;
    *end = total * (item + 1) / n_items;
}

static inline uint32_t items_for(uint64_t total, uint64_t grain)
{
    uint64_t n = (total + grain - 1) / grain;

    return n > CPU_ITEMS_MAX ? CPU_ITEMS_MAX : (uint32_t)n;
}

/* Values of one item of a kernel that goes over rows once: a few microseconds. */
#define ROW_GRAIN_VALUES 16384u

static inline uint32_t row_items(addr_t step, u32 rows_kind, uint32_t max_rows, uint64_t n_cols)
{
    uint32_t rows = step_rows(step, rows_kind, max_rows);
    uint32_t n = items_for(rows * n_cols, ROW_GRAIN_VALUES);

    return n < rows ? n : rows;
}

/* The kernels, by file. */
uint32_t IN_LEVEL(embed_items)(const struct dispatch *d);
void IN_LEVEL(embed)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(layer_norm_items)(const struct dispatch *d);
void IN_LEVEL(layer_norm)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(rms_norm_items)(const struct dispatch *d);
void IN_LEVEL(rms_norm)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(quantize_items)(const struct dispatch *d);
void IN_LEVEL(quantize)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(matmul_items)(const struct dispatch *d);
void IN_LEVEL(matmul)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(rope_items)(const struct dispatch *d);
void IN_LEVEL(rope)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(kv_store_items)(const struct dispatch *d);
void IN_LEVEL(kv_store)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(attention_items)(const struct dispatch *d);
void IN_LEVEL(attention)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(index_scores_items)(const struct dispatch *d);
void IN_LEVEL(index_scores)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(index_choose_items)(const struct dispatch *d);
void IN_LEVEL(index_choose)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(glu_items)(const struct dispatch *d);
void IN_LEVEL(glu)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(add_items)(const struct dispatch *d);
void IN_LEVEL(add)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(softcap_items)(const struct dispatch *d);
void IN_LEVEL(softcap)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(matmul_experts_items)(const struct dispatch *d);
void IN_LEVEL(matmul_experts)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(route_items)(const struct dispatch *d);
void IN_LEVEL(route)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(scale_items)(const struct dispatch *d);
void IN_LEVEL(scale)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(expert_sum_items)(const struct dispatch *d);
void IN_LEVEL(expert_sum)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(short_conv_items)(const struct dispatch *d);
void IN_LEVEL(short_conv)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(delta_net_items)(const struct dispatch *d);
void IN_LEVEL(delta_net)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(copy_items)(const struct dispatch *d);
void IN_LEVEL(copy)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(gather_items)(const struct dispatch *d);
void IN_LEVEL(gather)(const struct dispatch *d, uint32_t item, void *scratch);
uint32_t IN_LEVEL(sample_items)(const struct dispatch *d);
void IN_LEVEL(sample)(const struct dispatch *d, uint32_t item, void *scratch);

#endif
