/* SPDX-License-Identifier: MIT */
/*
 * From an architecture's steps to the list of kernel calls of one forward pass, with a place in the
 * workspace for everything that flows between them. Pure: no device memory is touched here.
 */
#ifndef HEARTH_MODEL_GRAPH_H
#define HEARTH_MODEL_GRAPH_H

#include "device/device.h"
#include "model/model.h"

/* One step of one layer. */
struct node {
    enum step_op op;
    enum value out, in, in2, in3;
    uint32_t layer;
    const struct weight_ref *weight, *bias; /* the model's; tensor NULL when absent */
    struct arch_part part;
    enum real scale;
};

enum call_kind {
    CALL_NODE,
    CALL_QUANTIZE,    /* of the node's input, before it */
    CALL_EXPERT_ROWS, /* of a router's choices, behind it: for products of many rows */
    CALL_COMBINE,     /* of what an attention in ranges of positions left, behind it */
    CALL_SCALE,       /* of a product, behind it: by its weight's scales; then its bias */
};

/* One kernel call, of a node or for it. Places are byte offsets into the workspace. */
struct call {
    const struct node *node;
    enum call_kind kind;
    enum activation_type activation; /* of a quantize, or of a matmul's input */
    uint32_t n_splits;               /* of an attention, whose out are then parts if it is over 1 */
    uint64_t out, in, in2, in3;      /* of a CALL_SCALE without in_bytes: in place */
    uint64_t rows;                   /* of a product by experts: what CALL_EXPERT_ROWS made */
    uint64_t out_bytes, in_bytes, in2_bytes, in3_bytes,
        rows_bytes; /* at the full batch; 0 where unused */
};

struct graph {
    struct node *nodes;
    struct call *calls;
    size_t n_nodes, n_calls;
    uint64_t workspace_bytes;
    enum value result;     /* live at the end: VALUE_LOGITS, or the normed rows they are made of */
    uint64_t result_place; /* its offset: f32[max_outputs][width of the value] */
};

struct graph_config {
    uint32_t max_tokens;     /* rows of the batch */
    uint32_t max_outputs;    /* rows whose logits can be asked for */
    uint32_t context_tokens; /* longest session */
    bool ends_normed;        /* with the rows themselves, and no logits */
};

/* -ENOMEM; -ENOTSUP when the device cannot run a weight type (named). */
int graph_create(const struct model *m, const struct device *dev, const struct graph_config *cfg,
                 struct graph **ret_graph, struct error *err);
void graph_destroy(struct graph *g); /* NULL is fine */

/* Positions that scores and choices of an indexer have room for: whole blocks of a context;
 * context_tokens 0: the model's. */
uint32_t graph_positions(const struct model *m, uint32_t context_tokens);

/* Channels of one row of a value in a layer, or with MODEL_GLOBAL before and behind all. */
uint32_t value_width(const struct model *m, uint32_t layer, enum value v);
/* ROWS_TOKENS or ROWS_OUTPUTS. */
uint32_t value_rows(enum value v);

#endif
