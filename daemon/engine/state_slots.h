/* SPDX-License-Identifier: MIT */
/*
 * The memory for what sequences keep in fixed size (see struct seq_state), cut into slots: one slot
 * holds the state of one sequence over all layers. Models whose layers all keep keys and values
 * have none. Belongs to the device thread.
 */
#ifndef HEARTH_ENGINE_STATE_SLOTS_H
#define HEARTH_ENGINE_STATE_SLOTS_H

#include "device/device.h"
#include "model/model.h"
#include "model/plan.h"

#define STATE_NO_SLOT UINT32_MAX

struct state_slots {
    struct buffer **buffers;    /* [n_layers]; NULL for layers without state */
    struct layer_state *layers; /* [n_layers], for plans */
    uint32_t n_layers, n_slots, n_free;
    uint32_t *free_list; /* the first n_free are free */
    uint64_t slot_bytes; /* of one slot over all layers */
};

/* What so many slots take; 0 for models without state. */
uint64_t state_slots_memory_bytes(const struct model *m, uint32_t n_slots);
/* The layers of so many slots, [n_layers], without their addresses. */
void state_slots_shape(const struct model *m, uint32_t n_slots, struct layer_state *ret_layers);

/* *ret_slots is NULL for models without state. The device must outlive it. -ENOMEM. */
int state_slots_create(const struct model *m, struct device *dev, uint32_t n_slots,
                       struct state_slots **ret_slots, struct error *err);
void state_slots_destroy(struct state_slots *s); /* NULL is fine */

/* What the slot holds is of no account: a sequence begins with zeros at position 0. -ENOSPC when
 * all are taken. */
int state_slots_take(struct state_slots *s, uint32_t *ret_slot);
void state_slots_give(struct state_slots *s, uint32_t slot);

#endif
