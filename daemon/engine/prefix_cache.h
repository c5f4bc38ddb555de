/* SPDX-License-Identifier: MIT */
/*
 * Which blocks of a KV cache hold the keys and values of which tokens: for each user a tree whose
 * nodes are full blocks, each the child of the block before it, so that a prompt seen before finds
 * its blocks again. Users share nothing: what one had computed neither serves another nor shows in
 * how long an answer takes. What is common to all is PREFIX_COMMON's, and users' blocks may follow
 * it.
 *
 * A pure structure over block numbers: it holds no memory of the cache, runs on a counter instead
 * of a clock, and allocates nothing after its creation. The owner tells which entered blocks are in
 * use. The rest are idle, ordered by their last use, and given up from the least recently used end;
 * a block never goes before the blocks that follow it. Everything but creation is O(1).
 */
#ifndef HEARTH_ENGINE_PREFIX_CACHE_H
#define HEARTH_ENGINE_PREFIX_CACHE_H

#include "kernels/args.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PREFIX_ROOT UINT32_MAX /* in place of a block: what comes before a first one */

/* In place of a user: whoever asks. No user of that number has anything entered. */
#define PREFIX_COMMON ((uid_t)-2)

struct prefix_cache;

/* For blocks 0..n_blocks-1, of which most_entered at once. seed: of the hash, so that no prompt can
 * be made to collide with others. -ENOMEM. */
int prefix_cache_create(uint32_t n_blocks, uint32_t most_entered, uint64_t seed,
                        struct prefix_cache **ret_cache);
void prefix_cache_destroy(struct prefix_cache *p); /* NULL is fine */

/* The user's block that follows `parent` and holds exactly these KV_BLOCK_TOKENS tokens. A pure
 * look: false when there is none. */
bool prefix_cache_find(const struct prefix_cache *p, uid_t uid, uint32_t parent,
                       const uint32_t *tokens, uint32_t *ret_block);

/* Enters a block that is in use and not entered yet. Its parent is the root, or an entered block of
 * the same user or of PREFIX_COMMON that is in use; the tokens must not be there already. -ENOSPC:
 * as many as may be are entered (evict one first). */
int prefix_cache_enter(struct prefix_cache *p, uid_t uid, uint32_t parent, const uint32_t *tokens,
                       uint32_t block);
bool prefix_cache_has(const struct prefix_cache *p, uint32_t block);
/* Of an entered block: whose it is, which it follows, and its tokens (the cache's). */
const uint32_t *prefix_cache_get(const struct prefix_cache *p, uint32_t block, uid_t *ret_uid,
                                 uint32_t *ret_parent);

/* An idle block is in use again. Whoever uses a block uses its parent, too. */
void prefix_cache_hold(struct prefix_cache *p, uint32_t block);
/* Nobody uses an entered block any more: it becomes the most recently used of the idle ones. Blocks
 * of a chain are released from the last to the first. */
void prefix_cache_release(struct prefix_cache *p, uint32_t block);

/* Takes an idle block that no other follows out; it is the caller's. */
void prefix_cache_remove(struct prefix_cache *p, uint32_t block);
/* The user's least recently used idle block that was used after `last` (PREFIX_ROOT: of all), which
 * is idle; false: there is none. No other follows it once those before are out. */
bool prefix_cache_next_idle(const struct prefix_cache *p, uid_t uid, uint32_t last,
                            uint32_t *ret_block);
/* Takes the least recently used idle block out; it is the caller's. False when none is idle. */
bool prefix_cache_evict(struct prefix_cache *p, uint32_t *ret_block);

uint32_t prefix_cache_n_entered(const struct prefix_cache *p);
uint32_t prefix_cache_n_idle(const struct prefix_cache *p);

#endif
