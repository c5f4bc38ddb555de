/* SPDX-License-Identifier: MIT */
/*
 * The tensor types a GGUF file can name: ids, names and block sizes. Values are the ids that stand
 * in the file. Constant data only, so kernels may use it without the reader; any thread.
 */
#ifndef HEARTH_GGUF_GGUF_TYPE_H
#define HEARTH_GGUF_GGUF_TYPE_H

#include <stdbool.h>
#include <stdint.h>

enum gguf_type {
    GGUF_TYPE_F32 = 0,
    GGUF_TYPE_F16 = 1,
    GGUF_TYPE_Q4_0 = 2,
    GGUF_TYPE_Q4_1 = 3,
    GGUF_TYPE_Q5_0 = 6,
    GGUF_TYPE_Q5_1 = 7,
    GGUF_TYPE_Q8_0 = 8,
    GGUF_TYPE_Q8_1 = 9,
    GGUF_TYPE_Q2_K = 10,
    GGUF_TYPE_Q3_K = 11,
    GGUF_TYPE_Q4_K = 12,
    GGUF_TYPE_Q5_K = 13,
    GGUF_TYPE_Q6_K = 14,
    GGUF_TYPE_Q8_K = 15,
    GGUF_TYPE_IQ2_XXS = 16,
    GGUF_TYPE_IQ2_XS = 17,
    GGUF_TYPE_IQ3_XXS = 18,
    GGUF_TYPE_IQ1_S = 19,
    GGUF_TYPE_IQ4_NL = 20,
    GGUF_TYPE_IQ3_S = 21,
    GGUF_TYPE_IQ2_S = 22,
    GGUF_TYPE_IQ4_XS = 23,
    GGUF_TYPE_I8 = 24,
    GGUF_TYPE_I16 = 25,
    GGUF_TYPE_I32 = 26,
    GGUF_TYPE_I64 = 27,
    GGUF_TYPE_F64 = 28,
    GGUF_TYPE_IQ1_M = 29,
    GGUF_TYPE_BF16 = 30,
    GGUF_TYPE_TQ1_0 = 34,
    GGUF_TYPE_TQ2_0 = 35,
    GGUF_TYPE_MXFP4 = 39,
    GGUF_TYPE_NVFP4 = 40,
    GGUF_TYPE_Q1_0 = 41,
    GGUF_TYPE_Q2_0 = 42,
};
enum { GGUF_TYPE_LIMIT = 43 }; /* ids are below this; some below it are unused */

struct gguf_type_info {
    const char *name; /* as the GGUF world writes it: "Q4_K" */
    uint16_t block_elements, block_bytes;
    bool is_withdrawn; /* once existed, no file may use it any more; block sizes are 0 */
};

/* The entry of an id, NULL when no type has it. Withdrawn types have an entry. */
const struct gguf_type_info *gguf_type_get_info(uint32_t id);

/* The name of a usable type; "unknown" otherwise. */
const char *gguf_type_name(uint32_t id);

/*
 * Bytes of a row of n elements. 0 when the id is no usable type, n is no whole number of blocks, or
 * the result does not fit.
 */
uint64_t gguf_type_row_bytes(uint32_t id, uint64_t n);

#endif
