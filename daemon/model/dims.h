/* SPDX-License-Identifier: MIT */
/* The numbers of one model, read from its metadata by the tables of its architecture. */
#ifndef HEARTH_MODEL_DIMS_H
#define HEARTH_MODEL_DIMS_H

#include "base/error.h"
#include "gguf/gguf.h"
#include "model/arch.h"

/* How experts are chosen, as args_route has it. */
struct router_params {
    uint32_t gate, n_groups, n_groups_used;
    bool normalises;
    float scale;
};

/* How the normed rows of a text become the one vector of it. */
enum pooling {
    POOLING_NONE, /* they do not: a model that writes text */
    POOLING_MEAN, /* of all rows */
    POOLING_CLS,  /* the first row */
    POOLING_LAST,
};

struct dims {
    uint32_t dim[DIM_COUNT]; /* where layers differ: of none in particular, see dims_read_layer */
    float real[REAL_COUNT];
    bool is_yarn;
    struct router_params router; /* of architectures with experts */
    enum pooling pooling;
};

/* Fails with a sentence naming the key that is missing, of the wrong type or out of range. */
int dims_read(const struct gguf *g, const struct arch *arch, struct dims *ret_dims,
              struct error *err);

/* The dimensions of one layer, which is of that kind: dim[DIM_COUNT]. Fails as dims_read. */
int dims_read_layer(const struct gguf *g, const struct arch *arch, const struct arch_kind *kind,
                    const struct dims *d, uint32_t layer, uint32_t *ret_dim, struct error *err);

/* "mean", "last", ...; static. */
const char *pooling_name(enum pooling pooling);

/* What a rope kernel needs, worked out from the scaling keys. Source: YaRN (Peng et al. 2023),
 * section 3; the log multiplier is DeepSeek's mscale. */
struct rope_params {
    float freq_scale, ext_factor, attn_factor, corr_low, corr_high;
    float score_scale; /* of attention, besides what its heads' width makes it */
};
void dims_rope(const struct dims *d, struct rope_params *ret_params);

#endif
