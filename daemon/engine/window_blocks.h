/* SPDX-License-Identifier: MIT */
/*
 * The blocks of a KV cache whose layers look back only so far: a sequence holds those of its last
 * positions and lets go of what lies behind. They have numbers of their own, as there are fewer of
 * them than blocks of the other layers. One that belongs to a shared block of the other layers (it
 * holds the same tokens) stays with it until the room is needed, so that a prompt may go on from
 * there.
 *
 * A pure structure over block numbers, like prefix_cache.h. All but creation is O(1).
 */
#ifndef HEARTH_ENGINE_WINDOW_BLOCKS_H
#define HEARTH_ENGINE_WINDOW_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

struct window_blocks;

/* Of n_blocks, beside n_whole blocks of the other layers. -ENOMEM. */
int window_blocks_create(uint32_t n_blocks, uint32_t n_whole, struct window_blocks **ret_windows);
void window_blocks_destroy(struct window_blocks *w); /* NULL is fine */

/* Takes a free block with one reference, or the one that stayed for longest with a shared block,
 * which *ret_left then names (else WINDOW_NONE). -ENOSPC: all are held. */
#define WINDOW_NONE UINT32_MAX
int window_blocks_take(struct window_blocks *w, uint32_t *ret_block, uint32_t *ret_left);
/* One reference less: at the last one it is free, or stays with the block it belongs to. */
void window_blocks_unref(struct window_blocks *w, uint32_t block);

/* The one that belongs to a shared block; WINDOW_NONE: it has none. */
uint32_t window_blocks_of(const struct window_blocks *w, uint32_t whole);
/* A reference to that one, which is there. */
void window_blocks_hold(struct window_blocks *w, uint32_t whole);
/* The caller's block belongs to a shared one from now on. Where that has one already the caller's
 * reference moves there: *block tells. True when it is new there. */
bool window_blocks_join(struct window_blocks *w, uint32_t whole, uint32_t *block);
/* The other block is shared no more: who holds what belonged to it keeps it. */
void window_blocks_part(struct window_blocks *w, uint32_t whole);

/* A free block, chosen by number, belongs to a shared one, and nobody holds it: as an earlier
 * process left it. False when it is no such number, is not free, or the other has one. */
bool window_blocks_restore(struct window_blocks *w, uint32_t whole, uint32_t block);

uint32_t window_blocks_n_held(const struct window_blocks *w);
uint32_t window_blocks_n_idle(const struct window_blocks *w);
/* That belong to a shared block, held or not. */
uint32_t window_blocks_n_shared(const struct window_blocks *w);

#endif
