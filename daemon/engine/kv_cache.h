/* SPDX-License-Identifier: MIT */
/*
 * The key/value cache of one loaded model: a pool cut into blocks of KV_BLOCK_TOKENS positions over
 * all layers, and the count of who holds each block. Belongs to the device thread.
 */
#ifndef HEARTH_ENGINE_KV_CACHE_H
#define HEARTH_ENGINE_KV_CACHE_H

#include "device/device.h"
#include "model/model.h"
#include "pool/pool.h"

struct kv_cache {
    struct pool *pool;       /* NULL where the device holds the cache in memory of its own */
    struct buffer **buffers; /* [n_buffers] windows of the pool */
    size_t n_buffers;
    struct kv_layer *layers; /* [n_layers], for plans */
    uint32_t n_blocks, n_free;
    uint32_t *free_list;  /* the first n_free are free */
    uint32_t *ref_counts; /* [n_blocks] */
    uint64_t block_bytes; /* of one block over all layers */
};

/* Room for at least n_tokens positions. The device must outlive it. */
int kv_cache_create(const struct model *m, struct device *dev, const struct pool_config *pools,
                    uint64_t n_tokens, struct kv_cache **ret_kv, struct error *err);
void kv_cache_destroy(struct kv_cache *kv); /* NULL is fine */

/* Takes a free block with one reference; -ENOSPC when none is left. */
int kv_cache_take(struct kv_cache *kv, uint32_t *ret_block);
void kv_cache_ref(struct kv_cache *kv, uint32_t block);
void kv_cache_unref(struct kv_cache *kv, uint32_t block); /* free again at the last one */

#endif
