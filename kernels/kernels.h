/* SPDX-License-Identifier: MIT */
/*
 * The table of kernels: what operations there are, and what one recorded call of one looks like.
 * Knows the block layouts of weights (gguf_type) and nothing of models or devices.
 */
#ifndef HEARTH_KERNELS_KERNELS_H
#define HEARTH_KERNELS_KERNELS_H

#include "gguf/gguf_type.h"
#include "kernels/args.h"

#include <stdbool.h>
#include <stddef.h>

enum kernel_op {
    KERNEL_EMBED,
    KERNEL_RMS_NORM,
    KERNEL_LAYER_NORM,
    KERNEL_QUANTIZE,
    KERNEL_MATMUL,
    KERNEL_ROPE,
    KERNEL_KV_STORE,
    KERNEL_ATTENTION,
    KERNEL_ATTENTION_COMBINE,
    KERNEL_INDEX_SCORES,
    KERNEL_INDEX_CHOOSE,
    KERNEL_GLU,
    KERNEL_ADD,
    KERNEL_SOFTCAP,
    KERNEL_ROUTE,
    KERNEL_EXPERT_ROWS,
    KERNEL_MATMUL_EXPERTS,
    KERNEL_SCALE,
    KERNEL_EXPERT_SUM,
    KERNEL_SHORT_CONV,
    KERNEL_DELTA_NET,
    KERNEL_COPY,
    KERNEL_GATHER,
    KERNEL_SAMPLE,
    KERNEL_OP_COUNT,
};

/* How a matmul reads its activations. */
enum activation_type { ACT_F32, ACT_Q8_32, ACT_Q8_256, ACT_TYPE_COUNT };

/* 32 values: x = scale * q. */
struct act_q8_32 {
    float scale;
    int32_t sum; /* of q */
    int8_t q[32];
};

/* 256 values: x = scale * q; sums of each 16 for the minima and offsets of K-quants. */
struct act_q8_256 {
    float scale;
    int8_t q[256];
    int16_t sums[16];
};

/* One kernel call as recorded in a program. */
struct dispatch {
    enum kernel_op op;
    enum gguf_type weight_type;      /* EMBED, MATMUL, MATMUL_EXPERTS */
    enum activation_type activation; /* QUANTIZE, MATMUL, MATMUL_EXPERTS */
    bool barrier;      /* waits for everything before it; else it may run beside its predecessors */
    uint32_t max_rows; /* rows (tokens or outputs) the program is recorded for */
    const char *label; /* static: what it is in the model, for traces */
    union kernel_args {
        struct args_embed embed;
        struct args_rms_norm rms_norm;
        struct args_layer_norm layer_norm;
        struct args_quantize quantize;
        struct args_matmul matmul;
        struct args_rope rope;
        struct args_kv_store kv_store;
        struct args_attention attention;
        struct args_attention_combine attention_combine;
        struct args_index_scores index_scores;
        struct args_index_choose index_choose;
        struct args_glu glu;
        struct args_add add;
        struct args_softcap softcap;
        struct args_route route;
        struct args_expert_rows expert_rows;
        struct args_matmul_experts matmul_experts;
        struct args_scale scale;
        struct args_expert_sum expert_sum;
        struct args_short_conv short_conv;
        struct args_delta_net delta_net;
        struct args_copy copy;
        struct args_gather gather;
        struct args_sample sample;
    } args;
};

const char *kernel_op_name(enum kernel_op op);
/* Weight types every device must be able to EMBED and MATMUL. */
bool kernel_supports_type(enum gguf_type type);
/* Bytes of n values in an activation type; n must be a multiple of its block (1, 32, 256). */
size_t activation_bytes(enum activation_type type, size_t n_values);
size_t activation_block(enum activation_type type);
/* Bytes that args_expert_rows writes for up to n_tokens. */
size_t expert_rows_bytes(uint32_t n_experts, uint32_t n_used, uint32_t n_tokens);
/* Bytes of n_channels keys or values of one position and head in a cache of this type (of one that
 * is none: as KV_F16). */
size_t kv_row_bytes(u32 type, u32 n_channels);
/* Scratch a sample dispatch needs for each output row. */
size_t sample_scratch_bytes(uint32_t n_vocab);

#endif
