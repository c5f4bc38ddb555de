/* SPDX-License-Identifier: MIT */
/*
 * The weights of a loaded model as a device sees them: windows of its pools, imported without a
 * copy, and the model told where each tensor lies. Device thread.
 */
#ifndef HEARTH_ENGINE_WEIGHTS_H
#define HEARTH_ENGINE_WEIGHTS_H

#include "device/device.h"
#include "engine/loaded_model.h"

struct weights;

int weights_import(struct loaded_model *lm, struct device *dev, struct weights **ret_weights,
                   struct error *err);
/* Bytes that the device could not map and holds a copy of. */
uint64_t weights_copied_bytes(const struct weights *w);
void weights_release(struct weights *w); /* NULL is fine */

#endif
