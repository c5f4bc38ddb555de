/* SPDX-License-Identifier: MIT */
/*
 * The key/value cache of one loaded model: a pool cut into blocks of KV_BLOCK_TOKENS positions over
 * all layers, and the count of who holds each block. A full block may be shared: it is entered
 * among its user's prefixes, is never written again, and stays when nobody holds it any more, until
 * the room is needed; where the pool can be found again, so can what is shared in it. Layers that
 * look back only so far have blocks of their own, fewer than the others, where that saves memory.
 * Belongs to the device thread.
 */
#ifndef HEARTH_ENGINE_KV_CACHE_H
#define HEARTH_ENGINE_KV_CACHE_H

#include "base/list.h"
#include "device/device.h"
#include "engine/kv_size.h"
#include "engine/prefix_directory.h"
#include "engine/state_slots.h"
#include "pool/pool.h"

struct kv_cache {
    struct pool *pool;       /* NULL where the device holds the cache in memory of its own */
    struct buffer **buffers; /* [n_buffers] windows of the pool */
    size_t n_buffers;
    struct kv_layer *layers; /* [n_layers], for plans; zeros for layers without */
    char **hosts;            /* [n_layers] where the CPU finds them; NULL: it does not reach them */
    uint32_t n_layers;
    struct kv_size size;
    uint32_t n_blocks, n_free;
    uint32_t *free_list;  /* the first n_free are free */
    uint32_t *ref_counts; /* [n_blocks] */
    struct prefix_cache *prefixes;
    struct window_blocks *windows; /* blocks of windowed layers; NULL: those are in the others */
    uint32_t window;               /* what these layers see: model_window() */
    uint32_t n_window_blocks;
    struct prefix_directory directory; /* of the pool, if a later process can find it */
    uint32_t n_found;                  /* blocks that an earlier process had shared */
    uint64_t block_bytes;              /* of one block over all its layers */
    uint64_t window_block_bytes;       /* of one of windowed layers */
    struct state_slots *states; /* the runner's, whose checkpoints go with their blocks; or NULL */
    struct kv_spill *spill;     /* the runner's, which is told what becomes idle; or NULL */
};

struct kv_cache_config {
    struct pool_config pools;
    struct kv_size size;     /* at least */
    uint64_t prefix_tokens;  /* at most so many of them may be shared */
    uint32_t context_tokens; /* longest session: some models rotate their keys by it */
    /* The model's, by which a later process finds the pool, if its kind can be found and the layout
     * is the same; NULL: none shall. */
    const struct pool_key *model_key;
};

/* What a cache of so many positions takes, all its parts in large pages. */
uint64_t kv_cache_memory_bytes(const struct model *m, const struct kv_size *size);

/* The layers of such a cache, [n_layers], without their addresses. */
void kv_cache_shape(const struct model *m, const struct kv_size *size, struct kv_layer *ret_layers);

/* With what an earlier process left in such a cache. The device must outlive it. -ENOTSUP: as
 * kv_size_check_type. */
int kv_cache_create(const struct model *m, struct device *dev, const struct kv_cache_config *cfg,
                    struct kv_cache **ret_kv, struct error *err);
/* is_left: for a later process to find, where the pool can be; else its memory is given up. NULL is
 * fine. */
void kv_cache_destroy(struct kv_cache *kv, bool is_left);

/* Takes a free block with one reference, or else the shared one that was not used for longest;
 * -ENOSPC when all are held. */
int kv_cache_take(struct kv_cache *kv, uint32_t *ret_block);
void kv_cache_ref(struct kv_cache *kv, uint32_t block);
/* At the last one the block is free again, or waits as a shared one. Who holds blocks of a chain
 * lets go of the last first. */
void kv_cache_unref(struct kv_cache *kv, uint32_t block);

/* Takes a reference to the user's shared block that follows `parent` (PREFIX_ROOT: the first) and
 * holds the keys and values of these KV_BLOCK_TOKENS tokens; false when there is none. */
bool kv_cache_take_shared(struct kv_cache *kv, uid_t uid, uint32_t parent, const uint32_t *tokens,
                          uint32_t *ret_block);
/* Makes the caller's block, which the device has filled for these tokens, a shared one. Where the
 * user has that one already, the caller's reference moves there. parent: shared, held by the
 * caller, or PREFIX_ROOT. False when no more may be shared now; nothing has changed then. */
bool kv_cache_share(struct kv_cache *kv, uid_t uid, uint32_t parent, const uint32_t *tokens,
                    uint32_t *block);

/* Gives up what is shared of the user's and that nobody holds; returns its bytes. */
uint64_t kv_cache_forget(struct kv_cache *kv, uid_t uid);
/* The same in caches that nobody has open, of each of the users: of models that left the device,
 * and of processes that ended. Those that are open, here or elsewhere, are left alone. Adds each
 * one's bytes. Takes a mapping of each cache: not for each step. */
struct kv_forget {
    struct list link;
    uid_t uid;
    uint64_t bytes; /* so far */
};
void kv_cache_forget_kept(const struct pool_config *pools, const struct list *forgets);

/* Takes a block of windowed layers with one reference (window_blocks_unref() gives it back), if
 * need be from the shared block it stayed with for longest; -ENOSPC when all are held. */
int kv_cache_take_window(struct kv_cache *kv, uint32_t *ret_window);
/* The caller's block of windowed layers belongs to a shared block of the same tokens from now on.
 * Where that has one already, the caller's reference moves there. */
void kv_cache_share_window(struct kv_cache *kv, uint32_t block, uint32_t *window);

/* Of the positions before the next of n, the first block that windowed layers look at. */
uint32_t kv_cache_first_seen(const struct kv_cache *kv, uint32_t n_tokens);
/* Whether a shared block has one for windowed layers. */
bool kv_cache_has_window(const struct kv_cache *kv, uint32_t block);

/* After how many blocks, from the first on, windowed layers find all that they look at. */
struct kv_seen {
    uint32_t n;    /* blocks so far */
    uint32_t run;  /* the last of them in a row that have one */
    uint32_t most; /* the answer */
};
/* The next block, and whether it has one for windowed layers. */
void kv_cache_see(const struct kv_cache *kv, struct kv_seen *seen, bool has_window);

/* The digest of all that decides what a block of such a cache holds for given tokens: the model,
 * which says what layers are like, and what is left open by it. */
void kv_cache_contents_key(const struct model *m, struct device *dev,
                           const struct kv_cache_config *cfg, const struct pool_key *model_key,
                           struct pool_key *ret);
/* Bytes of what a block (is_windowed: one of windowed layers) holds, without what lies between
 * layers; 0: the CPU does not reach the cache, or there are no such layers. */
uint64_t kv_cache_content_bytes(const struct kv_cache *kv, bool is_windowed);
/* Copies that out of the cache or into it. No step may be under way that uses the block. */
void kv_cache_read(const struct kv_cache *kv, uint32_t block, bool is_windowed, void *to);
void kv_cache_write(struct kv_cache *kv, uint32_t block, bool is_windowed, const void *from);

/* A later process can find what is shared. */
bool kv_cache_is_kept(const struct kv_cache *kv);
/* Blocks that somebody holds. */
uint32_t kv_cache_n_held(const struct kv_cache *kv);
/* Bytes of all blocks, of those that somebody holds, and of those that are shared. */
uint64_t kv_cache_bytes(const struct kv_cache *kv);
uint64_t kv_cache_held_bytes(const struct kv_cache *kv);
uint64_t kv_cache_shared_bytes(const struct kv_cache *kv);

#endif
