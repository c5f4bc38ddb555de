/* SPDX-License-Identifier: MIT */
/*
 * The memory for what sequences keep in fixed size (see struct seq_state), cut into slots: one slot
 * holds the state of one sequence over all layers. Models whose layers all keep keys and values
 * have none.
 *
 * A slot that no sequence has may hold a checkpoint: what the state was after the last token of a
 * shared block, without which the keys and values up to there are of no use. Whoever needs a slot
 * takes a free one, else the checkpoint that was not used for longest. Belongs to the device
 * thread.
 */
#ifndef HEARTH_ENGINE_STATE_SLOTS_H
#define HEARTH_ENGINE_STATE_SLOTS_H

#include "device/device.h"
#include "engine/index_list.h"
#include "model/model.h"
#include "model/plan.h"

#define STATE_NO_SLOT UINT32_MAX

struct state_slots {
    struct device *device;
    struct buffer **buffers;    /* [n_layers]; NULL for layers without state */
    struct layer_state *layers; /* [n_layers], for plans */
    uint32_t n_layers, n_slots;
    struct index_link *links; /* [n_slots], of the lists; a sequence's slot is in none */
    struct index_list free_slots;
    struct index_list checkpoints; /* the first was not used for longest */
    uint32_t *blocks;              /* [n_slots], of checkpoints: after whose last token */
    uint64_t slot_bytes;           /* of one slot over all layers */
    struct buffer *step;           /* the header of copies */
};

/* What so many slots take; 0 for models without state. */
uint64_t state_slots_memory_bytes(const struct model *m, uint32_t n_slots);
/* The layers of so many slots, [n_layers], without their addresses. */
void state_slots_shape(const struct model *m, uint32_t n_slots, struct layer_state *ret_layers);

/* *ret_slots is NULL for models without state. The device must outlive it. -ENOMEM. */
int state_slots_create(const struct model *m, struct device *dev, uint32_t n_slots,
                       struct state_slots **ret_slots, struct error *err);
void state_slots_destroy(struct state_slots *s); /* NULL is fine */

/* For a sequence. What the slot holds is of no account: a sequence begins with zeros at position 0.
 * -ENOSPC when sequences have all. */
int state_slots_take(struct state_slots *s, uint32_t *ret_slot);
void state_slots_give(struct state_slots *s, uint32_t slot);
/* The same, brought to the state after the block. Where only the checkpoint's own slot is left, it
 * is taken, and there is a checkpoint no more. -ENOENT without one; -ENOSPC; -ENOMEM, -EIO. */
int state_slots_take_at(struct state_slots *s, uint32_t block, uint32_t *ret_slot);

/* Copies what one slot holds to another, to the bit, behind the steps that were submitted before;
 * returns when it is done. -ENOMEM, -EIO. */
int state_slots_copy(struct state_slots *s, uint32_t from, uint32_t to, struct error *err);

/* Keeps what a sequence's slot holds as the state after the block; one that is there already is
 * used again instead. False where there is no room, or the device failed: there is none then. */
bool state_slots_keep(struct state_slots *s, uint32_t slot, uint32_t block);
/* Whether there is a checkpoint after the block; if so, it counts as used now. */
bool state_slots_use(struct state_slots *s, uint32_t block);
/* Brings a sequence's slot to the state after the block; -ENOENT without a checkpoint. */
int state_slots_restore(struct state_slots *s, uint32_t slot, uint32_t block);
/* The block holds something else from now on. s may be NULL. */
void state_slots_forget(struct state_slots *s, uint32_t block);
uint32_t state_slots_n_checkpoints(const struct state_slots *s); /* NULL: 0 */

#endif
