/* SPDX-License-Identifier: MIT */
/* Inside model only: which layer is of which kind, and what follows for each from that. */
#ifndef HEARTH_MODEL_LAYERS_H
#define HEARTH_MODEL_LAYERS_H

#include "model/model.h"

/* All layers of a model, malloc'd. Fails with a sentence naming the key that does not fit. */
int layers_create(const struct gguf *g, const struct arch *arch, const struct dims *d,
                  struct layer **ret_layers, struct error *err);

#endif
