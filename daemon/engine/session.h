/* SPDX-License-Identifier: MIT */
/*
 * A session is one mutable timeline on a loaded model: the tokens seen so far and the cache blocks
 * that hold their keys and values, with a slot for what its model keeps in fixed size. Its full
 * blocks may be shared with later sessions of the same user; only full ones, so that no session
 * ever writes into a block that another reads. Of layers that look back only so far it holds the
 * last blocks alone. Belongs to the device thread.
 */
#ifndef HEARTH_ENGINE_SESSION_H
#define HEARTH_ENGINE_SESSION_H

#include "engine/kv_cache.h"
#include "engine/state_slots.h"

/* Blocks of one kind by position: entry i holds the positions from i * KV_BLOCK_TOKENS on. */
struct block_table {
    uint32_t *blocks;     /* [max_blocks] */
    struct buffer *shown; /* the same for the device, which may hold it in memory of its own: only
                             written here, as reading that back is slow */
};

struct session {
    struct kv_cache *kv;        /* the runner's */
    struct state_slots *states; /* the runner's; NULL for models without state */
    uint32_t slot;              /* of these; STATE_NO_SLOT: none */
    struct block_table table;
    struct block_table windows; /* of windowed layers, where these have blocks of their own */
    uint32_t first_window;      /* entries of windows before this one are not held */
    struct buffer *tokens;      /* holds the history */
    uint32_t *history; /* [max_tokens]: every token so far; the device writes those it draws */
    uint32_t n_blocks;
    uint32_t n_common;  /* positions that are everybody's: see session_set_common() */
    uint32_t n_shared;  /* of these, from the first on, shared: not to be written any more */
    uint32_t n_past;    /* positions whose keys and values are stored */
    uint32_t n_history; /* n_past, plus a token drawn (or being drawn) and not yet fed */
    uint32_t max_tokens;
    /* With a state: positions, ends of full blocks, at which it is kept for later sessions. */
    uint32_t checkpoints[3];
};

/* states: NULL for models without. */
int session_create(struct kv_cache *kv, struct state_slots *states, struct device *dev,
                   uint32_t max_tokens, struct session **ret_session, struct error *err);
void session_destroy(struct session *s); /* NULL is fine; gives its blocks back */

/* Makes sure blocks exist for the first n positions, and a slot for the state; -ENOSPC when there
 * is none left (what was taken stays with the session). */
int session_reserve(struct session *s, uint32_t n_tokens);
/* Lets go of what windowed layers will not look at any more from the next of n_done positions on.
 */
void session_slide(struct session *s, uint32_t n_done);
/* Forgets everything from position n on; where n lies within a shared block, from that block on
 * (n_past tells), as computing less than a block again costs less than a copy. All is forgotten
 * where windowed layers would miss what they let go of. A state of fixed size goes back to its last
 * checkpoint, and where there is none to its beginning. */
void session_truncate(struct session *s, uint32_t n_tokens);

/* The first n tokens, of a session whose prompt has not begun, are no secret of its user: their
 * blocks are shared with everybody. */
void session_set_common(struct session *s, uint32_t n_tokens);
/* How many of the first blocks of so many tokens an empty session may take over: at least two
 * tokens are left to compute. Of these, *ret_common are everybody's, and the others the user's. */
uint32_t session_most_prefix(const struct session *s, uid_t uid, uint32_t n_tokens,
                             uint32_t *ret_common);
/* An empty session takes over the blocks the user's earlier sessions shared for the beginning of
 * these tokens, as far as windowed layers can go on from there. At least two tokens are left to
 * compute: the logits after the last are needed, and a single one would be computed by the kernels
 * for generated tokens, which round otherwise. Returns how many tokens are there now: n_past. With
 * a state, these are the tokens up to its last checkpoint among them; it will be kept where the
 * blocks that were found end, as others may begin with them, too, and at the last full block of the
 * tokens.
 */
uint32_t session_take_prefix(struct session *s, uid_t uid, const uint32_t *tokens,
                             uint32_t n_tokens);
/* Of n tokens of a prompt, those that may be fed in one step: up to where the state is to be kept.
 */
uint32_t session_until_checkpoint(const struct session *s, uint32_t n_tokens);
/* Shares the blocks that are full of the first n_done positions, with which the device is done:
 * n_past, or less while steps are under way. With a state, keeps that where it is due, for which
 * no step may be under way. */
void session_share_prefix(struct session *s, uid_t uid, uint32_t n_done);

/* Of a session that begins as a copy of another at the same position: its state, too, for which no
 * step may be under way. -ENOSPC when there is no slot for it; nothing to do without state. */
int session_copy_state(struct session *to, const struct session *from, struct error *err);

/* Blocks that nobody else holds: they come free when the session gives them back. */
uint32_t session_n_own_blocks(const struct session *s);

uint64_t session_block_table_address(const struct session *s);
/* Of windowed layers: the same table, where they have no blocks of their own. */
uint64_t session_window_table_address(const struct session *s);
uint64_t session_history_address(const struct session *s);

#endif
