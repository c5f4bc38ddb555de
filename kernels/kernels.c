/* SPDX-License-Identifier: MIT */
#include "kernels/kernels.h"

static const char *const op_names[KERNEL_OP_COUNT] = {
    [KERNEL_EMBED] = "embed",
    [KERNEL_RMS_NORM] = "rms_norm",
    [KERNEL_LAYER_NORM] = "layer_norm",
    [KERNEL_QUANTIZE] = "quantize",
    [KERNEL_MATMUL] = "matmul",
    [KERNEL_ROPE] = "rope",
    [KERNEL_KV_STORE] = "kv_store",
    [KERNEL_ATTENTION] = "attention",
    [KERNEL_ATTENTION_COMBINE] = "attention_combine",
    [KERNEL_INDEX_SCORES] = "index_scores",
    [KERNEL_INDEX_CHOOSE] = "index_choose",
    [KERNEL_GLU] = "glu",
    [KERNEL_ADD] = "add",
    [KERNEL_SOFTCAP] = "softcap",
    [KERNEL_ROUTE] = "route",
    [KERNEL_EXPERT_ROWS] = "expert_rows",
    [KERNEL_MATMUL_EXPERTS] = "matmul_experts",
    [KERNEL_SCALE] = "scale",
    [KERNEL_EXPERT_SUM] = "expert_sum",
    [KERNEL_SHORT_CONV] = "short_conv",
    [KERNEL_DELTA_NET] = "delta_net",
    [KERNEL_COPY] = "copy",
    [KERNEL_GATHER] = "gather",
    [KERNEL_SAMPLE] = "sample",
};

const char *kernel_op_name(enum kernel_op op)
{
    return (unsigned)op < KERNEL_OP_COUNT ? op_names[op] : "unknown";
}

bool kernel_supports_type(enum gguf_type type)
{
    switch (type) {
    case GGUF_TYPE_F32:
    case GGUF_TYPE_F16:
    case GGUF_TYPE_BF16:
    case GGUF_TYPE_Q4_0:
    case GGUF_TYPE_Q4_1:
    case GGUF_TYPE_Q5_0:
    case GGUF_TYPE_Q5_1:
    case GGUF_TYPE_Q8_0:
    case GGUF_TYPE_Q2_K:
    case GGUF_TYPE_Q3_K:
    case GGUF_TYPE_Q4_K:
    case GGUF_TYPE_Q5_K:
    case GGUF_TYPE_Q6_K:
    case GGUF_TYPE_IQ4_NL:
    case GGUF_TYPE_IQ4_XS:
    case GGUF_TYPE_MXFP4:
    case GGUF_TYPE_NVFP4:
    case GGUF_TYPE_IQ2_XXS:
    case GGUF_TYPE_IQ2_XS:
    case GGUF_TYPE_IQ2_S:
    case GGUF_TYPE_IQ3_XXS:
    case GGUF_TYPE_IQ3_S:
    case GGUF_TYPE_IQ1_S:
    case GGUF_TYPE_IQ1_M:
    case GGUF_TYPE_TQ1_0:
    case GGUF_TYPE_TQ2_0:
        return true;
    default:
        return false;
    }
}

size_t activation_block(enum activation_type type)
{
    switch (type) {
    case ACT_Q8_32:
        return 32;
    case ACT_Q8_256:
        return 256;
    default:
        return 1;
    }
}

size_t activation_bytes(enum activation_type type, size_t n_values)
{
    switch (type) {
    case ACT_Q8_32:
        return n_values / 32 * sizeof(struct act_q8_32);
    case ACT_Q8_256:
        return n_values / 256 * sizeof(struct act_q8_256);
    default:
        return n_values * sizeof(float);
    }
}

size_t expert_rows_bytes(uint32_t n_experts, uint32_t n_used, uint32_t n_tokens)
{
    return ((size_t)n_experts + 1 + (size_t)n_tokens * n_used) * sizeof(uint32_t);
}

size_t kv_row_bytes(u32 type, u32 n_channels)
{
    if (type == KV_Q8_0)
        return n_channels + (size_t)n_channels / KV_RUN * sizeof(uint16_t);
    return n_channels * sizeof(uint16_t);
}

size_t sample_scratch_bytes(uint32_t n_vocab)
{
    /* An id and a weight per token: what sorting by likelihood needs. */
    return (size_t)n_vocab * 2 * sizeof(uint32_t);
}
