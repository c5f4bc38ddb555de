/* SPDX-License-Identifier: MIT */
/*
 * A model as the graph sees it: its architecture's tables, its numbers, and which tensor plays
 * which role in which layer. Owns those tables; the gguf directory stays the caller's and must
 * outlive it. Knows nothing of memory: the addresses of the weights are told to it once they are
 * known. Immutable after model_set_address() was called for every tensor; then any thread may read
 * it.
 */
#ifndef HEARTH_MODEL_MODEL_H
#define HEARTH_MODEL_MODEL_H

#include "base/error.h"
#include "model/dims.h"

struct weight_ref {
    const struct gguf_tensor *tensor; /* NULL: the model has none */
    uint64_t address;                 /* of the weight; 0 until told, or without a tensor */
    uint64_t offset;                  /* of the weight in the tensor, which may hold several */
    uint32_t n_rows;                  /* the weight's; 1 for vectors */
    /* By what its products are multiplied, f32[planes]; NULL: by nothing. And what is of no
     * account: see scales.h. */
    const struct gguf_tensor *scale, *input_scale;
    uint64_t scale_address; /* 0 until told */
};

struct layer {
    unsigned kind;           /* index into the architecture's */
    uint32_t kv_layer;       /* whose keys and values attention reads: its own number, or less */
    uint32_t dim[DIM_COUNT]; /* the model's, but for what layers have otherwise */
};

/* Rows of a tensor of which single rows are looked up, and no more: they need not lie beside the
 * others. */
struct weight_piece {
    const struct gguf_tensor *tensor;
    uint32_t first_row, n_rows;
    uint64_t address; /* of its first row; 0 until told */
};

struct model {
    const struct gguf *gguf;
    const struct arch *arch;
    struct dims dims;
    struct layer *layers;       /* [DIM_LAYERS] */
    struct weight_ref *weights; /* [layers + 1][WEIGHT_COUNT]; the last row holds the global ones */
    uint64_t parameters;        /* elements of all tensors */
    struct weight_piece *pieces; /* [n_pieces] of what model_cut() cut, in the directory's order */
    size_t n_pieces;
};

/* Layer number under which global tensors are looked up. */
#define MODEL_GLOBAL UINT32_MAX

/* Fails with a sentence naming the unknown architecture, the missing or wrong key, the missing, odd
 * or unknown tensor. */
int model_create(const struct gguf *g, struct model **ret_model, struct error *err);
void model_destroy(struct model *m); /* NULL is fine */

/* Of what kind a layer is. */
const struct arch_kind *model_layer_kind(const struct model *m, uint32_t layer);
/* The dimensions of a layer, or with MODEL_GLOBAL of the model: [DIM_COUNT]. */
const uint32_t *model_dims(const struct model *m, uint32_t layer);
/* Whether a layer has keys and values of its own. */
bool model_stores_kv(const struct model *m, uint32_t layer);

/* The tensor of a role in a layer, following the role's fallback; never NULL, its tensor may be. */
const struct weight_ref *model_weight(const struct model *m, enum weight role, uint32_t layer);

/* The divisors of the rotations of a layer, for sessions of up to so many tokens; never NULL, its
 * tensor may be. */
const struct weight_ref *model_rope_factors(const struct model *m, uint32_t layer,
                                            uint32_t context_tokens);

/* Cuts every tensor of more than most_bytes of which only single rows are looked up into pieces of
 * at most so many; once, before plans are made. Other tensors stay whole, however long. -ENOMEM. */
int model_cut(struct model *m, uint64_t most_bytes, struct error *err);
/* The pieces of a tensor; NULL, and 0 of them, where it is whole. */
struct weight_piece *model_pieces(const struct model *m, const struct gguf_tensor *tensor,
                                  size_t *ret_n);

/* Tells where a tensor of the directory lies (it may play several roles); of one in pieces, tell
 * that each of them instead. */
void model_set_address(struct model *m, const struct gguf_tensor *tensor, uint64_t address);

/* Whether its steps end with logits; those of models that only make vectors do not. */
bool model_makes_logits(const struct model *m);

/* "Q4_K_M", "F16": what the file says of itself, else its most common tensor type. Static. */
const char *model_type_name(const struct model *m);

/* Bytes that a sequence's state of fixed size takes in a layer: of its convolution, of its delta
 * rule; 0 in layers without. */
uint64_t model_conv_state_bytes(const struct model *m, uint32_t layer);
uint64_t model_delta_state_bytes(const struct model *m, uint32_t layer);
/* Of both, over all layers. */
uint64_t model_state_bytes(const struct model *m);

/* Bytes that the keys and values of a token take over all layers, and the keys of indexers, as
 * KV_F16 or KV_Q8_0. */
uint64_t model_kv_bytes_per_token(const struct model *m, uint32_t type);
/* Of these, in windowed layers. */
uint64_t model_window_kv_bytes_per_token(const struct model *m, uint32_t type);
/* What windowed layers see, as args_attention's window. */
uint32_t model_window(const struct model *m);

#endif
