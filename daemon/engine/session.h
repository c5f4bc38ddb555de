/* SPDX-License-Identifier: MIT */
/*
 * A session is one mutable timeline on a loaded model: the tokens seen so far and the cache blocks
 * that hold their keys and values. Belongs to the device thread.
 */
#ifndef HEARTH_ENGINE_SESSION_H
#define HEARTH_ENGINE_SESSION_H

#include "engine/kv_cache.h"

struct session {
    struct kv_cache *kv;   /* the runner's */
    struct buffer *memory; /* what the device reads: the block table, then the token history */
    uint32_t *block_table; /* [max_blocks] in memory */
    uint32_t *history;     /* [max_tokens] in memory: every token so far; the device writes those it
                              draws */
    uint32_t n_blocks;
    uint32_t n_past;    /* positions whose keys and values are stored */
    uint32_t n_history; /* n_past, plus a token drawn (or being drawn) and not yet fed */
    uint32_t max_tokens;
};

int session_create(struct kv_cache *kv, struct device *dev, uint32_t max_tokens,
                   struct session **ret_session, struct error *err);
void session_destroy(struct session *s); /* NULL is fine; gives its blocks back */

/* Makes sure blocks exist for the first n positions; -ENOSPC when the cache has none left (what was
 * taken stays with the session). */
int session_reserve(struct session *s, uint32_t n_tokens);
/* Forgets everything from position n on. */
void session_truncate(struct session *s, uint32_t n_tokens);

uint64_t session_block_table_address(const struct session *s);
uint64_t session_history_address(const struct session *s);

#endif
