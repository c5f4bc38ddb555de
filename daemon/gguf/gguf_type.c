/* SPDX-License-Identifier: MIT */
#include "gguf/gguf_type.h"

#include <stddef.h>

#define WITHDRAWN(text)                                                                            \
    {                                                                                              \
        .name = (text), .is_withdrawn = true                                                       \
    }

static const struct gguf_type_info types[GGUF_TYPE_LIMIT] = {
    [GGUF_TYPE_F32] = {"F32", 1, 4},
    [GGUF_TYPE_F16] = {"F16", 1, 2},
    [GGUF_TYPE_Q4_0] = {"Q4_0", 32, 18},
    [GGUF_TYPE_Q4_1] = {"Q4_1", 32, 20},
    [4] = WITHDRAWN("Q4_2"),
    [5] = WITHDRAWN("Q4_3"),
    [GGUF_TYPE_Q5_0] = {"Q5_0", 32, 22},
    [GGUF_TYPE_Q5_1] = {"Q5_1", 32, 24},
    [GGUF_TYPE_Q8_0] = {"Q8_0", 32, 34},
    [GGUF_TYPE_Q8_1] = {"Q8_1", 32, 36},
    [GGUF_TYPE_Q2_K] = {"Q2_K", 256, 84},
    [GGUF_TYPE_Q3_K] = {"Q3_K", 256, 110},
    [GGUF_TYPE_Q4_K] = {"Q4_K", 256, 144},
    [GGUF_TYPE_Q5_K] = {"Q5_K", 256, 176},
    [GGUF_TYPE_Q6_K] = {"Q6_K", 256, 210},
    [GGUF_TYPE_Q8_K] = {"Q8_K", 256, 292},
    [GGUF_TYPE_IQ2_XXS] = {"IQ2_XXS", 256, 66},
    [GGUF_TYPE_IQ2_XS] = {"IQ2_XS", 256, 74},
    [GGUF_TYPE_IQ3_XXS] = {"IQ3_XXS", 256, 98},
    [GGUF_TYPE_IQ1_S] = {"IQ1_S", 256, 50},
    [GGUF_TYPE_IQ4_NL] = {"IQ4_NL", 32, 18},
    [GGUF_TYPE_IQ3_S] = {"IQ3_S", 256, 110},
    [GGUF_TYPE_IQ2_S] = {"IQ2_S", 256, 82},
    [GGUF_TYPE_IQ4_XS] = {"IQ4_XS", 256, 136},
    [GGUF_TYPE_I8] = {"I8", 1, 1},
    [GGUF_TYPE_I16] = {"I16", 1, 2},
    [GGUF_TYPE_I32] = {"I32", 1, 4},
    [GGUF_TYPE_I64] = {"I64", 1, 8},
    [GGUF_TYPE_F64] = {"F64", 1, 8},
    [GGUF_TYPE_IQ1_M] = {"IQ1_M", 256, 56},
    [GGUF_TYPE_BF16] = {"BF16", 1, 2},
    [31] = WITHDRAWN("Q4_0_4_4"),
    [32] = WITHDRAWN("Q4_0_4_8"),
    [33] = WITHDRAWN("Q4_0_8_8"),
    [GGUF_TYPE_TQ1_0] = {"TQ1_0", 256, 54},
    [GGUF_TYPE_TQ2_0] = {"TQ2_0", 256, 66},
    [36] = WITHDRAWN("IQ4_NL_4_4"),
    [37] = WITHDRAWN("IQ4_NL_4_8"),
    [38] = WITHDRAWN("IQ4_NL_8_8"),
    [GGUF_TYPE_MXFP4] = {"MXFP4", 32, 17},
    [GGUF_TYPE_NVFP4] = {"NVFP4", 64, 36},
    [GGUF_TYPE_Q1_0] = {"Q1_0", 128, 18},
    [GGUF_TYPE_Q2_0] = {"Q2_0", 64, 18},
};

const struct gguf_type_info *gguf_type_get_info(uint32_t id)
{
    return id < GGUF_TYPE_LIMIT && types[id].name ? &types[id] : NULL;
}

const char *gguf_type_name(uint32_t id)
{
    const struct gguf_type_info *info = gguf_type_get_info(id);

    return info && !info->is_withdrawn ? info->name : "unknown";
}

uint64_t gguf_type_row_bytes(uint32_t id, uint64_t n)
{
    const struct gguf_type_info *info = gguf_type_get_info(id);
    uint64_t bytes;

    if (!info || info->is_withdrawn || n % info->block_elements)
        return 0;
    if (__builtin_mul_overflow(n / info->block_elements, (uint64_t)info->block_bytes, &bytes))
        return 0;
    return bytes;
}
