/* SPDX-License-Identifier: MIT */
/*
 * The weights of a loaded model as a device sees them: windows of its pools, imported without a
 * copy, and the model told where each tensor lies. Device thread.
 */
#ifndef HEARTH_ENGINE_WEIGHTS_H
#define HEARTH_ENGINE_WEIGHTS_H

#include "device/device.h"
#include "engine/loaded_model.h"
#include "pool/pool_window.h"

struct weights;

/* Most of a table whose rows are looked up that has to lie in one piece: a window takes it. */
#define WEIGHTS_PIECE_BYTES (POOL_WINDOW_LIMIT_BYTES - 2 * POOL_LARGE_PAGE_BYTES)

/* What of a file has to lie whole in a window: its tensors, or the pieces of those that are cut, in
 * the order of the directory. *ret_list is the caller's to free(). -ENOMEM. */
int weights_extents(const struct model *m, uint32_t file, struct pool_extent **ret_list,
                    size_t *ret_n);
/* Whether a window can hold each of these: what no device could map is refused by name before it is
 * read, which may take minutes. -EFBIG, -ENOMEM. */
int weights_check(const struct model *m, uint32_t file, struct error *err);

int weights_import(struct loaded_model *lm, struct device *dev, struct weights **ret_weights,
                   struct error *err);
/* Bytes that the device could not map and holds a copy of. */
uint64_t weights_copied_bytes(const struct weights *w);
void weights_release(struct weights *w); /* NULL is fine */

#endif
