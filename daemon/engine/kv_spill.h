/* SPDX-License-Identifier: MIT */
/*
 * What of a cache goes to the disk tier, and what comes back. A shared block that nobody uses any
 * more is offered; between steps it is copied out and written in the background, each once, after
 * the blocks before it. A prompt that begins with blocks on disk has them read back into the cache,
 * where its session then finds them like any shared block.
 *
 * A block's key on disk is the digest of the cache's contents key and, from the first block on, of
 * each block's owner and tokens: only what would hold the same to the bit has it. Caches of models
 * with a state of fixed size, and those that the CPU does not reach, have no spill. Belongs to the
 * device thread.
 */
#ifndef HEARTH_ENGINE_KV_SPILL_H
#define HEARTH_ENGINE_KV_SPILL_H

#include "engine/kv_cost.h"
#include "engine/kv_disk.h"
#include "engine/kv_size.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct kv_cache;
struct kv_spill;
struct kv_restore;

/* contents: see kv_cache_contents_key(). The cache offers to it from now on, what is shared already
 * among it; it and the disk must outlive it. -ENOTSUP: the CPU does not reach the cache. -EFBIG: a
 * block is more than the disk may hold. -ENOMEM.
 */
int kv_spill_create(struct kv_cache *kv, struct kv_disk *disk, const struct pool_key *contents,
                    struct kv_spill **ret_spill);
/* What is waiting is dropped, except where the process ends: see kv_disk_expect_end(). Waits for no
 * drive otherwise. Its restores must have ended. NULL is fine. */
void kv_spill_destroy(struct kv_spill *s);

/* The cache's calls. A shared block is idle; it holds something else from now on. NULL is fine. */
void kv_spill_offer(struct kv_spill *s, uint32_t block);
void kv_spill_forget(struct kv_spill *s, uint32_t block);

/* Takes back jobs that are done, goes on with restores and begins to write at most so many blocks.
 * No step may be under way. True: there is more to do at once. */
bool kv_spill_step(struct kv_spill *s, uint32_t most_writes);
/* Blocks that wait to be written. */
uint32_t kv_spill_n_waiting(const struct kv_spill *s);
/* How many of these shared blocks of a chain, from its first on, are on disk, and the bytes of
 * their files. */
uint32_t kv_spill_n_on_disk(struct kv_spill *s, const uint32_t *blocks, uint32_t n,
                            uint64_t *ret_bytes);
/* Of memory: copies of blocks on their way, and what is known of each block. NULL: 0. */
uint64_t kv_spill_bytes(const struct kv_spill *s);
/* What a spill of a cache of that size takes. */
uint64_t kv_spill_bytes_for(const struct model *m, const struct kv_size *size);

/* The beginning of a prompt: whole blocks. */
struct kv_chain {
    const uint32_t *tokens; /* [n_blocks * KV_BLOCK_TOKENS] */
    uint32_t n_blocks;
    uint32_t n_common; /* of these, the first are everybody's */
    uid_t uid;         /* whose the others are */
};

/* Begins to read back what of the chain is on disk and not in the cache, if that is cheaper than
 * computing it. Until the restore has ended it holds the blocks that it found or read. False: there
 * is nothing to wait for. */
bool kv_restore_begin(struct kv_spill *s, const struct kv_chain *chain,
                      const struct kv_speeds *speeds, struct kv_restore **ret_restore);
/* What a token of a prompt takes to compute, as it is known by now; 0: it is not. A restore that
 * began before goes by it, too. */
void kv_restore_note_pace(struct kv_spill *s, uint64_t prompt_token_ns);
/* Nothing more comes: it is all there, or a read failed, or the cache is full. */
bool kv_restore_is_over(const struct kv_restore *r);
/* Blocks that were read so far. */
uint32_t kv_restore_n_read(const struct kv_restore *r);
/* Lets go of the blocks; they are shared and idle. At any time; NULL is fine. */
void kv_restore_end(struct kv_restore *r);

#endif
