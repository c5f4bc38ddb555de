/* SPDX-License-Identifier: MIT */
/*
 * Small GGUF files in memory, for tests: keys and tensors are collected, changed and dropped by
 * name, then written out with contents that depend only on their names. Fails the running test when
 * a limit is passed.
 */
#ifndef HEARTH_TESTS_MODEL_GGUF_BUILDER_H
#define HEARTH_TESTS_MODEL_GGUF_BUILDER_H

#include "gguf/gguf.h"

enum {
    BUILDER_KEYS_MOST = 64,
    BUILDER_ARRAY_MOST = 12,
    BUILDER_EXPERTS = 5,
    BUILDER_EXPERTS_USED = 2,
    BUILDER_CHUNK = 21,        /* of llama4 */
    BUILDER_INDEXER_HEADS = 5, /* of deepseek32 */
    BUILDER_INDEXER_TOP = 8,
    BUILDER_TENSORS_MOST = 512
};

struct gguf_builder {
    struct builder_key {
        char name[64];
        enum gguf_value_type type; /* U32, F32, STR or ARRAY */
        uint32_t u32;              /* of an array: how many */
        float f32;
        char str[48];
        uint32_t array[BUILDER_ARRAY_MOST];
    } keys[BUILDER_KEYS_MOST];
    struct builder_tensor {
        char name[64];
        enum gguf_type
            type; /* F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K with contents, others zeroed */
        uint64_t cols, rows; /* rows 0: a vector */
        uint64_t planes;     /* 0: two dimensions */
    } tensors[BUILDER_TENSORS_MOST];
    size_t n_keys, n_tensors;
};

/* Each sets what has that name, adding it when it is new. */
void gguf_builder_u32(struct gguf_builder *b, const char *key, uint32_t value);
void gguf_builder_f32(struct gguf_builder *b, const char *key, float value);
/* n numbers of 32 bits. */
void gguf_builder_array(struct gguf_builder *b, const char *key, const uint32_t *values, size_t n);
void gguf_builder_str(struct gguf_builder *b, const char *key, const char *value);
void gguf_builder_tensor(struct gguf_builder *b, const char *name, enum gguf_type type,
                         uint64_t cols, uint64_t rows);
/* Drops the key or tensor of that name, which must be there. */
void gguf_builder_drop(struct gguf_builder *b, const char *name);
struct builder_tensor *gguf_builder_find(struct gguf_builder *b, const char *tensor);

/* The file; malloc'd. */
void *gguf_builder_write(const struct gguf_builder *b, size_t *ret_len);
/* What stands before the tensors, and how long the whole file would be, of tensors of any size and
 * shape, even impossible ones; malloc'd. */
void *gguf_builder_write_header(const struct gguf_builder *b, size_t *ret_len,
                                uint64_t *ret_file_bytes);
/* Its header alone, malloc'd, and how long the file would be. */
void *gguf_builder_header(const struct gguf_builder *b, size_t *ret_len, uint64_t *ret_file_bytes);

/* What a transformer of one of the known architectures is made of. */
struct builder_shape {
    const char *arch;
    uint32_t layers, embd, ff, heads, kv_heads, head_dim, vocab;
    enum gguf_type matrix, embedding; /* types of the matmul weights and of token_embd */
    bool is_tied;                     /* no output.weight */
};
/* Every key and tensor of such a model; one of gpt-oss, deepseek2 or an architecture called
 * "...moe" has experts, and all parts of its feed-forward the width ff; of glm4moe and deepseek2
 * the first layer is dense; of gemma3 every third sees all positions, logits are capped at 20 and
 * RoPE is scaled by 8; of qwen35, qwen35moe and qwen3next every second has attention, but that the
 * only one has it; of phi3 queries, keys and values are one tensor, and gates are the
 * first half of another; of llama4 every second layer sees all positions, the others
 * chunks of BUILDER_CHUNK, and every third has experts; gemma4 and its kin: see gemma4_builder.h.
 */
void gguf_builder_transformer(struct gguf_builder *b, const struct builder_shape *s);

/* To each matrix that steps multiply by, of a file that is made already: scales, as NVFP4 has them.
 */
void gguf_builder_scales(struct gguf_builder *b);

#endif
