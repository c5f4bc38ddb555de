/* SPDX-License-Identifier: MIT */
/* How large a model is, by its tables and its directory: what people compare models by, and what
 * decides how fast it can be. Any thread. */
#ifndef HEARTH_MODEL_MODEL_SIZE_H
#define HEARTH_MODEL_MODEL_SIZE_H

#include "model/model.h"

struct model_size {
    /* that one token's computation meets: all but experts it does not choose and layers that are
       kept, not used; of tables that are only looked up all rows, as models are named */
    uint64_t active_parameters;
    uint64_t token_bytes; /* of weights that one token reads; of tables looked up, one row */
    struct {
        uint64_t n_tensors, parameters, bytes;
    } types[GGUF_TYPE_LIMIT]; /* by enum gguf_type */
};

/* Whether of the tensor nothing but single rows is read. */
bool model_size_is_looked_up(const struct model *m, const struct gguf_tensor *tensor);

void model_size_get(const struct model *m, struct model_size *ret_size);

#endif
